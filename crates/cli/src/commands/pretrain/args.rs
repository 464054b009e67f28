//! Arguments of `lucid pretrain`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use lucid_train::{Architecture, Course, Dial, Overrides, Precision, Rule};

/// `lucid pretrain`.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
#[command(after_help = "Examples:
  lucid pretrain book.txt -o run                     a small model, all settings from --depth 4
  lucid pretrain books/ -o run --time 30m            the best that half an hour allows here
  lucid pretrain books/ -o run --size 7m --dry-run   only the plan
  lucid pretrain books/ -o run --validation late/    measured on other text than a share of it
  lucid pretrain books/ -o run --tui                 with curves and keys
  lucid pretrain --resume -o run                     goes on, to the bit, after Ctrl-C or kill -9
  lucid run run/model.gguf                           talks to what was made")]
pub(crate) struct PretrainArgs {
    /// Files and folders of text: plain, markdown, JSONL, HTML, WARC, also compressed
    #[arg(required_unless_present = "resume", conflicts_with = "resume")]
    pub(crate) files: Vec<PathBuf>,
    /// The run's folder: data, checkpoints, events, report, and at last model.gguf
    #[arg(long, short)]
    pub(crate) output: PathBuf,
    /// Go on from the newest checkpoint of the run's folder
    #[arg(long)]
    pub(crate) resume: bool,
    /// Print the plan and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Layers; width, heads, batch, rates and horizon follow [default: 4, or by --time]
    #[arg(long, conflicts_with_all = ["size", "resume"])]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) depth: Option<u16>,
    /// Parameters, about: 7m, 120m, 1b; the nearest depth is taken
    #[arg(long, value_parser = count, conflicts_with = "resume")]
    pub(crate) size: Option<u64>,
    /// Time that the steps may take: 30m, 2h; depth and horizon are planned to end in it
    #[arg(long, value_parser = duration)]
    pub(crate) time: Option<Duration>,
    /// A vocabulary that is there, a tokenizer.json; else one is made of the text
    #[arg(long, conflicts_with_all = ["vocab_size", "resume"])]
    pub(crate) tokenizer: Option<PathBuf>,
    /// Tokens of the vocabulary that is trained [default: 4096]
    #[arg(long, conflicts_with = "resume")]
    #[arg(value_parser = clap::value_parser!(u32).range(300..=262_144))]
    pub(crate) vocab_size: Option<u32>,
    /// Share of the text that is held out, to measure on [default: 256 KiB, within 1 % and 10 %]
    #[arg(long, conflicts_with = "resume")]
    pub(crate) held_out: Option<f64>,
    /// Text to measure on instead of a share: files and folders, read whole
    #[arg(long, value_name = "FILES", num_args = 1.., conflicts_with_all = ["held_out", "resume"])]
    pub(crate) validation: Vec<PathBuf>,
    /// What stands between the documents of a text file; else a file is one document
    #[arg(long, value_name = "TEXT", conflicts_with = "resume")]
    pub(crate) separator: Option<String>,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    #[command(flatten)]
    pub(crate) training: TrainingArgs,
    #[command(flatten)]
    pub(crate) cadence: CadenceArgs,
    /// Threads to compute with [default: physical cores, within the quota]
    #[arg(long, short = 't', value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Instruction set [default: the best there is]; results do not depend on it
    #[arg(long)]
    pub(crate) simd: Option<crate::args::SimdChoice>,
    /// Events as lines of JSON on standard output, nothing else
    #[arg(long)]
    pub(crate) json: bool,
    /// The whole screen, with curves; ? there shows its keys
    #[arg(long, conflicts_with_all = ["json", "dry_run"])]
    pub(crate) tui: bool,
}

/// What the network is like, instead of what follows from the dial.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Network (each follows from the dial)")]
pub(crate) struct NetworkArgs {
    /// Architecture
    #[arg(long, value_enum)]
    pub(crate) arch: Option<ArchitectureChoice>,
    /// Width of the residual stream
    #[arg(long)]
    pub(crate) width: Option<u32>,
    /// Layers, where they are not the dial's
    #[arg(long)]
    pub(crate) layers: Option<u32>,
    /// Query heads
    #[arg(long)]
    pub(crate) heads: Option<u32>,
    /// Key-value heads
    #[arg(long)]
    pub(crate) kv_heads: Option<u32>,
    /// Width of a head
    #[arg(long)]
    pub(crate) head_dim: Option<u32>,
    /// Width inside the feed-forward blocks
    #[arg(long)]
    pub(crate) ff: Option<u32>,
    /// Tokens of a row
    #[arg(long)]
    pub(crate) ctx: Option<u32>,
    /// Whether the head is the embeddings' matrix
    #[arg(long)]
    pub(crate) tied: Option<bool>,
}

/// How it is trained.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Training (each has a rule that the plan names)")]
pub(crate) struct TrainingArgs {
    /// Tokens of the whole run
    #[arg(long, value_parser = count, conflicts_with_all = ["steps", "time"])]
    pub(crate) tokens: Option<u64>,
    /// Optimiser steps of the whole run
    #[arg(long, value_parser = count, conflicts_with = "time")]
    pub(crate) steps: Option<u64>,
    /// Steps of the way down, with --course constant
    #[arg(long)]
    pub(crate) decay: Option<u64>,
    #[command(flatten)]
    pub(crate) steps_are: StepArgs,
}

/// What a step is like, in every kind of run.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Training (each has a rule that the plan names)")]
pub(crate) struct StepArgs {
    /// Tokens of an optimiser step
    #[arg(long, value_parser = count)]
    pub(crate) batch_tokens: Option<u64>,
    /// Peak learning rate
    #[arg(long)]
    pub(crate) lr: Option<f64>,
    /// Weight decay
    #[arg(long)]
    pub(crate) weight_decay: Option<f64>,
    /// Steps of the way up
    #[arg(long)]
    pub(crate) warm_up: Option<u64>,
    /// How the learning rate goes after the warm-up
    #[arg(long, value_enum)]
    pub(crate) course: Option<CourseChoice>,
    /// Who updates the hidden matrices; AdamW updates all else
    #[arg(long, value_enum)]
    pub(crate) optimizer: Option<RuleChoice>,
    /// How operands enter products [default: the faster one on this processor]
    #[arg(long, value_enum)]
    pub(crate) precision: Option<PrecisionChoice>,
    /// Norm of the gradient at most
    #[arg(long)]
    pub(crate) clip: Option<f64>,
    /// Accumulators of gradients [default: the machine's cores]: results depend on their number,
    /// and not on the threads
    #[arg(long)]
    pub(crate) lanes: Option<u32>,
    /// Of weights, data order and samples
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

/// When what happens.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Along the way")]
pub(crate) struct CadenceArgs {
    /// Steps between looks at held-out text
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) validate_every: u64,
    /// Steps between samples; 0: none
    #[arg(long, default_value_t = 500)]
    pub(crate) sample_every: u64,
    /// What samples begin with
    #[arg(long, default_value = "")]
    pub(crate) prompt: String,
    /// Time between checkpoints
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub(crate) save_every: Duration,
    /// Checkpoints kept besides the newest
    #[arg(long, default_value_t = 1)]
    pub(crate) keep: usize,
}

/// Architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArchitectureChoice {
    /// As Llama 2
    Llama,
    /// With norms on queries and keys
    Qwen3,
}

/// Courses of the learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CourseChoice {
    /// The peak, then straight down
    Constant,
    /// Half a cosine
    Cosine,
}

/// Optimisers of hidden matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(crate) enum RuleChoice {
    /// AdamW
    AdamW,
    /// Muon
    Muon,
}

/// Precisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrecisionChoice {
    /// Rounded to bfloat16, summed in f32
    Bf16,
    /// As they are
    F32,
}

impl From<CourseChoice> for Course {
    fn from(choice: CourseChoice) -> Self {
        match choice {
            CourseChoice::Constant => Self::Constant,
            CourseChoice::Cosine => Self::Cosine,
        }
    }
}

impl From<RuleChoice> for Rule {
    fn from(choice: RuleChoice) -> Self {
        match choice {
            RuleChoice::AdamW => Self::AdamW,
            RuleChoice::Muon => Self::Muon,
        }
    }
}

impl From<PrecisionChoice> for Precision {
    fn from(choice: PrecisionChoice) -> Self {
        match choice {
            PrecisionChoice::Bf16 => Self::Bf16,
            PrecisionChoice::F32 => Self::F32,
        }
    }
}

impl StepArgs {
    /// What was set by hand, and what this machine is like.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides {
            batch_tokens: self.batch_tokens.map(|count| count as usize),
            learning_rate: self.lr,
            weight_decay: self.weight_decay,
            warm_up: self.warm_up,
            course: self.course.map(Course::from),
            rule: self.optimizer.map(Rule::from),
            precision: self.precision.map(Precision::from),
            clip: self.clip,
            lanes: self.lanes.map(|count| count as usize),
            cores: Some(lucid_sys::Topology::detect().default_threads()),
            bf16_outpaces_f32: Some(lucid_tensor::Level::detect().bf16_outpaces_f32()),
            seed: self.seed,
            ..Overrides::default()
        }
    }
}

impl PretrainArgs {
    /// The dial.
    pub(crate) fn dial(&self) -> Dial {
        match (self.size, self.depth) {
            (Some(size), _) => Dial::Parameters(size as usize),
            (None, Some(depth)) => Dial::Depth(usize::from(depth)),
            (None, None) if self.time.is_some() => Dial::Time,
            (None, None) => Dial::Depth(4),
        }
    }

    /// What was set by hand.
    pub(crate) fn overrides(&self) -> Overrides {
        let size = |value: Option<u32>| value.map(|value| value as usize);
        let Self { network, training, .. } = self;
        Overrides {
            architecture: network.arch.map(|arch| match arch {
                ArchitectureChoice::Llama => Architecture::Llama,
                ArchitectureChoice::Qwen3 => Architecture::Qwen3,
            }),
            width: size(network.width),
            layer_count: size(network.layers),
            head_count: size(network.heads),
            kv_head_count: size(network.kv_heads),
            head_dim: size(network.head_dim),
            feed_forward_width: size(network.ff),
            context_length: size(network.ctx),
            tied_head: network.tied,
            tokens: training.tokens,
            steps: training.steps,
            decay: training.decay,
            ..training.steps_are.overrides()
        }
    }
}

/// `7m`, `1.5b`, `4096`.
pub(in crate::commands) fn count(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let (number, factor) = match lower.char_indices().last() {
        Some((at, 'k')) => (&lower[..at], 1e3),
        Some((at, 'm')) => (&lower[..at], 1e6),
        Some((at, 'b' | 'g')) => (&lower[..at], 1e9),
        _ => (&lower[..], 1.0),
    };
    match number.parse::<f64>() {
        Ok(value) if value > 0.0 && value * factor <= 1e15 => Ok((value * factor).round() as u64),
        _ => Err("expected a count above 0, such as 4096, 7m or 1.5b".to_owned()),
    }
}

/// `90s`, `30m`, `2h`, `1h30m`.
pub(in crate::commands) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as 90s, 30m, 2h or 1h30m".to_owned();
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(wrong)?;
        let value: f64 = rest[..end].parse().map_err(|_| wrong())?;
        let factor = match rest[end..].chars().next() {
            Some('s') => 1.0,
            Some('m') => 60.0,
            Some('h') => 3600.0,
            _ => return Err(wrong()),
        };
        seconds += value * factor;
        rest = &rest[end + 1..];
    }
    if (1.0..=1e8).contains(&seconds) { Ok(Duration::from_secs_f64(seconds)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_times_are_read_as_people_write_them() {
        assert_eq!(count("7m"), Ok(7_000_000));
        assert_eq!(count("1.5B"), Ok(1_500_000_000));
        assert_eq!(count("4096"), Ok(4096));
        for wrong in ["", "m", "-1", "0", "nan", "1e300", "7x"] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
        assert_eq!(duration("30m"), Ok(Duration::from_secs(1800)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        for wrong in ["", "30", "m", "30x", "-5m", "0s", "9é", "1e9h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
