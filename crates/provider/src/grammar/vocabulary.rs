//! The vocabulary as grammars see it: the bytes of each token in a prefix tree, and how forced
//! bytes become tokens.
//!
//! Invariants: a control token is no text, so a grammar meets it by its id only; the tokens of
//! forced bytes spell exactly these bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use toktrie::{TokRxInfo, TokTrie, TokenizerEnv};

use lucid_tokenizer::{AddSpecial, ParseSpecial, TokenId, TokenKind, Tokenizer};

use crate::ProviderError;

/// Longer tokens take no part: the tree has ten bits for depth.
const TOKEN_BYTES_MAX: usize = 1000;

/// The tree has 22 bits for its nodes, and a token about two of them.
const TOKENS_MAX: usize = 1 << 20;

/// Begins the entry of a control token: no text contains this byte.
const NO_TEXT: u8 = TokTrie::SPECIAL_TOKEN_MARKER;

/// What follows the last token of the vocabulary: "the grammar may end". No model has it.
pub(super) fn end_of_grammar(tokenizer: &Tokenizer) -> TokenId {
    tokenizer.len() as TokenId
}

/// A vocabulary for llguidance.
pub(super) struct Vocabulary {
    tokenizer: Arc<Tokenizer>,
    trie: TokTrie,
}

/// What precedes text that is to be tokenised, so that no space is put before it: nothing, if none
/// ever is, or the end of a line.
const BEFORE: [&[u8]; 2] = [b"", b"\n"];

impl Vocabulary {
    /// # Errors
    /// `Unsupported`: more tokens, or longer ones, than the tree can hold.
    pub(super) fn new(tokenizer: &Arc<Tokenizer>) -> Result<Self, ProviderError> {
        let refuse = |what: String| ProviderError::Unsupported {
            provider: "constrained output".to_owned(),
            what,
        };
        if tokenizer.len() > TOKENS_MAX {
            return Err(refuse(format!(
                "the vocabulary has {} tokens, and grammars take at most {TOKENS_MAX}",
                tokenizer.len()
            )));
        }
        let ids = 0..tokenizer.len() as TokenId;
        let mut words: Vec<Vec<u8>> = ids.clone().map(|id| word(tokenizer, id)).collect();
        let kind = |id| tokenizer.vocabulary().kind(id);
        // Where a byte has a token of its own, models do not use the one that stands in for it.
        let mut spelt = [false; 256];
        for id in ids.clone().filter(|&id| kind(id) == TokenKind::Normal) {
            if let [byte] = words[id as usize][..] {
                spelt[usize::from(byte)] = true;
            }
        }
        for id in ids.clone().filter(|&id| kind(id) == TokenKind::Byte) {
            if let [byte] = words[id as usize][..]
                && spelt[usize::from(byte)]
            {
                words[id as usize].clear();
            }
        }
        words.push([&[NO_TEXT], b"<|end of grammar|>".as_slice()].concat());
        let info = TokRxInfo::new(words.len() as u32, end_of_grammar(tokenizer));
        // The tree asserts its limits.
        let trie = catch_unwind(AssertUnwindSafe(|| TokTrie::from(&info, &words)))
            .map_err(|_| refuse("the vocabulary is too large for grammars".to_owned()))?;
        Ok(Self { tokenizer: Arc::clone(tokenizer), trie })
    }

    pub(super) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The bytes of a token; none of a control token.
    pub(super) fn text(&self, token: TokenId) -> Option<&[u8]> {
        let word = (token as usize) < self.tokenizer.len();
        let word = word.then(|| self.trie.token(token))?;
        (word.first() != Some(&NO_TEXT)).then_some(word)
    }

    /// The control token that is spelt so.
    pub(super) fn control(&self, spelling: &str) -> Option<TokenId> {
        let token = self.tokenizer.token_id(spelling.as_bytes())?;
        self.tokenizer.is_control(token).then_some(token)
    }

    /// The token that alone spells this text, control token or not.
    pub(super) fn only(&self, text: &str) -> Option<TokenId> {
        self.control(text).or_else(|| self.trie.token_id_at_bytes(text.as_bytes()))
    }

    /// The tokens of text in the middle of an answer; they spell it exactly.
    fn tokens(&self, text: &[u8]) -> Vec<TokenId> {
        for before in BEFORE {
            let whole = [before, text].concat();
            let tokens = self.tokenizer.encode(&whole, &[], AddSpecial::No, ParseSpecial::No);
            // The tokens at the end that spell the text.
            let mut left = text;
            let mut from = tokens.len();
            while !left.is_empty() && from > 0 {
                let Some(rest) = left.strip_suffix(self.trie.token(tokens[from - 1])) else {
                    break;
                };
                (left, from) = (rest, from - 1);
            }
            let spelt: usize = tokens[..from].iter().map(|&id| self.trie.token(id).len()).sum();
            if left.is_empty() && (spelt == 0 || !before.is_empty()) {
                return tokens[from..].to_vec();
            }
        }
        self.trie.greedy_tokenize(text)
    }
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<TokenId> {
        self.tokens(text)
    }
}

/// What the tree holds of a token: its bytes, or a name that no text spells.
fn word(tokenizer: &Tokenizer, id: TokenId) -> Vec<u8> {
    let bytes = match tokenizer.vocabulary().kind(id) {
        TokenKind::Control | TokenKind::Unknown | TokenKind::Unused => {
            let name = tokenizer.token_text(id).unwrap_or_default();
            [&[NO_TEXT], name].concat()
        }
        TokenKind::Normal | TokenKind::UserDefined | TokenKind::Byte => {
            tokenizer.piece(id).unwrap_or_default().into_owned()
        }
    };
    // A piece that begins with the mark would pass for a control token; it is no UTF-8 either way.
    let is_text = bytes.first() != Some(&NO_TEXT) || bytes.len() > 1;
    if bytes.len() > TOKEN_BYTES_MAX || !is_text { Vec::new() } else { bytes }
}

#[cfg(test)]
pub(super) mod tests {
    use lucid_tokenizer::Vocabulary as Terms;

    use super::*;

    /// A SentencePiece vocabulary of bytes and these pieces; those in brackets are control tokens.
    pub(in super::super) fn vocabulary(pieces: &[&str]) -> Arc<Tokenizer> {
        let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
        let mut kinds = vec![TokenKind::Unknown, TokenKind::Control, TokenKind::Control];
        for byte in 0..=255 {
            tokens.push(format!("<0x{byte:02X}>"));
            kinds.push(TokenKind::Byte);
        }
        for piece in pieces {
            tokens.push((*piece).to_owned());
            let control = piece.starts_with("<|");
            kinds.push(if control { TokenKind::Control } else { TokenKind::Normal });
        }
        let scores = (0..tokens.len()).map(|index| -(index as f32)).collect();
        Arc::new(
            Tokenizer::new(Terms {
                model: "llama".to_owned(),
                tokens: tokens.iter().collect(),
                scores,
                kinds,
                bos: Some(1),
                eos: Some(2),
                add_space_prefix: Some(true),
                ..Terms::default()
            })
            .expect("a whole vocabulary"),
        )
    }

    #[test]
    fn tokens_spell_the_text_and_nothing_else() {
        let tokenizer = vocabulary(&["▁", "a", "b", "ab", "▁ab", "<|end|>"]);
        let vocabulary = Vocabulary::new(&tokenizer).expect("a small vocabulary");
        for text in ["ab", " ab", "abba a\n b", "\nab", "<|end|>", "ü\0", " ", "<0x41>"] {
            let tokens = vocabulary.tokens(text.as_bytes());
            let spelt: Vec<u8> =
                tokens.iter().flat_map(|&id| vocabulary.trie.token(id)).copied().collect();
            assert_eq!(String::from_utf8_lossy(&spelt), text);
        }
        let id = |piece: &str| tokenizer.token_id(piece.as_bytes()).expect("it is there");
        assert_eq!(vocabulary.tokens(b"ab"), [id("ab")]);
        assert_eq!(vocabulary.tokens(b" ab"), [id("▁ab")]);
        // A byte that has a piece is not written by its number.
        assert_eq!(vocabulary.text(id("<0x61>")), Some(&b""[..]));
        assert_eq!(vocabulary.text(id("<|end|>")), None);
        assert_eq!(vocabulary.control("<|end|>"), Some(id("<|end|>")));
        assert_eq!(vocabulary.control("ab"), None);
        assert_eq!(vocabulary.only("ab"), Some(id("ab")));
    }
}
