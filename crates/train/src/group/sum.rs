//! The sum of all lanes' gradients: lane j is added to lane j - s, where s is the lowest bit of j,
//! in ascending order of s. A rank adds what it has all of; what is left goes to who updates it,
//! and he adds it in the same order. So the sum has the same bits with any number of ranks.

use std::ops::Range;

use lucid_kernels::Level;

use super::{Group, Parts};

/// The lanes of a rank.
pub(crate) fn held(lanes: usize, ranks: usize, rank: usize) -> Range<usize> {
    lanes * rank / ranks..lanes * (rank + 1) / ranks
}

fn lowest_bit(lane: usize) -> usize {
    lane & lane.wrapping_neg()
}

/// The lanes that who holds `held` adds at a stride, each to the one that many before it.
pub(crate) fn pairs(lanes: usize, held: &Range<usize>, stride: usize) -> Vec<(usize, usize)> {
    let here = |from: usize| {
        lowest_bit(from) == stride
            && from - stride >= held.start
            && (from + stride).min(lanes) <= held.end
    };
    held.clone().filter(|&from| from > 0 && here(from)).map(|from| (from - stride, from)).collect()
}

/// What is then left: the lanes that other ranks' are added to, or that are added to them.
pub(crate) fn open(lanes: usize, held: &Range<usize>) -> Vec<usize> {
    let added = |lane: usize| {
        lane > 0 && !pairs(lanes, held, lowest_bit(lane)).iter().all(|pair| pair.1 != lane)
    };
    held.clone().filter(|&lane| !added(lane)).collect()
}

/// Adds what is left of all ranks: each gets the sum of its own part, in the first of its lanes.
/// `gradients` are this rank's open lanes, each with all parameters in their order.
pub(crate) fn sum(
    group: &dyn Group,
    level: Level,
    parts: &Parts,
    lanes: usize,
    gradients: &mut [Vec<&mut [f32]>],
) {
    let (me, ranks) = (group.rank(), group.ranks());
    if ranks == 1 {
        return;
    }
    let open: Vec<Vec<usize>> =
        (0..ranks).map(|rank| open(lanes, &held(lanes, ranks, rank))).collect();
    let (mut outgoing, mut incoming, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for round in parts.rounds() {
        let counts = round.counts();
        outgoing.clear();
        own.clear();
        for rank in 0..ranks {
            let packed = if rank == me { &mut own } else { &mut outgoing };
            let spans = round.spans(rank);
            for lane in gradients.iter() {
                for (parameter, span) in &spans {
                    packed.extend_from_slice(&lane[*parameter][span.clone()]);
                }
            }
        }
        let others = |count: &dyn Fn(usize) -> usize| -> Vec<usize> {
            (0..ranks).map(|rank| if rank == me { 0 } else { count(rank) }).collect()
        };
        let to = others(&|rank| open[me].len() * counts[rank]);
        let from = others(&|rank| open[rank].len() * counts[me]);
        incoming.resize(from.iter().sum(), 0.0);
        group.exchange(&outgoing, &to, &mut incoming, &from);
        if counts[me] == 0 {
            continue;
        }
        let (mut mine, mut theirs) = (own.chunks_mut(counts[me]), incoming.chunks_mut(counts[me]));
        let mut columns = Vec::new();
        for (rank, lanes) in open.iter().enumerate() {
            let columns_of = if rank == me { &mut mine } else { &mut theirs };
            columns.extend(lanes.iter().copied().zip(columns_of));
        }
        add(level, &mut columns);
        let mut rest = &*columns[0].1;
        for (parameter, span) in round.spans(me) {
            let (here, after) = rest.split_at(span.len());
            gradients[0][parameter][span].copy_from_slice(here);
            rest = after;
        }
    }
}

/// Adds columns, each the sum of the lanes from its number on to the next one's, up in the first.
fn add(level: Level, columns: &mut [(usize, &mut [f32])]) {
    let last = columns.last().map_or(0, |column| column.0);
    let mut stride = 1;
    while stride <= last {
        for at in 1..columns.len() {
            let lane = columns[at].0;
            if lowest_bit(lane) != stride {
                continue;
            }
            let (before, rest) = columns.split_at_mut(at);
            if let Some((_, onto)) = before.iter_mut().find(|column| column.0 == lane - stride) {
                accumulate(level, onto, rest[0].1);
            }
        }
        stride *= 2;
    }
}

/// `onto += from`.
pub(crate) fn accumulate(level: Level, onto: &mut [f32], from: &[f32]) {
    level.vectorize(
        #[inline(always)]
        || onto.iter_mut().zip(from).for_each(|(onto, from)| *onto += from),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order of a sum over lanes as text.
    fn tree(lanes: usize, ranks: usize) -> String {
        let mut sums: Vec<Option<String>> = (0..lanes).map(|lane| Some(lane.to_string())).collect();
        let mut join = |onto: usize, from: usize| {
            let (left, right) = (sums[onto].take().unwrap(), sums[from].take().unwrap());
            sums[onto] = Some(format!("({left}+{right})"));
        };
        let mut left = Vec::new();
        for rank in 0..ranks {
            let held = held(lanes, ranks, rank);
            for stride in (0..8).map(|bit| 1 << bit) {
                for (onto, from) in pairs(lanes, &held, stride) {
                    join(onto, from);
                }
            }
            left.extend(open(lanes, &held));
        }
        for stride in (0..8).map(|bit| 1 << bit) {
            for &lane in left.iter().filter(|&&lane| lane > 0) {
                if lowest_bit(lane) == stride {
                    join(lane - stride, lane);
                }
            }
        }
        sums[0].clone().unwrap()
    }

    #[test]
    fn the_order_of_a_sum_is_the_same_for_any_number_of_ranks() {
        assert_eq!(tree(5, 1), "(((0+1)+(2+3))+4)");
        for lanes in 1..=24 {
            for ranks in 2..=lanes {
                assert_eq!(tree(lanes, ranks), tree(lanes, 1), "{lanes} lanes, {ranks} ranks");
            }
        }
    }

    #[test]
    fn a_power_of_two_leaves_one_lane_a_rank() {
        assert_eq!(open(8, &held(8, 2, 1)), [4]);
        assert_eq!(open(8, &held(8, 4, 3)), [6]);
        assert_eq!(open(8, &(0..8)), [0]);
        assert_eq!(open(8, &held(8, 3, 0)), [0]);
        assert_eq!(open(8, &held(8, 3, 1)), [2, 4]);
    }
}
