//! What can go wrong with data and in a run. Invariant: each error names the file (or the option),
//! what was found there, and what to do next; outside data never panics.

use std::io;
use std::path::{Path, PathBuf};

/// There is no data to train on, or a run cannot be made or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A network that cannot be built.
    #[error("the network's {what}: {found} cannot be; expected {expected}")]
    Network {
        /// Which dimension.
        what: String,
        /// What was asked for.
        found: usize,
        /// What it may be.
        expected: String,
    },
    /// A setting out of its range.
    #[error("{what}: {found} is out of range; expected {expected}")]
    Setting {
        /// Which one.
        what: String,
        /// What was asked for.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// More processes than there is work for.
    #[error(
        "{ranks} ranks, but the run has {lanes} lanes, and each rank needs one; start {lanes} \
         ranks at most, or begin another run with more lanes"
    )]
    Ranks {
        /// Processes.
        ranks: usize,
        /// Accumulators of gradients.
        lanes: usize,
    },
    /// A process that does not stand with the others.
    #[error("{what}")]
    Group {
        /// What is wrong, and what to do.
        what: String,
    },
    /// Text for validation in which nothing follows anything.
    #[error("the held-out text has no token to predict; give more text, or hold more of it out")]
    NothingToPredict,
    /// Gradients that are no numbers, from the beginning.
    #[error(
        "the loss was no number, or the gradient far too large, for many steps in a row, before \
         there was a checkpoint to go back to; a smaller learning rate or a longer warm-up may help"
    )]
    GoneWrong,
    /// A file or folder that was asked for cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// As it was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be written, and no half of it is left.
    #[error("cannot write {}; no half-written file is left", path.display())]
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
    #[error("the shard {} is gone; put it back, or prepare the data again", path.display())]
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
    /// The network's description or tensors.
    #[error(transparent)]
    Model(#[from] lucid_model::ModelError),
    /// A file of weights.
    #[error(transparent)]
    Checkpoint(#[from] lucid_checkpoint::CheckpointError),
    /// The system refused.
    #[error("{}: {action}", file.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or folder.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A checkpoint is not what was written.
    #[error("{}: {what}; an older checkpoint may be whole", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A checkpoint's tensor does not fit the network.
    #[error("the checkpoint's tensor `{name}` has {found}, expected {expected}")]
    Tensor {
        /// Its name.
        name: String,
        /// What it has.
        found: String,
        /// What the network needs.
        expected: String,
    },
}

impl TrainError {
    pub(crate) fn io(action: &'static str, file: &Path, source: io::Error) -> Self {
        Self::Io { action, file: file.to_owned(), source }
    }

    pub(crate) fn damaged(file: &Path, what: String) -> Self {
        Self::Damaged { file: file.to_owned(), what }
    }

    pub(crate) fn missing(name: &str) -> Self {
        let (found, expected) = ("nothing".to_owned(), "its numbers".to_owned());
        Self::Tensor { name: name.to_owned(), found, expected }
    }
}
