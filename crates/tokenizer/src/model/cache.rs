//! Words already encoded: direct-mapped tables, so that hostile words evict one another and
//! nothing grows. Most words are short and few tokens long; they stand in their slot whole. The
//! others stand in an arena.

use crate::TokenId;
use crate::hash::{Folded, packed};

/// Slots for short words: as many as words came, from the first number to the second (1 MiB).
const SHORT_SLOTS: [usize; 2] = [1 << 9, 1 << 15];
const SHORT_BYTES: usize = 16;
const SHORT_IDS: usize = 3;
const LONG_SLOTS: usize = 1 << 13;
const LONG_BYTES_MAX: usize = 48;
const ARENA_MAX: usize = 1 << 19;
/// A text of fewer words is not worth a table.
const PATIENCE: usize = 64;

#[derive(Clone, Copy, Default)]
struct Short {
    key: [u64; 2],
    ids: [TokenId; SHORT_IDS],
    /// 0 in a free slot.
    len: u8,
    count: u8,
}

#[derive(Clone, Copy, Default)]
struct Long {
    hash: u64,
    word: u32,
    word_len: u32,
    ids: u32,
    ids_len: u32,
}

/// The tables. Empty until first used.
#[derive(Default)]
pub(crate) struct WordCache {
    hasher: Folded,
    short: Vec<Short>,
    long: Vec<Long>,
    words: Vec<u8>,
    ids: Vec<TokenId>,
    /// Words that were put.
    seen: usize,
}

impl WordCache {
    /// The ids of `word`, if they are known.
    #[inline]
    pub(crate) fn get(&self, word: &[u8]) -> Option<&[TokenId]> {
        if self.short.is_empty() || word.len() > LONG_BYTES_MAX {
            return None;
        }
        let key = packed(word);
        let hash = self.hasher.word(word, key);
        if word.len() <= SHORT_BYTES {
            let slot = &self.short[hash as usize & (self.short.len() - 1)];
            if slot.key == key && slot.len as usize == word.len() {
                return slot.ids.get(..slot.count as usize);
            }
        }
        let slot = self.long.get(hash as usize % LONG_SLOTS)?;
        let known = &self.words[slot.word as usize..(slot.word + slot.word_len) as usize];
        (slot.hash == hash && known == word)
            .then(|| &self.ids[slot.ids as usize..(slot.ids + slot.ids_len) as usize])
    }

    /// Remembers `word`. Short texts never allocate a table.
    pub(crate) fn put(&mut self, word: &[u8], ids: &[TokenId]) {
        self.seen += 1;
        if word.is_empty() || word.len() > LONG_BYTES_MAX || self.seen < PATIENCE {
            return;
        }
        let [least, most] = SHORT_SLOTS;
        if self.short.is_empty() || self.seen > self.short.len() && self.short.len() < most {
            let size = (self.short.len() * 4).clamp(least, most);
            self.short.clear();
            self.short.resize(size, Short::default());
        }
        let key = packed(word);
        let hash = self.hasher.word(word, key);
        if word.len() <= SHORT_BYTES && ids.len() <= SHORT_IDS {
            let mut slot =
                Short { key, len: word.len() as u8, count: ids.len() as u8, ..Short::default() };
            slot.ids[..ids.len()].copy_from_slice(ids);
            let at = hash as usize & (self.short.len() - 1);
            self.short[at] = slot;
            return;
        }
        if self.long.is_empty() || self.words.len() + self.ids.len() > ARENA_MAX {
            self.long.clear();
            self.long.resize(LONG_SLOTS, Long::default());
            self.words.clear();
            self.ids.clear();
        }
        self.long[hash as usize % LONG_SLOTS] = Long {
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
        let mut known = 0;
        for round in 0..200_000u32 {
            let word = format!("{round}{}", &"abcdefghijklmnop"[..round as usize % 16]);
            let ids = [round, round + 1, 7, 8];
            let ids = &ids[..round as usize % 5];
            cache.put(word.as_bytes(), ids);
            if let Some(found) = cache.get(word.as_bytes()) {
                assert_eq!(found, ids, "{word}");
                known += 1;
            }
            // Another word of the same beginning, end and length is not taken for it.
            let other = word.replace('c', "C");
            assert!(other == word || cache.get(other.as_bytes()).is_none());
        }
        assert_eq!(known, 200_000 - PATIENCE + 1);
        assert!(cache.words.len() + cache.ids.len() <= ARENA_MAX + 64);
        assert_eq!(cache.short.len(), SHORT_SLOTS[1]);
        assert_eq!(cache.get(b"no"), None);
    }
}
