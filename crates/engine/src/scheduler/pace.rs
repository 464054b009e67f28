//! What passes take: how many prompt tokens others can wait for, and what a row more costs.
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

/// Passes of so few rows tell what a row more costs among answers; for long ones other kernels run.
const TREND_ROWS_MAX: usize = 128;

/// What a row more is taken to cost as long as nothing is known: a part of what a row costs.
const ROW_SHARE: f64 = 0.25;

/// What a row more costs at least: a slope through noise may say that it costs nothing.
const SHARE_MIN: f64 = 0.05;

/// The pace of passes. See the module's text.
#[derive(Debug)]
pub(super) struct Pace {
    stall: Duration,
    /// Milliseconds that a prompt token adds to a pass, once known.
    token_ms: Option<f64>,
    /// Milliseconds of a pass without prompt tokens, once known.
    decode_ms: Option<f64>,
    trend: Trend,
}

impl Pace {
    pub(super) fn new(stall: Duration) -> Self {
        Self { stall, token_ms: None, decode_ms: None, trend: Trend::default() }
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

    /// Milliseconds that each of `decoding` sequences pays for a token, once known.
    pub(super) fn token_ms(&self, decoding: usize) -> Option<f64> {
        let pass_ms = self.trend.pass_ms(decoding as f64)?;
        (decoding > 0 && pass_ms > 0.0).then(|| pass_ms / decoding as f64)
    }

    /// What a row more costs where `decoding` sequences wait for their next token, as a share of
    /// what a token costs each of them. Below 1 as far as rows share the reading of the weights.
    pub(super) fn row_share(&self, decoding: usize) -> f64 {
        match (self.trend.row_ms, self.token_ms(decoding)) {
            (Some(row_ms), Some(token_ms)) => (row_ms / token_ms).clamp(SHARE_MIN, 2.0),
            _ => ROW_SHARE,
        }
    }

    /// Learns from a pass of so many rows: those that were a sequence's only one, and the others.
    pub(super) fn record(&mut self, took: Duration, decoding: usize, prefill: usize) {
        let took_ms = milliseconds(took);
        if decoding + prefill <= TREND_ROWS_MAX {
            self.trend.record((decoding + prefill) as f64, took_ms);
        }
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

/// The line through what passes of few rows took, by least squares that forget.
#[derive(Debug, Default)]
struct Trend {
    weight: f64,
    rows: f64,
    took_ms: f64,
    rows_rows: f64,
    rows_ms: f64,
    /// Milliseconds of a row more, once passes of different rows were seen.
    row_ms: Option<f64>,
}

impl Trend {
    /// What is left of earlier passes' weight after another one.
    const KEEP: f64 = 31.0 / 32.0;
    /// Below this variance of rows a slope would be noise.
    const VARIANCE_MIN: f64 = 0.05;
    /// Passes before anything is said.
    const WEIGHT_MIN: f64 = 3.5;

    fn record(&mut self, rows: f64, took_ms: f64) {
        let add = |sum: &mut f64, value: f64| *sum = *sum * Self::KEEP + value;
        add(&mut self.weight, 1.0);
        add(&mut self.rows, rows);
        add(&mut self.took_ms, took_ms);
        add(&mut self.rows_rows, rows * rows);
        add(&mut self.rows_ms, rows * took_ms);
        let [mean_rows, mean_ms] = [self.rows, self.took_ms].map(|sum| sum / self.weight);
        let variance = self.rows_rows / self.weight - mean_rows * mean_rows;
        if self.weight >= Self::WEIGHT_MIN && variance >= Self::VARIANCE_MIN {
            let covariance = self.rows_ms / self.weight - mean_rows * mean_ms;
            self.row_ms = Some((covariance / variance).max(0.0));
        }
    }

    /// Milliseconds of a pass of so many rows.
    fn pass_ms(&self, rows: f64) -> Option<f64> {
        let [mean_rows, mean_ms] = [self.rows, self.took_ms].map(|sum| sum / self.weight);
        (self.weight >= Self::WEIGHT_MIN)
            .then(|| mean_ms + self.row_ms.unwrap_or_default() * (rows - mean_rows))
    }
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Lets a running mean follow another measurement.
pub(super) fn mix(mean: &mut Option<f64>, newest: f64) {
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

    #[test]
    fn a_row_costs_what_passes_say() {
        let mut pace = Pace::new(Duration::ZERO);
        assert_eq!((pace.row_share(1), pace.token_ms(1)), (ROW_SHARE, None));
        let took = |rows: u64| Duration::from_millis(40 + 5 * rows);
        // Passes of one row alone say nothing of a second one.
        (0..20).for_each(|_| pace.record(took(1), 1, 0));
        assert_eq!(pace.row_share(1), ROW_SHARE);
        (0..9).for_each(|extra| pace.record(took(1 + extra), 1, extra as usize));
        let close = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-6 * expected, "{found}, not {expected}");
        };
        close(pace.row_share(1), 5.0 / 45.0);
        close(pace.row_share(8), 5.0 * 8.0 / 80.0);
        close(pace.token_ms(8).unwrap(), 10.0);
        // It is remembered while nothing new is tried.
        (0..500).for_each(|_| pace.record(took(1), 1, 0));
        close(pace.row_share(1), 5.0 / 45.0);
        // Long passes say nothing of short ones.
        (0..500).for_each(|_| pace.record(Duration::from_secs(9), 1, 500));
        close(pace.row_share(1), 5.0 / 45.0);
    }
}
