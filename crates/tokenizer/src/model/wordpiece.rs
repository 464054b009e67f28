//! WordPiece (BERT): the longest piece that starts the word, then the longest that continues it;
//! and whole words alone. Pieces are stored as GGUF does: U+2581 before the first of a word,
//! continuations bare. Source: google-research/bert `tokenization.py`.

use super::{TOKENS, is_plain};
use crate::budget::Budget;
use crate::index::TokenIndex;
use crate::trie::Trie;
use crate::{TokenId, TokenizerError, Vocabulary};

/// What marks the first piece of a word.
pub(crate) const MARK: &[u8] = "\u{2581}".as_bytes();

/// The model.
pub(crate) struct WordPiece {
    first: Trie,
    rest: Trie,
    unk: Option<TokenId>,
    chars_max: usize,
}

impl WordPiece {
    /// Words longer than `chars_max` characters are unknown.
    ///
    /// # Errors
    /// More memory than the budget has.
    pub(crate) fn new(
        vocabulary: &Vocabulary,
        chars_max: usize,
        budget: &mut Budget,
    ) -> Result<Self, TokenizerError> {
        let trie = |marked: bool, budget: &mut Budget| {
            let keys = || {
                let texts = vocabulary.tokens.iter().enumerate();
                let ids = texts.filter(|(_, text)| text.starts_with(MARK) == marked);
                ids.map(|(id, _)| id as TokenId).filter(|id| is_plain(vocabulary, *id))
            };
            let count = keys().count();
            budget.charge(TOKENS, count, Trie::COST)?;
            let mut list = Vec::with_capacity(count);
            list.extend(keys());
            Ok(Trie::new(&vocabulary.tokens, if marked { MARK.len() } else { 0 }, list))
        };
        let (first, rest) = (trie(true, budget)?, trie(false, budget)?);
        Ok(Self { first, rest, unk: vocabulary.unk, chars_max })
    }

    /// Appends the ids of `word`: all pieces, or unknown.
    pub(crate) fn encode(&self, word: &[u8], out: &mut Vec<TokenId>) {
        let start = out.len();
        let chars = word.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
        let mut at = 0;
        while at < word.len() {
            let trie = if at == 0 { &self.first } else { &self.rest };
            let found =
                if chars > self.chars_max { None } else { trie.longest_prefix(&word[at..]) };
            let Some((length, id)) = found else {
                out.truncate(start);
                out.extend(self.unk);
                return;
            };
            out.push(id);
            at += length;
        }
    }
}

/// Whole words.
pub(crate) struct WordLevel {
    words: TokenIndex,
    unk: Option<TokenId>,
}

impl WordLevel {
    /// # Errors
    /// More memory than the budget has.
    pub(crate) fn new(
        vocabulary: &Vocabulary,
        budget: &mut Budget,
    ) -> Result<Self, TokenizerError> {
        let words = super::plain_tokens(vocabulary, budget, |_| true)?;
        Ok(Self { words, unk: vocabulary.unk })
    }

    /// Appends the id of `word`, or unknown.
    pub(crate) fn encode(&self, word: &[u8], out: &mut Vec<TokenId>) {
        out.extend(self.words.id(word).or(self.unk));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_pieces_or_unknown() {
        let tokens = ["[UNK]", "▁un", "▁u", "aff", "able", "a"];
        let vocabulary =
            Vocabulary { tokens: tokens.iter().collect(), unk: Some(0), ..Vocabulary::default() };
        let model = WordPiece::new(&vocabulary, 10, &mut Budget::of(1 << 20)).unwrap();
        let check = |word: &str, expected: &[TokenId]| {
            let mut out = Vec::new();
            model.encode(word.as_bytes(), &mut out);
            assert_eq!(out, expected, "{word}");
        };
        check("unaffable", &[1, 3, 4]);
        check("unx", &[0]);
        check("able", &[0]);
        check("uaaaaaaaaaa", &[0]);
    }
}
