//! Keys and values on disk: full blocks of published sequences, found again by their content after
//! a restart.
//!
//! Invariants: (1) a block is used only if its file is, byte for byte, what this installation wrote
//! for the same tokens, scope, weights, arithmetic and formats; whatever else is there counts as
//! nothing, is removed and computed again; (2) nothing about a prompt can be found, or guessed from
//! names or times, without its scope and the installation's key; (3) a pass never waits for a
//! write.
//!
//! Only full blocks are kept: what a reopened conversation computes anew beside its new tokens is
//! less than one block.

mod file;
mod folder;
mod name;
mod weights;
mod writer;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use lucid_sys::{ThreadPool, create_private_folder};
use lucid_tensor::{KV_BLOCK_LEN, TokenId};

use crate::EngineError;
use file::{Header, Outcome};
use folder::Shelf;
pub(crate) use name::{Keys, Name};
use weights::Record;
pub(crate) use weights::Weights;
use writer::{Block, Shared, Writer};

/// Where keys and values are kept over restarts.
#[derive(Clone)]
pub struct DiskOptions {
    /// The folder; made if it is missing, for its owner alone. Engines of any models, and other
    /// processes, may share it.
    pub folder: PathBuf,
    /// Bytes that all blocks in the folder may take, of whatever model; the least recently used
    /// ones are given up. (Each process that writes there may exceed it by a sixteenth.)
    pub bytes_max: u64,
    /// A secret of this installation, made once at random and kept where only its owner can read
    /// it. Blocks that were written under another key are not found.
    pub key: [u8; 32],
}

impl DiskOptions {
    /// What `bytes_max` is where nobody says otherwise: 10 GB.
    pub const BYTES_MAX: u64 = 10_000_000_000;
}

impl fmt::Debug for DiskOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, bytes_max, .. } = self;
        f.debug_struct("DiskOptions")
            .field("folder", folder)
            .field("bytes_max", bytes_max)
            .finish_non_exhaustive()
    }
}

/// What became of blocks on disk. Counters only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskStats {
    /// Bytes that the blocks in the folder take, of all models; 0 until they were counted.
    pub bytes: u64,
    /// Bytes that they may take.
    pub bytes_max: u64,
    /// Bytes that wait to be written.
    pub waiting_bytes: u64,
    /// Blocks written.
    pub written: u64,
    /// Blocks read.
    pub read: u64,
    /// How often a block was not written: too many waited, or nothing can be written.
    pub dropped: u64,
    /// Files that were not what they should be; they were removed.
    pub damaged: u64,
    /// Blocks given up for newer ones.
    pub evicted: u64,
    /// Why nothing is written at present, if that is so.
    pub trouble: Option<String>,
}

/// A block that may be on disk.
pub(crate) struct Wanted {
    pub(crate) name: Name,
    pub(crate) tokens: [TokenId; KV_BLOCK_LEN],
    /// Which block of its sequence it is, from 0.
    pub(crate) index: usize,
}

/// The blocks on disk, as an engine sees them.
pub(crate) struct DiskTier {
    pub(crate) keys: Keys,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    read: AtomicU64,
    damaged: AtomicU64,
}

impl DiskTier {
    /// Opens the folder. `identity` is given the hash of the weights and returns that of all that
    /// keys and values depend on beside tokens.
    pub(crate) fn open(
        options: DiskOptions,
        weights: Weights,
        identity: Box<dyn Fn([u8; 32]) -> [u8; 32] + Send>,
    ) -> Result<Self, EngineError> {
        let failed = |error: std::io::Error| EngineError::Disk {
            folder: options.folder.display().to_string(),
            reason: error.to_string(),
        };
        create_private_folder(&options.folder).map_err(failed)?;
        let keys = Keys::new(&options.key);
        let record = Record::find(&weights, &folder::records(&options.folder), &keys.weights);
        let shelf = record.content.map(|content| Shelf::new(&options.folder, identity(content)));
        let stats = DiskStats { bytes_max: options.bytes_max, ..DiskStats::default() };
        let shared = Arc::new(Shared::new(stats, shelf));
        let folder = options.folder.clone();
        let writer = Writer {
            shared: Arc::clone(&shared),
            options,
            keys: keys.clone(),
            weights,
            record,
            identity,
            listed_bytes: 0,
            written_bytes: 0,
        };
        let thread = std::thread::Builder::new().name("lucid-kv".to_owned());
        let thread = thread.spawn(move || writer.run()).map_err(|error| EngineError::Disk {
            folder: folder.display().to_string(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            keys,
            shared,
            thread: Some(thread),
            read: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
        })
    }

    /// Reads blocks into `payloads`, on all threads. Returns how many of the first ones are there,
    /// whole; the contents of the others are arbitrary.
    pub(crate) fn read(
        &self,
        pool: &ThreadPool,
        wanted: &[Wanted],
        payloads: Vec<&mut [u8]>,
    ) -> usize {
        let Some(shelf) = self.shared.shelf.get() else { return 0 };
        let pairs = wanted.iter().zip(payloads);
        let mut tasks: Vec<_> =
            pairs.map(|(wanted, payload)| (wanted, payload, Outcome::Missing)).collect();
        pool.for_each(&mut tasks, |_, (wanted, payload, outcome)| {
            *outcome = self.read_one(shelf, wanted, payload);
        });
        let there = tasks.iter().take_while(|(.., outcome)| *outcome == Outcome::Read).count();
        self.read.fetch_add(there as u64, Ordering::Relaxed);
        there
    }

    fn read_one(&self, shelf: &Shelf, wanted: &Wanted, payload: &mut [u8]) -> Outcome {
        let Wanted { name, tokens, index } = wanted;
        let path = shelf.path(name);
        let header = Header::new(&shelf.identity, name, tokens, payload.len());
        let used = folder::used_now(*index);
        let outcome = file::read(&path, &self.keys.checksums, &header, payload, used);
        if outcome == Outcome::Damaged {
            self.damaged.fetch_add(1, Ordering::Relaxed);
            // It will be written anew when it is computed; where it cannot be removed it is
            // refused again.
            let _ = std::fs::remove_file(&path);
        }
        outcome
    }

    /// Whether a block seems to be there; only reading it tells.
    pub(crate) fn has(&self, name: &Name) -> bool {
        let shelf = self.shared.shelf.get();
        shelf.is_some_and(|shelf| shelf.path(name).is_file())
    }

    /// Lets a block be written. Returns whether it will be tried.
    pub(crate) fn write(&self, wanted: &Wanted, payload: &[u8]) -> bool {
        let Wanted { name, tokens, index } = *wanted;
        let block = || Block { name, tokens, index, payload: payload.to_vec() };
        self.shared.write(payload.len(), block)
    }

    /// Whether a block of so many bytes would be tried at present.
    pub(crate) fn takes(&self, payload_bytes: usize) -> bool {
        self.shared.takes(payload_bytes)
    }

    /// Notes that a block was used without its file.
    pub(crate) fn note_use(&self, name: Name, index: usize) {
        self.shared.note_use(name, index);
    }

    /// Grows whenever blocks that were written, or were to be, may not be there.
    pub(crate) fn losses(&self) -> u64 {
        self.shared.losses()
    }

    /// Whether nothing waits to be written: what was taken is there, or lost.
    pub(crate) fn is_idle(&self) -> bool {
        self.shared.is_idle()
    }

    /// Waits until all that was to be written is.
    pub(crate) fn flush(&self) {
        self.shared.flush();
    }

    /// Removes all blocks in the folder, and waits until they are.
    pub(crate) fn forget(&self) {
        self.shared.forget();
    }

    pub(crate) fn stats(&self) -> DiskStats {
        DiskStats {
            read: self.read.load(Ordering::Relaxed),
            damaged: self.damaged.load(Ordering::Relaxed),
            ..self.shared.stats()
        }
    }
}

impl Drop for DiskTier {
    /// What waits is written first.
    fn drop(&mut self) {
        self.shared.close();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing more to write.
            let _ = thread.join();
        }
    }
}
