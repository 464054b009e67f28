//! Words and how often they occur: an open table over one piece of memory. Words of up to sixteen
//! bytes are compared as two numbers.

use std::collections::BTreeMap;

use crate::hash::{Folded, packed};

/// No entry.
const FREE: u32 = u32::MAX;
/// Words with more bytes keep their pairs with their places, which takes more memory.
pub(super) const LONG_BYTES: usize = 256;

/// What a word takes in memory through counting and merging, in bytes, rounded up: its entry, its
/// bytes, its symbols, and its number in the list of each of its pairs.
fn cost(word_len: usize) -> u64 {
    let each = if word_len > LONG_BYTES { 48 } else { 16 };
    64 + each * word_len as u64
}

#[derive(Clone, Copy)]
struct Slot {
    tag: u32,
    entry: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    key: [u64; 2],
    count: u64,
    start: u32,
    len: u32,
}

/// The table.
#[derive(Default)]
pub(super) struct WordTable {
    hasher: Folded,
    slots: Vec<Slot>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    cost: u64,
}

/// What [`WordTable::drop_rare`] left out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Dropped {
    /// Different words.
    pub(super) words: u64,
    /// Their occurrences.
    pub(super) occurrences: u64,
    /// None occurred more often than this.
    pub(super) count_max: u64,
}

impl WordTable {
    /// Different words.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What the words take in memory, about, in bytes.
    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    /// Each word and its count, in no order that means anything.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.entries.iter().map(|entry| (self.word(entry), entry.count))
    }

    fn word(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.start as usize..][..entry.len as usize]
    }

    /// Counts a word `count` times.
    ///
    /// # Panics
    /// If the words take 4 GiB, which the bound on their cost excludes.
    #[inline]
    pub(super) fn add(&mut self, word: &[u8], count: u64) {
        if self.entries.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let key = packed(word);
        let hash = self.hasher.word(word, key);
        let mask = self.slots.len() - 1;
        let tag = hash as u32;
        let mut at = (hash >> 32) as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot.entry == FREE {
                break;
            }
            if slot.tag == tag {
                let entry = self.entries[slot.entry as usize];
                let same = entry.key == key && entry.len as usize == word.len();
                if same && (word.len() <= 16 || self.word(&entry) == word) {
                    self.entries[slot.entry as usize].count += count;
                    return;
                }
            }
            at = (at + 1) & mask;
        }
        let Ok(start) = u32::try_from(self.bytes.len()) else { panic!("4 GiB of words") };
        self.slots[at] = Slot { tag, entry: self.entries.len() as u32 };
        self.entries.push(Entry { key, count, start, len: word.len() as u32 });
        self.bytes.extend_from_slice(word);
        self.cost += cost(word.len());
    }

    #[cold]
    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(1 << 10);
        self.slots.clear();
        self.slots.resize(size, Slot { tag: 0, entry: FREE });
        for (number, entry) in self.entries.iter().enumerate() {
            let word = &self.bytes[entry.start as usize..][..entry.len as usize];
            let hash = self.hasher.word(word, entry.key);
            let mut at = (hash >> 32) as usize & (size - 1);
            while self.slots[at].entry != FREE {
                at = (at + 1) & (size - 1);
            }
            self.slots[at] = Slot { tag: hash as u32, entry: number as u32 };
        }
    }

    /// Adds what another table counted.
    pub(super) fn absorb(&mut self, other: &Self) {
        for (word, count) in other.iter() {
            self.add(word, count);
        }
    }

    /// Drops the rarest words until the rest costs at most `limit`: all that occur as often as
    /// one that is dropped, so that the outcome does not depend on any order.
    pub(super) fn drop_rare(&mut self, limit: u64) -> Dropped {
        let mut costs = BTreeMap::<u64, u64>::new();
        for entry in &self.entries {
            *costs.entry(entry.count).or_default() += cost(entry.len as usize);
        }
        let (mut kept, mut count_max) = (0, 0);
        for (&count, &cost) in costs.iter().rev() {
            if kept + cost > limit {
                count_max = count;
                break;
            }
            kept += cost;
        }
        let (mut rest, mut dropped) =
            (Self::default(), Dropped { count_max, ..Dropped::default() });
        for (word, count) in self.iter() {
            if count > count_max {
                rest.add(word, count);
            } else {
                dropped.words += 1;
                dropped.occurrences += count;
            }
        }
        *self = rest;
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_words_of_every_length() {
        let mut table = WordTable::default();
        let word = |n: usize| vec![b'a' + (n % 7) as u8; n % 40 + 1];
        for n in 0..10_000 {
            table.add(&word(n), 1);
        }
        // 40 lengths times 7 letters, each 35 or 36 times.
        assert_eq!(table.len(), 280);
        assert!(table.iter().all(|(_, count)| (35..=36).contains(&count)));
        assert_eq!(table.iter().map(|(_, count)| count).sum::<u64>(), 10_000);
        let mut twice = WordTable::default();
        twice.absorb(&table);
        twice.absorb(&table);
        assert_eq!(twice.iter().map(|(_, count)| count).sum::<u64>(), 20_000);
    }

    #[test]
    fn words_that_begin_and_end_alike_differ() {
        let mut table = WordTable::default();
        let words =
            [&b"aaaaaaaa"[..], b"aaaaaaaaa", b"aaaa", b"aaaaa", b"a", b"aa", b"aaa", b"\0", b""];
        for word in words {
            table.add(word, 1);
            table.add(word, 1);
        }
        assert_eq!(table.len(), words.len());
        assert!(table.iter().zip(words).all(|(found, word)| found == (word, 2)));
    }

    #[test]
    fn rare_words_go_together() {
        let mut table = WordTable::default();
        for n in 0..100u64 {
            table.add(format!("w{n:03}").as_bytes(), 1 + n / 25);
        }
        let each = cost(4);
        assert_eq!(table.cost(), 100 * each);
        let dropped = table.drop_rare(60 * each);
        assert_eq!(dropped, Dropped { words: 50, occurrences: 25 + 50, count_max: 2 });
        assert_eq!((table.len(), table.cost()), (50, 50 * each));
    }
}
