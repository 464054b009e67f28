//! Merging of neighbours in order of rank: the heart of both byte-pair models. A short word scans
//! for its best pair; a long one keeps its pairs in a heap over a linked list, each merge O(log n).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::NONE;

/// A symbol: its id, or `NONE` for one that is not in the vocabulary, and its bytes in the word.
#[derive(Clone, Copy)]
pub(crate) struct Symbol {
    pub(crate) id: u32,
    pub(crate) start: u32,
    pub(crate) len: u32,
}

#[derive(Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
}

/// Working memory.
#[derive(Default)]
pub(crate) struct MergeScratch {
    pub(crate) symbols: Vec<Symbol>,
    links: Vec<Link>,
    /// (rank, position, length of both, merged id), smallest first: the leftmost among equals.
    heap: BinaryHeap<Reverse<(u32, u32, u32, u32)>>,
    pairs: Vec<(u32, u32)>,
    /// Pairs looked up since the start, for tests of the cost.
    #[cfg(test)]
    pub(crate) lookups: usize,
}

/// Below this many symbols a scan is faster than a heap.
const SCAN_MAX: usize = 24;

impl MergeScratch {
    /// Merges `symbols` to the end. `pair` gives rank and id of what two neighbours make.
    pub(crate) fn merge(&mut self, pair: impl Fn(Symbol, Symbol) -> Option<(u32, u32)>) {
        if self.symbols.len() <= SCAN_MAX {
            self.scan(&pair);
        } else {
            self.heap(&pair);
        }
    }

    fn scan(&mut self, pair: &impl Fn(Symbol, Symbol) -> Option<(u32, u32)>) {
        let symbols = &mut self.symbols;
        let look = |a: Symbol, b: Symbol| pair(a, b).unwrap_or((NONE, NONE));
        self.pairs.clear();
        self.pairs.extend(symbols.windows(2).map(|two| look(two[0], two[1])));
        loop {
            let mut best = (NONE, 0);
            for (index, (rank, _)) in self.pairs.iter().enumerate() {
                if *rank < best.0 {
                    best = (*rank, index);
                }
            }
            let (rank, at) = best;
            if rank == NONE {
                return;
            }
            symbols[at].id = self.pairs[at].1;
            symbols[at].len += symbols[at + 1].len;
            symbols.remove(at + 1);
            self.pairs.remove(at);
            if at > 0 {
                self.pairs[at - 1] = look(symbols[at - 1], symbols[at]);
            }
            if at + 1 < symbols.len() {
                self.pairs[at] = look(symbols[at], symbols[at + 1]);
            }
        }
    }

    fn heap(&mut self, pair: &impl Fn(Symbol, Symbol) -> Option<(u32, u32)>) {
        let count = self.symbols.len() as u32;
        self.links.clear();
        self.links.extend((0..count).map(|i| Link { previous: i.wrapping_sub(1), next: i + 1 }));
        self.heap.clear();
        let mut initial = std::mem::take(&mut self.heap).into_vec();
        initial.extend(self.symbols.windows(2).enumerate().filter_map(|(at, two)| {
            let (rank, id) = pair(two[0], two[1])?;
            Some(Reverse((rank, at as u32, two[0].len + two[1].len, id)))
        }));
        self.heap = BinaryHeap::from(initial);
        #[cfg(test)]
        {
            self.lookups += self.symbols.len();
        }
        while let Some(Reverse((_, at, length, id))) = self.heap.pop() {
            let left = self.symbols[at as usize];
            let right_at = self.links[at as usize].next;
            // A dead or grown symbol: the pair is no longer there.
            if left.len == 0
                || right_at >= count
                || left.len + self.symbols[right_at as usize].len != length
            {
                continue;
            }
            let next = self.links[right_at as usize].next;
            self.symbols[right_at as usize].len = 0;
            self.symbols[at as usize] = Symbol { id, len: length, ..left };
            self.links[at as usize].next = next;
            if next < count {
                self.links[next as usize].previous = at;
                self.push(at, next, pair);
            }
            let previous = self.links[at as usize].previous;
            if previous < count {
                self.push(previous, at, pair);
            }
        }
        self.symbols.retain(|symbol| symbol.len != 0);
    }

    fn push(&mut self, at: u32, next: u32, pair: &impl Fn(Symbol, Symbol) -> Option<(u32, u32)>) {
        let (left, right) = (self.symbols[at as usize], self.symbols[next as usize]);
        #[cfg(test)]
        {
            self.lookups += 1;
        }
        if let Some((rank, id)) = pair(left, right) {
            self.heap.push(Reverse((rank, at, left.len + right.len, id)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Doubling merges: a run of 2^k makes id k.
    fn double(a: Symbol, b: Symbol) -> Option<(u32, u32)> {
        (a.id == b.id && a.id < 5).then_some((a.id, a.id + 1))
    }

    #[test]
    fn scan_equals_heap_and_cost_is_linear() {
        let symbols = |n: u32| (0..n).map(|start| Symbol { id: 0, start, len: 1 });
        for n in 0..200 {
            let (mut a, mut b) = (MergeScratch::default(), MergeScratch::default());
            a.symbols.extend(symbols(n));
            b.symbols.extend(symbols(n));
            a.scan(&double);
            b.heap(&double);
            let ids =
                |s: &MergeScratch| s.symbols.iter().map(|x| (x.id, x.start)).collect::<Vec<_>>();
            assert_eq!(ids(&a), ids(&b), "{n}");
        }
        let mut big = MergeScratch::default();
        big.symbols.extend(symbols(1 << 20));
        big.merge(double);
        assert_eq!(big.symbols.len(), 1 << 15);
        assert!(big.lookups < 3 << 20, "{}", big.lookups);
    }
}
