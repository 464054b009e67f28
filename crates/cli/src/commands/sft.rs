//! `lucid sft`: supervised fine-tuning of a model to conversations.

use anyhow::Result;
use clap::Args;
use lucid_train::Objective;

use super::tune::args::TuneArgs;
use super::tune::{self, Tuning};
use crate::env::Environment;

/// `lucid sft`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  lucid sft -m run/model.gguf chats.jsonl -o tuned      three passes over the conversations
  lucid sft -m qwen3 data/*.json -o tuned --dry-run     what is in the files, and the plan
  lucid sft -m run/model.gguf chats.jsonl -o tuned --time 10m
  lucid sft --resume -o tuned                           goes on, to the bit, after Ctrl-C or kill -9
  lucid run tuned/model.gguf                            talks to what was made

A line of a file is a conversation, in one of these shapes (or a file is one JSON list of them):
  {\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"},
                {\"role\": \"assistant\", \"content\": \"Hello!\"}]}
  {\"conversations\": [{\"from\": \"human\", \"value\": \"Hi\"},
                     {\"from\": \"gpt\", \"value\": \"Hello!\"}]}
  {\"instruction\": \"Greet me.\", \"input\": \"\", \"output\": \"Hello!\"}
  {\"prompt\": \"Hi\", \"completion\": \"Hello!\"}
Only what the assistant says is learned.")]
pub(crate) struct SftArgs {
    #[command(flatten)]
    tune: TuneArgs,
}

pub(crate) fn run(args: &SftArgs, environment: &Environment) -> Result<i32> {
    let tuning = Tuning { kind: "sft", args: &args.tune, objective: Objective::Likelihood };
    tune::run(tuning, environment)
}
