//! Arguments of all commands that tune given weights.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lucid_train::Overrides;

use crate::commands::pretrain::args::{StepArgs, count, duration};

/// What is tuned to what, and how.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
pub(crate) struct TuneArgs {
    /// Files to learn from, and folders of them: .jsonl, .json
    #[arg(required_unless_present = "resume", conflicts_with = "resume")]
    pub(crate) files: Vec<PathBuf>,
    /// Model to tune: a path, or a name from `lucid list`; its weights must not be quantised
    #[arg(long, short = 'm', required_unless_present = "resume", conflicts_with = "resume")]
    pub(crate) model: Option<String>,
    /// The run's folder: checkpoints, events, report, and at last model.gguf
    #[arg(long, short)]
    pub(crate) output: PathBuf,
    /// Go on from the newest checkpoint of the run's folder
    #[arg(long)]
    pub(crate) resume: bool,
    /// Print what is in the files and the plan, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Passes over the files [default: 3; over comparisons 1]
    #[arg(long, conflicts_with_all = ["steps", "resume"])]
    pub(crate) epochs: Option<f64>,
    /// Optimiser steps of the whole run
    #[arg(long, value_parser = count, conflicts_with_all = ["time", "resume"])]
    pub(crate) steps: Option<u64>,
    /// Time that the run may take, if that is less: 30m, 2h
    #[arg(long, value_parser = duration)]
    pub(crate) time: Option<Duration>,
    /// Share that is held out, to measure on [default: 0.05]
    #[arg(long, conflicts_with = "resume")]
    pub(crate) held_out: Option<f64>,
    /// Fail if a line is not what it should be, instead of leaving it out
    #[arg(long)]
    pub(crate) strict: bool,
    /// The chat template to learn, a Jinja file [default: the model's own]
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub(crate) chat_template: Option<PathBuf>,
    /// Tokens of a conversation at most; longer ones lose their last answers [default: 2048]
    #[arg(long, conflicts_with = "resume", value_parser = clap::value_parser!(u32).range(16..))]
    pub(crate) ctx: Option<u32>,
    #[command(flatten)]
    pub(crate) training: StepArgs,
    /// Steps between looks at what is held out
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) validate_every: u64,
    /// Steps between samples: an answer to a question that is held out; 0: none
    #[arg(long, default_value_t = 100)]
    pub(crate) sample_every: u64,
    /// Time between checkpoints
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub(crate) save_every: Duration,
    /// Threads to compute with [default: physical cores, within the quota]
    #[arg(long, short = 't', value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Instruction set [default: the best there is]; results do not depend on it
    #[arg(long)]
    pub(crate) simd: Option<crate::args::SimdChoice>,
    /// Events as lines of JSON on standard output, nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

impl TuneArgs {
    /// What was set by hand.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides { epochs: self.epochs, steps: self.steps, ..self.training.overrides() }
    }
}
