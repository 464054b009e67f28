//! Vocabularies as plain lists: `vocab.json` with `merges.txt`, and BERT's `vocab.txt`. Sources:
//! openai/gpt-2's `encoder.py`; google-research/bert's `tokenization.py`.

use crate::error::excerpt;
use crate::from_config::Config;
use crate::hash::FastMap;
use crate::json_stream::{Budget, MERGE_COST, Part, TOKEN_COST};
use crate::{TokenId, TokenKind, TokenizerError, Vocabulary};

/// Ids may leave gaps, but no more than this beside the tokens that are there.
const GAPS_MAX: usize = 1 << 16;

/// Texts by id in the making; a gap becomes an unused token of its own name.
pub(crate) struct Slots {
    key: &'static str,
    tokens: Vec<Vec<u8>>,
    kinds: Vec<TokenKind>,
}

impl Slots {
    /// For `count` texts with ids up to `top`.
    pub(crate) fn new(key: &'static str, count: usize, top: u64) -> Result<Self, TokenizerError> {
        if top >= (2 * count + GAPS_MAX) as u64 {
            return Err(TokenizerError::IdOutOfRange { key, id: top, len: count });
        }
        let len = if count == 0 { 0 } else { top as usize + 1 };
        Ok(Self { key, tokens: vec![Vec::new(); len], kinds: vec![TokenKind::Unused; len] })
    }

    /// Number of ids.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Puts a text in its place.
    pub(crate) fn put(&mut self, text: Vec<u8>, id: u64) -> Result<(), TokenizerError> {
        let index = usize::try_from(id).unwrap_or(usize::MAX);
        let (Some(slot), Some(kind)) = (self.tokens.get_mut(index), self.kinds.get_mut(index))
        else {
            let len = self.tokens.len();
            return Err(TokenizerError::IdOutOfRange { key: self.key, id, len });
        };
        if *kind != TokenKind::Unused && *slot != text {
            return Err(TokenizerError::BadEntry {
                what: self.key,
                index,
                found: format!("both {:?} and {:?}", excerpt(slot), excerpt(&text)),
                expected: "one token for each id",
            });
        }
        (*slot, *kind) = (text, TokenKind::Normal);
        Ok(())
    }

    /// Texts and kinds, gaps filled.
    pub(crate) fn finish(mut self) -> (Vec<Vec<u8>>, Vec<TokenKind>) {
        let gaps = self.tokens.iter_mut().zip(&self.kinds).enumerate();
        for (id, (slot, _)) in gaps.filter(|(_, (_, kind))| **kind == TokenKind::Unused) {
            *slot = format!("[UNUSED_{id}]").into_bytes();
        }
        (self.tokens, self.kinds)
    }
}

/// GPT-2's pair of files, with what `tokenizer_config.json` adds.
pub(crate) fn vocab_and_merges(
    vocab: &[u8],
    merges: &[u8],
    family: &str,
    tokenizer_config: Option<&[u8]>,
) -> Result<Vocabulary, TokenizerError> {
    let config = Config::read(tokenizer_config)?;
    let part = Part::whole("vocab.json", vocab);
    let (count, top) = part.ids()?;
    let mut budget = Budget::new(vocab.len() + merges.len());
    let top = config.added.iter().map(|token| u64::from(token.id)).fold(top, u64::max);
    let count = count + config.added.len();
    let ids = usize::try_from(top).unwrap_or(usize::MAX).min(2 * count);
    budget.charge("memory for vocab.json", ids.max(count), TOKEN_COST)?;
    let mut slots = Slots::new("vocab.json", count, top)?;
    let mut known: FastMap<Box<[u8]>, Option<TokenId>> =
        config.added.iter().map(|token| (Box::from(&token.content[..]), None)).collect();
    part.entries(&mut |text, id: u64| {
        if let Some(known) = known.get_mut(text.as_bytes()) {
            *known = TokenId::try_from(id).ok();
        }
        slots.put(text.as_bytes().to_vec(), id)
    })?;
    for token in &config.added {
        let known = known.entry(Box::from(&token.content[..])).or_default();
        if known.is_none() {
            *known = Some(token.id);
            slots.put(token.content.to_vec(), u64::from(token.id))?;
        }
    }
    let (tokens, kinds) = slots.finish();
    let lines =
        merges.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let header = |(index, line): &(usize, &[u8])| *index == 0 && line.starts_with(b"#version");
    let lines = lines.enumerate().filter(|entry| !header(entry) && !entry.1.is_empty());
    budget.charge("memory for merges.txt", lines.clone().count(), MERGE_COST)?;
    let mut vocabulary = Vocabulary {
        model: "gpt2".to_owned(),
        pre: Some(family.to_owned()),
        tokens,
        kinds,
        merges: lines.map(|(_, line)| line.to_vec()).collect(),
        ..Vocabulary::default()
    };
    for token in &config.added {
        let kind = if token.special { TokenKind::Control } else { TokenKind::UserDefined };
        if let Some(Some(id)) = known.get(&token.content[..]) {
            vocabulary.kinds[*id as usize] = kind;
        }
    }
    let end = vocabulary.tokens.iter().position(|text| text == b"<|endoftext|>");
    if let Some(end) = end {
        vocabulary.kinds[end] = TokenKind::Control;
        vocabulary.eos = Some(end as TokenId);
    }
    config.apply(&mut vocabulary);
    Ok(vocabulary)
}

/// BERT's list of pieces.
pub(crate) fn bert(vocab: &[u8], lowercase: bool) -> Result<Vocabulary, TokenizerError> {
    let mut vocabulary = Vocabulary {
        model: "bert".to_owned(),
        lowercase: Some(lowercase),
        ..Vocabulary::default()
    };
    let vocab = vocab.strip_suffix(b"\n").unwrap_or(vocab);
    let lines = vocab.split(|byte| *byte == b'\n');
    for line in lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)) {
        let id = Some(vocabulary.tokens.len() as TokenId);
        let slot = match line {
            b"[UNK]" => &mut vocabulary.unk,
            b"[CLS]" => &mut vocabulary.cls,
            b"[SEP]" => &mut vocabulary.sep,
            b"[PAD]" => &mut vocabulary.pad,
            b"[MASK]" => &mut vocabulary.mask,
            _ => {
                vocabulary.tokens.push(word_piece(line, "##"));
                vocabulary.kinds.push(TokenKind::Normal);
                continue;
            }
        };
        *slot = id;
        vocabulary.tokens.push(line.to_vec());
        vocabulary.kinds.push(TokenKind::Control);
    }
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
pub(crate) fn word_piece(text: &[u8], prefix: &str) -> Vec<u8> {
    match text.strip_prefix(prefix.as_bytes()) {
        Some(rest) if !prefix.is_empty() && !rest.is_empty() => rest.to_vec(),
        _ => ["\u{2581}".as_bytes(), text].concat(),
    }
}
