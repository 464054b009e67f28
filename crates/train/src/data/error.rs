//! What can be wrong with training data. Invariant: each error names the file (or the option), what
//! was found there, and what to do next; outside data never panics.

use std::io;
use std::path::PathBuf;

/// Why there is no data to train on, or not these.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder that was asked for cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// As it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be written; what was there before is still there.
    #[error("cannot write {}; nothing that was finished before is lost", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing was given, or only empty folders.
    #[error("no file in {inputs}; give files, or folders with text, markdown, JSONL, HTML or WARC")]
    NoFiles {
        /// What was given.
        inputs: String,
    },
    /// There are files, but no document came out of them.
    #[error(
        "no document to train on in {files} files ({why}); `lucid data report` shows each reason"
    )]
    NoDocuments {
        /// How many files were read.
        files: usize,
        /// The counts of what was refused or dropped.
        why: String,
    },
    /// The split left one side empty.
    #[error(
        "of {documents} documents none is left for {side}; more documents, another share to hold \
         out, or files cut into several (`--separator`) give both sides something"
    )]
    EmptySide {
        /// Documents in all.
        documents: u64,
        /// "training" or "validation".
        side: &'static str,
    },
    /// An option has a value that means nothing.
    #[error("{option} is {found}, expected {expected}")]
    Option {
        /// Its name.
        option: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A shard that the list names is not there.
    #[error("the shard {} is gone; prepare the data again, or put it back", path.display())]
    ShardGone {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A shard is not what it says it is.
    #[error(
        "the shard {} is damaged: {what}; delete it and prepare the data again",
        path.display()
    )]
    ShardDamaged {
        /// The file.
        path: PathBuf,
        /// What was found, what was expected, at which byte.
        what: String,
    },
    /// A file was written to or truncated while it was read.
    #[error("the shard {} changed while it was in use; prepare the data again", path.display())]
    ShardChanged {
        /// The file.
        path: PathBuf,
    },
    /// A shard of a version that is not known here.
    #[error(
        "the shard {} has version {found}, known is {known}; prepare the data again",
        path.display()
    )]
    ShardVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version of this program.
        known: u32,
    },
    /// A shard was made with another vocabulary.
    #[error(
        "the shard {} holds tokens of vocabulary {found}, the tokenizer given is {expected}; \
         use the tokenizer it was made with, or prepare the data again", path.display()
    )]
    ForeignVocabulary {
        /// The file.
        path: PathBuf,
        /// First digits of the fingerprint of the tokenizer at hand.
        expected: String,
        /// First digits of the shard's.
        found: String,
    },
    /// The list of shards is missing or unreadable: preparation was not finished.
    #[error("{} does not list prepared data ({what}); prepare the data again", path.display())]
    List {
        /// The list's file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A position in the data belongs to other data or to other settings of packing.
    #[error(
        "the position was taken in other data, or with another length of rows, packing or seed \
         (found {found}, expected {expected}); continue with what the run began with"
    )]
    ForeignPosition {
        /// First digits of the identity of the data at hand.
        expected: String,
        /// First digits of the position's.
        found: String,
    },
    /// More than the numbers of this format can count.
    #[error("{what}: {found}, at most {limit}")]
    Limit {
        /// What is too many.
        what: &'static str,
        /// How many there are.
        found: u64,
        /// How many there may be.
        limit: u64,
    },
    /// Whoever asked for the work wants it no more.
    #[error("stopped before it was finished")]
    Stopped,
}
