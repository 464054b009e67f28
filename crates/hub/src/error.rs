//! Every way in which finding or fetching a weights file fails, in words for a person.

use std::path::PathBuf;
use std::time::Duration;

/// An error of this crate. Each message names the thing, the cause and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb: "write".
        action: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What was typed is not `ORG/REPO[:FILE]`.
    #[error("\"{name}\" does not name a repository: {reason}; expected ORG/REPO or ORG/REPO:FILE")]
    BadName {
        /// What was typed.
        name: String,
        /// Which part is wrong.
        reason: &'static str,
    },
    /// Several installed models answer to the name.
    #[error("\"{name}\" could be any of: {}; give the full name", matches.join(", "))]
    Ambiguous {
        /// What was typed.
        name: String,
        /// Full names.
        matches: Vec<String>,
    },
    /// No installed model answers to the name.
    #[error("no model \"{name}\" is installed{}", did_you_mean(suggestions))]
    NotInstalled {
        /// What was typed.
        name: String,
        /// Names that come close.
        suggestions: Vec<String>,
    },
    /// The model belongs to another program.
    #[error("{name} at {} belongs to {program}; there, {command}", path.display())]
    NotOurs {
        /// The model's name.
        name: String,
        /// Where it lies.
        path: PathBuf,
        /// Whose it is.
        program: &'static str,
        /// How that program removes it.
        command: String,
    },
    /// The endpoint is not a usable URL.
    #[error("endpoint \"{endpoint}\": {reason}")]
    BadEndpoint {
        /// As configured.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting of the connection (proxy, certificates) is unusable.
    #[error("{setting} \"{value}\": {reason}")]
    BadSetting {
        /// Which one.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Network access was switched off.
    #[error("{repo} is not on disk and HF_HUB_OFFLINE forbids the network")]
    Offline {
        /// The repository.
        repo: String,
    },
    /// The repository lists a file name that could leave its folder.
    #[error("{repo} lists a file with an unsafe name \"{file}\" ({reason}); nothing was fetched")]
    UnsafeFile {
        /// The repository.
        repo: String,
        /// The name, control characters escaped.
        file: String,
        /// What is unsafe.
        reason: &'static str,
    },
    /// The repository has no such file.
    #[error("{repo} has no file \"{file}\"; it has: {}", available.join(", "))]
    NoSuchFile {
        /// The repository.
        repo: String,
        /// What was asked for.
        file: String,
        /// Weights files that are there (at most 20).
        available: Vec<String>,
    },
    /// The repository has nothing that Lucid reads.
    #[error("{repo} has no GGUF and no complete safetensors model{}", note_pickles(*pickles))]
    NoWeights {
        /// The repository.
        repo: String,
        /// How many pickle files it has instead.
        pickles: usize,
    },
    /// A pickle can run code when it is opened.
    #[error("{file} of {repo} is a Python pickle, which can run code; Lucid never loads one")]
    Pickle {
        /// The repository.
        repo: String,
        /// The file.
        file: String,
    },
    /// The hub wants an account (401).
    #[error(
        "the hub refused {what} (401): {}",
        if *with_key { "its token is not accepted; check HF_TOKEN" }
        else { "it is private, gated or does not exist; set HF_TOKEN if you have access" }
    )]
    Unauthorized {
        /// Repository or file.
        what: String,
        /// Whether a token was sent.
        with_key: bool,
    },
    /// The author wants terms to be accepted first.
    #[error(
        "{what} is gated: accept its terms on its page, then set HF_TOKEN{}",
        if *with_key { " (the token that was sent has no access yet)" } else { "" }
    )]
    Gated {
        /// Repository or file.
        what: String,
        /// Whether a token was sent.
        with_key: bool,
    },
    /// The hub does not have it (404).
    #[error("the hub has no {what}; check the spelling (or it is private: set HF_TOKEN)")]
    NotFound {
        /// Repository or file.
        what: String,
    },
    /// The hub asks to wait longer than is sensible (429).
    #[error("the hub limits the rate of requests; try again in {} s", wait.as_secs())]
    RateLimited {
        /// How long it asks to wait.
        wait: Duration,
    },
    /// Another refusal.
    #[error("{url} answered {status}{message}")]
    Status {
        /// What was asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// What the server said, cleaned, with a leading ": ", or empty.
        message: String,
    },
    /// No answer, or a connection that kept breaking.
    #[error("{url} failed {attempts} times, last: {reason}; is this machine online? Try again")]
    Network {
        /// What was asked.
        url: String,
        /// How often it was tried.
        attempts: u32,
        /// The last failure.
        reason: String,
    },
    /// The answer is not what the protocol says.
    #[error("{url} answered something unexpected: {reason}")]
    BadReply {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The size is not the one that the hub declared.
    #[error("{file}: {expected} bytes were declared, {found}; the partial file was deleted")]
    WrongSize {
        /// The file.
        file: String,
        /// Bytes declared.
        expected: u64,
        /// What came instead.
        found: String,
    },
    /// The checksum is not the one that the hub declared.
    #[error("{file}: checksum {found}, expected {expected}; the partial file was deleted")]
    WrongChecksum {
        /// The file.
        file: String,
        /// Declared, in hex.
        expected: String,
        /// Computed, in hex.
        found: String,
    },
    /// Not enough room.
    #[error("{} has {available} bytes free, {needed} are needed", path.display())]
    DiskFull {
        /// The cache folder.
        path: PathBuf,
        /// Bytes still to be written.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// Another process fetches the same file.
    #[error("another process is fetching {} right now", path.display())]
    Busy {
        /// The partial file.
        path: PathBuf,
    },
    /// The caller asked to stop.
    #[error("stopped; what arrived is kept and the next pull goes on from there")]
    Cancelled,
}

impl HubError {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: std::io::Error,
    ) -> Self {
        Self::Io { action, path: path.into(), source }
    }
}

fn did_you_mean(suggestions: &[String]) -> String {
    if suggestions.is_empty() {
        String::new()
    } else {
        format!("; did you mean {}?", suggestions.join(", "))
    }
}

fn note_pickles(count: usize) -> String {
    if count == 0 {
        String::new()
    } else {
        format!(" (its {count} pickle files can run code and are never loaded)")
    }
}
