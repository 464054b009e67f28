//! Locally typical sampling: keeps the tokens whose surprise (-ln p) is nearest to the entropy,
//! until they hold the mass p. The most probable token may be among those removed. Source: Meister
//! et al., "Locally Typical Sampling", arXiv:2202.00666, section 4.

use super::candidates::{Candidates, rank, sorted_prefix, weight};
use super::math;

pub(super) fn apply(candidates: &mut Candidates, p: f32) {
    if p >= 1.0 || candidates.list.len() < 2 {
        return;
    }
    let max = candidates.max_logit();
    let (weights, total) = candidates.weights();
    let log_total = math::ln(total);
    let entropy_sum: f64 = weights.iter().filter(|w| **w > 0.0).map(|&w| w * math::ln(w)).sum();
    let entropy = log_total - entropy_sum / total;

    let mut scored = std::mem::take(&mut candidates.scored);
    scored.clear();
    scored.reserve(candidates.list.len());
    scored.extend(candidates.list.iter().map(|&candidate| {
        let surprise = log_total - (f64::from(candidate.logit) - f64::from(max));
        ((surprise - entropy).abs(), candidate)
    }));
    let (mut mass, wanted) = (0.0, f64::from(p) * total);
    let kept = sorted_prefix(
        &mut scored,
        |a, b| a.0.total_cmp(&b.0).then_with(|| rank(&a.1, &b.1)),
        |(_, candidate)| {
            mass += weight(candidate.logit, max);
            mass >= wanted
        },
    );
    candidates.list.clear();
    candidates.list.extend(scored[..kept].iter().map(|(_, candidate)| *candidate));
    candidates.list.sort_unstable_by(rank);
    candidates.scored = scored;
}
