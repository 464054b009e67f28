//! Words already encoded: a direct-mapped table, so that hostile words evict one another and
//! nothing grows.

use std::hash::{BuildHasher, Hasher};

use crate::TokenId;
use crate::hash::Folded;

const SLOTS: usize = 1 << 13;
const WORD_BYTES_MAX: usize = 48;
const ARENA_MAX: usize = 1 << 19;

#[derive(Clone, Copy, Default)]
struct Slot {
    hash: u64,
    word: u32,
    word_len: u32,
    ids: u32,
    ids_len: u32,
}

/// The table. Empty until first used.
#[derive(Default)]
pub(crate) struct WordCache {
    hasher: Folded,
    slots: Vec<Slot>,
    words: Vec<u8>,
    ids: Vec<TokenId>,
    seen: usize,
}

impl WordCache {
    fn hash(&self, word: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(word);
        hasher.finish()
    }

    /// The ids of `word`, if they are known.
    pub(crate) fn get(&self, word: &[u8]) -> Option<&[TokenId]> {
        if self.slots.is_empty() || word.len() > WORD_BYTES_MAX {
            return None;
        }
        let hash = self.hash(word);
        let slot = self.slots[hash as usize % SLOTS];
        let known = &self.words[slot.word as usize..(slot.word + slot.word_len) as usize];
        (slot.hash == hash && known == word)
            .then(|| &self.ids[slot.ids as usize..(slot.ids + slot.ids_len) as usize])
    }

    /// Remembers `word`. Short texts never allocate the table.
    pub(crate) fn put(&mut self, word: &[u8], ids: &[TokenId]) {
        self.seen += 1;
        if word.len() > WORD_BYTES_MAX || self.seen < 64 {
            return;
        }
        if self.slots.is_empty() || self.words.len() + self.ids.len() > ARENA_MAX {
            self.slots.clear();
            self.slots.resize(SLOTS, Slot::default());
            self.words.clear();
            self.ids.clear();
        }
        let hash = self.hash(word);
        self.slots[hash as usize % SLOTS] = Slot {
            hash,
            word: self.words.len() as u32,
            word_len: word.len() as u32,
            ids: self.ids.len() as u32,
            ids_len: ids.len() as u32,
        };
        self.words.extend_from_slice(word);
        self.ids.extend_from_slice(ids);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_and_stays_small() {
        let mut cache = WordCache::default();
        for round in 0..200_000u32 {
            let word = round.to_string();
            cache.put(word.as_bytes(), &[round, round + 1]);
            if let Some(ids) = cache.get(word.as_bytes()) {
                assert_eq!(ids, [round, round + 1]);
            } else {
                assert!(round < 64);
            }
        }
        assert!(cache.words.len() + cache.ids.len() <= ARENA_MAX + 64);
        assert_eq!(cache.get(b"no"), None);
    }
}
