//! Free text up to a mark: what precedes the part of an answer that a grammar rules.
//!
//! Invariant: the mark is met at the end of a token. Tokens that would run past it are not allowed,
//! so that what follows the mark begins with a token of its own.

use lucid_engine::TokenMask;
use lucid_tokenizer::TokenId;

use super::vocabulary::Vocabulary;

/// A text to look out for.
#[derive(Debug)]
pub(super) struct Mark {
    bytes: Vec<u8>,
    /// The control token that is spelt like it.
    token: Option<TokenId>,
    /// Which tokens run past the mark when its first `i` bytes are already there.
    past: Vec<Vec<TokenId>>,
}

impl Mark {
    pub(super) fn new(text: &str, vocabulary: &Vocabulary) -> Self {
        let bytes = text.as_bytes().to_vec();
        let mut past = vec![Vec::new(); bytes.len()];
        for token in 0..vocabulary.tokenizer().len() as TokenId {
            let Some(piece) = vocabulary.text(token) else { continue };
            for (known, past) in past.iter_mut().enumerate().skip(1) {
                let rest = &bytes[known..];
                if piece.len() > rest.len() && piece.starts_with(rest) {
                    past.push(token);
                }
            }
            let begins = piece.split_last().map_or(&[][..], |(_, begins)| begins);
            if begins.windows(bytes.len()).any(|window| window == bytes) {
                past[0].push(token);
            }
        }
        Self { token: vocabulary.control(text), bytes, past }
    }
}

/// What of the marks has been said so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    /// The end of the text, one byte shorter than the longest mark at most.
    tail: Vec<u8>,
}

impl Watch {
    /// Takes away from `allowed` the tokens that would run past a mark.
    pub(super) fn forbid(&self, marks: &[Mark], allowed: &mut TokenMask) {
        for mark in marks {
            for (known, past) in mark.past.iter().enumerate() {
                if self.tail.ends_with(&mark.bytes[..known]) {
                    for &token in past {
                        allowed.forbid(token);
                    }
                }
            }
        }
    }

    /// The text goes on. Returns which mark it has met.
    pub(super) fn accept(
        &mut self,
        token: TokenId,
        marks: &[Mark],
        vocabulary: &Vocabulary,
    ) -> Option<usize> {
        let Some(piece) = vocabulary.text(token) else {
            self.tail.clear();
            return marks.iter().position(|mark| mark.token == Some(token));
        };
        self.tail.extend_from_slice(piece);
        let met = marks.iter().position(|mark| self.tail.ends_with(&mark.bytes));
        let longest = marks.iter().map(|mark| mark.bytes.len()).max().unwrap_or(1);
        let keep = self.tail.len().min(longest - 1);
        self.tail.drain(..self.tail.len() - keep);
        met
    }
}

#[cfg(test)]
mod tests {
    use super::super::vocabulary::tests::vocabulary;
    use super::*;

    #[test]
    fn a_mark_ends_with_a_token() {
        let tokenizer = vocabulary(&["<t", ">", ">x", "<t>", "a<t>b", "<|end|>", "t"]);
        let vocabulary = Vocabulary::new(&tokenizer).expect("a small vocabulary");
        let id = |piece: &str| tokenizer.token_id(piece.as_bytes()).expect("it is there");
        let marks = [Mark::new("<t>", &vocabulary), Mark::new("<|end|>", &vocabulary)];
        let forbidden = |watch: &Watch| {
            let mut allowed = TokenMask::new(tokenizer.len());
            allowed.words_mut().fill(u32::MAX);
            watch.forbid(&marks, &mut allowed);
            let all = 0..tokenizer.len() as TokenId;
            all.filter(|&token| !allowed.allows(token)).collect::<Vec<_>>()
        };
        let mut watch = Watch::default();
        assert_eq!(forbidden(&watch), [id("a<t>b")]);
        assert_eq!(watch.accept(id("<t"), &marks, &vocabulary), None);
        assert_eq!(forbidden(&watch), [id(">x"), id("a<t>b")]);
        assert_eq!(watch.accept(id(">"), &marks, &vocabulary), Some(0));
        assert_eq!(Watch::default().accept(id("<t>"), &marks, &vocabulary), Some(0));
        assert_eq!(Watch::default().accept(id("<|end|>"), &marks, &vocabulary), Some(1));
        // A control token between its parts breaks a mark.
        let mut watch = Watch::default();
        watch.accept(id("<t"), &marks, &vocabulary);
        watch.accept(1, &marks, &vocabulary);
        assert_eq!(watch.accept(id(">"), &marks, &vocabulary), None);
    }
}
