//! Vocabularies as plain lists: `vocab.json` with `merges.txt`, and BERT's `vocab.txt`. Sources:
//! openai/gpt-2's `encoder.py`; google-research/bert's `tokenization.py`.

use std::borrow::Cow;

use crate::budget::Budget;
use crate::error::excerpt;
use crate::from_config::Config;
use crate::index::{Key, TokenIndex};
use crate::json_stream::Part;
use crate::texts::{TextBuilder, TextPlaces};
use crate::{Merges, TextList, TokenId, TokenKind, TokenizerError, Vocabulary};

/// Ids may leave gaps, but no more than this beside the tokens that are there.
const GAPS_MAX: usize = 1 << 16;
/// An added token in the table of names, with the id that is known for it.
const KNOWN_COST: usize = TokenIndex::COST + size_of::<Option<TokenId>>();

/// The lengths of texts by id. Texts come twice: first to be measured, then to be put into place,
/// so that nothing is grown or moved whatever the order of their ids.
pub(crate) struct Lengths {
    key: &'static str,
    lengths: Vec<u32>,
}

/// No text has this id.
const GAP: u32 = u32::MAX;

impl Lengths {
    /// Bytes for each id: its length, which becomes its place, and its kind.
    pub(crate) const COST: usize = size_of::<u32>() + size_of::<TokenKind>();

    /// For `count` texts with ids up to `top`; pays for them.
    pub(crate) fn new(
        key: &'static str,
        count: usize,
        top: u64,
        budget: &mut Budget,
    ) -> Result<Self, TokenizerError> {
        if top >= (2 * count + GAPS_MAX) as u64 {
            return Err(TokenizerError::IdOutOfRange { key, id: top, len: count });
        }
        let len = if count == 0 { 0 } else { top as usize + 1 };
        budget.charge(memory_for(key), len, Self::COST)?;
        let mut lengths = Vec::with_capacity(len + 1);
        lengths.resize(len, GAP);
        Ok(Self { key, lengths })
    }

    /// Number of ids.
    pub(crate) fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Makes room for a text. Where two have one id, for the longer.
    pub(crate) fn measure(&mut self, text: &[u8], id: u64) -> Result<(), TokenizerError> {
        let len = self.lengths.len();
        let slot = usize::try_from(id).ok().and_then(|index| self.lengths.get_mut(index));
        let slot = slot.ok_or(TokenizerError::IdOutOfRange { key: self.key, id, len })?;
        let known = if *slot == GAP { 0 } else { *slot };
        *slot = known.max(text.len() as u32);
        Ok(())
    }

    /// Places for the texts, also for the names of gaps.
    pub(crate) fn places(mut self, budget: &mut Budget) -> Result<Slots, TokenizerError> {
        let kinds = vec![TokenKind::Unused; self.lengths.len()];
        let mut total = 0u64;
        for (id, length) in self.lengths.iter_mut().enumerate() {
            if *length == GAP {
                *length = unused_name(id).len() as u32;
            }
            total += u64::from(*length);
        }
        budget.charge(memory_for(self.key), total as usize, 1)?;
        let over = || TokenizerError::Limit {
            what: memory_for(self.key),
            found: total as usize,
            limit: u32::MAX as usize,
        };
        let places = TextPlaces::new(self.lengths).ok_or_else(over)?;
        Ok(Slots { key: self.key, places, kinds })
    }
}

fn unused_name(id: usize) -> String {
    format!("[UNUSED_{id}]")
}

fn memory_for(key: &str) -> &'static str {
    if key == "vocab.json" { "memory for vocab.json" } else { "memory for model.vocab" }
}

/// Texts by id in the making. A gap becomes an unused token of its own name.
pub(crate) struct Slots {
    key: &'static str,
    places: TextPlaces,
    kinds: Vec<TokenKind>,
}

impl Slots {
    /// Puts a text in its place.
    pub(crate) fn put(&mut self, text: &[u8], id: u64) -> Result<(), TokenizerError> {
        let index = usize::try_from(id).unwrap_or(usize::MAX);
        let len = self.kinds.len();
        let (Some(place), Some(kind)) = (self.places.place(index), self.kinds.get_mut(index))
        else {
            return Err(TokenizerError::IdOutOfRange { key: self.key, id, len });
        };
        if *kind == TokenKind::Unused && place.len() == text.len() {
            place.copy_from_slice(text);
            *kind = TokenKind::Normal;
        } else if place != text {
            let other = if *kind == TokenKind::Unused {
                "a longer text".to_owned()
            } else {
                format!("{:?}", excerpt(place))
            };
            return Err(TokenizerError::BadEntry {
                what: self.key,
                index,
                found: format!("both {other} and {:?}", excerpt(text)),
                expected: "one token for each id",
            });
        }
        Ok(())
    }

    /// Texts and kinds.
    pub(crate) fn finish(mut self) -> (TextList, Vec<TokenKind>) {
        let gaps = self.kinds.iter().enumerate().filter(|(_, kind)| **kind == TokenKind::Unused);
        for (id, _) in gaps {
            let name = unused_name(id);
            if let Some(place) = self.places.place(id).filter(|place| place.len() == name.len()) {
                place.copy_from_slice(name.as_bytes());
            }
        }
        (self.places.finish(), self.kinds)
    }
}

/// GPT-2's pair of files, with what `tokenizer_config.json` adds.
pub(crate) fn vocab_and_merges(
    [vocab, merges]: [&[u8]; 2],
    family: &str,
    tokenizer_config: Option<&[u8]>,
    budget: &mut Budget,
) -> Result<Vocabulary, TokenizerError> {
    let config = Config::read(tokenizer_config, budget)?;
    let part = Part::whole("vocab.json", vocab)?;
    let (count, top) = part.ids()?;
    let added = &config.added;
    let top = added.tokens.iter().map(|token| u64::from(token.id)).fold(top, u64::max);
    let mut lengths = Lengths::new("vocab.json", count + added.tokens.len(), top, budget)?;
    // The ids of added tokens: those of the list, where it has them.
    budget.charge("memory for added tokens", added.tokens.len(), KNOWN_COST)?;
    let names = TokenIndex::of(&added.texts, Key::Stored, |_| true);
    let mut known = vec![None; added.tokens.len()];
    part.entries(&mut |text, id: u64| {
        if let Some(name) = names.id(text.as_bytes()) {
            known[name as usize] = TokenId::try_from(id).ok();
        }
        lengths.measure(text.as_bytes(), id)
    })?;
    for token in &added.tokens {
        let name = names.id(&added.texts[token.text as usize]).unwrap_or(token.text);
        if known[name as usize].is_none() {
            known[name as usize] = Some(token.id);
            lengths.measure(&added.texts[name as usize], u64::from(token.id))?;
        }
        known[token.text as usize] = known[name as usize];
    }
    let mut slots = lengths.places(budget)?;
    part.entries(&mut |text, id: u64| slots.put(text.as_bytes(), id))?;
    for token in &added.tokens {
        let id = known[token.text as usize].map_or(u64::from(token.id), u64::from);
        slots.put(&added.texts[token.text as usize], id)?;
    }
    let (tokens, kinds) = slots.finish();
    let lines =
        merges.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let header = |(index, line): &(usize, &[u8])| *index == 0 && line.starts_with(b"#version");
    let lines = lines.enumerate().filter(|entry| !header(entry) && !entry.1.is_empty());
    let count = lines.clone().count();
    budget.charge("memory for merges.txt", count, size_of::<u32>())?;
    budget.charge("memory for merges.txt", merges.len(), 1)?;
    let mut list = TextBuilder::with_capacity(count, merges.len());
    lines.for_each(|(_, line)| list.push(line));
    let mut vocabulary = Vocabulary {
        model: "gpt2".to_owned(),
        pre: Some(family.to_owned()),
        tokens,
        kinds,
        merges: Merges::Texts(list.finish()),
        ..Vocabulary::default()
    };
    for token in &config.added.tokens {
        let kind = if token.special { TokenKind::Control } else { TokenKind::UserDefined };
        if let Some(id) = known[token.text as usize] {
            vocabulary.kinds[id as usize] = kind;
        }
    }
    let end = vocabulary.tokens.position(b"<|endoftext|>");
    if let Some(end) = end {
        vocabulary.kinds[end] = TokenKind::Control;
        vocabulary.eos = Some(end as TokenId);
    }
    config.apply(&mut vocabulary);
    Ok(vocabulary)
}

/// BERT's list of pieces.
pub(crate) fn bert(
    vocab: &[u8],
    lowercase: bool,
    budget: &mut Budget,
) -> Result<Vocabulary, TokenizerError> {
    let mut vocabulary = Vocabulary {
        model: "bert".to_owned(),
        lowercase: Some(lowercase),
        ..Vocabulary::default()
    };
    let vocab = vocab.strip_suffix(b"\n").unwrap_or(vocab);
    let lines = || {
        let lines = vocab.split(|byte| *byte == b'\n');
        lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line))
    };
    let is_special =
        |line: &[u8]| matches!(line, b"[UNK]" | b"[CLS]" | b"[SEP]" | b"[PAD]" | b"[MASK]");
    let count = lines().count();
    budget.charge("memory for vocab.txt", count, Lengths::COST)?;
    let bytes = lines().map(|line| word_piece(line, "##").len()).sum();
    budget.charge("memory for vocab.txt", bytes, 1)?;
    let mut tokens = TextBuilder::with_capacity(count, bytes);
    vocabulary.kinds.reserve_exact(count);
    for line in lines() {
        let id = Some(tokens.len() as TokenId);
        match line {
            b"[UNK]" => vocabulary.unk = id,
            b"[CLS]" => vocabulary.cls = id,
            b"[SEP]" => vocabulary.sep = id,
            b"[PAD]" => vocabulary.pad = id,
            b"[MASK]" => vocabulary.mask = id,
            _ => {}
        }
        if is_special(line) {
            tokens.push(line);
            vocabulary.kinds.push(TokenKind::Control);
        } else {
            tokens.push(&word_piece(line, "##"));
            vocabulary.kinds.push(TokenKind::Normal);
        }
    }
    vocabulary.tokens = tokens.finish();
    for (what, id) in
        [("[UNK]", vocabulary.unk), ("[CLS]", vocabulary.cls), ("[SEP]", vocabulary.sep)]
    {
        if id.is_none() {
            return Err(TokenizerError::Missing { what, expected: "a line of vocab.txt" });
        }
    }
    vocabulary.bos = vocabulary.cls;
    Ok(vocabulary)
}

/// GGUF's spelling of a piece: U+2581 before the first of a word, continuations bare.
pub(crate) fn word_piece<'a>(text: &'a [u8], prefix: &str) -> Cow<'a, [u8]> {
    match text.strip_prefix(prefix.as_bytes()) {
        Some(rest) if !prefix.is_empty() && !rest.is_empty() => Cow::Borrowed(rest),
        _ => Cow::Owned(["\u{2581}".as_bytes(), text].concat()),
    }
}
