//! How many prompt tokens a pass may take: as many as others can wait for.
//!
//! Estimates are running means of what passes took, by the caller's clock. Nothing but the time at
//! which tokens come depends on them.

use std::time::Duration;

/// Prompt tokens that a pass takes however slow they are: fewer would waste the reading of the
/// weights.
pub(super) const PREFILL_MIN: usize = 32;

/// Prompt tokens of a pass at most.
pub(super) const PREFILL_MAX: usize = 512;

/// The weight of the newest measurement.
const NEWEST: f64 = 0.25;

/// The pace of prefill. See the module's text.
#[derive(Debug)]
pub(super) struct Pace {
    stall: Duration,
    /// Milliseconds that a prompt token adds to a pass, once known.
    token_ms: Option<f64>,
    /// Milliseconds of a pass without prompt tokens, once known.
    decode_ms: Option<f64>,
}

impl Pace {
    pub(super) fn new(stall: Duration) -> Self {
        Self { stall, token_ms: None, decode_ms: None }
    }

    /// Prompt tokens for the next pass, in which `decoding` sequences wait for their next token.
    pub(super) fn budget(&self, decoding: usize) -> usize {
        if decoding == 0 {
            return PREFILL_MAX;
        }
        // Zero milliseconds a token give infinity, which saturates.
        let tokens = self.token_ms.map_or(0.0, |token_ms| milliseconds(self.stall) / token_ms);
        (tokens as usize).clamp(PREFILL_MIN, PREFILL_MAX)
    }

    /// Learns from a pass of so many rows.
    pub(super) fn record(&mut self, took: Duration, decoding: usize, prefill: usize) {
        let took_ms = milliseconds(took);
        if prefill == 0 {
            mix(&mut self.decode_ms, took_ms);
            return;
        }
        // A short chunk is mostly the reading of the weights: nothing to learn for longer ones.
        if prefill >= PREFILL_MIN {
            let base_ms = if decoding == 0 { 0.0 } else { self.decode_ms.unwrap_or_default() };
            mix(&mut self.token_ms, (took_ms - base_ms).max(0.0) / prefill as f64);
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn mix(mean: &mut Option<f64>, newest: f64) {
    *mean = Some(mean.map_or(newest, |mean| mean + NEWEST * (newest - mean)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_follows_what_prompt_tokens_take() {
        let ms = Duration::from_millis;
        let mut pace = Pace::new(ms(100));
        assert_eq!((pace.budget(0), pace.budget(1)), (PREFILL_MAX, PREFILL_MIN));
        // 1 ms a token.
        pace.record(ms(512), 0, 512);
        assert_eq!((pace.budget(0), pace.budget(1)), (PREFILL_MAX, 100));
        // The decoding rows' part is not the prompt's.
        pace.record(ms(50), 4, 0);
        pace.record(ms(150), 4, 100);
        assert_eq!(pace.budget(1), 100);
        // Too short to say anything.
        pace.record(ms(50), 0, 1);
        assert_eq!(pace.budget(1), 100);
        (0..40).for_each(|_| pace.record(ms(450), 4, 100));
        assert_eq!(pace.budget(4), PREFILL_MIN);
        (0..200).for_each(|_| pace.record(ms(0), 4, 100));
        assert_eq!(pace.budget(4), PREFILL_MAX);
    }
}
