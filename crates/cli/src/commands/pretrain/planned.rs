//! The plan of a run; with `--time` after a look at how fast this machine trains such a network.

use std::rc::Rc;

use anyhow::Result;
use lucid_tokenizer::Tokenizer;
use lucid_train::data::{Prepared, Side};
use lucid_train::{Alone, Limits, Network, Overrides, Pace, Plan, Precision, Reason, Time};

use super::args::PretrainArgs;
use super::{report, setup};
use crate::output;

/// What share of the processor's multiply-adds steps get, before any was measured.
const FIRST_GUESS: f64 = 0.4;

/// What share of the time is planned for steps; the rest goes to looks, samples and checkpoints.
/// The horizon is planned anew along the way, by what they took.
const STEPS_SHARE: f64 = 0.97;

/// Networks that are tried at most: one leads to the next until the same is chosen again.
const TRIALS: usize = 4;

/// Tokens to learn from.
pub(super) fn tokens(data: &Prepared) -> u64 {
    data.entries(Side::Training).iter().map(|entry| entry.tokens).sum()
}

/// The plan, with the rule that each part came from.
pub(super) fn plan(
    args: &PretrainArgs,
    tokenizer: &Tokenizer,
    data: &Prepared,
    overrides: &Overrides,
    threads: usize,
    ranks: usize,
) -> Result<(Plan, Vec<Reason>)> {
    let corpus_tokens = tokens(data);
    let planned = |time| {
        let limits = Limits { corpus_tokens, time };
        Plan::new(args.dial(), tokenizer.len(), &limits, overrides)
    };
    let Some(limit) = args.time else { return Ok(planned(None)?) };
    let timed = |operations_per_second: f64| {
        let seconds = STEPS_SHARE * limit.as_secs_f64();
        planned(Some(Time { seconds, operations_per_second }))
    };
    let (mut plan, _) = timed(FIRST_GUESS * ranks as f64 * report::peak(threads, Precision::F32))?;
    let mut tried: Vec<(Network, f64)> = Vec::new();
    loop {
        let known = tried.iter().find(|(network, _)| *network == plan.network);
        if let Some((_, speed)) = known {
            return Ok(timed(*speed)?);
        }
        let shape = format!("{} x {}", plan.network.layer_count, plan.network.width);
        output::note(format_args!("measuring a few steps of {shape} ..."));
        let pace = Pace::measure(
            &plan,
            setup(args, data, tokenizer, plan.seed, threads, Rc::new(Alone))?,
        )?;
        // The others are taken to be as fast as this one.
        let speed = ranks as f64 * pace.operations_per_second(&plan);
        tried.push((plan.network.clone(), speed));
        let next = timed(speed)?;
        if next.0.network == plan.network || tried.len() == TRIALS {
            return Ok(next);
        }
        plan = next.0;
    }
}
