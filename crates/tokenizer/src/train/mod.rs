//! Training of byte-level BPE vocabularies. Knows nothing about files: documents come in pieces of
//! bytes, and what is made goes to a writer. Source of the method and of every order: the
//! `tokenizers` library (0.23), `BpeTrainer` behind a `ByteLevel` pre-tokenizer; the merges are the
//! same on the same input.
//!
//! Departures: (1) bytes that are not UTF-8 are counted as they are, where the library refuses
//! them; (2) counts have 64 bits; (3) a document of several megabytes in which no word ends, and
//! with an expression of one's own one of 64 MiB, is cut (`CountSummary::cuts`); (4) rare words are
//! dropped above a bound of memory (`CountSummary::dropped`); (5) there is no bound on the
//! alphabet, whose bytes would be lost to the encoder.

mod count;
mod merge;
mod pattern;
mod pieces;
mod table;
mod words;
mod write;

use std::collections::HashSet;

pub use count::{CountSummary, WordCounts};
use merge::{Bounds, Merger};
pub use pattern::SplitPattern;
pub use pieces::{Input, Unit};
pub use write::Trained;

use crate::added::ADDED_BYTES_MAX;
use crate::error::excerpt;
use crate::unicode::{byte_to_char, char_to_byte, from_byte_alphabet};
use crate::{TokenId, TokenizerError};
use words::Words;

/// Which bytes have a token of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alphabet {
    /// All 256, so that every text can be encoded.
    #[default]
    All,
    /// Those that occur. Others are dropped by the encoder.
    Seen,
}

/// What is to be made of the counts.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Number of tokens, special tokens and bytes included. Fewer are made where no pair is left.
    pub vocab_size: usize,
    /// Control tokens; their ids are 0 onwards in this order, of equal ones the first counts.
    pub special: Vec<String>,
    /// The one of them that begins a text, if any.
    pub begin: Option<String>,
    /// Pairs that occur less often are not merged.
    pub frequency_min: u64,
    /// Tokens have fewer bytes than this; the library's `max_token_length`, which is exclusive.
    pub token_bytes_end: Option<usize>,
    /// Which bytes have a token.
    pub alphabet: Alphabet,
}

impl Default for TrainOptions {
    /// Lucid's control tokens, a vocabulary of 32,768 and no bounds.
    fn default() -> Self {
        let special = crate::control::ControlToken::ALL.map(|token| token.spelling().to_owned());
        Self {
            vocab_size: 1 << 15,
            begin: special.first().cloned(),
            special: special.into(),
            frequency_min: 0,
            token_bytes_end: None,
            alphabet: Alphabet::All,
        }
    }
}

impl TrainOptions {
    /// Whether a vocabulary can be made so, before anything is counted.
    ///
    /// # Errors
    /// `VocabSize` where all bytes and the special tokens do not fit; `BadEntry` for a special
    /// token that cannot be one.
    pub fn check(&self) -> Result<(), TokenizerError> {
        let special = special_tokens(&self.special)?.len();
        let bytes = if self.alphabet == Alphabet::All { 256 } else { 0 };
        if self.vocab_size < special + bytes {
            return Err(TokenizerError::VocabSize { found: self.vocab_size, special, bytes });
        }
        Ok(())
    }
}

/// Makes a vocabulary of what was counted. `watch` is told the number of tokens so far.
///
/// # Errors
/// `Missing` without any text; `VocabSize` for a vocabulary that has no room for bytes and special
/// tokens; `BadEntry` for a special token that cannot be one.
pub fn train(
    counts: &WordCounts,
    options: &TrainOptions,
    watch: &mut dyn FnMut(usize),
) -> Result<Trained, TokenizerError> {
    let special = special_tokens(&options.special)?;
    let table = counts.table();
    if table.len() == 0 {
        return Err(TokenizerError::Missing {
            what: "text to train on",
            expected: "at least one word",
        });
    }
    let mut tokens: Vec<Box<[u8]>> = special.iter().map(|text| reserved(text)).collect();
    let mut byte_ids = [TokenId::MAX; 256];
    for byte in alphabet(counts, options.alphabet) {
        byte_ids[byte as usize] = tokens.len() as TokenId;
        tokens.push(Box::new([byte]));
    }
    if options.vocab_size < tokens.len() {
        return Err(TokenizerError::VocabSize {
            found: options.vocab_size,
            special: special.len(),
            bytes: tokens.len() - special.len(),
        });
    }
    let mut words = Words::default();
    for (word, count) in table.iter().filter(|(word, _)| word.len() > 1) {
        words.push(word.iter().map(|&byte| byte_ids[byte as usize]), count);
    }
    let bounds = Bounds {
        vocab_size: options.vocab_size,
        frequency_min: options.frequency_min,
        token_bytes_end: options.token_bytes_end.unwrap_or(usize::MAX),
    };
    let (tokens, merges) = Merger::new(words, tokens, bounds).run(watch);
    let begin = options.begin.as_ref().and_then(|begin| special.iter().position(|it| it == begin));
    Ok(Trained::new(&special, &tokens, merges, begin.map(|id| id as TokenId), counts.pattern()))
}

/// The special tokens, each once.
fn special_tokens(texts: &[String]) -> Result<Vec<String>, TokenizerError> {
    let mut seen = HashSet::new();
    let mut special = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let mut chars = text.chars();
        let byte = chars.next().and_then(char_to_byte).filter(|_| chars.next().is_none());
        let refused = |expected| {
            let found = format!("{:?}", excerpt(text.as_bytes()));
            Err(TokenizerError::BadEntry { what: "special token", index, found, expected })
        };
        if text.is_empty() || byte.is_some() {
            return refused("two characters or more: one alone stands for a byte of text");
        }
        if text.len() > ADDED_BYTES_MAX {
            return refused("at most 1024 bytes");
        }
        if seen.insert(text) {
            special.push(text.clone());
        }
    }
    Ok(special)
}

/// The bytes whose text a special token takes from the merges: a merge that would spell it leads
/// to it. Nothing spells one outside the byte alphabet.
fn reserved(special: &str) -> Box<[u8]> {
    from_byte_alphabet(special.as_bytes()).unwrap_or_default().into_boxed_slice()
}

/// Bytes in the order of the characters that stand for them.
fn alphabet(counts: &WordCounts, which: Alphabet) -> Vec<u8> {
    let mut seen = [which == Alphabet::All; 256];
    for (word, _) in counts.table().iter() {
        for &byte in word {
            seen[byte as usize] = true;
        }
    }
    let mut bytes: Vec<u8> = (0..=255).filter(|&byte| seen[byte as usize]).collect();
    bytes.sort_by_key(|&byte| byte_to_char(byte));
    bytes
}
