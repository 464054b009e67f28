//! What can go wrong in a run.

use std::io;
use std::path::{Path, PathBuf};

/// A run cannot be made or cannot go on.
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
    /// The data.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
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
