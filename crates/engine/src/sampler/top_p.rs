//! Top-p (nucleus): keeps the fewest most probable tokens that hold the mass p. Source: Holtzman et
//! al., "The Curious Case of Neural Text Degeneration", arXiv:1904.09751, section 3.1.

use super::candidates::{Candidates, rank, sorted_prefix, weight};

pub(super) fn apply(candidates: &mut Candidates, p: f32) {
    if p >= 1.0 || candidates.list.len() < 2 {
        return;
    }
    let max = candidates.max_logit();
    let (_, total) = candidates.weights();
    let (mut mass, wanted) = (0.0, f64::from(p) * total);
    let kept = sorted_prefix(&mut candidates.list, rank, |candidate| {
        mass += weight(candidate.logit, max);
        mass >= wanted
    });
    candidates.list.truncate(kept);
}
