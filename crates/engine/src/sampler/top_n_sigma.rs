//! Top-n-sigma: keeps the tokens whose logit lies within n standard deviations of the largest one.
//!
//! Source: Tang et al., "Top-nσ: Not All Logits Are You Need", arXiv:2411.07641; llama.cpp's pull
//! request 11223. The standard deviation is that of the population of tokens that are not masked.

use super::candidates::Candidates;

pub(super) fn apply(candidates: &mut Candidates, n: f32) {
    if n <= 0.0 || candidates.list.len() < 2 {
        return;
    }
    let count = candidates.list.len() as f64;
    let max = f64::from(candidates.max_logit());
    // Relative to the largest logit, so that the mean of huge logits does not cancel.
    let below = |logit: f32| f64::from(logit) - max;
    let mean = candidates.list.iter().map(|c| below(c.logit)).sum::<f64>() / count;
    let square = |x: f64| x * x;
    let variance =
        candidates.list.iter().map(|c| square(below(c.logit) - mean)).sum::<f64>() / count;
    let floor = -f64::from(n) * variance.sqrt();
    candidates.list.retain(|candidate| below(candidate.logit) >= floor);
}
