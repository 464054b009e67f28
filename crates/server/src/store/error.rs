//! What can go wrong with the store.

use std::path::PathBuf;

use crate::error::ServerError;
use crate::refusal::{Kind, Refusal};

/// The store cannot do what is asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// SQLite says no.
    #[error("the store of conversations fails ({doing}): {source}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The file cannot be made, opened, or moved.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is from the future.
    #[error(
        "{}: was written by a newer version (schema {found}; this one knows {known}); \
         update, or start with another data folder", .path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The last one known here.
        known: i64,
    },
    /// There is no such thing, or it is somebody else's.
    #[error("there is no such {what}")]
    NotFound {
        /// What was asked for.
        what: &'static str,
    },
    /// Something is larger than is kept.
    #[error("{what} has {bytes} bytes, and at most {bytes_max} are kept")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        bytes_max: usize,
    },
    /// There are too many of something.
    #[error("there are {count_max} {what} already, and no more are kept; delete some first")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many there may be.
        count_max: usize,
    },
    /// A message does not fit where it is to stand.
    #[error("{reason}")]
    Misplaced {
        /// Why.
        reason: &'static str,
    },
    /// No random number can be had for an identifier.
    #[error("the system gives no random numbers")]
    NoRandomness,
    /// The work was not done: the server stops.
    #[error("the store was interrupted; try again")]
    Interrupted,
}

impl StoreError {
    /// Makes an error of what SQLite says.
    pub(super) fn of(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Database { doing, source }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::NotFound { .. } => Kind::NotFound,
            StoreError::TooLarge { .. } => Kind::TooLarge,
            StoreError::TooMany { .. } | StoreError::Misplaced { .. } => Kind::Invalid,
            StoreError::Database { .. }
            | StoreError::File { .. }
            | StoreError::Newer { .. }
            | StoreError::NoRandomness
            | StoreError::Interrupted => Kind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<StoreError> for ServerError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}
