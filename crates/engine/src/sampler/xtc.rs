//! XTC ("exclude top choices"): now and then, of all tokens at least `threshold` probable, only the
//! least probable one stays in the race (with everything below the threshold). Removes the most
//! probable token by design.
//!
//! Source: p-e-w, oobabooga/text-generation-webui pull request 6335; llama.cpp's pull request 9742.
//! Departure: one number is drawn in every call while the stage is on, whatever the candidates, so
//! that the randomness of later tokens does not depend on them.

use super::candidates::{Candidates, rank, weight};
use super::config::XtcConfig;
use super::random::Pcg32;

/// Above this no two tokens can reach the threshold.
const THRESHOLD_MAX: f32 = 0.5;

pub(super) fn apply(candidates: &mut Candidates, config: &XtcConfig, random: &mut Pcg32) {
    if config.probability <= 0.0 || config.threshold > THRESHOLD_MAX {
        return;
    }
    if random.next_unit() >= f64::from(config.probability) {
        return;
    }
    let max = candidates.max_logit();
    let (_, total) = candidates.weights();
    let floor = f64::from(config.threshold) * total;
    let tops = candidates.list.iter().filter(|candidate| weight(candidate.logit, max) >= floor);
    // With a single top choice this is the most probable token, and nothing is removed.
    if let Some(least) = tops.copied().max_by(rank) {
        candidates.list.retain(|candidate| rank(candidate, &least).is_ge());
    }
}
