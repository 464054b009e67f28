//! The command line: every command, flag and example that `--help` shows.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// Run, look into and convert language models: two files, offline, on your own machine.
#[derive(Debug, Parser)]
#[command(name = "lucid", version, about, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Examples:
  lucid run model.gguf                          chat with a model
  lucid run model.gguf \"Once upon a time\"       one answer, streamed
  lucid next model.gguf \"The capital of France is\"
  lucid show model.gguf                         what is in the two files
  lucid serve model.gguf                        for programs, and a page in the browser

MODEL is a path, a name from `lucid list`, or ORG/REPO[:FILE] of Hugging Face.")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Chat with a model, or let it continue a text
    Run(RunArgs),
    /// Have a task done by a model with tools, files and a log
    Do(Box<crate::os_args::DoArgs>),
    /// Processes: what they do, and what they have read
    Ps(crate::os_args::PsArgs),
    /// Tell a process to end, to stand still or to go on
    Kill(crate::os_args::KillArgs),
    /// What happened, event by event
    Logs(crate::os_args::LogsArgs),
    /// What is in a process's window, and what is out of it
    Pages(crate::os_args::PagesArgs),
    /// Why a call was allowed, asked about or denied
    Why(crate::os_args::WhyArgs),
    /// Delete a text that a process was given
    Forget(crate::os_args::ForgetArgs),
    /// Serve models to programs and to a browser
    Serve(crate::serve_args::ServeArgs),
    /// What a running server has loaded, and whom it serves
    Status(crate::serve_args::StatusArgs),
    /// API keys of the server
    Key(crate::serve_args::KeyArgs),
    /// The distribution of the next token, as a table
    Next(NextArgs),
    /// Let the bare model dream documents, from nothing
    Dream(DreamArgs),
    /// What is in the two files: this program and the weights
    Show(ShowArgs),
    /// Text as the model sees it: ids and pieces
    Tokenize(TokenizeArgs),
    /// Make a language model from text
    Pretrain(Box<crate::commands::pretrain::args::PretrainArgs>),
    /// Tune a model to conversations: make an assistant of it
    Sft(Box<crate::commands::sft::SftArgs>),
    /// Tune a model to comparisons: of two answers the better one
    Dpo(Box<crate::commands::dpo::DpoArgs>),
    /// Make a vocabulary from text, or see how well one suits it
    Tokenizer(crate::commands::tokenizer::args::TokenizerArgs),
    /// Measure this machine's ceilings, and how near the model comes to them
    Bench(BenchArgs),
    /// Write the logits of given tokens as a .npy matrix
    Logits(LogitsArgs),
    /// Make a GGUF file, or a folder of safetensors, from other weights
    Convert(ConvertArgs),
    /// Look into text to train on
    Data(crate::data_args::DataArgs),
    /// Fetch a model from Hugging Face
    Pull(PullArgs),
    /// Models on this machine, also those of other programs
    List(ListArgs),
    /// Delete a fetched model
    Rm(RmArgs),
    /// Write a completion script for a shell
    #[command(after_help = "Examples:
  lucid completions bash > ~/.local/share/bash-completion/completions/lucid
  lucid completions zsh > ~/.zfunc/_lucid
  lucid completions fish > ~/.config/fish/completions/lucid.fish")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// How to compute.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Computing")]
pub(crate) struct ComputeArgs {
    /// Threads to compute with [default: physical cores, within the quota]
    #[arg(long, short = 't', value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Tokens that fit into the context [default: as trained, within memory]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) ctx: Option<u32>,
    /// Number format of cached keys and values [default: f32 for f32 models, else f16]
    #[arg(long, value_enum)]
    pub(crate) kv: Option<KvChoice>,
    /// Regroup weights and round activations to bytes: several times faster, a little less exact.
    /// The default, except for `lucid logits`; given, what was regrouped is kept in memory even if
    /// the keys and values of the whole context may not fit beside it
    #[arg(long, overrides_with = "no_pack", hide_short_help = true)]
    pub(crate) pack: bool,
    /// Compute in f32 on the weights as they lie in the file, which is mapped and not copied
    #[arg(long)]
    pub(crate) no_pack: bool,
    /// Keep the regrouped weights on disk beside the model, and map them the next time
    #[arg(long, conflicts_with = "no_pack")]
    pub(crate) cache_packed: bool,
    /// Instruction set [default: the best that this processor has]
    #[arg(long, value_enum, hide_short_help = true)]
    pub(crate) simd: Option<SimdChoice>,
    /// Vocabulary file, where it lies apart from the weights (tokenizer.json, .model or .bin)
    #[arg(long, value_name = "FILE")]
    pub(crate) tokenizer: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KvChoice {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
    #[value(name = "q4_0")]
    Q4_0,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SimdChoice {
    Scalar,
    Avx2,
    Avx512,
}

/// How the next token is chosen. Stages run in the order in which they stand here. What is not
/// given is as the engine has it, which is what `--help` says, or as a remote API has it.
#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Sampling (in this order; --temp 0 is greedy)")]
pub(crate) struct SamplingArgs {
    /// Add BIAS to the logit of a token; may be given more than once
    #[arg(long, value_name = "ID=BIAS", allow_hyphen_values = true)]
    pub(crate) logit_bias: Vec<String>,
    /// Divide the logits of seen tokens; 1 is off [default: 1]
    #[arg(long, value_name = "X")]
    pub(crate) repeat_penalty: Option<f32>,
    /// Subtract for each time a token was seen; 0 is off [default: 0]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub(crate) frequency_penalty: Option<f32>,
    /// Subtract once for a token that was seen; 0 is off [default: 0]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub(crate) presence_penalty: Option<f32>,
    /// How many last tokens the penalties look at [default: 64]
    #[arg(long, value_name = "N")]
    pub(crate) repeat_last_n: Option<usize>,
    /// DRY: penalty for continuing a repetition; 0 is off [default: 0]
    #[arg(long, value_name = "X")]
    pub(crate) dry_multiplier: Option<f32>,
    /// DRY: growth of the penalty per repeated token [default: 1.75]
    #[arg(long, value_name = "X")]
    pub(crate) dry_base: Option<f32>,
    /// DRY: repetitions up to this length are free [default: 2]
    #[arg(long, value_name = "N")]
    pub(crate) dry_allowed_length: Option<usize>,
    /// DRY: text across which nothing counts as repeated; may be given more than once
    #[arg(long, value_name = "TEXT")]
    pub(crate) dry_breaker: Vec<String>,
    /// Keep logits within N standard deviations of the best; 0 is off [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) top_n_sigma: Option<f32>,
    /// Keep the K most probable tokens; 0 is off [default: 40]
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<usize>,
    /// Locally typical sampling, mass to keep; 1 is off [default: 1]
    #[arg(long, value_name = "P")]
    pub(crate) typical: Option<f32>,
    /// Nucleus sampling, mass to keep; 1 is off [default: 0.95]
    #[arg(long, value_name = "P")]
    pub(crate) top_p: Option<f32>,
    /// Keep tokens at least this fraction as probable as the best; 0 is off [default: 0.05]
    #[arg(long, value_name = "P")]
    pub(crate) min_p: Option<f32>,
    /// XTC: how often top choices are excluded; 0 is off [default: 0]
    #[arg(long, value_name = "P")]
    pub(crate) xtc_probability: Option<f32>,
    /// XTC: what counts as a top choice [default: 0.1]
    #[arg(long, value_name = "P")]
    pub(crate) xtc_threshold: Option<f32>,
    /// Temperature [default: 0.8]
    #[arg(long, value_name = "T")]
    pub(crate) temp: Option<f32>,
    /// Let the temperature follow the entropy, by up to this much; 0 is off [default: 0]
    #[arg(long, value_name = "X")]
    pub(crate) dynatemp_range: Option<f32>,
    /// Same seed, same text [default: a new one each time]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

/// What an answer must conform to.
#[derive(Clone, Debug, Default, ClapArgs)]
#[command(next_help_heading = "Format of the answer (kept to exactly)")]
#[group(multiple = false)]
pub(crate) struct FormatArgs {
    /// JSON that this schema accepts: a file, or the schema itself
    #[arg(long, value_name = "FILE|JSON")]
    pub(crate) json_schema: Option<String>,
    /// Some JSON object
    #[arg(long)]
    pub(crate) json_object: bool,
    /// Text of a grammar: GBNF where the file ends in .gbnf, else Lark
    #[arg(long, value_name = "FILE")]
    pub(crate) grammar: Option<PathBuf>,
    /// Text that matches a regular expression as a whole
    #[arg(long, value_name = "PATTERN")]
    pub(crate) regex: Option<String>,
}

#[derive(Clone, Debug, ClapArgs)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
#[command(allow_negative_numbers = true)]
#[command(after_help = "Examples:
  lucid run model.gguf                                 chat; /help lists what can be typed
  lucid run model.gguf \"Why is the sky blue?\" -n 200
  cat notes.txt | lucid run model.gguf \"Summarise:\"     the piped text follows the prompt
  lucid run model.gguf -f question.txt --temp 0        greedy: the same text each time
  lucid run model.gguf \"Two cities\" --json-schema s.json
  lucid run base.gguf --raw \"Once upon a time\"         plain continuation, no template
  lucid run --provider openai gpt-5-mini \"Hello\"       a remote model; key in OPENAI_API_KEY")]
pub(crate) struct RunArgs {
    /// A path, a name from `lucid list`, or ORG/REPO[:FILE]
    pub(crate) model: String,
    /// What to ask, or to continue; without it a conversation starts
    pub(crate) prompt: Option<String>,
    /// Read the prompt from a file (after PROMPT, where both are given)
    #[arg(long, short = 'f', value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Instructions that stand before the conversation
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Continue the text as it is: no template, even where the model has one
    #[arg(long)]
    pub(crate) raw: bool,
    /// Stop after N tokens of each answer
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) max_tokens: Option<usize>,
    /// End the answer where TEXT comes; may be given more than once
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
    /// Ask a model behind a remote API: openai, anthropic, an address, or a name of your own; MODEL
    /// is its name there
    #[arg(long, value_name = "NAME|URL",
          conflicts_with_all = ["ctx", "kv", "raw", "lora", "draft", "keep", "threads",
                                "tokenizer", "simd", "pack", "no_pack", "cache_packed",
                                "no_speculation"])]
    pub(crate) provider: Option<String>,
    /// Let the model think before it answers, where its template can say so
    #[arg(long, conflicts_with = "no_think")]
    pub(crate) think: bool,
    /// Answer at once, where the template can say so
    #[arg(long)]
    pub(crate) no_think: bool,
    /// Say on standard error how fast it went
    #[arg(long)]
    pub(crate) stats: bool,
    /// Print the answer as one JSON object (needs a prompt)
    #[arg(long)]
    pub(crate) json: bool,
    /// Answer with an adapter (GGUF, or a PEFT folder), its effect multiplied by SCALE
    #[arg(long, value_name = "FILE[=SCALE]")]
    pub(crate) lora: Option<String>,
    /// Let a smaller model of the same vocabulary guess ahead: the same text, sooner
    #[arg(long, value_name = "MODEL")]
    pub(crate) draft: Option<String>,
    /// Guess nothing ahead, from the text so far or by a draft
    #[arg(long, conflicts_with = "draft")]
    pub(crate) no_speculation: bool,
    /// Keep keys and values on disk (10 GB at most), so that the same beginning is not computed
    /// again the next time
    #[arg(long)]
    pub(crate) keep: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:
  lucid next model.gguf \"The capital of France is\"
  lucid next model.gguf \"2 + 2 =\" --top 5 --json")]
pub(crate) struct NextArgs {
    /// A path, a name from `lucid list`, or ORG/REPO[:FILE]
    pub(crate) model: String,
    /// The text before the token; standard input where it is piped
    pub(crate) text: Option<String>,
    /// How many tokens to show
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) top: usize,
    /// One JSON object instead of the table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

#[derive(Clone, Debug, ClapArgs)]
#[command(allow_negative_numbers = true)]
#[command(after_help = "Examples:
  lucid dream model.gguf
  lucid dream model.gguf --count 3 -n 200 --seed 7")]
pub(crate) struct DreamArgs {
    /// A path, a name from `lucid list`, or ORG/REPO[:FILE]
    pub(crate) model: String,
    /// How many documents
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) count: usize,
    /// Stop a document after N tokens
    #[arg(short = 'n', long, default_value_t = 512, value_name = "N")]
    pub(crate) max_tokens: usize,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

#[derive(Clone, Debug, ClapArgs)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own on the command line")]
#[command(after_help = "Examples:
  lucid show model.gguf
  lucid show model.gguf --tensors --ctx 32768
  lucid show model.gguf --json")]
pub(crate) struct ShowArgs {
    /// A path, a name from `lucid list`, or ORG/REPO[:FILE]
    pub(crate) model: String,
    /// Memory needed at this many tokens of context, beside the usual ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) ctx: Option<u32>,
    /// List every tensor
    #[arg(long)]
    pub(crate) tensors: bool,
    /// List all metadata
    #[arg(long)]
    pub(crate) metadata: bool,
    /// Print the chat template
    #[arg(long)]
    pub(crate) template: bool,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:
  lucid tokenize model.gguf \"Hello, world\"
  lucid tokenize model.gguf --json < text.txt
  lucid tokenize model.gguf \"<|im_start|>user\" --special")]
pub(crate) struct TokenizeArgs {
    /// A path, a name from `lucid list`, or ORG/REPO[:FILE]
    pub(crate) model: String,
    /// The text; standard input where it is piped
    pub(crate) text: Option<String>,
    /// Read spellings of control tokens as those tokens
    #[arg(long)]
    pub(crate) special: bool,
    /// Leave out begin-of-text and the like
    #[arg(long)]
    pub(crate) bare: bool,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Vocabulary file, where it lies apart from the weights
    #[arg(long, value_name = "FILE")]
    pub(crate) tokenizer: Option<PathBuf>,
}

#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:
  lucid logits model.gguf --tokens 1,15043,3186 --out logits.npy
  lucid logits model.gguf --tokens ids.txt --out logits.npy")]
pub(crate) struct LogitsArgs {
    /// A path, a name from `lucid list`, or ORG/REPO[:FILE]
    pub(crate) model: String,
    /// Token ids, separated by commas, or a file that holds them
    #[arg(long, value_name = "IDS|FILE")]
    pub(crate) tokens: String,
    /// Where to write the f32 matrix [tokens, vocabulary]
    #[arg(long, value_name = "X.npy")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

#[derive(Clone, Debug, ClapArgs)]
#[command(mut_arg("ctx", |arg| arg.hide(true)), mut_arg("tokenizer", |arg| arg.hide(true)))]
#[command(after_help = "Examples:
  lucid bench model.gguf                          prompt of 512, answer of 64 tokens
  lucid bench model.gguf -p 512,4096 -n 32 -d 0,4096,8192
  lucid bench model.gguf -p 0 -b 1,4,16 -t 2      sequences that decode together
  lucid bench model.gguf --json

Tests are called pp512 (a prompt of 512 tokens), tg64 (64 tokens one by one), tg64@4096 (after 4096
tokens of context) and tg64x16 (16 sequences together; the speed is that of all).
A list has commas.")]
pub(crate) struct BenchArgs {
    /// A path, a name from `lucid list`, or ORG/REPO[:FILE]
    pub(crate) model: String,
    /// Lengths of prompts; 0 leaves them out
    #[arg(short = 'p', long = "n-prompt", value_name = "N", value_delimiter = ',',
          default_values_t = [512])]
    pub(crate) prompt: Vec<u32>,
    /// Lengths of answers; 0 leaves them out
    #[arg(short = 'n', long = "n-gen", value_name = "N", value_delimiter = ',',
          default_values_t = [64])]
    pub(crate) generate: Vec<u32>,
    /// Tokens of context before the test
    #[arg(short = 'd', long = "n-depth", value_name = "N", value_delimiter = ',',
          default_values_t = [0])]
    pub(crate) depth: Vec<u32>,
    /// How many sequences decode together
    #[arg(short = 'b', long = "batch", value_name = "N", value_delimiter = ',',
          default_values_t = [1], value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) batch: Vec<u16>,
    /// How often each test runs
    #[arg(short = 'r', long, value_name = "N", default_value_t = 5,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) repetitions: u16,
    /// One JSON object: ceilings and results
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:
  lucid convert Llama-3.2-1B/ llama-1b.gguf                 a folder with safetensors
  lucid convert Llama-3.2-1B/ llama-1b-q8.gguf --type q8_0
  lucid convert stories260K.bin stories.gguf --tokenizer tok512.bin
  lucid convert run/model.gguf run-hf/ --to safetensors     for transformers")]
pub(crate) struct ConvertArgs {
    /// A folder or file: safetensors, llama2.c, GGUF
    pub(crate) input: String,
    /// The GGUF file, or the folder of safetensors, to write
    pub(crate) output: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value_t = WeightsFormat::Gguf)]
    pub(crate) to: WeightsFormat,
    /// Vocabulary file, where it lies apart from the weights
    #[arg(long, value_name = "FILE")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// Number format of the matrices [default: as they are]
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) dtype: Option<String>,
    /// Replace the output where it exists
    #[arg(long)]
    pub(crate) force: bool,
}

/// What weights can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WeightsFormat {
    /// One file, for Lucid and llama.cpp
    Gguf,
    /// A folder, for transformers
    Safetensors,
}

#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:
  lucid pull ORG/REPO                 the best fit of the repository's files
  lucid pull ORG/REPO:Q4_K_M          a quantisation
  lucid pull ORG/REPO:model.gguf      a file

HF_TOKEN opens gated repositories, HF_ENDPOINT names another hub.")]
pub(crate) struct PullArgs {
    /// ORG/REPO, ORG/REPO:FILE or ORG/REPO:QUANTISATION
    pub(crate) model: String,
    /// Say what would be fetched, and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// One JSON object instead of progress
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:
  lucid list
  lucid list --json                   with paths and sizes, for scripts")]
pub(crate) struct ListArgs {
    /// One JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:
  lucid rm ORG/REPO:FILE
  lucid rm -y ORG/REPO:FILE           without asking

Models that other programs keep are listed, but never deleted.")]
pub(crate) struct RmArgs {
    /// A name from `lucid list`
    pub(crate) model: String,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}
