//! What is to outlast the server: conversations of the page, and responses that clients ask for
//! again. One SQLite file.
//!
//! Invariant: what a method returned `Ok` for is there after the process was killed or the machine
//! lost power. The write-ahead log is therefore synchronised at each commit (`synchronous=FULL`);
//! with `NORMAL` a power cut could take the last messages. It costs one flush of the disk per
//! message of a person, which is nothing beside an answer.

mod conversations;
mod error;
mod messages;
mod open;
mod responses;
mod schema;
#[cfg(test)]
mod tests;

pub(crate) use conversations::{Change, Conversation, Wanted};
pub(crate) use error::StoreError;
pub(crate) use messages::{Message, Outcome, Question, Role, State, Window, Written};
pub(crate) use open::Opened;
pub(crate) use responses::Stored;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;

/// The store. Its methods block; asynchronous code calls them through `run`.
#[derive(Debug)]
pub(crate) struct Store {
    connection: Mutex<Connection>,
}

/// Opens the store in a folder, or one in memory.
///
/// # Errors
/// See `Store::open`.
pub(crate) fn open(folder: Option<&Path>) -> Result<Opened, StoreError> {
    match folder {
        Some(folder) => Store::open(&folder.join(FILE)),
        None => Ok(Opened { store: Store::in_memory()?, notice: None }),
    }
}

/// The name of the file.
const FILE: &str = "conversations.sqlite";

impl Store {
    /// Does work on the store on a thread that may block.
    ///
    /// # Errors
    /// Those of the work.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::Interrupted),
        }
    }

    /// The database itself, for tests that need it to be slow or to refuse.
    #[cfg(test)]
    pub(crate) fn connection(&self) -> MutexGuard<'_, Connection> {
        self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic while it was locked has rolled its transaction back: the connection is sound.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
