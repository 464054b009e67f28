//! What the log needs of a store, and nothing more.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::ids::{ContentId, EventNumber};
use crate::log::Sealed;

/// What keeps events and contents.
pub trait Store: Send {
    /// Adds a batch: all of it or nothing.
    ///
    /// # Errors
    /// It could not be written; then nothing of it was.
    fn write(&mut self, batch: &Batch, durability: Durability) -> Result<(), StoreError>;

    /// Visits the events from a number on, in order, until the visitor says no.
    ///
    /// # Errors
    /// They cannot be read.
    fn read(
        &self,
        from: EventNumber,
        visit: &mut dyn FnMut(Sealed) -> bool,
    ) -> Result<(), StoreError>;

    /// A content.
    ///
    /// # Errors
    /// It cannot be read.
    fn content(&self, id: ContentId) -> Result<Kept, StoreError>;

    /// Deletes a content's bytes, not its name. Returns whether they were there.
    ///
    /// # Errors
    /// They cannot be deleted.
    fn forget(&mut self, id: ContentId) -> Result<bool, StoreError>;

    /// What other programs asked for and nobody heard yet.
    ///
    /// # Errors
    /// It cannot be read.
    fn requests(&self) -> Result<Vec<Request>, StoreError>;
}

/// What is written at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Events, in order.
    pub events: Vec<Sealed>,
    /// Contents that they name.
    pub contents: BTreeMap<ContentId, Arc<[u8]>>,
    /// Whether the last event is a snapshot, so that the states of earlier ones go.
    pub stale_snapshots: bool,
    /// Requests that were heard.
    pub heard: Vec<u64>,
}

impl Batch {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.contents.is_empty() && self.heard.is_empty()
    }
}

/// What a write survives once it has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, by whatever signal.
    Process,
    /// A loss of power.
    Machine,
}

/// What there is of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All of it.
    Here(Vec<u8>),
    /// Its name alone.
    Forgotten,
    /// Nothing.
    Missing,
}

/// What another program asks of the one that runs the processes: a signal, an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its place.
    pub number: u64,
    /// What is asked for.
    pub body: Vec<u8>,
}

/// A store cannot do what is asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite says no.
    #[error("{}: {source} ({doing})", .path.display())]
    Database {
        /// Which file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The file cannot be made or opened.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is from the future, or of another program.
    #[error(
        "{}: has version {found} of the log, and this program knows {known}; update it, or start \
         with another folder", .path.display()
    )]
    Version {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The one that is known here.
        known: i64,
    },
    /// Another process runs this log.
    #[error(
        "{}: another lucid runs this log; ask it with `lucid ps` and `lucid kill`, or start with \
         another folder", .path.display()
    )]
    Locked {
        /// Which file.
        path: PathBuf,
    },
    /// The name of a content is not 32 bytes.
    #[error("{}: event {number} is damaged", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which event.
        number: EventNumber,
    },
    /// Scripted by a test.
    #[error("the store was told to fail")]
    Told,
}
