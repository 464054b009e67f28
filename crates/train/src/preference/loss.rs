//! The losses, each over the log-probabilities of whole answers.
//!
//! Sources: DPO, Rafailov et al., arXiv:2305.18290, equation 7; label smoothing, Mitchell,
//! "A note on DPO with noisy preferences" (2023); IPO, Azar et al., arXiv:2310.12036, equation 17;
//! KTO, Ethayarajh et al., arXiv:2402.01306, section 4; ORPO, Hong et al., arXiv:2403.07691,
//! equations 6 and 7; SimPO, Meng et al., arXiv:2405.14734, equation 6.
//! Departures: (1) IPO's log-probabilities are means over the tokens of an answer, as its authors
//! and TRL have it since, not sums. (2) ORPO's likelihood is that of the good answer alone, without
//! its question. (3) KTO's reference point is taken over a micro-batch, with answers to the
//! question of the next conversation as mismatched ones.

use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::conversation::{Examples, Judged, Kind};
use crate::plan::range;

/// Which loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PreferenceLoss {
    /// Logistic in the difference of the implicit rewards.
    Dpo,
    /// Square distance of that difference from a target.
    Ipo,
    /// Answers judged alone, by a value function with a reference point.
    Kto,
    /// Likelihood of the good answer, and logistic in the log odds ratio; no reference.
    Orpo,
    /// Logistic in the difference of mean log-probabilities beyond a margin; no reference.
    Simpo,
}

/// What answers are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reference {
    /// The weights that the run began with.
    Base,
    /// Nothing: as if all answers of a question were as probable.
    Nothing,
}

/// A loss and its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preference {
    /// Which.
    pub loss: PreferenceLoss,
    /// Strength of the pull to the reference; for ORPO the weight of the odds ratio (lambda).
    pub beta: f64,
    /// What is compared with.
    pub reference: Reference,
    /// Share of the comparisons that may be judged the wrong way around (DPO), below one half.
    pub label_smoothing: f64,
    /// By how much the good answer should be ahead, in units of reward (SimPO's gamma).
    pub margin: f64,
    /// Weights of good and of bad answers (KTO).
    pub weights: (f64, f64),
}

/// What is known of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    /// Its log-probability, nats.
    pub(crate) log_prob: f64,
    /// Its tokens.
    pub(crate) tokens: f64,
    /// Its log-probability before the run.
    pub(crate) reference: f64,
}

impl Answer {
    fn mean(self) -> f64 {
        self.log_prob / self.tokens.max(1.0)
    }

    fn reference_mean(self) -> f64 {
        self.reference / self.tokens.max(1.0)
    }
}

/// A loss, its derivatives by the log-probabilities, and the implicit rewards: of the good and of
/// the bad answer, or of one that was judged alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Graded {
    pub(crate) loss: f64,
    pub(crate) slopes: [f64; 2],
    pub(crate) rewards: [f64; 2],
}

impl PreferenceLoss {
    /// Beta, unless a person says otherwise: those of the papers' experiments.
    pub const fn usual_beta(self) -> f64 {
        match self {
            Self::Simpo => 2.0,
            Self::Dpo | Self::Ipo | Self::Kto | Self::Orpo => 0.1,
        }
    }

    /// How answers have to be judged for it.
    pub const fn judged(self) -> Judged {
        match self {
            Self::Kto => Judged::Alone,
            Self::Dpo | Self::Ipo | Self::Orpo | Self::Simpo => Judged::InPairs,
        }
    }

    /// Whether it is defined by a reference.
    pub const fn has_reference(self) -> bool {
        matches!(self, Self::Dpo | Self::Ipo | Self::Kto)
    }
}

impl Preference {
    /// A loss with its usual numbers.
    pub const fn usual(loss: PreferenceLoss) -> Self {
        let reference = if loss.has_reference() { Reference::Base } else { Reference::Nothing };
        let margin = if matches!(loss, PreferenceLoss::Simpo) { 1.0 } else { 0.0 };
        let (beta, weights) = (loss.usual_beta(), (1.0, 1.0));
        Self { loss, beta, reference, label_smoothing: 0.0, margin, weights }
    }

    /// A good and a bad answer to the same question.
    pub(crate) fn pair(&self, chosen: Answer, rejected: Answer) -> Graded {
        let Self { beta, margin, .. } = *self;
        let lens = [chosen.tokens.max(1.0), rejected.tokens.max(1.0)];
        match self.loss {
            PreferenceLoss::Dpo => {
                let rewards = [chosen, rejected].map(|one| beta * (one.log_prob - one.reference));
                let ahead = rewards[0] - rewards[1] - margin;
                let smooth = self.label_smoothing;
                let loss = (1.0 - smooth) * softplus(-ahead) + smooth * softplus(ahead);
                let slope = beta * (smooth * sigmoid(ahead) - (1.0 - smooth) * sigmoid(-ahead));
                Graded { loss, slopes: [slope, -slope], rewards }
            }
            PreferenceLoss::Ipo => {
                let ratio = [chosen, rejected].map(|one| one.mean() - one.reference_mean());
                let far = ratio[0] - ratio[1] - 1.0 / (2.0 * beta);
                let slopes = [2.0 * far / lens[0], -2.0 * far / lens[1]];
                Graded { loss: far * far, slopes, rewards: ratio.map(|one| beta * one) }
            }
            PreferenceLoss::Simpo => {
                let rewards = [chosen, rejected].map(|one| beta * one.mean());
                let ahead = rewards[0] - rewards[1] - margin;
                let slope = -beta * sigmoid(-ahead);
                let slopes = [slope / lens[0], -slope / lens[1]];
                Graded { loss: softplus(-ahead), slopes, rewards }
            }
            PreferenceLoss::Orpo => {
                let means = [chosen.mean(), rejected.mean()];
                // log(p / (1 - p)); a mean of 0 would be an answer that is certain.
                let odds = means.map(|mean| mean - log_of_rest(mean));
                let ahead = odds[0] - odds[1];
                // The odds' derivative by the mean is 1 / (1 - p).
                let pull = means.map(|mean| beta * sigmoid(-ahead) / -mean.min(NEARLY_0).exp_m1());
                let slopes = [(-1.0 - pull[0]) / lens[0], pull[1] / lens[1]];
                let loss = -means[0] + beta * softplus(-ahead);
                Graded { loss, slopes, rewards: means.map(|mean| beta * mean) }
            }
            PreferenceLoss::Kto => unreachable!("`check` lets it have no pairs"),
        }
    }

    /// An answer that was found good, or bad; `baseline` in nats.
    pub(crate) fn alone(&self, answer: Answer, good: bool, baseline: f64) -> Graded {
        let ratio = answer.log_prob - answer.reference;
        let sign = if good { 1.0 } else { -1.0 };
        let weight = if good { self.weights.0 } else { self.weights.1 };
        let value = sigmoid(sign * self.beta * (ratio - baseline));
        let slope = -weight * sign * self.beta * value * (1.0 - value);
        let reward = self.beta * ratio;
        Graded { loss: weight * (1.0 - value), slopes: [slope, 0.0], rewards: [reward, 0.0] }
    }

    /// Refuses numbers out of their range and examples of the wrong kind.
    pub(super) fn check(&self, examples: &Examples) -> Result<(), TrainError> {
        range("beta", self.beta, 1e-6..=1e3)?;
        range("label smoothing", self.label_smoothing, 0.0..=0.499)?;
        range("margin", self.margin, 0.0..=1e3)?;
        range("weight of good answers", self.weights.0, 0.0..=1e3)?;
        range("weight of bad answers", self.weights.1, 0.0..=1e3)?;
        let alone = self.loss == PreferenceLoss::Kto;
        if alone && self.reference == Reference::Nothing {
            return Err(TrainError::Setting {
                what: "the reference of kto".to_owned(),
                found: "none".to_owned(),
                expected: "one: its values are distances from a reference".to_owned(),
            });
        }
        let fits = |at| (examples.kind(at) == Kind::Pair) != alone;
        if (0..examples.units()).all(fits) {
            return Ok(());
        }
        Err(TrainError::Setting {
            what: "the loss".to_owned(),
            found: format!("{:?}", self.loss).to_lowercase(),
            expected: "one for pairs of answers where pairs are given; kto also takes answers \
                       that are judged alone"
                .to_owned(),
        })
    }
}

/// Below it a mean log-probability is taken for an answer that is not quite certain.
const NEARLY_0: f64 = -1e-6;

/// log(1 - exp(x)), for x below 0.
fn log_of_rest(x: f64) -> f64 {
    (-x.min(NEARLY_0).exp_m1()).ln()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// -log(sigmoid(-x)), without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
