//! Which pairs become tokens, and in which order. Source: Sennrich et al., arXiv:1508.07909, and
//! the order of the `tokenizers` library (0.23, `models/bpe/trainer.rs`), which is kept exactly:
//!
//! - The most frequent pair goes first; of equals the one with the lower left id, then right id.
//! - A pair waits in the queue with the words in which it was seen when it was put there, and with
//!   its count then. A count that is out of date is corrected when it comes to the front. A pair
//!   that comes up again, because two merges make the same text, waits a second time; each time
//!   only its own words are merged, and the later turn decides its rank.
//! - A pair's count is not reduced by its own merge.
//!
//! Departure: counts have 64 bits, there 32, so that no corpus makes them wrap around.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::words::{Change, Pair, Words, sides};
use crate::TokenId;
use crate::hash::Folded;

/// Bounds of merging.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) vocab_size: usize,
    /// A rarer pair is not merged.
    pub(super) frequency_min: u64,
    /// Tokens have fewer bytes than this, as in the library.
    pub(super) token_bytes_end: usize,
}

/// Words that a pair was seen in, in ascending order.
type Seen = Vec<u32>;

/// Tokens in the making.
pub(super) struct Merger {
    bounds: Bounds,
    words: Words,
    pairs: PairTable,
    /// Count, pair and the number of its list: the first to merge is the greatest.
    queue: BinaryHeap<(i64, Reverse<Pair>, Reverse<u32>)>,
    lists: Vec<Seen>,
    /// Lists that are in use no more.
    free: Vec<u32>,
    /// Pairs that came up in this turn.
    fresh: Vec<Pair>,
    /// The bytes of each token.
    tokens: Vec<Box<[u8]>>,
    ids: HashMap<Box<[u8]>, TokenId, Folded>,
    merges: Vec<Pair>,
}

impl Merger {
    /// Of `words`, whose symbols are indices of `tokens`.
    pub(super) fn new(words: Words, tokens: Vec<Box<[u8]>>, bounds: Bounds) -> Self {
        let mut ids = HashMap::with_hasher(Folded::default());
        // No merge spells an empty token.
        for (id, token) in tokens.iter().enumerate().filter(|(_, token)| !token.is_empty()) {
            ids.entry(token.clone()).or_insert(id as TokenId);
        }
        let mut merger = Self {
            bounds,
            words,
            pairs: PairTable::default(),
            queue: BinaryHeap::new(),
            lists: Vec::new(),
            free: Vec::new(),
            fresh: Vec::new(),
            tokens,
            ids,
            merges: Vec::new(),
        };
        for word in 0..merger.words.len() as u32 {
            let count = merger.words.count(word) as i64;
            let (pairs, lists) = (&mut merger.pairs, &mut merger.lists);
            let (free, fresh) = (&mut merger.free, &mut merger.fresh);
            merger.words.pairs(word, |pair| {
                let entry = pairs.entry(pair);
                entry.count += count;
                entry.see(pair, word, lists, free, fresh);
            });
        }
        merger.enqueue();
        merger
    }

    /// Merges until the vocabulary is full or no pair is left. Gives the tokens' bytes and the
    /// merges in order of rank. `watch` is told the number of tokens.
    pub(super) fn run(mut self, watch: &mut dyn FnMut(usize)) -> (Vec<Box<[u8]>>, Vec<Pair>) {
        while self.tokens.len() < self.bounds.vocab_size {
            let Some((count, Reverse(pair), Reverse(list))) = self.queue.pop() else { break };
            let now = self.pairs.entry(pair).count;
            if now != count {
                // A pair that is gone never comes to the front again.
                if now > 0 {
                    self.queue.push((now, Reverse(pair), Reverse(list)));
                }
                continue;
            }
            if (now as u64) < self.bounds.frequency_min {
                break;
            }
            self.merge(pair, list);
            watch(self.tokens.len());
        }
        (self.tokens, last_turns(&self.merges))
    }

    fn merge(&mut self, merged: Pair, list: u32) {
        let whole = self.token(merged);
        self.merges.push(merged);
        let seen = std::mem::take(&mut self.lists[list as usize]);
        self.free.push(list);
        let limit = self.bounds.token_bytes_end;
        let Self { words, pairs, lists, free, fresh, tokens, .. } = self;
        let fits = |pair: Pair| {
            let (left, right) = sides(pair);
            limit == usize::MAX
                || tokens[left as usize].len() + tokens[right as usize].len() < limit
        };
        for &word in &seen {
            let count = words.count(word) as i64;
            words.merge(word, merged, whole, |pair, change| match change {
                Change::Gone => pairs.entry(pair).count -= count,
                Change::New if fits(pair) => {
                    let entry = pairs.entry(pair);
                    entry.count += count;
                    entry.see(pair, word, lists, free, fresh);
                }
                Change::New => {}
            });
        }
        self.enqueue();
    }

    /// The token that a pair makes: an old one where its text is one already.
    fn token(&mut self, merged: Pair) -> TokenId {
        let (left, right) = sides(merged);
        let bytes = [&*self.tokens[left as usize], &*self.tokens[right as usize]].concat();
        let bytes = bytes.into_boxed_slice();
        if let Some(&id) = self.ids.get(&bytes) {
            return id;
        }
        let id = self.tokens.len() as TokenId;
        self.ids.insert(bytes.clone(), id);
        self.tokens.push(bytes);
        id
    }

    /// Puts the pairs that came up into the queue.
    fn enqueue(&mut self) {
        for pair in self.fresh.drain(..) {
            let entry = self.pairs.entry(pair);
            let list = std::mem::replace(&mut entry.list, NONE);
            if entry.count > 0 {
                self.queue.push((entry.count, Reverse(pair), Reverse(list)));
            } else {
                self.lists[list as usize].clear();
                self.free.push(list);
            }
        }
    }
}

/// Each pair once, at its last place.
fn last_turns(merges: &[Pair]) -> Vec<Pair> {
    let mut seen = std::collections::HashSet::with_hasher(Folded::default());
    let mut last: Vec<Pair> = merges.iter().rev().copied().filter(|&it| seen.insert(it)).collect();
    last.reverse();
    last
}

/// No list.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Entry {
    pair: Pair,
    count: i64,
    /// The list of this turn.
    list: u32,
}

impl Entry {
    /// Notes that the pair came up in a word.
    #[inline]
    fn see(
        &mut self,
        pair: Pair,
        word: u32,
        lists: &mut Vec<Seen>,
        free: &mut Vec<u32>,
        fresh: &mut Vec<Pair>,
    ) {
        if self.list == NONE {
            self.list = free.pop().unwrap_or_else(|| {
                lists.push(Vec::new());
                lists.len() as u32 - 1
            });
            fresh.push(pair);
        }
        let seen = &mut lists[self.list as usize];
        if seen.last() != Some(&word) {
            seen.push(word);
        }
    }
}

/// Counts by pair: an open table, because nothing else is asked as often.
#[derive(Default)]
struct PairTable {
    hasher: Folded,
    slots: Vec<Entry>,
    used: usize,
}

/// No pair: ids are below 2^32 - 1.
const FREE: Pair = Pair::MAX;

impl PairTable {
    /// The entry of a pair, which begins with nothing.
    #[inline]
    fn entry(&mut self, pair: Pair) -> &mut Entry {
        if self.used * 2 >= self.slots.len() {
            self.grow();
        }
        let at = self.find(pair);
        let entry = &mut self.slots[at];
        if entry.pair == FREE {
            entry.pair = pair;
            self.used += 1;
        }
        entry
    }

    #[inline]
    fn find(&self, pair: Pair) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = (self.hasher.number(pair) >> 20) as usize & mask;
        while self.slots[at].pair != pair && self.slots[at].pair != FREE {
            at = (at + 1) & mask;
        }
        at
    }

    #[cold]
    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(1 << 12);
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![Entry { pair: FREE, count: 0, list: NONE }; size];
        for entry in old.into_iter().filter(|entry| entry.pair != FREE) {
            let at = self.find(entry.pair);
            self.slots[at] = entry;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::words::pair;

    #[test]
    fn a_pair_keeps_its_last_rank() {
        assert_eq!(last_turns(&[1, 2, 1, 3, 2]), [1, 3, 2]);
    }

    #[test]
    fn ties_go_to_the_lower_ids() {
        let mut words = Words::default();
        // c a, b c: once each; a b: twice.
        for (word, count) in [([2, 0], 1), ([1, 2], 1), ([0, 1], 2)] {
            words.push(word.into_iter(), count);
        }
        let tokens: Vec<Box<[u8]>> = [b"a", b"b", b"c"].map(|it| Box::from(&it[..])).into();
        let bounds = Bounds { vocab_size: 99, frequency_min: 0, token_bytes_end: usize::MAX };
        let (tokens, merges) = Merger::new(words, tokens, bounds).run(&mut |_| {});
        assert_eq!(merges, [pair(0, 1), pair(1, 2), pair(2, 0)]);
        assert_eq!(tokens.concat(), b"abcabbcca");
    }
}
