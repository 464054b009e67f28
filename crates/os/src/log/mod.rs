//! The log: events in one chain of hashes, and beside it the contents that they name.
//!
//! Invariants: an event is never changed and never goes; its hash covers the hash before it, so
//! whoever changes one has to change all that follow. Contents are found by their hash and can be
//! forgotten without breaking the chain. What `sync` returned for survives a loss of power, what
//! `flush` returned for the end of this process.
//!
//! The chain tells of changes; it does not tell that the newest events were cut off, nor of
//! somebody who writes it anew from the beginning. For that its head has to be known elsewhere.
//!
//! It knows nothing of what events mean: a body is bytes.

mod chain;
mod memory;
mod sqlite;
mod store;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{ContentId, EventNumber};

pub use chain::{Sealed, seal};
pub use memory::MemoryStore;
pub use sqlite::SqliteStore;
pub use store::{Batch, Durability, Kept, Request, Store, StoreError};

/// Events that wait before they are written although nobody asks for it.
const PENDING_MAX: usize = 256;
/// Bytes of contents that are kept at hand.
const CACHE_BYTES: usize = 8 << 20;

/// What can go wrong with the log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The chain does not hold.
    #[error(
        "the log was changed by somebody else: event {number} is not the one that its hash was \
         made of; nothing was run. Restore the file from a copy, or begin a new one elsewhere"
    )]
    Tampered {
        /// The first event that does not fit.
        number: EventNumber,
    },
    /// A number is missing.
    #[error(
        "the log is incomplete: event {number} is missing; nothing was run. Restore the file from \
         a copy, or begin a new one elsewhere"
    )]
    Gap {
        /// The first missing one.
        number: EventNumber,
    },
    /// What an event or a snapshot holds cannot be read.
    #[error("event {number} cannot be read: {reason}")]
    Unreadable {
        /// Which.
        number: EventNumber,
        /// Why.
        reason: String,
    },
    /// A content that an event names is not there, and nobody forgot it.
    #[error("content {id} is missing from the store, and nobody forgot it")]
    Missing {
        /// Which.
        id: ContentId,
    },
    /// A content is not what its name says.
    #[error("content {id} was changed by somebody else")]
    Altered {
        /// Which.
        id: ContentId,
    },
    /// An earlier write failed.
    #[error("an earlier write to the log failed; start again, and it goes on from what was kept")]
    Broken,
}

/// A content, as far as it is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Its bytes.
    Here(Arc<[u8]>),
    /// It was forgotten.
    Forgotten,
}

impl Content {
    /// As text; what was forgotten says so.
    pub fn text(&self) -> String {
        match self {
            Self::Here(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Forgotten => FORGOTTEN.to_owned(),
        }
    }
}

/// What stands where something was forgotten.
pub const FORGOTTEN: &str = "\u{27e8}forgotten\u{27e9}";

/// The log over its store.
pub struct Log {
    store: Box<dyn Store>,
    /// The last event, written or pending.
    number: EventNumber,
    hash: [u8; 32],
    pending: Batch,
    /// The last event that a loss of power would leave.
    synced: EventNumber,
    broken: bool,
    cache: RefCell<Cache>,
}

/// Contents at hand. When it is full all go: what is needed comes back by one look.
#[derive(Default)]
struct Cache {
    contents: BTreeMap<ContentId, Arc<[u8]>>,
    bytes: usize,
}

impl Cache {
    fn keep(&mut self, id: ContentId, bytes: &Arc<[u8]>) {
        if self.bytes + bytes.len() > CACHE_BYTES {
            *self = Self::default();
        }
        if bytes.len() <= CACHE_BYTES && self.contents.insert(id, bytes.clone()).is_none() {
            self.bytes += bytes.len();
        }
    }

    fn drop_one(&mut self, id: &ContentId) {
        if let Some(bytes) = self.contents.remove(id) {
            self.bytes -= bytes.len();
        }
    }
}

/// Where a reader begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The newest snapshot and the event that names it.
    pub snapshot: Option<(EventNumber, Arc<[u8]>)>,
    /// The events after it.
    pub events: Vec<Sealed>,
}

impl Log {
    /// Opens a log: checks the whole chain, and returns the newest snapshot with what follows it.
    ///
    /// # Errors
    /// The store fails, or the chain does not hold: then the event is named.
    pub fn open(store: Box<dyn Store>) -> Result<(Self, Start), LogError> {
        let (mut number, mut hash) = (EventNumber(0), chain::GENESIS);
        let mut marks = Vec::new();
        let mut events: Vec<Sealed> = Vec::new();
        let mut broken = None;
        store.read(EventNumber(1), &mut |sealed| {
            let wanted = EventNumber(number.0 + 1);
            if sealed.number != wanted {
                broken = Some(LogError::Gap { number: wanted });
                return false;
            }
            if !chain::holds(&hash, &sealed) {
                broken = Some(LogError::Tampered { number: wanted });
                return false;
            }
            (number, hash) = (sealed.number, sealed.hash);
            if let Some(state) = sealed.snapshot {
                marks.push((sealed.number, state));
                events.clear();
            } else {
                events.push(sealed);
            }
            true
        })?;
        if let Some(error) = broken {
            return Err(error);
        }
        let log = Self {
            store,
            number,
            hash,
            pending: Batch::default(),
            synced: number,
            broken: false,
            cache: RefCell::default(),
        };
        let snapshot = match marks.last() {
            None => None,
            Some((at, id)) => match log.content(*id)? {
                Content::Here(bytes) => Some((*at, bytes)),
                // Somebody asked for a content to be forgotten that happens to be a state; then
                // everything is folded from the beginning.
                Content::Forgotten => {
                    events = log.events_from(EventNumber(1))?;
                    None
                }
            },
        };
        Ok((log, Start { snapshot, events }))
    }

    /// The last event.
    pub fn head(&self) -> (EventNumber, [u8; 32]) {
        (self.number, self.hash)
    }

    /// Adds an event. It is written with the next `flush` or `sync`, together with those beside it.
    pub fn append(&mut self, time_ms: i64, body: Vec<u8>) -> EventNumber {
        self.add(time_ms, None, body)
    }

    /// Adds a snapshot of all that the events so far amount to. Earlier snapshots go.
    ///
    /// # Errors
    /// The store fails.
    pub fn append_snapshot(&mut self, time_ms: i64, state: &[u8]) -> Result<(), LogError> {
        let id = self.put(state);
        self.pending.stale_snapshots = true;
        self.add(time_ms, Some(id), Vec::new());
        self.flush()
    }

    fn add(&mut self, time_ms: i64, snapshot: Option<ContentId>, body: Vec<u8>) -> EventNumber {
        let number = EventNumber(self.number.0 + 1);
        let sealed = seal(&self.hash, number, time_ms, snapshot, body);
        (self.number, self.hash) = (number, sealed.hash);
        self.pending.events.push(sealed);
        number
    }

    /// Keeps a content with the next events; returns its name.
    pub fn put(&mut self, bytes: &[u8]) -> ContentId {
        let id = ContentId::of(bytes);
        let bytes: Arc<[u8]> = bytes.into();
        self.cache.get_mut().keep(id, &bytes);
        self.pending.contents.insert(id, bytes);
        id
    }

    /// A content.
    ///
    /// # Errors
    /// The store fails, does not have it, or has something else under its name.
    pub fn content(&self, id: ContentId) -> Result<Content, LogError> {
        if let Some(bytes) = self.pending.contents.get(&id) {
            return Ok(Content::Here(bytes.clone()));
        }
        if let Some(bytes) = self.cache.borrow().contents.get(&id) {
            return Ok(Content::Here(bytes.clone()));
        }
        match self.store.content(id)? {
            Kept::Here(bytes) if ContentId::of(&bytes) != id => Err(LogError::Altered { id }),
            Kept::Here(bytes) => {
                let bytes: Arc<[u8]> = bytes.into();
                self.cache.borrow_mut().keep(id, &bytes);
                Ok(Content::Here(bytes))
            }
            Kept::Forgotten => Ok(Content::Forgotten),
            Kept::Missing => Err(LogError::Missing { id }),
        }
    }

    /// Writes what is pending if it has become much.
    ///
    /// # Errors
    /// The store fails.
    pub fn flush_if_many(&mut self) -> Result<(), LogError> {
        if self.pending.events.len() < PENDING_MAX { Ok(()) } else { self.flush() }
    }

    /// Writes what is pending: it survives the end of this process.
    ///
    /// # Errors
    /// The store fails.
    pub fn flush(&mut self) -> Result<(), LogError> {
        self.write(Durability::Process)
    }

    /// Writes what is pending and waits for the disk.
    ///
    /// # Errors
    /// The store fails.
    pub fn sync(&mut self) -> Result<(), LogError> {
        if self.synced == self.number && self.pending.is_empty() {
            return Ok(());
        }
        self.write(Durability::Machine)?;
        self.synced = self.number;
        Ok(())
    }

    fn write(&mut self, durability: Durability) -> Result<(), LogError> {
        if self.broken {
            return Err(LogError::Broken);
        }
        if self.pending.is_empty() && durability == Durability::Process {
            return Ok(());
        }
        // What is in memory is ahead of the disk from here on if this fails, so nothing may be
        // built on it any more.
        let result = self.store.write(&self.pending, durability);
        self.broken = result.is_err();
        result?;
        self.pending = Batch::default();
        Ok(())
    }

    /// Deletes a content; the chain still holds. Returns whether it was there.
    ///
    /// # Errors
    /// The store fails.
    pub fn forget(&mut self, id: ContentId) -> Result<bool, LogError> {
        self.flush()?;
        self.cache.get_mut().drop_one(&id);
        Ok(self.store.forget(id)?)
    }

    /// The events from a number on, the pending ones among them, without those of snapshots.
    ///
    /// # Errors
    /// The store fails.
    pub fn events_from(&self, from: EventNumber) -> Result<Vec<Sealed>, LogError> {
        let mut events = Vec::new();
        self.store.read(from, &mut |sealed| {
            events.push(sealed);
            true
        })?;
        events.extend(self.pending.events.iter().filter(|it| it.number >= from).cloned());
        events.retain(|sealed| sealed.snapshot.is_none());
        Ok(events)
    }

    /// What other programs asked for since the last time, each told once.
    ///
    /// # Errors
    /// The store fails.
    pub fn requests(&mut self) -> Result<Vec<Request>, LogError> {
        Ok(self.store.requests()?)
    }

    /// Takes note that a request was heard; goes to the disk together with the events it caused.
    pub fn heard(&mut self, request: &Request) {
        self.pending.heard.push(request.number);
    }
}
