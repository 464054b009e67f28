//! Min-p: keeps the tokens that are at least a fraction p as probable as the most probable one.
//! Source: Nguyen et al., "Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM
//! Outputs", arXiv:2407.01082.

use super::candidates::Candidates;
use super::math;

pub(super) fn apply(candidates: &mut Candidates, p: f32) {
    if p <= 0.0 {
        return;
    }
    let floor = f64::from(candidates.max_logit()) + math::ln(f64::from(p));
    candidates.list.retain(|candidate| f64::from(candidate.logit) >= floor);
}
