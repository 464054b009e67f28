//! Paging: which pages leave a window that is too full, and what stands in their place. Lossless: a
//! page's text stays in the log, whole, and comes back byte for byte.
//!
//! Pages leave at once down to the low watermark, so that the keys and values of the tokens before
//! the first of them are kept for many turns. Costs are counted in tokens: what has to be computed
//! again behind the first page that leaves, and what bringing pages back is expected to cost.
//!
//! Pure: sizes and texts come in, choices go out.

mod choose;
mod gist;
mod relevance;

#[cfg(test)]
mod tests;

pub use choose::{Candidate, Choice, Watermarks, choose};
pub use gist::{gist, mentioned, range_stub, stub};
pub use relevance::Relevance;

/// Turns over which faults are counted.
const FAULT_TURNS: u64 = 8;
/// So many faults within them are thrashing.
const FAULTS: usize = 3;
/// The widest working set, in turns.
const WORKING_SET_MAX: u32 = 32;

/// The working set from now on: twice as wide when pages had to come back soon after they went,
/// and narrower again after a quiet time.
pub fn working_set(now: u32, least: u32, faults: &[u64], turn: u64) -> u32 {
    let recent =
        |within: u64| faults.iter().filter(|&&fault| turn.saturating_sub(fault) < within).count();
    if recent(FAULT_TURNS) >= FAULTS {
        return (now * 2).min(WORKING_SET_MAX);
    }
    if recent(4 * FAULT_TURNS) == 0 { (now / 2).max(least) } else { now }
}
