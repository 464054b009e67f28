//! Learning from comparisons without a reward model: of two answers the better one becomes more
//! probable, against a reference that does not change.
//!
//! Every loss here is a function of the summed log-probabilities of whole answers, so its gradient
//! with respect to a token's log-probability is the same for all tokens of an answer. That is what
//! `Tape::cross_entropy` takes as weights.

mod kept;
mod loss;
#[cfg(test)]
mod tests;

pub use kept::{keep_reference, kept_reference};
pub(crate) use loss::{Answer, Graded};
pub use loss::{Preference, PreferenceLoss, Reference};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::conversation::{Examples, Kind};
use crate::data::{Batch, TokenBytes};
use crate::record::number;

/// What a run makes small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Cross-entropy of what is to be said.
    #[default]
    Likelihood,
    /// A loss over compared answers.
    Preference(Preference),
}

/// How well answers are told apart: means over what was compared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Share of the comparisons that come out as they were judged: the good answer of a pair has
    /// the larger reward; an answer judged alone has one above 0 if it is good.
    #[serde(deserialize_with = "number")]
    pub accuracy: f64,
    /// Implicit reward of good answers: beta times the log-probability beyond the reference's, or
    /// what stands for it in the loss.
    #[serde(deserialize_with = "number")]
    pub chosen: f64,
    /// The same of bad ones.
    #[serde(deserialize_with = "number")]
    pub rejected: f64,
}

/// What a micro-batch came to: sums.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    /// The objective.
    pub(crate) loss: f64,
    /// Nats of what is to be said, or of the good answers.
    pub(crate) nats: f64,
    /// Comparisons that come out as they were judged.
    right: f64,
    /// Rewards of good answers, and how many there are.
    chosen: [f64; 2],
    /// The same of bad ones.
    rejected: [f64; 2],
}

impl Outcome {
    /// Numbers of an outcome.
    pub(crate) const LEN: usize = 7;

    /// Of a likelihood.
    pub(crate) fn of_nats(nats: f64) -> Self {
        Self { loss: nats, nats, ..Self::default() }
    }

    pub(crate) fn to_array(self) -> [f64; Self::LEN] {
        let Self { loss, nats, right, chosen: [a, b], rejected: [c, d] } = self;
        [loss, nats, right, a, b, c, d]
    }

    pub(crate) fn from_array([loss, nats, right, a, b, c, d]: [f64; Self::LEN]) -> Self {
        Self { loss, nats, right, chosen: [a, b], rejected: [c, d] }
    }

    pub(crate) fn add(&mut self, other: Self) {
        let (mine, others) = (self.to_array(), other.to_array());
        *self = Self::from_array(std::array::from_fn(|at| mine[at] + others[at]));
    }

    /// Means, where anything was compared.
    pub(crate) fn told(&self, units: u64) -> Option<Told> {
        let mean = |[sum, count]: [f64; 2]| if count > 0.0 { sum / count } else { 0.0 };
        (self.chosen[1] + self.rejected[1] > 0.0).then(|| Told {
            accuracy: self.right / units.max(1) as f64,
            chosen: mean(self.chosen),
            rejected: mean(self.rejected),
        })
    }

    fn reward(&mut self, kind: Side, reward: f64) {
        let of = if kind == Side::Good { &mut self.chosen } else { &mut self.rejected };
        *of = [of[0] + reward, of[1] + 1.0];
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Good,
    Bad,
}

/// What a batch of comparisons is judged by.
#[derive(Clone, Copy)]
pub(crate) struct Judge<'a> {
    pub(crate) preference: Preference,
    pub(crate) examples: &'a Examples,
    /// Log-probability of each sequence's answer before the run; empty where none is needed.
    pub(crate) reference: &'a [f32],
}

impl Judge<'_> {
    /// The outcome of a batch of whole units, from the losses of its tokens (nats, 0 where nothing
    /// is to be said); `slopes` is made d objective / d log-probability of each sequence.
    pub(crate) fn judge(&self, batch: &Batch, losses: &[f32], slopes: &mut Vec<f64>) -> Outcome {
        let mut answers = vec![Answer::default(); batch.sequence_count as usize];
        let places = batch.sequences.iter().zip(&batch.weights).zip(losses);
        for ((&sequence, &weight), &loss) in places {
            if weight > 0.0 {
                let answer = &mut answers[sequence as usize];
                answer.log_prob -= f64::from(loss);
                answer.tokens += 1.0;
            }
        }
        for (number, &unit) in batch.units.iter().enumerate() {
            for place in 0..2 {
                let reference = self.reference.get(2 * unit as usize + place);
                answers[2 * number + place].reference = f64::from(*reference.unwrap_or(&0.0));
            }
        }
        slopes.clear();
        slopes.resize(answers.len(), 0.0);
        let baseline = self.baseline(batch, &answers);
        let mut outcome = Outcome::default();
        for ((&unit, answers), slopes) in
            batch.units.iter().zip(answers.chunks(2)).zip(slopes.chunks_mut(2))
        {
            self.unit(unit, answers, baseline, slopes, &mut outcome);
        }
        outcome
    }

    /// Targets and bytes of a batch's good answers, and its comparisons.
    pub(crate) fn good(&self, batch: &Batch, bytes: &TokenBytes) -> (u64, u64, u64) {
        let (mut targets, mut of_bytes) = (0, 0);
        for ((&sequence, &weight), &target) in
            batch.sequences.iter().zip(&batch.weights).zip(&batch.targets)
        {
            let kind = self.examples.kind(batch.units[sequence as usize / 2] as usize);
            if weight > 0.0 && sequence.is_multiple_of(2) && kind != Kind::Bad {
                targets += 1;
                of_bytes += u64::from(bytes.len_of(target));
            }
        }
        (targets, of_bytes, batch.units.len() as u64)
    }

    fn unit(
        &self,
        unit: u32,
        answers: &[Answer],
        baseline: f64,
        slopes: &mut [f64],
        outcome: &mut Outcome,
    ) {
        let kind = self.examples.kind(unit as usize);
        match kind {
            Kind::Pair => {
                let graded = self.preference.pair(answers[0], answers[1]);
                let Graded { loss, slopes: of, rewards } = graded;
                slopes.copy_from_slice(&of);
                outcome.loss += loss;
                outcome.nats -= answers[0].log_prob;
                outcome.right += above(rewards[0], rewards[1]);
                outcome.reward(Side::Good, rewards[0]);
                outcome.reward(Side::Bad, rewards[1]);
            }
            Kind::Good | Kind::Bad => {
                let graded = self.preference.alone(answers[0], kind == Kind::Good, baseline);
                slopes[0] = graded.slopes[0];
                outcome.loss += graded.loss;
                let reward = graded.rewards[0];
                let side = if kind == Kind::Good { Side::Good } else { Side::Bad };
                if side == Side::Good {
                    outcome.nats -= answers[0].log_prob;
                }
                // Alone, right is what became more probable where it was good.
                let [low, high] = if side == Side::Good { [0.0, reward] } else { [reward, 0.0] };
                outcome.right += above(high, low);
                outcome.reward(side, reward);
            }
        }
    }

    /// KTO's reference point: how far the policy is from the reference on answers to other
    /// questions, over the batch, 0 at least. It has no gradient.
    fn baseline(&self, batch: &Batch, answers: &[Answer]) -> f64 {
        if self.preference.loss != PreferenceLoss::Kto || batch.units.is_empty() {
            return 0.0;
        }
        let others = answers.chunks(2).map(|pair| pair[1].log_prob - pair[1].reference);
        (others.sum::<f64>() / batch.units.len() as f64).max(0.0)
    }
}

/// 1 where the first is the larger one, one half where neither is.
fn above(high: f64, low: f64) -> f64 {
    match high.partial_cmp(&low) {
        Some(std::cmp::Ordering::Greater) => 1.0,
        Some(std::cmp::Ordering::Equal) => 0.5,
        _ => 0.0,
    }
}

impl Objective {
    /// Refuses what cannot be learned by it.
    ///
    /// # Errors
    /// `Setting`: a number out of its range, or examples that it does not take.
    pub fn check(&self, examples: &Examples) -> Result<(), TrainError> {
        match self {
            Self::Likelihood => Ok(()),
            Self::Preference(preference) => preference.check(examples),
        }
    }
}
