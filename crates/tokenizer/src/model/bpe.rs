//! Byte-pair encoding by a list of merges, over bytes (GPT-2 and its heirs) or characters
//! (SentencePiece models as Hugging Face writes them). Source: Sennrich et al., arXiv:1508.07909;
//! the `tokenizers` library's `models/bpe`.

use super::merge::{MergeScratch, Symbol};
use super::{NONE, byte_tokens, is_plain};
use crate::error::excerpt;
use crate::hash::FastMap;
use crate::index::TokenIndex;
use crate::unicode::{byte_to_char, char_len, from_byte_alphabet};
use crate::{TokenId, TokenizerError, Vocabulary};

/// What the file decides.
#[derive(Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the flags are the file format's")]
pub(crate) struct BpeSettings {
    /// Symbols are bytes in GPT-2's alphabet; otherwise characters.
    pub(crate) byte_level: bool,
    /// Characters without a token become `<0xAB>`.
    pub(crate) byte_fallback: bool,
    /// A word that is a token is that token.
    pub(crate) ignore_merges: bool,
    /// What else stands for characters without a token.
    pub(crate) unk: Option<TokenId>,
    /// A run of them is one.
    pub(crate) fuse_unk: bool,
    /// Before every symbol but a word's first.
    pub(crate) continuing_prefix: String,
    /// Behind a word's last symbol.
    pub(crate) word_suffix: String,
}

/// The model.
pub(crate) struct Bpe {
    settings: BpeSettings,
    /// Of a byte (byte level) or of `<0xAB>` (byte fallback).
    byte_ids: Box<[u32; 256]>,
    /// Tokens by the bytes of a word (byte level) or by their text.
    tokens: FastMap<Box<[u8]>, TokenId>,
    /// (left << 32 | right) to (rank, merged).
    merges: FastMap<u64, (u32, u32)>,
}

impl Bpe {
    /// Checks every merge against the vocabulary.
    pub(crate) fn new(
        vocabulary: &Vocabulary,
        ids: &TokenIndex,
        settings: BpeSettings,
    ) -> Result<Self, TokenizerError> {
        let by_text = |text: &[u8]| ids.id(&vocabulary.tokens, text);
        let mut merges = FastMap::default();
        merges.reserve(vocabulary.merges.len());
        for (index, merge) in vocabulary.merges.iter().enumerate() {
            let (left, right, whole) = Self::merge(by_text, index, merge, &settings)?;
            if [left, right, whole]
                .iter()
                .all(|&id| is_plain(vocabulary, id) || is_byte(vocabulary, id))
            {
                merges
                    .entry(u64::from(left) << 32 | u64::from(right))
                    .or_insert((index as u32, whole));
            }
        }
        let mut byte_ids = byte_tokens(vocabulary);
        if settings.byte_level {
            byte_ids.fill(NONE);
            let mut buffer = [0u8; 4];
            for byte in 0..=255u8 {
                let text = byte_to_char(byte).encode_utf8(&mut buffer).as_bytes();
                if let Some(id) = by_text(text).filter(|&id| is_plain(vocabulary, id)) {
                    byte_ids[byte as usize] = id;
                }
            }
        }
        let tokens = looked_up(vocabulary, &settings);
        Ok(Self { settings, byte_ids, tokens, merges })
    }

    fn merge(
        by_text: impl Fn(&[u8]) -> Option<TokenId>,
        index: usize,
        merge: &[u8],
        settings: &BpeSettings,
    ) -> Result<(u32, u32, u32), TokenizerError> {
        let bad = || TokenizerError::BadMerge { index, text: excerpt(merge) };
        // The first space behind the first byte: a piece may itself be a space.
        let space = merge.iter().skip(1).position(|&byte| byte == b' ').ok_or_else(bad)? + 1;
        let (left, right) = (&merge[..space], &merge[space + 1..]);
        if right.is_empty() {
            return Err(bad());
        }
        let look = |piece: &[u8]| {
            by_text(piece)
                .ok_or_else(|| TokenizerError::UnknownMergePiece { index, piece: excerpt(piece) })
        };
        let tail = right.strip_prefix(settings.continuing_prefix.as_bytes()).unwrap_or(right);
        Ok((look(left)?, look(right)?, look(&[left, tail].concat())?))
    }

    /// Rank and result of each merge, in no order.
    pub(crate) fn merges(&self) -> impl Iterator<Item = (u32, TokenId)> {
        self.merges.values().copied()
    }

    /// Whether a merge makes one of these two.
    pub(crate) fn merges_pair(&self, left: TokenId, right: TokenId) -> bool {
        self.merges.contains_key(&(u64::from(left) << 32 | u64::from(right)))
    }

    /// Appends the ids of `word`.
    pub(crate) fn encode(&self, word: &[u8], scratch: &mut MergeScratch, out: &mut Vec<TokenId>) {
        if self.settings.ignore_merges
            && let Some(&id) = self.tokens.get(word)
        {
            out.push(id);
            return;
        }
        scratch.symbols.clear();
        if self.settings.byte_level {
            self.byte_symbols(word, &mut scratch.symbols);
        } else {
            self.char_symbols(word, &mut scratch.symbols);
        }
        scratch.merge(|left, right| {
            self.merges.get(&(u64::from(left.id) << 32 | u64::from(right.id))).copied()
        });
        out.extend(scratch.symbols.iter().map(|symbol| symbol.id));
    }

    /// Bytes without a token are dropped, as every implementation does.
    fn byte_symbols(&self, word: &[u8], symbols: &mut Vec<Symbol>) {
        symbols.extend(word.iter().enumerate().filter_map(|(start, &byte)| {
            let id = self.byte_ids[byte as usize];
            let id = if id == NONE { self.settings.unk? } else { id };
            Some(Symbol { id, start: start as u32, len: 1 })
        }));
    }

    fn char_symbols(&self, word: &[u8], symbols: &mut Vec<Symbol>) {
        let affixes =
            !self.settings.continuing_prefix.is_empty() || !self.settings.word_suffix.is_empty();
        let mut at = 0;
        let mut after_unknown = false;
        while at < word.len() {
            let len = char_len(&word[at..]);
            let piece = &word[at..at + len];
            let id = if affixes {
                let first =
                    if at == 0 { &[][..] } else { self.settings.continuing_prefix.as_bytes() };
                let last = at + len == word.len();
                let last = if last { self.settings.word_suffix.as_bytes() } else { &[] };
                self.tokens.get([first, piece, last].concat().as_slice())
            } else {
                self.tokens.get(piece)
            };
            let mut symbol = |id: u32, start: usize, len: usize| {
                symbols.push(Symbol { id, start: start as u32, len: len as u32 });
            };
            if let Some(&id) = id {
                symbol(id, at, len);
                after_unknown = false;
            } else if self.settings.byte_fallback
                && piece.iter().all(|&byte| self.byte_ids[byte as usize] != NONE)
            {
                for (index, &byte) in piece.iter().enumerate() {
                    symbol(self.byte_ids[byte as usize], at + index, 1);
                }
                after_unknown = false;
            } else if let Some(unk) = self.settings.unk {
                if !(after_unknown && self.settings.fuse_unk) {
                    symbol(unk, at, len);
                }
                after_unknown = true;
            }
            at += len;
        }
    }
}

/// The plain tokens that a word or a character is looked up in: whole words only where the file
/// asks for them.
fn looked_up(vocabulary: &Vocabulary, settings: &BpeSettings) -> FastMap<Box<[u8]>, TokenId> {
    let affixes = !settings.continuing_prefix.is_empty() || !settings.word_suffix.is_empty();
    let single = |text: &[u8]| char_len(text) == text.len();
    let wanted = |(id, text): &(usize, &Vec<u8>)| {
        !text.is_empty()
            && (settings.ignore_merges || !settings.byte_level && (affixes || single(text)))
            && is_plain(vocabulary, *id as TokenId)
    };
    let tokens = vocabulary.tokens.iter().enumerate().filter(wanted);
    let key = |text: &[u8]| {
        if settings.byte_level { from_byte_alphabet(text) } else { Some(text.to_vec()) }
    };
    tokens.filter_map(|(id, text)| Some((key(text)?.into_boxed_slice(), id as TokenId))).collect()
}

/// Byte tokens may take part in merges.
fn is_byte(vocabulary: &Vocabulary, id: TokenId) -> bool {
    vocabulary.kind(id) == crate::TokenKind::Byte
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(tokens: &[&str], merges: &[&str]) -> Vocabulary {
        let bytes = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        Vocabulary { tokens: bytes(tokens), merges: bytes(merges), ..Vocabulary::default() }
    }

    fn build(vocabulary: &Vocabulary, settings: BpeSettings) -> Result<Bpe, TokenizerError> {
        Bpe::new(vocabulary, &TokenIndex::new(&vocabulary.tokens).ok().unwrap(), settings)
    }

    fn check(settings: BpeSettings, word: &str, expected: &[u32]) {
        let tokens = ["a", "b", "c", "ab", "abc", "aab", "<0xC3>", "<0xA9>", "?"];
        let model = build(&vocabulary(&tokens, &["a b", "ab c"]), settings).unwrap();
        let mut out = Vec::new();
        model.encode(word.as_bytes(), &mut MergeScratch::default(), &mut out);
        assert_eq!(out, expected, "{word}");
    }

    #[test]
    fn merges_in_order() {
        let plain = BpeSettings::default();
        check(plain.clone(), "aabcab", &[0, 4, 3]);
        check(BpeSettings { ignore_merges: true, ..plain.clone() }, "aab", &[5]);
        check(plain.clone(), "aab", &[0, 3]);
        check(BpeSettings { byte_fallback: true, ..plain.clone() }, "aé", &[0, 6, 7]);
        check(BpeSettings { unk: Some(8), ..plain.clone() }, "aéé", &[0, 8, 8]);
        check(BpeSettings { unk: Some(8), fuse_unk: true, ..plain }, "aééb", &[0, 8, 1]);
    }

    #[test]
    fn bad_merges_are_named() {
        let new =
            |merges: &[&str]| build(&vocabulary(&["a", "b"], merges), BpeSettings::default()).err();
        assert!(matches!(new(&["ab"]), Some(TokenizerError::BadMerge { index: 0, .. })));
        assert!(matches!(new(&["a "]), Some(TokenizerError::BadMerge { .. })));
        let unknown = new(&["a b"]);
        assert!(unknown.is_some_and(|error| error.to_string().contains("\"ab\"")));
        assert!(matches!(new(&["a zz"]), Some(TokenizerError::UnknownMergePiece { index: 0, .. })));
    }
}
