//! The `model` part of a `tokenizer.json`: its settings, and its vocabulary and merges, read from
//! their place in the file.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::budget::Budget;
use crate::error::excerpt;
use crate::from_config::Added;
use crate::from_json::FILE;
use crate::from_lists::{Lengths, Slots, word_piece};
use crate::index::{Key, TokenIndex};
use crate::json_stream::{MergeText, Part, Text, invalid};
use crate::model::{MERGE_COST, MergeLookup};
use crate::{Merges, TokenId, TokenKind, TokenizerError, Vocabulary};

/// The settings.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Settings<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow)]
    vocab: Option<&'a RawValue>,
    merges: Option<&'a RawValue>,
    unk_id: Option<u64>,
    pub(crate) unk_token: Option<String>,
    pub(crate) continuing_subword_prefix: Option<String>,
    pub(crate) end_of_word_suffix: Option<String>,
    pub(crate) max_input_chars_per_word: Option<u64>,
    pub(crate) byte_fallback: Option<bool>,
    pub(crate) fuse_unk: Option<bool>,
    pub(crate) ignore_merges: Option<bool>,
}

/// Is given a text, its id and its score.
type Take<'a> = dyn FnMut(&[u8], u64, Option<f32>) -> Result<(), TokenizerError> + 'a;

/// The part.
pub(crate) struct ModelPart<'a> {
    pub(crate) kind: &'static str,
    pub(crate) settings: Settings<'a>,
    vocab: Part<'a>,
    merges: Option<Part<'a>>,
}

impl<'a> ModelPart<'a> {
    /// Reads the settings. The kind is `type`, which old files leave out.
    pub(crate) fn read(
        whole: &Part<'a>,
        raw: Option<&'a RawValue>,
    ) -> Result<Self, TokenizerError> {
        let missing = || invalid(FILE, "`model` is missing or has no `vocab`");
        let part = whole.inner("model", raw.ok_or_else(missing)?);
        let settings: Settings<'a> = part.read()?;
        let vocab = settings.vocab.map(|raw| part.inner("model.vocab", raw));
        let kind = match settings.kind.as_deref() {
            Some("BPE") => "BPE",
            Some("Unigram") => "Unigram",
            Some("WordPiece") => "WordPiece",
            Some("WordLevel") => "WordLevel",
            Some(other) => {
                return Err(TokenizerError::Unsupported {
                    what: "model",
                    name: excerpt(other.as_bytes()),
                    supported: "BPE, Unigram, WordPiece, WordLevel",
                });
            }
            None if settings.merges.is_some() => "BPE",
            None if vocab.is_some_and(|vocab| vocab.is_array()) => "Unigram",
            None if settings.continuing_subword_prefix.is_some() => "WordPiece",
            None => "WordLevel",
        };
        let merges = settings.merges.map(|raw| part.inner("model.merges", raw));
        Ok(Self { kind, settings, vocab: vocab.ok_or_else(missing)?, merges })
    }

    /// Whether symbols carry something that marks their place in a word.
    pub(crate) fn has_affixes(&self) -> bool {
        let some = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        some(&self.settings.continuing_subword_prefix) || some(&self.settings.end_of_word_suffix)
    }

    /// WordPiece: words of more characters are unknown.
    pub(crate) fn chars_max(&self) -> usize {
        let most = self.settings.max_input_chars_per_word.unwrap_or(100);
        usize::try_from(most).unwrap_or(usize::MAX)
    }

    /// The unknown token's name, or nothing.
    pub(crate) fn unk_name(&self) -> &str {
        self.settings.unk_token.as_deref().unwrap_or("")
    }

    /// Tokens, kinds, scores and the unknown token.
    pub(crate) fn vocabulary(
        &self,
        added: &Added,
        budget: &mut Budget,
    ) -> Result<Vocabulary, TokenizerError> {
        let (slots, scores, unk) = self.slots(added, budget)?;
        let (tokens, mut kinds) = slots.finish();
        if let Some(id) = unk.filter(|id| *id >= tokens.len() as u64) {
            return Err(TokenizerError::IdOutOfRange {
                key: "model.unk_id",
                id,
                len: tokens.len(),
            });
        }
        for (kind, text) in kinds.iter_mut().zip(tokens.iter()) {
            if self.settings.byte_fallback == Some(true) && crate::model::byte_of(text).is_some() {
                *kind = TokenKind::Byte;
            }
        }
        for token in &added.tokens {
            let kind = if token.special { TokenKind::Control } else { TokenKind::UserDefined };
            kinds[token.id as usize] = kind;
        }
        if let Some(unk) = unk {
            kinds[unk as usize] = TokenKind::Unknown;
        }
        let unk = unk.map(|id| id as TokenId);
        Ok(Vocabulary { tokens, scores, kinds, unk, ..Vocabulary::default() })
    }

    /// The vocabulary's texts and the added ones by id, the scores and the unknown token's id.
    fn slots(
        &self,
        added: &Added,
        budget: &mut Budget,
    ) -> Result<(Slots, Vec<f32>, Option<u64>), TokenizerError> {
        let unigram = self.kind == "Unigram";
        let (count, top) = if unigram {
            let count = self.vocab.count()?;
            (count, count.saturating_sub(1) as u64)
        } else {
            self.vocab.ids()?
        };
        let top = added.tokens.iter().map(|token| u64::from(token.id)).fold(top, u64::max);
        let mut lengths = Lengths::new("model.vocab", count + added.tokens.len(), top, budget)?;
        budget.charge("memory for added tokens", added.tokens.len(), TokenIndex::COST)?;
        let special =
            TokenIndex::of(&added.texts, Key::Stored, |at| added.tokens[at as usize].special);
        let mut scores = Vec::new();
        if unigram {
            let ids = lengths.len();
            budget.charge("memory for model.vocab", ids, size_of::<f32>())?;
            scores.reserve_exact(ids);
        }
        let unk = self.texts(added, &special, &mut |text, id, score| {
            scores.extend(score);
            lengths.measure(text, id)
        })?;
        if unigram {
            scores.resize(lengths.len(), 0.0);
        }
        let mut slots = lengths.places(budget)?;
        self.texts(added, &special, &mut |text, id, _| slots.put(text, id))?;
        Ok((slots, scores, unk))
    }

    /// Hands each text with its id and score to `take`: the vocabulary's, then the added ones.
    /// Gives the unknown token's id.
    fn texts(
        &self,
        added: &Added,
        special: &TokenIndex,
        take: &mut Take<'_>,
    ) -> Result<Option<u64>, TokenizerError> {
        let mut unk = None;
        if self.kind == "Unigram" {
            self.vocab.each(&mut |index, (Text(text), score): (Text<'_>, f64)| {
                take(text.as_bytes(), index as u64, Some(score as f32))
            })?;
            unk = self.settings.unk_id;
        } else {
            let unk_name = self.unk_name();
            let prefix = self.settings.continuing_subword_prefix.as_deref().unwrap_or("");
            let prefix = if prefix.is_empty() { "##" } else { prefix };
            self.vocab.entries(&mut |text, id: u64| {
                if !unk_name.is_empty() && text == unk_name {
                    unk = Some(id);
                }
                let whole = text == unk_name || special.id(text.as_bytes()).is_some();
                let respelled = self.kind == "WordPiece" && !whole;
                let text = text.as_bytes();
                let text = if respelled { word_piece(text, prefix) } else { Cow::Borrowed(text) };
                take(&text, id, None)
            })?;
        }
        for token in &added.tokens {
            take(&added.texts[token.text as usize], u64::from(token.id), None)?;
        }
        Ok(unk)
    }

    /// The merges, looked up in the vocabulary that `ids` were made of.
    pub(crate) fn merges(
        &self,
        ids: &TokenIndex,
        budget: &mut Budget,
    ) -> Result<Merges, TokenizerError> {
        let Some(part) = self.merges.as_ref().filter(|_| self.kind == "BPE") else {
            return Ok(Merges::default());
        };
        let count = part.count()?;
        budget.charge("memory for model.merges", count, MERGE_COST)?;
        let prefix = self.settings.continuing_subword_prefix.as_deref().unwrap_or("");
        let mut lookup = MergeLookup::new(ids, prefix);
        let mut merges = Vec::with_capacity(count);
        part.each(&mut |index, MergeText(text)| {
            merges.push(lookup.merge(index, &text)?);
            Ok(())
        })?;
        Ok(Merges::Ids(merges.into()))
    }
}
