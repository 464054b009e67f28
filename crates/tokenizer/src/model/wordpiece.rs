//! WordPiece (BERT): the longest piece that starts the word, then the longest that continues it;
//! and whole words alone. Pieces are stored as GGUF does: U+2581 before the first of a word,
//! continuations bare. Source: google-research/bert `tokenization.py`.

use super::is_plain;
use crate::hash::FastMap;
use crate::trie::Trie;
use crate::{TokenId, Vocabulary};

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
    pub(crate) fn new(vocabulary: &Vocabulary, chars_max: usize) -> Self {
        let plain = || {
            let texts = vocabulary.tokens.iter().enumerate();
            texts.filter(|(id, _)| is_plain(vocabulary, *id as TokenId))
        };
        let first =
            plain().filter_map(|(id, text)| Some((text.strip_prefix(MARK)?, id as TokenId)));
        let rest = plain().filter(|(_, text)| !text.starts_with(MARK));
        Self {
            first: Trie::new(first),
            rest: Trie::new(rest.map(|(id, text)| (text.as_slice(), id as TokenId))),
            unk: vocabulary.unk,
            chars_max,
        }
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
    words: FastMap<Box<[u8]>, TokenId>,
    unk: Option<TokenId>,
}

impl WordLevel {
    pub(crate) fn new(vocabulary: &Vocabulary) -> Self {
        Self { words: super::plain_tokens(vocabulary), unk: vocabulary.unk }
    }

    /// Appends the id of `word`, or unknown.
    pub(crate) fn encode(&self, word: &[u8], out: &mut Vec<TokenId>) {
        out.extend(self.words.get(word).copied().or(self.unk));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_pieces_or_unknown() {
        let tokens = ["[UNK]", "▁un", "▁u", "aff", "able", "a"];
        let vocabulary = Vocabulary {
            tokens: tokens.iter().map(|text| text.as_bytes().to_vec()).collect(),
            unk: Some(0),
            ..Vocabulary::default()
        };
        let model = WordPiece::new(&vocabulary, 10);
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
