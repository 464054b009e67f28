//! Tokens by their text, without a copy of any text: a table of ids, hashed by what the vocabulary
//! holds under them.

use std::hash::{BuildHasher, Hasher};

use crate::TokenId;
use crate::hash::Folded;
use crate::table::IdTable;
use crate::texts::TextList;
use crate::unicode::{alphabet_equals, from_byte_alphabet_into};

/// What a token is looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// Its text as it is stored.
    Stored,
    /// The bytes that its text stands for in GPT-2's alphabet.
    Bytes,
}

/// The table.
pub(crate) struct TokenIndex {
    tokens: TextList,
    table: IdTable,
    hasher: Folded,
    key: Key,
}

impl TokenIndex {
    /// Bytes for each token.
    pub(crate) const COST: usize = IdTable::COST;

    /// Of all texts that are not empty; `Err` with the ids of two equal ones.
    pub(crate) fn new(tokens: &TextList) -> Result<Self, (TokenId, TokenId)> {
        let (index, double) = Self::build(tokens, Key::Stored, |_| true);
        double.map_or(Ok(index), Err)
    }

    /// Of those that are `wanted`; the first of equal ones. By bytes, texts outside the alphabet
    /// are left out.
    pub(crate) fn of(tokens: &TextList, key: Key, wanted: impl Fn(TokenId) -> bool) -> Self {
        Self::build(tokens, key, wanted).0
    }

    fn build(
        tokens: &TextList,
        key: Key,
        wanted: impl Fn(TokenId) -> bool,
    ) -> (Self, Option<(TokenId, TokenId)>) {
        let ids = || {
            let texts = tokens.iter().enumerate().map(|(id, text)| (id as TokenId, text));
            texts.filter(|(id, text)| !text.is_empty() && wanted(*id))
        };
        let mut index = Self {
            tokens: tokens.clone(),
            table: IdTable::with_capacity(ids().count()),
            hasher: Folded::default(),
            key,
        };
        let (mut bytes, mut double) = (Vec::new(), None);
        for (id, text) in ids() {
            let text = match key {
                Key::Stored => text,
                Key::Bytes => {
                    bytes.clear();
                    if !from_byte_alphabet_into(text, &mut bytes) {
                        continue;
                    }
                    &bytes
                }
            };
            let hash = index.hash(text);
            match index.find(hash, text) {
                Ok(first) => double = double.or(Some((first, id))),
                Err(slot) => index.table.put(slot, hash, id),
            }
        }
        (index, double)
    }

    /// The id of `text`.
    #[inline]
    pub(crate) fn id(&self, text: &[u8]) -> Option<TokenId> {
        self.find(self.hash(text), text).ok()
    }

    /// The length of the longest text in the table, as it is stored.
    pub(crate) fn longest(&self) -> usize {
        self.table.ids().map(|id| self.tokens[id as usize].len()).max().unwrap_or(0)
    }

    fn hash(&self, text: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(text);
        hasher.finish()
    }

    /// The id, or the free slot where it would stand.
    #[inline]
    fn find(&self, hash: u64, text: &[u8]) -> Result<TokenId, usize> {
        self.table.find(hash, |id| {
            let stored = &self.tokens[id as usize];
            match self.key {
                Key::Stored => stored == text,
                Key::Bytes => alphabet_equals(stored, text),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_and_refuses() {
        let mut tokens: Vec<Vec<u8>> = (0..999u32).map(|i| i.to_string().into_bytes()).collect();
        tokens.extend([Vec::new(), Vec::new()]);
        let index = TokenIndex::new(&tokens.iter().collect()).ok().unwrap();
        assert_eq!(index.id(b"77"), Some(77));
        assert_eq!(index.id(b"999"), None);
        assert_eq!(index.id(b""), None);
        assert_eq!(index.longest(), 3);
        tokens[1000] = b"5".to_vec();
        assert_eq!(TokenIndex::new(&tokens.iter().collect()).err(), Some((5, 1000)));
        let even = TokenIndex::of(&tokens.iter().collect(), Key::Stored, |id| id % 2 == 0);
        assert_eq!((even.id(b"76"), even.id(b"77"), even.id(b"5")), (Some(76), None, Some(1000)));
        assert_eq!(TokenIndex::new(&TextList::default()).ok().unwrap().id(b"a"), None);
    }

    #[test]
    fn finds_by_bytes() {
        let tokens: TextList = ["Ġa", "Ã", "中", "b"].iter().collect();
        let index = TokenIndex::of(&tokens, Key::Bytes, |_| true);
        let found = [&b" a"[..], b"\xC3", b"b", "中".as_bytes(), b" ", b" ab"];
        let ids = found.map(|text| index.id(text));
        assert_eq!(ids, [Some(0), Some(1), Some(3), None, None, None]);
    }
}
