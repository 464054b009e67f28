//! Byte-pair encoding by a list of merges, over bytes (GPT-2 and its heirs) or characters
//! (SentencePiece models as Hugging Face writes them). Source: Sennrich et al., arXiv:1508.07909;
//! the `tokenizers` library's `models/bpe`.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use super::merge::{MergeScratch, Symbol};
use super::{MERGES, NONE, TOKENS, byte_tokens, is_plain};
use crate::budget::Budget;
use crate::error::excerpt;
use crate::hash::Folded;
use crate::index::{Key, TokenIndex};
use crate::table::IdTable;
use crate::unicode::{byte_to_char, char_len};
use crate::{Merge, Merges, TokenId, TokenizerError, Vocabulary};

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
    words: TokenIndex,
    /// By rank.
    merges: Arc<Vec<Merge>>,
    /// Ranks by pair.
    pairs: IdTable,
    hasher: Folded,
}

/// Bytes for each merge in the list, and in the table of pairs.
pub(crate) const MERGE_COST: usize = size_of::<Merge>() + IdTable::COST;

impl Bpe {
    /// Checks every merge against the vocabulary. Whoever looked merges up has paid for their
    /// table too.
    pub(crate) fn new(
        vocabulary: &Vocabulary,
        ids: &TokenIndex,
        settings: BpeSettings,
        budget: &mut Budget,
    ) -> Result<Self, TokenizerError> {
        let merges = match &vocabulary.merges {
            Merges::Ids(merges) => Arc::clone(merges),
            Merges::Texts(texts) => {
                budget.charge(MERGES, texts.len(), MERGE_COST)?;
                let mut lookup = MergeLookup::new(ids, &settings.continuing_prefix);
                let mut merges = Vec::with_capacity(texts.len());
                for (index, text) in texts.iter().enumerate() {
                    merges.push(lookup.merge(index, text)?);
                }
                Arc::new(merges)
            }
        };
        let words = looked_up(vocabulary, &settings, budget)?;
        let mut byte_ids = byte_tokens(vocabulary);
        if settings.byte_level {
            byte_ids.fill(NONE);
            let mut buffer = [0u8; 4];
            for byte in 0..=255u8 {
                let text = byte_to_char(byte).encode_utf8(&mut buffer).as_bytes();
                if let Some(id) = ids.id(text).filter(|&id| is_plain(vocabulary, id)) {
                    byte_ids[byte as usize] = id;
                }
            }
        }
        let pairs = IdTable::with_capacity(merges.len());
        let mut model =
            Self { settings, byte_ids, words, merges, pairs, hasher: Folded::default() };
        model.fill(vocabulary)?;
        Ok(model)
    }

    /// Puts the merges of usable tokens into the table, the first of equal ones.
    fn fill(&mut self, vocabulary: &Vocabulary) -> Result<(), TokenizerError> {
        let len = vocabulary.tokens.len();
        for rank in 0..self.merges.len() as u32 {
            let Merge { left, right, whole } = self.merges[rank as usize];
            let ids = [left, right, whole];
            if let Some(&id) = ids.iter().find(|&&id| id as usize >= len) {
                let key = "tokenizer.ggml.merges";
                return Err(TokenizerError::IdOutOfRange { key, id: u64::from(id), len });
            }
            if ids.iter().all(|&id| is_plain(vocabulary, id) || is_byte(vocabulary, id)) {
                let hash = self.hash(left, right);
                if let Err(slot) = self.find(hash, left, right) {
                    self.pairs.put(slot, hash, rank);
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn hash(&self, left: TokenId, right: TokenId) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(u64::from(left) << 32 | u64::from(right));
        hasher.finish()
    }

    /// The rank of a pair, or the free slot for it.
    #[inline]
    fn find(&self, hash: u64, left: TokenId, right: TokenId) -> Result<u32, usize> {
        self.pairs.find(hash, |rank| {
            let merge = &self.merges[rank as usize];
            merge.left == left && merge.right == right
        })
    }

    /// Rank and result of what two neighbours make.
    #[inline]
    fn pair(&self, left: TokenId, right: TokenId) -> Option<(u32, TokenId)> {
        let rank = self.find(self.hash(left, right), left, right).ok()?;
        Some((rank, self.merges[rank as usize].whole))
    }

    /// The merges that apply, in order of rank.
    pub(crate) fn merges_by_rank(&self) -> impl Iterator<Item = Merge> {
        let first = |&(rank, merge): &(u32, Merge)| {
            self.pair(merge.left, merge.right).is_some_and(|(found, _)| found == rank)
        };
        (0_u32..).zip(self.merges.iter().copied()).filter(first).map(|(_, merge)| merge)
    }

    /// Rank and result of each merge, in no order.
    pub(crate) fn merges(&self) -> impl Iterator<Item = (u32, TokenId)> {
        self.pairs.ids().map(|rank| (rank, self.merges[rank as usize].whole))
    }

    /// Whether a merge makes one of these two.
    pub(crate) fn merges_pair(&self, left: TokenId, right: TokenId) -> bool {
        self.pair(left, right).is_some()
    }

    /// Appends the ids of `word`.
    pub(crate) fn encode(&self, word: &[u8], scratch: &mut MergeScratch, out: &mut Vec<TokenId>) {
        if self.settings.ignore_merges
            && let Some(id) = self.words.id(word)
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
        scratch.merge(|left, right| self.pair(left.id, right.id));
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
                self.words.id(&[first, piece, last].concat())
            } else {
                self.words.id(piece)
            };
            let mut symbol = |id: u32, start: usize, len: usize| {
                symbols.push(Symbol { id, start: start as u32, len: len as u32 });
            };
            if let Some(id) = id {
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

/// Looks up what merges are made of.
pub(crate) struct MergeLookup<'a> {
    ids: &'a TokenIndex,
    continuing_prefix: &'a str,
    whole: Vec<u8>,
}

impl<'a> MergeLookup<'a> {
    /// In this table; the right piece loses the prefix of continuations when it is appended.
    pub(crate) fn new(ids: &'a TokenIndex, continuing_prefix: &'a str) -> Self {
        Self { ids, continuing_prefix, whole: Vec::new() }
    }

    /// The merge `left right`, number `index` of the file.
    ///
    /// # Errors
    /// Not two pieces, or one that is no token.
    pub(crate) fn merge(&mut self, index: usize, text: &[u8]) -> Result<Merge, TokenizerError> {
        let bad = || TokenizerError::BadMerge { index, text: excerpt(text) };
        // The first space behind the first byte: a piece may itself be a space.
        let space = text.iter().skip(1).position(|&byte| byte == b' ').ok_or_else(bad)? + 1;
        let (left, right) = (&text[..space], &text[space + 1..]);
        if right.is_empty() {
            return Err(bad());
        }
        let look = |piece: &[u8]| {
            let unknown = || TokenizerError::UnknownMergePiece { index, piece: excerpt(piece) };
            self.ids.id(piece).ok_or_else(unknown)
        };
        let (left_id, right_id) = (look(left)?, look(right)?);
        let tail = right.strip_prefix(self.continuing_prefix.as_bytes()).unwrap_or(right);
        self.whole.clear();
        self.whole.extend_from_slice(left);
        self.whole.extend_from_slice(tail);
        Ok(Merge { left: left_id, right: right_id, whole: look(&self.whole)? })
    }
}

/// The plain tokens that a word or a character is looked up in: whole words only where the file
/// asks for them.
fn looked_up(
    vocabulary: &Vocabulary,
    settings: &BpeSettings,
    budget: &mut Budget,
) -> Result<TokenIndex, TokenizerError> {
    let affixes = !settings.continuing_prefix.is_empty() || !settings.word_suffix.is_empty();
    let single = |id: TokenId| {
        let text = &vocabulary.tokens[id as usize];
        char_len(text) == text.len()
    };
    let wanted = |id: TokenId| {
        (settings.ignore_merges || !settings.byte_level && (affixes || single(id)))
            && is_plain(vocabulary, id)
    };
    let count = (0..vocabulary.tokens.len() as TokenId).filter(|id| wanted(*id)).count();
    budget.charge(TOKENS, count, TokenIndex::COST)?;
    let key = if settings.byte_level { Key::Bytes } else { Key::Stored };
    Ok(TokenIndex::of(&vocabulary.tokens, key, wanted))
}

/// Byte tokens may take part in merges.
fn is_byte(vocabulary: &Vocabulary, id: TokenId) -> bool {
    vocabulary.kind(id) == crate::TokenKind::Byte
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(tokens: &[&str], merges: &[&str]) -> Vocabulary {
        let (tokens, merges) = (tokens.iter().collect(), merges.iter().collect());
        Vocabulary { tokens, merges, ..Vocabulary::default() }
    }

    fn build(vocabulary: &Vocabulary, settings: BpeSettings) -> Result<Bpe, TokenizerError> {
        let ids = TokenIndex::new(&vocabulary.tokens).ok().unwrap();
        Bpe::new(vocabulary, &ids, settings, &mut Budget::of(1 << 20))
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
