//! The plan of a run that tunes given weights: its rows follow from what is learned from, its rate
//! from the network's width.
//!
//! Source: Yang et al., arXiv:2203.03466 (the rate falls as the width grows).

use lucid_model::Config;

use super::{MICRO_BATCH_TOKENS, Overrides, Plan, Reason, Reasons, Rule, lanes, precision, range};
use crate::TrainError;
use crate::conversation::Examples;
use crate::network::{Architecture, Network};
use crate::preference::Objective;
use crate::schedule::{Course, LrSchedule};

/// Passes over conversations, unless a person says otherwise.
const EPOCHS: f64 = 3.0;

/// The same over comparisons: a choice, not a measurement.
const COMPARED_EPOCHS: f64 = 1.0;

/// Learning rate of tuning at a width of 256, to be divided by the width as that grows (Yang et
/// al., arXiv:2203.03466, for AdamW's matrices): 2e-5 at 4,096, which is usual there.
const TUNING_RATE: f64 = 3e-4;

/// The same where answers are compared: a tenth, so that few comparisons do not pull the weights
/// far from where they were. A choice, not a measurement.
const COMPARING_RATE: f64 = 3e-5;

/// Steps of a pass over conversations, about.
const STEPS_AN_EPOCH: usize = 40;

/// Tokens of a row of conversations, unless the longest has more.
const ROW_TOKENS: usize = 512;

impl Plan {
    /// A run that tunes given weights to conversations, or to comparisons of answers.
    ///
    /// # Errors
    /// `Setting`: what is out of range, and what it may be.
    pub fn tuning(
        config: &Config,
        examples: &Examples,
        held_out: &Examples,
        objective: Objective,
        overrides: &Overrides,
    ) -> Result<(Self, Vec<Reason>), TrainError> {
        let mut reasons = Reasons(Vec::new());
        objective.check(examples)?;
        let compares = objective != Objective::Likelihood;
        // What is held out has to fit as well.
        let longest = examples.longest_unit().max(held_out.longest_unit());
        let row_tokens = row_tokens(config, longest, examples.unit_len(), overrides, &mut reasons)?;
        let network = given(config, row_tokens);
        let rows = tuned_rows(examples, row_tokens, overrides, &mut reasons)?;
        let seed = overrides.seed.unwrap_or(1);
        let epochs = overrides.epochs.unwrap_or(if compares { COMPARED_EPOCHS } else { EPOCHS });
        range("epochs", epochs, 0.01..=1000.0)?;
        reasons.put("epochs", &epochs, overrides.epochs.is_some(), "usual");
        let rows_per_epoch = examples.rows(row_tokens, seed);
        let all = (epochs * rows_per_epoch as f64 / rows as f64).ceil();
        let steps = overrides.steps.unwrap_or(all as u64).max(1);
        reasons.put("steps", &steps, overrides.steps.is_some(), "epochs x rows / batch");
        let micro = (MICRO_BATCH_TOKENS / row_tokens).clamp(1, rows);
        let lanes = lanes(&network, rows, micro, overrides);
        let usual = if compares { COMPARING_RATE } else { TUNING_RATE };
        let rule = format!("{usual:e} at a width of 256, less as it is wider");
        let rate = overrides.learning_rate.unwrap_or_else(|| tuning_rate(usual, config.width));
        range("learning rate", rate, 1e-9..=10.0)?;
        reasons.put("learning rate", &rate, overrides.learning_rate.is_some(), &rule);
        let warm_up = overrides.warm_up.unwrap_or((steps * 3 / 100).max(1)).min(steps);
        let plan = Self {
            network,
            rows_per_step: rows,
            rows_per_micro_batch: micro,
            lanes,
            learning_rate: rate,
            weight_decay: overrides.weight_decay.unwrap_or(0.0),
            betas: (0.9, 0.95),
            schedule: LrSchedule {
                course: overrides.course.unwrap_or(Course::Constant),
                steps,
                warm_up,
                decay: overrides.decay.unwrap_or(steps - warm_up).min(steps),
                floor: overrides.floor.unwrap_or(0.0),
            },
            rule: overrides.rule.unwrap_or(Rule::AdamW),
            precision: precision(overrides, &mut reasons),
            clip: overrides.clip.unwrap_or(1.0),
            seed,
            objective,
        };
        range("weight decay", plan.weight_decay, 0.0..=10.0)?;
        range("floor", plan.schedule.floor, 0.0..=1.0)?;
        range("clip", plan.clip, 1e-6..=1e6)?;
        Ok((plan, reasons.0))
    }
}

/// The dimensions of given weights, for rows of so many tokens.
fn given(config: &Config, row_tokens: usize) -> Network {
    Network {
        architecture: Architecture::Given,
        vocab_size: config.vocab_size,
        width: config.width,
        layer_count: config.layer_count,
        head_count: config.head_count,
        kv_head_count: config.kv_head_count,
        head_dim: config.head_dim,
        feed_forward_width: config.feed_forward_width,
        context_length: row_tokens,
        tied_head: config.tied_head,
        rotary_theta: config.rotary.theta,
    }
}

/// Long enough for the longest conversation and for some short ones together.
fn row_tokens(
    config: &Config,
    longest: usize,
    per_unit: usize,
    overrides: &Overrides,
    reasons: &mut Reasons,
) -> Result<usize, TrainError> {
    // Sequences that are compared stand in a row together, each within the context.
    let most = per_unit * config.context_length;
    let usual = longest.max(ROW_TOKENS).next_multiple_of(64).min(most);
    let tokens = overrides.context_length.unwrap_or(usual);
    let set = overrides.context_length.is_some();
    reasons.put("row tokens", &tokens, set, "the longest conversation, 512 at least");
    if tokens > most || tokens < longest.max(2) {
        return Err(TrainError::Setting {
            what: "row tokens".to_owned(),
            found: tokens.to_string(),
            expected: format!("{} to {most}", longest.max(2)),
        });
    }
    Ok(tokens)
}

/// Rows of a step: some tens of steps an epoch, where there is enough for that.
fn tuned_rows(
    examples: &Examples,
    row_tokens: usize,
    overrides: &Overrides,
    reasons: &mut Reasons,
) -> Result<usize, TrainError> {
    let tokens = overrides
        .batch_tokens
        .unwrap_or_else(|| (examples.tokens() as usize / STEPS_AN_EPOCH).clamp(2048, 16_384));
    let rows = (tokens as f64 / row_tokens as f64).round().max(1.0) as usize;
    if rows > 10_000_000 {
        return Err(TrainError::Setting {
            what: "batch tokens".to_owned(),
            found: tokens.to_string(),
            expected: "at most 10^7 rows".to_owned(),
        });
    }
    let set = overrides.batch_tokens.is_some();
    reasons.put("batch tokens", &(rows * row_tokens), set, "1/40 of an epoch, 2,048 to 16,384");
    Ok(rows)
}

fn tuning_rate(usual: f64, width: usize) -> f64 {
    let rate = usual * (256.0 / width as f64).min(4.0);
    (rate * 1e7).round() / 1e7
}
