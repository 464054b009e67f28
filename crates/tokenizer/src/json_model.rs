//! The `model` part of a `tokenizer.json`: its settings, and its vocabulary and merges, read from
//! their place in the file.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::added::AddedToken;
use crate::error::excerpt;
use crate::from_json::FILE;
use crate::from_lists::{Slots, word_piece};
use crate::hash::Folded;
use crate::json_stream::{Budget, MERGE_COST, Merge, Part, TOKEN_COST, TRIE_COST, Text, invalid};
use crate::{TokenId, TokenKind, TokenizerError, Vocabulary};

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

    /// Tokens, kinds, scores, merges and the unknown token.
    pub(crate) fn vocabulary(
        &self,
        added: &[AddedToken],
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
        for (kind, text) in kinds.iter_mut().zip(&tokens) {
            if self.settings.byte_fallback == Some(true) && crate::model::byte_of(text).is_some() {
                *kind = TokenKind::Byte;
            }
        }
        for token in added {
            let kind = if token.special { TokenKind::Control } else { TokenKind::UserDefined };
            kinds[token.id as usize] = kind;
        }
        if let Some(unk) = unk {
            kinds[unk as usize] = TokenKind::Unknown;
        }
        let unk = unk.map(|id| id as TokenId);
        let merges = self.merges(budget)?;
        Ok(Vocabulary { tokens, scores, kinds, merges, unk, ..Vocabulary::default() })
    }

    /// The vocabulary's texts and the added ones by id, the scores and the unknown token's id.
    fn slots(
        &self,
        added: &[AddedToken],
        budget: &mut Budget,
    ) -> Result<(Slots, Vec<f32>, Option<u64>), TokenizerError> {
        let key = "model.vocab";
        let unigram = self.kind == "Unigram";
        let (count, top) = if unigram {
            let count = self.vocab.count()?;
            (count, count.saturating_sub(1) as u64)
        } else {
            self.vocab.ids()?
        };
        let top = added.iter().map(|token| u64::from(token.id)).fold(top, u64::max);
        let tries = unigram || self.kind == "WordPiece";
        let cost = TOKEN_COST + if tries { TRIE_COST } else { 0 };
        let count = count + added.len();
        let ids = usize::try_from(top).unwrap_or(usize::MAX).min(2 * count);
        budget.charge("memory for model.vocab", ids.max(count), cost)?;
        let mut slots = Slots::new(key, count, top)?;
        let (mut scores, mut unk) = (Vec::new(), None);
        if unigram {
            scores.reserve_exact(slots.len());
            self.vocab.each(&mut |index, (Text(text), score): (Text<'_>, f64)| {
                scores.push(score as f32);
                slots.put(text.as_bytes().to_vec(), index as u64)
            })?;
            scores.resize(slots.len(), 0.0);
            unk = self.settings.unk_id;
        } else {
            let special: HashSet<&[u8], Folded> = added
                .iter()
                .filter(|token| token.special)
                .map(|token| &token.content[..])
                .collect();
            let unk_name = self.unk_name();
            let prefix = self.settings.continuing_subword_prefix.as_deref().unwrap_or("");
            let prefix = if prefix.is_empty() { "##" } else { prefix };
            self.vocab.entries(&mut |text, id: u64| {
                if !unk_name.is_empty() && text == unk_name {
                    unk = Some(id);
                }
                let whole = text == unk_name || special.contains(text.as_bytes());
                let respelled = self.kind == "WordPiece" && !whole;
                let text = text.as_bytes();
                slots.put(if respelled { word_piece(text, prefix) } else { text.to_vec() }, id)
            })?;
        }
        for token in added {
            slots.put(token.content.to_vec(), u64::from(token.id))?;
        }
        Ok((slots, scores, unk))
    }

    fn merges(&self, budget: &mut Budget) -> Result<Vec<Vec<u8>>, TokenizerError> {
        let Some(part) = &self.merges else { return Ok(Vec::new()) };
        let count = part.count()?;
        budget.charge("memory for model.merges", count, MERGE_COST)?;
        let mut merges = Vec::with_capacity(count);
        part.each(&mut |index, Merge(text)| {
            // A piece may itself be a space.
            let space = text.iter().skip(1).position(|byte| *byte == b' ');
            if space.is_none_or(|space| space + 2 == text.len()) {
                return Err(TokenizerError::BadMerge { index, text: excerpt(&text) });
            }
            merges.push(text);
            Ok(())
        })?;
        Ok(merges)
    }
}
