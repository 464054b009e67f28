//! `lucid dpo`: a model tuned to comparisons of answers, without a reward model.

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use lucid_train::{Objective, Preference, PreferenceLoss, Reference};

use super::tune::args::TuneArgs;
use super::tune::{self, Tuning};
use crate::env::Environment;

/// `lucid dpo`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  lucid dpo -m tuned/model.gguf pairs.jsonl -o better          one pass over the comparisons
  lucid dpo -m tuned/model.gguf pairs.jsonl -o better --loss simpo
  lucid dpo -m tuned/model.gguf thumbs.jsonl -o better --loss kto
  lucid dpo --resume -o better                                 goes on after Ctrl-C or kill -9

A line of a file is a comparison, in one of these shapes (or a file is one JSON list of them):
  {\"prompt\": \"Hi\", \"chosen\": \"Hello!\", \"rejected\": \"What?\"}
  {\"instruction\": \"Greet me.\", \"chosen\": \"Hello!\", \"rejected\": \"No.\"}
  {\"chosen\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", ...}],
   \"rejected\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", ...}]}
  {\"conversations\": [...], \"chosen\": {\"from\": \"gpt\", ...}, \"rejected\": {...}}
  {\"messages\": [...], \"label\": true}      an answer judged alone, for --loss kto")]
pub(crate) struct DpoArgs {
    #[command(flatten)]
    tune: TuneArgs,
    /// Loss over the comparisons [default: dpo]
    #[arg(long, conflicts_with = "resume")]
    loss: Option<LossChoice>,
    /// Strength of the pull to the reference; of the odds ratio in orpo [default: 0.1, simpo 2]
    #[arg(long, conflicts_with = "resume")]
    beta: Option<f64>,
    /// Compare with no reference: as if all answers had been as probable (dpo, ipo)
    #[arg(long, conflicts_with = "resume")]
    reference_free: bool,
    /// Share of comparisons that may be judged the wrong way around (dpo) [default: 0]
    #[arg(long, conflicts_with = "resume")]
    label_smoothing: Option<f64>,
    /// By how much the better answer should be ahead (dpo, simpo) [default: 0, simpo 1]
    #[arg(long, conflicts_with = "resume")]
    margin: Option<f64>,
    /// Weight of good answers (kto) [default: 1]
    #[arg(long, conflicts_with = "resume")]
    good_weight: Option<f64>,
    /// Weight of bad answers (kto) [default: 1]
    #[arg(long, conflicts_with = "resume")]
    bad_weight: Option<f64>,
}

/// The losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LossChoice {
    /// Direct preference optimisation
    Dpo,
    /// Identity preference optimisation: a squared distance, for judgements that never err
    Ipo,
    /// Answers judged alone, as by thumbs
    Kto,
    /// Likelihood and odds ratio at once; needs no tuned model and no reference
    Orpo,
    /// Mean log-probabilities with a margin; no reference
    Simpo,
}

impl LossChoice {
    const fn loss(self) -> PreferenceLoss {
        match self {
            Self::Dpo => PreferenceLoss::Dpo,
            Self::Ipo => PreferenceLoss::Ipo,
            Self::Kto => PreferenceLoss::Kto,
            Self::Orpo => PreferenceLoss::Orpo,
            Self::Simpo => PreferenceLoss::Simpo,
        }
    }
}

pub(crate) fn run(args: &DpoArgs, environment: &Environment) -> Result<i32> {
    let objective = Objective::Preference(preference(args)?);
    tune::run(Tuning { kind: "dpo", args: &args.tune, objective }, environment)
}

/// The loss with what was set; refuses what it does not use.
fn preference(args: &DpoArgs) -> Result<Preference> {
    let choice = args.loss.unwrap_or(LossChoice::Dpo);
    let loss = choice.loss();
    let usual = Preference::usual(loss);
    let of = |losses: &[LossChoice]| losses.contains(&choice);
    let unused = [
        ("--reference-free", args.reference_free && !of(&[LossChoice::Dpo, LossChoice::Ipo])),
        ("--label-smoothing", args.label_smoothing.is_some() && !of(&[LossChoice::Dpo])),
        ("--margin", args.margin.is_some() && !of(&[LossChoice::Dpo, LossChoice::Simpo])),
        ("--good-weight", args.good_weight.is_some() && !of(&[LossChoice::Kto])),
        ("--bad-weight", args.bad_weight.is_some() && !of(&[LossChoice::Kto])),
    ];
    if let Some((option, _)) = unused.iter().find(|(_, unused)| *unused) {
        let name = choice.to_possible_value().map_or_else(String::new, |it| it.get_name().into());
        bail!("{option} has no meaning for --loss {name}; `lucid dpo --help` says which have it");
    }
    let reference = if args.reference_free { Reference::Nothing } else { usual.reference };
    Ok(Preference {
        loss,
        beta: args.beta.unwrap_or(usual.beta),
        reference,
        label_smoothing: args.label_smoothing.unwrap_or(0.0),
        margin: args.margin.unwrap_or(usual.margin),
        weights: (args.good_weight.unwrap_or(1.0), args.bad_weight.unwrap_or(1.0)),
    })
}
