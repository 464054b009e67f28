//! Several processes that make one model: what they say to each other, and who does what.
//!
//! Invariant: what a run computes does not depend on the number of its ranks. Each holds
//! neighbouring lanes, gradients are added in the tree over all lanes wherever they lie
//! (`sum.rs`), and each updates its own part of the parameters (`parts.rs`), as in Rajbhandari et
//! al., arXiv:1910.02054, stage 1. Departure: what is updated whole (Muon's matrices) is not cut.

#[cfg(feature = "mpi")]
mod mpi;
mod parts;
mod sum;

#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub(crate) use parts::{Cut, PART, Parts, spread};
pub(crate) use sum::{accumulate, held, open, pairs, sum};

/// Numbers that a rank sends or receives at a time, about.
pub(crate) const MESSAGE: usize = 1 << 20;

/// The ranks of a run. `merge`, `broadcast`, `exchange` and `gather` are called by all of them at
/// once, in the same order, `hand_over` by rank 0 and the rank that gives; whoever waits
/// for a rank that is lost is ended by what started it.
pub trait Group {
    /// This process's number, from 0; number 0 leads: it writes and speaks.
    fn rank(&self) -> usize;

    /// How many there are.
    fn ranks(&self) -> usize;

    /// Which one this is, for a person: `rank 1 (on host b)`.
    fn name(&self) -> String;

    /// Puts together what each rank knows a part of: each number is one rank's and 0 on all
    /// others, so that their sum is exact in any order.
    fn merge(&self, numbers: &mut [f64]);

    /// Gives all ranks the bytes of rank 0.
    fn broadcast(&self, bytes: &mut Vec<u8>);

    /// Each rank sends each other one `to[rank]` numbers of `outgoing`, in the order of ranks, and
    /// receives `from[rank]`.
    fn exchange(&self, outgoing: &[f32], to: &[usize], incoming: &mut [f32], from: &[usize]);

    /// All ranks get what each has, `counts[rank]` numbers, in the order of ranks.
    fn gather(&self, own: &[f32], counts: &[usize], all: &mut [f32]);

    /// Gives rank 0 the numbers of rank `from`; no other rank calls it.
    fn hand_over(&self, from: usize, values: &mut [f32]);

    /// Ends all ranks at once, with exit status 1.
    fn abort(&self) -> !;
}

/// A run of one process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Group for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn ranks(&self) -> usize {
        1
    }

    fn name(&self) -> String {
        "the only rank".to_owned()
    }

    fn merge(&self, _: &mut [f64]) {}

    fn broadcast(&self, _: &mut Vec<u8>) {}

    fn exchange(&self, _: &[f32], _: &[usize], _: &mut [f32], _: &[usize]) {}

    fn gather(&self, own: &[f32], _: &[usize], all: &mut [f32]) {
        all.copy_from_slice(own);
    }

    fn hand_over(&self, _: usize, _: &mut [f32]) {}

    fn abort(&self) -> ! {
        std::process::exit(1)
    }
}

/// What rank 0 says, on all ranks.
pub(crate) fn decided(group: &dyn Group, on_first: u64) -> u64 {
    let mine = if group.rank() == 0 { on_first } else { 0 };
    // Two halves, each exact as f64.
    let mut said = [(mine >> 32) as f64, f64::from(mine as u32)];
    group.merge(&mut said);
    ((said[0] as u64) << 32) | said[1] as u64
}

/// What each rank says.
pub(crate) fn said(group: &dyn Group, own: f64) -> Vec<f64> {
    let mut said = vec![0.0; group.ranks()];
    said[group.rank()] = own;
    group.merge(&mut said);
    said
}
