//! Words as symbols, and merging of a pair within a word. Invariant: what `change` is told, summed
//! up, is what the merge did to the number of each pair in the word, the merged pair itself apart,
//! in the order in which the `tokenizers` library does it: from left to right.
//!
//! A short word lies packed at its place and is looked through. A long one keeps the places of
//! each pair, because looking through a word of a megabyte for each of ten thousand merges takes
//! hours.

use std::collections::HashMap;

use super::table::LONG_BYTES;
use crate::TokenId;
use crate::hash::Folded;

/// Two neighbours: the left id in the high half.
pub(super) type Pair = u64;

#[inline]
pub(super) fn pair(left: TokenId, right: TokenId) -> Pair {
    u64::from(left) << 32 | u64::from(right)
}

#[inline]
pub(super) fn sides(pair: Pair) -> (TokenId, TokenId) {
    ((pair >> 32) as TokenId, pair as TokenId)
}

/// What happens to pairs of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Gone,
    New,
}

/// All words.
#[derive(Default)]
pub(super) struct Words {
    symbols: Vec<TokenId>,
    places: Vec<Place>,
    long: HashMap<u32, LongWord>,
}

#[derive(Clone, Copy)]
struct Place {
    count: u64,
    start: u32,
    len: u32,
}

impl Words {
    /// Appends a word of `symbols` that occurs `count` times.
    ///
    /// # Panics
    /// Above 4 G symbols, which the bound on the table of words excludes.
    pub(super) fn push(&mut self, symbols: impl Iterator<Item = TokenId>, count: u64) {
        let start = self.symbols.len();
        self.symbols.extend(symbols);
        let len = self.symbols.len() - start;
        let Ok(start) = u32::try_from(start) else { panic!("4 G symbols of words") };
        if len > LONG_BYTES {
            let word = LongWord::new(self.symbols.split_off(start as usize));
            self.long.insert(self.places.len() as u32, word);
        }
        self.places.push(Place { count, start, len: len as u32 });
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// How often word number `word` occurs.
    #[inline]
    pub(super) fn count(&self, word: u32) -> u64 {
        self.places[word as usize].count
    }

    /// Calls `found` with each pair of a word, from left to right.
    pub(super) fn pairs(&self, word: u32, mut found: impl FnMut(Pair)) {
        let Place { start, len, .. } = self.places[word as usize];
        let symbols = match self.long.get(&word) {
            // Nothing is merged yet: the symbols stand side by side.
            Some(long) => &long.symbols,
            None => &self.symbols[start as usize..][..len as usize],
        };
        symbols.windows(2).for_each(|two| found(pair(two[0], two[1])));
    }

    /// Merges `merged` to `whole` in a word.
    #[inline]
    pub(super) fn merge(
        &mut self,
        word: u32,
        merged: Pair,
        whole: TokenId,
        change: impl FnMut(Pair, Change),
    ) {
        let place = &mut self.places[word as usize];
        if place.len as usize > LONG_BYTES {
            if let Some(long) = self.long.get_mut(&word) {
                long.merge(merged, whole, change);
            }
            return;
        }
        let symbols = &mut self.symbols[place.start as usize..][..place.len as usize];
        place.len = merge_packed(symbols, merged, whole, change) as u32;
    }
}

/// Merges in place. Gives the number of symbols that are left, at the front.
#[inline]
fn merge_packed(
    symbols: &mut [TokenId],
    merged: Pair,
    whole: TokenId,
    mut change: impl FnMut(Pair, Change),
) -> usize {
    let (left, right) = sides(merged);
    let (mut from, mut to) = (0, 0);
    while from < symbols.len() {
        let here = symbols[from];
        if here != left || symbols.get(from + 1) != Some(&right) {
            symbols[to] = here;
            (from, to) = (from + 1, to + 1);
            continue;
        }
        if to > 0 {
            let before = symbols[to - 1];
            change(pair(before, left), Change::Gone);
            change(pair(before, whole), Change::New);
        }
        if let Some(&after) = symbols.get(from + 2) {
            change(pair(right, after), Change::Gone);
            change(pair(whole, after), Change::New);
        }
        symbols[to] = whole;
        (from, to) = (from + 2, to + 1);
    }
    to
}

/// No place.
const NONE: u32 = u32::MAX;

/// A word as a list with places of each pair. A place may be out of date.
struct LongWord {
    /// `NONE` where a symbol became part of the one before.
    symbols: Vec<TokenId>,
    links: Vec<[u32; 2]>,
    places: HashMap<Pair, Vec<u32>, Folded>,
}

impl LongWord {
    fn new(symbols: Vec<TokenId>) -> Self {
        let mut places = HashMap::<Pair, Vec<u32>, Folded>::default();
        for (at, two) in symbols.windows(2).enumerate() {
            places.entry(pair(two[0], two[1])).or_default().push(at as u32);
        }
        let last = symbols.len() as u32 - 1;
        let next = |at: u32| if at == last { NONE } else { at + 1 };
        let links = (0..=last).map(|at| [at.wrapping_sub(1), next(at)]).collect();
        Self { symbols, links, places }
    }

    fn merge(&mut self, merged: Pair, whole: TokenId, mut change: impl FnMut(Pair, Change)) {
        let Some(mut places) = self.places.remove(&merged) else { return };
        places.sort_unstable();
        let (left, right) = sides(merged);
        for at in places {
            let [before, second] = self.links[at as usize];
            let stands = self.symbols[at as usize] == left
                && second != NONE
                && self.symbols[second as usize] == right;
            if !stands {
                continue;
            }
            let after = self.links[second as usize][1];
            self.symbols[at as usize] = whole;
            self.symbols[second as usize] = NONE;
            self.links[at as usize][1] = after;
            if before != NONE {
                let symbol = self.symbols[before as usize];
                change(pair(symbol, left), Change::Gone);
                change(pair(symbol, whole), Change::New);
                self.places.entry(pair(symbol, whole)).or_default().push(before);
            }
            if after != NONE {
                self.links[after as usize][0] = at;
                let symbol = self.symbols[after as usize];
                change(pair(right, symbol), Change::Gone);
                change(pair(whole, symbol), Change::New);
                self.places.entry(pair(whole, symbol)).or_default().push(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both forms of a word make the same of a row of merges.
    #[test]
    fn long_words_merge_as_short_ones() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..200 {
            let mut below = |bound: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                (random >> 11) % bound
            };
            let len = 2 + below(60) as usize;
            let mut packed: Vec<TokenId> = (0..len).map(|_| below(3) as TokenId).collect();
            let mut long = LongWord::new(packed.clone());
            for whole in 3..12 {
                let merged = pair(below(whole) as TokenId, below(whole) as TokenId);
                let (mut a, mut b) = (Vec::new(), Vec::new());
                let whole = whole as TokenId;
                let left = merge_packed(&mut packed, merged, whole, |pair, it| a.push((pair, it)));
                packed.truncate(left);
                long.merge(merged, whole, |pair, it| b.push((pair, it)));
                let rest: Vec<_> = long.symbols.iter().copied().filter(|it| *it != NONE).collect();
                assert_eq!(packed, rest, "round {round}");
                assert_eq!(a, b, "round {round}");
            }
        }
    }
}
