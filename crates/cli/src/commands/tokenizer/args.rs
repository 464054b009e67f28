//! The command line of `lucid tokenizer`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};

#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct TokenizerArgs {
    #[command(subcommand)]
    pub(crate) command: TokenizerCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum TokenizerCommand {
    /// Make a vocabulary from text: byte-level BPE
    Train(TrainArgs),
    /// How well a vocabulary suits texts
    Report(ReportArgs),
}

#[derive(Clone, Debug, ClapArgs)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
#[command(after_help = "Examples:
  lucid tokenizer train books/ --vocab-size 8192
  lucid tokenizer train a.txt b.txt --output tokenizer.json --gguf vocabulary.gguf
  lucid tokenizer train books/ --pattern gpt2 --special '<|endoftext|>'
  lucid tokenizer train books/ --pattern '\\w+|[^\\w\\s]+|\\s+' --threads 1 --json

A folder stands for the files in it, in the order of their names. Patterns with a name: gpt2,
llama3 (the words of gpt4 and cl100k), qwen2, o200k (gpt4o), tekken.")]
pub(crate) struct TrainArgs {
    /// Texts, and folders of texts
    #[arg(required = true, value_name = "FILES|FOLDERS")]
    pub(crate) inputs: Vec<PathBuf>,
    /// How many tokens, special ones and the 256 bytes included
    #[arg(long, value_name = "N", default_value_t = 1 << 15)]
    pub(crate) vocab_size: usize,
    /// Where to write the vocabulary
    #[arg(long, short = 'o', value_name = "FILE", default_value = "tokenizer.json")]
    pub(crate) output: PathBuf,
    /// Write it as a GGUF file without weights too
    #[arg(long, value_name = "FILE")]
    pub(crate) gguf: Option<PathBuf>,
    /// How text is cut into words, which no token reaches across
    #[arg(long, value_name = "NAME|REGEX", default_value = "llama3")]
    pub(crate) pattern: String,
    /// A control token; may be given more than once [default: Lucid's own ten]
    #[arg(long, value_name = "TEXT")]
    pub(crate) special: Vec<String>,
    /// No control tokens at all
    #[arg(long, conflicts_with = "special")]
    pub(crate) no_special: bool,
    /// Merge only pairs that occur so often
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) min_frequency: u64,
    /// No token longer than this
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_token_bytes: Option<u32>,
    /// Look at each line alone, as the `tokenizers` library reads files; else at each file
    #[arg(long)]
    pub(crate) lines: bool,
    /// Count the bytes of binary files too
    #[arg(long)]
    pub(crate) binary: bool,
    /// Memory for words; above it rare ones are dropped, which is said
    #[arg(long, value_name = "SIZE", default_value = "4G", value_parser = crate::serve_args::size)]
    pub(crate) memory: u64,
    /// Threads that count [default: physical cores, within the quota]
    #[arg(long, short = 't', value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Replace the outputs where they exist
    #[arg(long)]
    pub(crate) force: bool,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What texts are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Grouping {
    /// The ends of their names
    Extension,
    /// What was named on the command line
    Input,
}

#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:
  lucid tokenizer report tokenizer.json books/ code/
  lucid tokenizer report model.gguf notes/ --by extension
  lucid tokenizer report tokenizer.json books/ --json")]
pub(crate) struct ReportArgs {
    /// A vocabulary (tokenizer.json, SentencePiece's .model), or a model
    pub(crate) tokenizer: String,
    /// Texts, and folders of texts
    #[arg(required = true, value_name = "FILES|FOLDERS")]
    pub(crate) inputs: Vec<PathBuf>,
    /// What is a kind of text [default: input where there are several, else extension]
    #[arg(long, value_enum)]
    pub(crate) by: Option<Grouping>,
    /// How many tokens to show of the longest and of the unused
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) top: usize,
    /// Count binary files too
    #[arg(long)]
    pub(crate) binary: bool,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
