//! What can go wrong with the system.

use crate::ids::{EventNumber, Pid};
use crate::log::LogError;
use crate::state::FoldError;

/// The system cannot go on, or cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum OsError {
    /// The log fails.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An event of the log does not fit the ones before it.
    #[error(
        "event {number} of the log does not fit those before it: {source}; the log was written by \
         another version of this program, or by somebody else"
    )]
    Fold {
        /// Which.
        number: EventNumber,
        /// What does not fit.
        source: FoldError,
    },
    /// An event of our own making does not fit.
    #[error("an event was about to be written that does not fit: {0}")]
    Own(#[from] FoldError),
    /// There is no such application.
    #[error("there is no application `{name}`; there are: {known}")]
    NoApplication {
        /// What was asked for.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// There is no such provider.
    #[error("there is no model `{name}`; there are: {known}")]
    NoProvider {
        /// What was asked for.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A task that would leave no room in the window.
    #[error(
        "the task has {tokens} tokens, and the window has room for a task of {room}: say in a few \
         words what is to be done, and give the long text beside it (`lucid do --file`), where it \
         can leave the window and come back"
    )]
    LongTask {
        /// Tokens that it has.
        tokens: u64,
        /// Tokens that it may have.
        room: u64,
    },
    /// There is no such process.
    #[error("there is no process {pid}; `lucid ps` lists those there are")]
    NoProcess {
        /// Which.
        pid: Pid,
    },
    /// A state, an event or arguments cannot be written as JSON.
    #[error("something cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}
