//! Tokens by their text, without a copy of any text: a table of ids, hashed by what the vocabulary
//! holds under them.

use std::hash::{BuildHasher, Hasher};

use crate::TokenId;
use crate::hash::Folded;
use crate::model::NONE;

/// The table. Open addressing, at most two thirds full.
pub(crate) struct TokenIndex {
    slots: Vec<TokenId>,
    hasher: Folded,
}

impl TokenIndex {
    /// Of all texts that are not empty; `Err` with the ids of two equal ones.
    pub(crate) fn new(tokens: &[Vec<u8>]) -> Result<Self, (TokenId, TokenId)> {
        let size = (tokens.len() + tokens.len() / 2 + 1).next_power_of_two();
        let mut index = Self { slots: vec![NONE; size], hasher: Folded::default() };
        for (id, text) in tokens.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
            match index.find(tokens, text) {
                Ok(first) => return Err((first, id as TokenId)),
                Err(slot) => index.slots[slot] = id as TokenId,
            }
        }
        Ok(index)
    }

    /// The id of `text`, given the texts that the table was made of.
    pub(crate) fn id(&self, tokens: &[Vec<u8>], text: &[u8]) -> Option<TokenId> {
        self.find(tokens, text).ok()
    }

    /// The id, or the free slot where it would stand.
    fn find(&self, tokens: &[Vec<u8>], text: &[u8]) -> Result<TokenId, usize> {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(text);
        let mask = self.slots.len() - 1;
        let mut at = hasher.finish() as usize & mask;
        loop {
            let id = self.slots[at];
            if id == NONE {
                return Err(at);
            }
            if tokens[id as usize] == text {
                return Ok(id);
            }
            at = (at + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_and_refuses() {
        let mut tokens: Vec<Vec<u8>> = (0..999u32).map(|i| i.to_string().into_bytes()).collect();
        tokens.extend([Vec::new(), Vec::new()]);
        let index = TokenIndex::new(&tokens).ok().unwrap();
        assert_eq!(index.id(&tokens, b"77"), Some(77));
        assert_eq!(index.id(&tokens, b"999"), None);
        assert_eq!(index.id(&tokens, b""), None);
        tokens[1000] = b"5".to_vec();
        assert_eq!(TokenIndex::new(&tokens).err(), Some((5, 1000)));
        assert_eq!(TokenIndex::new(&[]).ok().unwrap().id(&[], b"a"), None);
    }
}
