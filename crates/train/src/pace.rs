//! How fast a plan's steps are on this machine: a few of them, on a trial network that is then
//! dropped.

use std::time::Instant;

use crate::TrainError;
use crate::plan::Plan;
use crate::trainer::{Setup, Trainer};

/// What a step costs: so much whatever it holds, and so much for each row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Seconds of the update, and of all else that a step does once.
    pub step_seconds: f64,
    /// Seconds of a row.
    pub row_seconds: f64,
}

/// Rounds of each of the two lengths of step that are measured; the faster one counts.
const ROUNDS: usize = 2;
/// The longer step is so many times the shorter one.
const LONGER: usize = 3;

impl Pace {
    /// Measures steps of the plan's network: of one micro-batch for each lane, and of three.
    ///
    /// # Errors
    /// The network cannot be built, or the data cannot be read.
    pub fn measure(plan: &Plan, setup: Setup) -> Result<Self, TrainError> {
        let short = plan.lanes * plan.rows_per_micro_batch;
        let mut trainer = Trainer::new(plan.clone(), setup)?;
        trainer.set_rows(short);
        // The first one fills caches and takes memory.
        trainer.step()?;
        let mut fastest = |rows: usize| -> Result<f64, TrainError> {
            trainer.set_rows(rows);
            let mut seconds = f64::INFINITY;
            for _ in 0..ROUNDS {
                let begun = Instant::now();
                trainer.step()?;
                seconds = seconds.min(begun.elapsed().as_secs_f64());
            }
            Ok(seconds)
        };
        let (one, more) = (fastest(short)?, fastest(LONGER * short)?);
        Ok(Self::through([(short, one), (LONGER * short, more)]))
    }

    /// The line through the seconds of two numbers of rows.
    fn through([(few, one), (many, more)]: [(usize, f64); 2]) -> Self {
        // A clock that was disturbed gives no negative cost.
        let slope = (more - one) / (many - few) as f64;
        let row_seconds = slope.max(0.5 * more / many as f64);
        Self { step_seconds: (one - row_seconds * few as f64).max(0.0), row_seconds }
    }

    /// Floating-point operations per second of a plan's steps.
    pub fn operations_per_second(&self, plan: &Plan) -> f64 {
        let seconds = self.step_seconds + self.row_seconds * plan.rows_per_step as f64;
        plan.network.flops_per_token() * plan.batch_tokens() as f64 / seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_tell_what_one_costs_and_what_a_row_does() {
        let near = |pace: Pace, step: f64, row: f64| {
            assert!((pace.step_seconds - step).abs() < 1e-9, "{pace:?}");
            assert!((pace.row_seconds - row).abs() < 1e-9, "{pace:?}");
        };
        near(Pace::through([(10, 3.0), (30, 7.0)]), 1.0, 0.2);
        // The longer one was not slower: then rows are taken to be half of it, not nothing.
        near(Pace::through([(10, 6.0), (30, 6.0)]), 5.0, 0.1);
        // Nor does a step cost less than nothing.
        near(Pace::through([(10, 1.0), (30, 9.0)]), 0.0, 0.4);
    }
}
