//! What `lucid do` and the commands beside it take.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

use crate::args::{ComputeArgs, SamplingArgs};

/// Where processes live.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct StoreArgs {
    /// Folder of the log and of applications' files [default: lucid/os in the data folder]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) store: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  lucid do --model model.gguf \"What is 1234 * 5678?\"
  lucid do -m model.gguf -f report.txt \"What does it say of sales?\"
  lucid do -m model.gguf --from-elsewhere mail.txt \"Is this spam?\"
  lucid do --continue                      go on with what was interrupted
  lucid do --provider anthropic -m NAME --tokens 2000 \"...\"

What a text says decides nothing: after a process has read one that came from elsewhere, whatever
reaches outside needs your approval, or a flow that was granted before.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct DoArgs {
    /// What is to be done [default: text on standard input]
    pub(crate) task: Option<String>,
    /// Model: a path, a name from `lucid list`, or ORG/REPO[:FILE] [default: the only one here]
    #[arg(long, short = 'm')]
    pub(crate) model: Option<String>,
    /// Ask a remote API instead: openai, anthropic, an address, or a name of your own
    #[arg(long)]
    pub(crate) provider: Option<String>,
    /// Text of your own that belongs to the task; may be given more than once
    #[arg(long, short = 'f', value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// Text that came from elsewhere, and whose word is nobody's; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub(crate) from_elsewhere: Vec<PathBuf>,
    /// Go on with what was interrupted
    #[arg(long = "continue")]
    #[arg(conflicts_with_all = ["task", "file", "from_elsewhere", "model", "provider"])]
    pub(crate) go_on: bool,
    /// End after so many tokens of answers
    #[arg(long, value_name = "N", conflicts_with = "go_on")]
    pub(crate) tokens: Option<u64>,
    /// End after so many seconds of the model's time
    #[arg(long, value_name = "N", conflicts_with = "go_on")]
    pub(crate) seconds: Option<u64>,
    /// End when so many US dollars are spent
    #[arg(long, value_name = "X", conflicts_with = "go_on")]
    pub(crate) dollars: Option<f64>,
    /// End at the latest after so many seconds
    #[arg(long, value_name = "SECONDS", conflicts_with = "go_on")]
    pub(crate) deadline: Option<u64>,
    /// Tokens of the window; pages leave it when it is full [default: the model's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(512..))]
    pub(crate) window: Option<u32>,
    /// Ask nobody: what would have to be asked is refused
    #[arg(long)]
    pub(crate) no_ask: bool,
    /// Show only the result
    #[arg(long, short = 'q')]
    pub(crate) quiet: bool,
    /// The result as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  lucid ps
  lucid ps --json")]
pub(crate) struct PsArgs {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  lucid kill 3              end it when its turn is over
  lucid kill 3 -s KILL      end it now
  lucid kill 3 -s STOP      let it stand still; CONT lets it go on")]
pub(crate) struct KillArgs {
    /// Which process
    pub(crate) pid: u64,
    /// What it is told
    #[arg(long, short = 's', value_enum, default_value = "TERM", ignore_case = true)]
    pub(crate) signal: SignalChoice,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "UPPER")]
pub(crate) enum SignalChoice {
    /// End when the turn is over
    Term,
    /// End now
    Kill,
    /// Stand still
    Stop,
    /// Go on
    Cont,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  lucid logs                  the last events
  lucid logs --pid 3 -n 200
  lucid logs --check          decide everything again that the log tells of")]
pub(crate) struct LogsArgs {
    /// Events of this process only
    #[arg(long)]
    pub(crate) pid: Option<u64>,
    /// How many of the last ones
    #[arg(long, short = 'n', default_value_t = 40)]
    pub(crate) count: usize,
    /// Check the chain, and that each decision comes out again as it was
    #[arg(long)]
    pub(crate) check: bool,
    /// As JSON, one event a line
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  lucid pages 3               what is in the window of process 3, and what is out
  lucid pages 3 --show 12     the text of page 12
  lucid pages 3 --pin 12      page 12 stays in
  lucid pages 3 --out 12      page 12 leaves; --in 12 brings it back")]
pub(crate) struct PagesArgs {
    /// Which process
    pub(crate) pid: u64,
    /// Show the text of a page
    #[arg(long, value_name = "PAGE", group = "what")]
    pub(crate) show: Option<u64>,
    /// Keep a page in the window
    #[arg(long, value_name = "PAGE", group = "what")]
    pub(crate) pin: Option<u64>,
    /// Let a page that was kept leave again
    #[arg(long, value_name = "PAGE", group = "what")]
    pub(crate) unpin: Option<u64>,
    /// Let a page leave the window
    #[arg(long, value_name = "PAGE", group = "what")]
    pub(crate) out: Option<u64>,
    /// Bring a page back
    #[arg(long = "in", value_name = "PAGE", group = "what")]
    pub(crate) back: Option<u64>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  lucid logs                  shows the numbers of events
  lucid why 57                the rule, the labels and the texts behind a decision")]
pub(crate) struct WhyArgs {
    /// The number of an event: a decision, or what has to do with the call it was about
    pub(crate) event: u64,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  lucid forget 3:12           the text of page 12 of process 3
  lucid forget 9f2c...        a content by its name (64 digits, as in `lucid logs --json`)

The text is deleted and overwritten. That it was there stays in the log, whose chain still holds;
what a model wrote after reading it stays, too.")]
pub(crate) struct ForgetArgs {
    /// PID:PAGE, or the name of a content
    pub(crate) what: String,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}
