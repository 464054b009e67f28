//! Catches what ruins a run: gradients that are no numbers, and sudden ones.
//!
//! A step whose gradient's norm is far above what it was of late is left out: its batch is passed
//! over, weights and averages stay. Many in a row mean that the weights themselves have gone bad;
//! the run then goes back to its last checkpoint and on with the text that follows (Chowdhery et
//! al., arXiv:2204.02311, section 5.1).

use serde::{Deserialize, Serialize};

/// Steps over which norms are averaged, about.
const MEMORY: f64 = 64.0;

/// Steps before norms are judged: they fall fast at first.
const TRUSTED: u64 = 50;

/// A norm so many times the average is a spike.
const SPIKE: f64 = 10.0;

/// Left out in a row before the run goes back.
const PATIENCE: u32 = 8;

/// What becomes of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is taken.
    Taken,
    /// The loss or the gradient is not a number: left out.
    NotFinite,
    /// The gradient is far larger than of late: left out.
    Spike,
    /// Too many were left out in a row: back to the last checkpoint.
    RollBack,
}

/// What a run remembers of its gradients' norms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Guard {
    average: f64,
    taken: u64,
    left_out: u32,
}

impl Guard {
    /// Judges a step by its loss and its gradient's norm.
    pub(crate) fn judge(&mut self, loss: f64, norm: f64) -> Verdict {
        let bad = if !(loss.is_finite() && norm.is_finite()) {
            Verdict::NotFinite
        } else if self.taken >= TRUSTED && norm > SPIKE * self.average {
            Verdict::Spike
        } else {
            let share = 1.0 / MEMORY.min(self.taken as f64 + 1.0);
            self.average += (norm - self.average) * share;
            self.taken += 1;
            self.left_out = 0;
            return Verdict::Taken;
        };
        self.left_out += 1;
        if self.left_out < PATIENCE {
            return bad;
        }
        self.left_out = 0;
        Verdict::RollBack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warm() -> Guard {
        let mut guard = Guard::default();
        (0..100).for_each(|_| assert_eq!(guard.judge(2.0, 1.0), Verdict::Taken));
        guard
    }

    #[test]
    fn ordinary_steps_are_taken_even_if_norms_drift() {
        let mut guard = Guard::default();
        for step in 0..1000 {
            let norm = 5.0 * (-f64::from(step) / 200.0).exp() + 0.2 * f64::from(step % 3);
            assert_eq!(guard.judge(3.0, norm), Verdict::Taken, "step {step}");
        }
    }

    #[test]
    fn no_numbers_and_spikes_are_left_out_and_forgotten() {
        let mut guard = warm();
        assert_eq!(guard.judge(f64::NAN, 1.0), Verdict::NotFinite);
        assert_eq!(guard.judge(2.0, f64::INFINITY), Verdict::NotFinite);
        assert_eq!(guard.judge(2.0, 11.0), Verdict::Spike);
        assert_eq!(guard.judge(2.0, 1.0), Verdict::Taken);
        assert!((guard.average - 1.0).abs() < 1e-9);
    }

    #[test]
    fn many_in_a_row_send_the_run_back() {
        let mut guard = warm();
        for _ in 1..PATIENCE {
            assert_eq!(guard.judge(f64::NAN, 1.0), Verdict::NotFinite);
        }
        assert_eq!(guard.judge(f64::NAN, 1.0), Verdict::RollBack);
        assert_eq!(guard.judge(f64::NAN, 1.0), Verdict::NotFinite);
    }
}
