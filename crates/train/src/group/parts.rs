//! Which rank updates what: a range of each parameter, whole numbers of [`PART`] elements of what
//! may be cut, and all of a parameter that may not.

use std::ops::Range;

use super::{Group, MESSAGE};

/// Elements that belong together: those of a sum of squares, so that norms do not depend on ranks.
pub(crate) const PART: usize = 1 << 15;

/// Whether a parameter's update may be computed in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Each element on its own.
    Anywhere,
    /// All of it together.
    Never,
}

/// Who updates what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    ranks: usize,
    /// Of each parameter the end of each rank's range.
    ends: Vec<Vec<usize>>,
}

impl Parts {
    /// Of parameters with so many elements each. All of what may not be cut goes to the rank that
    /// has least of it, the largest first; of everything else each rank gets about as much.
    pub(crate) fn new(parameters: &[(usize, Cut)], ranks: usize) -> Self {
        let count =
            |&(len, cut): &(usize, Cut)| if cut == Cut::Never { 0 } else { len.div_ceil(PART) };
        let total: usize = parameters.iter().map(count).sum();
        let mut before = 0;
        let mut ends: Vec<Vec<usize>> = Vec::new();
        for parameter in parameters {
            let after = before + count(parameter);
            let end = |rank: usize| (total * rank / ranks).clamp(before, after) - before;
            ends.push((1..=ranks).map(|rank| (end(rank) * PART).min(parameter.0)).collect());
            before = after;
        }
        let mut whole: Vec<usize> =
            (0..parameters.len()).filter(|&p| parameters[p].1 == Cut::Never).collect();
        whole.sort_by_key(|&parameter| std::cmp::Reverse(parameters[parameter].0));
        let mut loads = vec![0; ranks];
        for parameter in whole {
            let len = parameters[parameter].0;
            let least = (0..ranks).min_by_key(|&rank| loads[rank]).unwrap_or(0);
            loads[least] += len;
            ends[parameter] = (0..ranks).map(|rank| if rank < least { 0 } else { len }).collect();
        }
        Self { ranks, ends }
    }

    /// The range of a parameter that a rank updates.
    pub(crate) fn range(&self, parameter: usize, rank: usize) -> Range<usize> {
        let ends = &self.ends[parameter];
        let start = if rank == 0 { 0 } else { ends[rank - 1] };
        start..ends[rank]
    }

    /// The elements of all ranges of a rank.
    pub(crate) fn len(&self, rank: usize) -> usize {
        (0..self.ends.len()).map(|parameter| self.range(parameter, rank).len()).sum()
    }

    /// Goes over what all ranks have in rounds that fit into a message.
    pub(crate) fn rounds(&self) -> impl Iterator<Item = Round<'_>> {
        let most = (MESSAGE / self.ranks).max(1);
        let longest = (0..self.ranks).map(|rank| self.len(rank)).max().unwrap_or(0);
        (0..longest.div_ceil(most)).map(move |round| Round {
            parts: self,
            start: round * most,
            most,
        })
    }
}

/// A part of what each rank has.
pub(crate) struct Round<'a> {
    parts: &'a Parts,
    start: usize,
    most: usize,
}

impl Round<'_> {
    /// Elements of each rank.
    pub(crate) fn counts(&self) -> Vec<usize> {
        let count = |rank| self.parts.len(rank).saturating_sub(self.start).min(self.most);
        (0..self.parts.ranks).map(count).collect()
    }

    /// Where a rank's elements lie, in their order: parameters and ranges of them.
    pub(crate) fn spans(&self, rank: usize) -> Vec<(usize, Range<usize>)> {
        let (from, to) = (self.start, self.start + self.most);
        let mut before = 0;
        let mut spans = Vec::new();
        for parameter in 0..self.parts.ends.len() {
            let range = self.parts.range(parameter, rank);
            let inside = |at: usize| at.clamp(before, before + range.len()) - before + range.start;
            let span = inside(from)..inside(to);
            before += range.len();
            if !span.is_empty() {
                spans.push((parameter, span));
            }
        }
        spans
    }
}

/// Gives all ranks what each has updated. `values` are all parameters, in their order.
pub(crate) fn spread(group: &dyn Group, parts: &Parts, values: &mut [&mut [f32]]) {
    if group.ranks() == 1 {
        return;
    }
    let (mut own, mut all) = (Vec::new(), Vec::new());
    for round in parts.rounds() {
        let counts = round.counts();
        own.clear();
        for (parameter, span) in round.spans(group.rank()) {
            own.extend_from_slice(&values[parameter][span]);
        }
        all.resize(counts.iter().sum(), 0.0);
        group.gather(&own, &counts, &mut all);
        let mut rest = &all[..];
        for rank in 0..group.ranks() {
            for (parameter, span) in round.spans(rank) {
                let (here, after) = rest.split_at(span.len());
                values[parameter][span].copy_from_slice(here);
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_one_rank_s() {
        let parameters = [
            (10 * PART + 7, Cut::Anywhere),
            (64, Cut::Anywhere),
            (5 * PART, Cut::Never),
            (3 * PART + 1, Cut::Never),
            (3 * PART, Cut::Never),
        ];
        for ranks in 1..=7 {
            let parts = Parts::new(&parameters, ranks);
            let mut seen: Vec<Vec<u32>> = parameters.iter().map(|&(len, _)| vec![0; len]).collect();
            for round in parts.rounds() {
                for (rank, count) in round.counts().into_iter().enumerate() {
                    let spans = round.spans(rank);
                    assert_eq!(spans.iter().map(|(_, span)| span.len()).sum::<usize>(), count);
                    for (parameter, span) in spans {
                        seen[parameter][span].iter_mut().for_each(|seen| *seen += 1);
                    }
                }
            }
            assert!(seen.iter().flatten().all(|&seen| seen == 1), "{ranks}");
            for (parameter, &(len, cut)) in parameters.iter().enumerate() {
                for rank in 0..ranks {
                    let range = parts.range(parameter, rank);
                    assert!(range.start.is_multiple_of(PART) || range.is_empty());
                    assert!(cut == Cut::Anywhere || range.is_empty() || range.len() == len);
                }
            }
        }
        let small = [(100, Cut::Anywhere); 12];
        let parts = Parts::new(&small, 4);
        assert_eq!([0, 1, 2, 3].map(|rank| parts.len(rank)), [300; 4]);
        let parts = Parts::new(&parameters, 2);
        assert_eq!((parts.range(2, 0).len(), parts.range(3, 1).len()), (5 * PART, 3 * PART + 1));
        assert_eq!(parts.range(4, 1).len(), 3 * PART, "to the rank that had least");
    }
}
