//! The command line of `lucid data`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

#[derive(Clone, Debug, ClapArgs)]
#[command(arg_required_else_help = true)]
pub(crate) struct DataArgs {
    #[command(subcommand)]
    pub(crate) command: DataCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// How much there is, what would be dropped and why, and what looks planted
    Report(ReportArgs),
    /// Conversations made in code, for a small assistant: talk, calls, passages, instructions
    Curriculum(CurriculumArgs),
}

#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:
  lucid data curriculum -o lessons                 training.jsonl and held-out.jsonl
  lucid data curriculum -o lessons --items 50000 --seed 2
  lucid data curriculum -o lessons --skill calculator --skill passage
  lucid sft -m run/model.gguf lessons/training.jsonl -o tuned

What is held out is made of other templates, names and things. Each line says how its answer is
judged (`check`).")]
pub(crate) struct CurriculumArgs {
    /// Folder for training.jsonl and held-out.jsonl
    #[arg(long, short)]
    pub(crate) output: PathBuf,
    /// Conversations to learn from
    #[arg(long, default_value_t = 20_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub(crate) items: u64,
    /// Conversations to measure on
    #[arg(long, default_value_t = 1200)]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=100_000_000))]
    pub(crate) held_out: u64,
    /// Of all choices: the same seed gives the same files
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Only these skills; may be given more than once [default: all, as many of each]
    #[arg(long, value_enum)]
    pub(crate) skill: Vec<SkillChoice>,
}

/// Skills of the curriculum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SkillChoice {
    /// What the model is and does
    Talk,
    /// Calls of the calculator
    Calculator,
    /// Answers from a passage, or saying that it has none
    Passage,
    /// Instructions of the system
    Instruction,
    /// Arithmetic by steps
    Arithmetic,
    /// Calls of the operating system
    Syscall,
}

#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:
  lucid data report texts/                      every file in a folder
  lucid data report crawl.warc.gz pages.jsonl.zst --language eng
  lucid data report book.txt --split passages:20000
  lucid data report texts/ --json > report.json

Read are plain text, markdown, JSONL, HTML and WARC, also packed as gz, zst or xz.")]
pub(crate) struct ReportArgs {
    /// Files, and folders of files
    #[arg(value_name = "FILES", required = true)]
    pub(crate) inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) choose: ChooseArgs,
    /// Leave out the search for planted phrases
    #[arg(long)]
    pub(crate) no_poison: bool,
    /// Threads [default: physical cores, within the quota]
    #[arg(long, short = 't', value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// How files become documents, and which of them stay.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Documents")]
pub(crate) struct ChooseArgs {
    /// Where texts become several documents: `whole`, `blank-lines`, `passages:BYTES` or
    /// `separator:TEXT`
    #[arg(long, value_name = "HOW", default_value = "whole")]
    pub(crate) split: String,
    /// The field of JSONL that holds the text
    #[arg(long, value_name = "NAME", default_value = "text")]
    pub(crate) field: String,
    /// The longest document, in bytes; longer texts are cut
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 24)]
    pub(crate) document_bytes_max: usize,
    /// Keep documents in this language only, by its ISO 639-3 code; may be given more than once
    #[arg(long, value_name = "CODE")]
    pub(crate) language: Vec<String>,
    /// Documents have so many words, at least
    #[arg(long, value_name = "N")]
    pub(crate) words_min: Option<usize>,
    /// Keep documents whatever their quality
    #[arg(long)]
    pub(crate) no_filters: bool,
    /// Keep documents that are repeated
    #[arg(long)]
    pub(crate) keep_duplicates: bool,
    /// From which similarity on texts count as nearly the same, 0.3 to 1
    #[arg(long, value_name = "X", default_value_t = 0.75)]
    pub(crate) similarity_min: f64,
}
