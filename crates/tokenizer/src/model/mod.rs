//! The models: a word in bytes to token ids. Invariant: a word costs O(n log n), and no model ever
//! yields a control or user-defined token from text (runs of white space excepted), whatever the
//! word spells.

mod bpe;
mod cache;
mod merge;
mod score;
mod unigram;
mod wordpiece;

pub(crate) use bpe::{Bpe, BpeSettings, MERGE_COST, MergeLookup};
pub(crate) use cache::WordCache;
pub(crate) use score::ScoredBpe;
pub(crate) use unigram::Unigram;
pub(crate) use wordpiece::{WordLevel, WordPiece};

use crate::TokenId;
use crate::added::is_space;
use crate::budget::Budget;
use crate::index::{Key, TokenIndex};
use crate::{TokenKind, TokenizerError, Vocabulary};

/// What a budget says of memory for tokens and merges.
pub(crate) const TOKENS: &str = "memory for tokenizer.ggml.tokens";
pub(crate) const MERGES: &str = "memory for tokenizer.ggml.merges";

/// No token.
pub(crate) const NONE: u32 = u32::MAX;

/// One of the models.
pub(crate) enum Model {
    Bpe(Bpe),
    Scored(ScoredBpe),
    Unigram(Unigram),
    WordPiece(WordPiece),
    WordLevel(WordLevel),
}

impl Model {
    /// Appends the ids of `word`.
    pub(crate) fn encode(&self, word: &[u8], scratch: &mut Scratch, out: &mut Vec<TokenId>) {
        if word.is_empty() {
            return;
        }
        if let Some(ids) = scratch.cache.get(word) {
            out.extend_from_slice(ids);
            return;
        }
        let start = out.len();
        match self {
            Self::Bpe(model) => model.encode(word, &mut scratch.merge, out),
            Self::Scored(model) => model.encode(word, &mut scratch.merge, out),
            Self::Unigram(model) => model.encode(word, &mut scratch.unigram, out),
            Self::WordPiece(model) => model.encode(word, out),
            Self::WordLevel(model) => model.encode(word, out),
        }
        scratch.cache.put(word, &out[start..]);
    }
}

/// Working memory, reused from word to word.
#[derive(Default)]
pub(crate) struct Scratch {
    cache: WordCache,
    merge: merge::MergeScratch,
    unigram: unigram::UnigramScratch,
}

/// Whether a model may yield this token from plain text.
pub(crate) fn is_plain(vocabulary: &Vocabulary, id: TokenId) -> bool {
    match vocabulary.kind(id) {
        TokenKind::Normal | TokenKind::Unused => true,
        TokenKind::UserDefined => is_space(&vocabulary.tokens[id as usize]),
        TokenKind::Unknown | TokenKind::Control | TokenKind::Byte => false,
    }
}

/// Plain tokens that are also `wanted`, by their stored text.
pub(crate) fn plain_tokens(
    vocabulary: &Vocabulary,
    budget: &mut Budget,
    wanted: impl Fn(TokenId) -> bool,
) -> Result<TokenIndex, TokenizerError> {
    budget.charge(TOKENS, vocabulary.tokens.len(), TokenIndex::COST)?;
    let plain = |id| is_plain(vocabulary, id) && wanted(id);
    Ok(TokenIndex::of(&vocabulary.tokens, Key::Stored, plain))
}

/// Ids of `<0x00>` to `<0xFF>`.
pub(crate) fn byte_tokens(vocabulary: &Vocabulary) -> Box<[u32; 256]> {
    let mut ids = Box::new([NONE; 256]);
    for (id, text) in vocabulary.tokens.iter().enumerate() {
        if let Some(byte) = byte_of(text) {
            ids[byte as usize] = id as u32;
        }
    }
    ids
}

/// The byte that `<0xAB>` stands for.
pub(crate) fn byte_of(text: &[u8]) -> Option<u8> {
    match text {
        [b'<', b'0', b'x', high, low, b'>'] => {
            let digits = [*high, *low];
            let digits = std::str::from_utf8(&digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        }
        _ => None,
    }
}
