//! Repetition, frequency and presence penalties over a window of accepted tokens.
//!
//! Sources: repetition: Keskar et al., "CTRL", arXiv:1909.05858, section 4.1; frequency and
//! presence: OpenAI's API reference.
//! Departures: (1) negative logits are multiplied instead of divided by the repetition penalty, as
//! everyone since does: dividing would make them more likely; (2) as in llama.cpp, the repetition
//! penalty counts a token once however often it occurs, and comes before the other two.

use super::config::PenaltyConfig;
use super::history::{History, Tally};

/// Whether the stage changes anything.
pub(super) fn is_on(config: &PenaltyConfig) -> bool {
    let neutral = config.repeat == 1.0 && config.frequency == 0.0 && config.presence == 0.0;
    !neutral && config.last_n != Some(0)
}

pub(super) fn apply(
    logits: &mut [f32],
    config: &PenaltyConfig,
    history: &History,
    tally: &mut Tally,
) {
    if !is_on(config) {
        return;
    }
    let window = history.last(config.last_n);
    for &token in window {
        if let Some(count) = tally.count_mut(token) {
            *count += 1;
        }
    }
    let [repeat, frequency, presence] =
        [config.repeat, config.frequency, config.presence].map(f64::from);
    for &token in window {
        let count = tally.take(token);
        if count == 0 {
            continue; // seen earlier in this loop, or not in the vocabulary
        }
        let logit = &mut logits[token as usize];
        let value = f64::from(*logit);
        let scaled = if value > 0.0 { value / repeat } else { value * repeat };
        super::store(logit, scaled - f64::from(count) * frequency - presence);
    }
}
