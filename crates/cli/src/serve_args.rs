//! The command line of the server: `serve`, `status` and `key`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use crate::args::ComputeArgs;

/// Where a server listens if nothing is said.
pub(crate) const PORT: u16 = 8080;

#[derive(Clone, Debug, ClapArgs)]
#[command(mut_arg("cache_packed", |arg| arg.hide(true)), mut_arg("pack", |arg| arg.hide(true)))]
#[command(after_help = "Examples:
  lucid serve                                   every model of `lucid list`, loaded when asked for
  lucid serve model.gguf                        one model
  lucid serve small=a.gguf large=b.gguf         two, under names of your own
  lucid key add laptop && lucid serve --host 0.0.0.0       for others, who need a key
  curl http://127.0.0.1:8080/v1/completions -d '{\"prompt\": \"Once upon a time\"}'

Programs reach it as OpenAI (http://127.0.0.1:8080/v1), Anthropic (http://127.0.0.1:8080) or Ollama
(http://127.0.0.1:8080). A browser finds a page at http://127.0.0.1:8080/.")]
pub(crate) struct ServeArgs {
    /// A path, a name from `lucid list`, or ORG/REPO[:FILE]; NAME=MODEL gives it a name. The first
    /// one answers requests that name none, and is loaded at once
    #[arg(value_name = "MODEL")]
    pub(crate) models: Vec<String>,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
    /// Say on standard error, in one line of JSON each, what was asked and answered
    #[arg(long)]
    pub(crate) verbose: bool,
}

#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Listening")]
pub(crate) struct ListenArgs {
    /// The address to listen on; any but this machine's own needs API keys
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub(crate) host: IpAddr,
    /// The port; 0 chooses a free one
    #[arg(long, default_value_t = PORT)]
    pub(crate) port: u16,
    /// Ask everyone for an API key, also on this machine
    #[arg(long)]
    pub(crate) require_key: bool,
    /// The file of API keys [default: where `lucid key` keeps it]
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
    /// A name that the server may be called by; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_host: Vec<String>,
    /// An origin whose pages may ask, such as `https://example.org`; may be given more than once
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) cors: Vec<String>,
    /// Certificate chain (PEM): the server speaks TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Connections at once
    #[arg(long, default_value_t = 4096, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) connections: u32,
    /// Seconds that requests under way have to finish when the server is told to end
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub(crate) drain: u64,
    /// Keep conversations and responses in FOLDER [default: among this user's data]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) store: Option<PathBuf>,
}

#[derive(Clone, Debug, ClapArgs)]
#[command(next_help_heading = "Models")]
pub(crate) struct LoadArgs {
    /// Memory that loaded models may take together, such as 12G [default: most of what is free]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) memory: Option<u64>,
    /// Models loaded at once
    #[arg(long, default_value_t = 4, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) models_max: u16,
    /// Minutes that an idle model stays loaded [default: until its memory is needed]
    #[arg(long, value_name = "MINUTES")]
    pub(crate) keep_alive: Option<u64>,
    /// Load an adapter for the first model; may be given more than once
    #[arg(long, value_name = "NAME=FILE", value_parser = adapter, requires = "models")]
    pub(crate) lora: Vec<(String, PathBuf)>,
    /// What prompts' keys and values may take on disk, such as 10G, so that a conversation goes on
    /// after a restart without being computed again; `off` keeps nothing
    #[arg(long, default_value = "10G", value_name = "SIZE|off", value_parser = disk_cache)]
    pub(crate) disk_cache: DiskCache,
    /// Where they are kept [default: among this user's caches]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) kv_cache_folder: Option<PathBuf>,
    /// Let a smaller model of the same vocabulary guess ahead for the first model: the same
    /// answers, sooner
    #[arg(long, value_name = "MODEL", requires = "models")]
    pub(crate) draft: Option<String>,
    /// Guess nothing ahead, from the text so far or by a draft
    #[arg(long, conflicts_with = "draft")]
    pub(crate) no_speculation: bool,
    /// Serve the models behind remote APIs that providers.json lists, as PROVIDER/MODEL
    #[arg(long)]
    pub(crate) remote: bool,
    /// Answers computed at once; others wait
    #[arg(long, default_value_t = 32, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) parallel: u16,
    /// Requests that one model takes at once, those that wait included
    #[arg(long, default_value_t = 2048, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) queue: u32,
    /// Milliseconds that somebody's long prompt may hold up the answers of others
    #[arg(long, default_value_t = 100, value_name = "MS",
          value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) stall_ms: u32,
}

/// What prompts may take on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskCache {
    /// Nothing.
    Off,
    /// So many bytes.
    Bytes(u64),
}

fn disk_cache(text: &str) -> Result<DiskCache, String> {
    if text == "off" { Ok(DiskCache::Off) } else { size(text).map(DiskCache::Bytes) }
}

/// A name and a file.
fn adapter(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            Ok((name.to_owned(), PathBuf::from(file)))
        }
        _ => Err(format!("`{text}` is no adapter: expected NAME=FILE")),
    }
}

/// A size: bytes, or with K, M, G or T (powers of 1024).
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size: expected a number with K, M, G or T, such as 12G");
    let upper = text.trim().to_ascii_uppercase();
    let bare = upper.strip_suffix("IB").or_else(|| upper.strip_suffix('B')).unwrap_or(&upper);
    let shift = match bare.chars().last() {
        Some('K') => 10,
        Some('M') => 20,
        Some('G') => 30,
        Some('T') => 40,
        _ => 0,
    };
    let digits = if shift == 0 { bare } else { &bare[..bare.len() - 1] };
    let number: f64 = digits.trim().parse().map_err(|_| wrong())?;
    let bytes = number * (1_u64 << shift) as f64;
    if bytes.is_finite() && (1.0..1e18).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:
  lucid status
  lucid status --json --port 9000

LUCID_API_KEY is sent to servers that ask for a key.")]
pub(crate) struct StatusArgs {
    /// Where the server listens
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub(crate) host: IpAddr,
    /// Its port
    #[arg(long, default_value_t = PORT)]
    pub(crate) port: u16,
    /// One JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:
  lucid key add laptop                          prints the key, once
  lucid key add guest --requests 20 --tokens 50000 --concurrent 2
  lucid key list
  lucid key rm guest

A running server sees changes within a second.")]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    pub(crate) action: KeyAction,
    /// The file of keys [default: among this user's settings]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum KeyAction {
    /// Make a key, and print it: it is kept nowhere
    Add {
        /// A name for it
        name: String,
        /// Requests that it may send in a minute
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        requests: Option<u32>,
        /// Tokens, of prompts and answers, that it may use in a minute
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        tokens: Option<u64>,
        /// Requests that it may have under way at once
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        concurrent: Option<u32>,
    },
    /// Names and limits
    List {
        /// One JSON array
        #[arg(long)]
        json: bool,
    },
    /// Take a key away
    Rm {
        /// Its name
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_read() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(size(text).ok(), expected, "{text}");
        };
        check("12G", Some(12 << 30));
        check("1.5g", Some(3 << 29));
        check("512MiB", Some(512 << 20));
        check("7kb", Some(7 << 10));
        check("4096", Some(4096));
        for bad in ["", "G", "-1G", "0", "NaN", "infG", "1e30", "12X", "é"] {
            check(bad, None);
        }
    }
}
