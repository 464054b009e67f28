//! The thread that writes blocks to the folder, and the queue before it.
//!
//! Invariant: nothing that an engine's thread does here waits for a disk, except `flush` and
//! `forget`, which say so.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, fs};

use lucid_tensor::{KV_BLOCK_LEN, TokenId};

use super::file::{self, Header};
use super::folder::{self, Shelf};
use super::name::{Keys, Name};
use super::weights::{Record, Weights};
use super::{DiskOptions, DiskStats};

/// Bytes that may wait to be written; one block may wait whatever its size.
const QUEUE_BYTES_MAX: usize = 128 << 20;

/// How long nothing is written after the system has refused to.
const PAUSE: Duration = Duration::from_secs(60);

/// How long an engine that is dropped waits for its weights to be hashed.
const PATIENCE: Duration = Duration::from_secs(2);

/// The folder is listed again when this part of the bytes allowed has been written since: another
/// process may have written as well.
const LISTED_AGAIN_AFTER: u64 = 16;

/// A block to be written.
pub(super) struct Block {
    pub(super) name: Name,
    pub(super) tokens: [TokenId; KV_BLOCK_LEN],
    /// Which block of its sequence it is, from 0.
    pub(super) index: usize,
    pub(super) payload: Vec<u8>,
}

enum Job {
    Write(Box<Block>),
    /// A block was used without its file.
    Use(Name, usize),
    Forget,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Bytes of payloads that wait.
    bytes: usize,
    /// Whether a job is being done.
    busy: bool,
    /// Since when no job follows those that wait.
    closing: Option<Instant>,
    /// The thread does no more jobs.
    ended: bool,
    paused: Option<Instant>,
    stats: DiskStats,
}

impl Queue {
    /// Whether there is room for a block.
    fn takes(&self, bytes: usize) -> bool {
        let paused = self.paused.is_some_and(|since| since.elapsed() < PAUSE);
        let full = self.bytes > 0 && self.bytes + bytes > QUEUE_BYTES_MAX;
        !(paused || full || self.ended)
    }
}

/// What an engine and its thread share.
pub(super) struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Where blocks of this engine lie, once the weights are known.
    pub(super) shelf: OnceLock<Shelf>,
    /// How often blocks were lost after they were taken into the queue, or written.
    losses: AtomicU64,
}

impl Shared {
    pub(super) fn new(stats: DiskStats, shelf: Option<Shelf>) -> Self {
        let shelf = shelf.map_or_else(OnceLock::new, OnceLock::from);
        let queue = Mutex::new(Queue { stats, ..Queue::default() });
        Self { queue, changed: Condvar::new(), shelf, losses: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every change of the queue is whole before anything can panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Grows whenever blocks that were taken into the queue may not be in the folder.
    pub(super) fn losses(&self) -> u64 {
        self.losses.load(Ordering::Relaxed)
    }

    fn note_loss(&self) {
        self.losses.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether nothing waits, and nothing is being done.
    pub(super) fn is_idle(&self) -> bool {
        let queue = self.lock();
        !queue.busy && queue.jobs.is_empty()
    }

    /// Lets a block be written. Returns whether there was room for it.
    pub(super) fn write(&self, bytes: usize, block: impl FnOnce() -> Block) -> bool {
        let mut queue = self.lock();
        if !queue.takes(bytes) {
            queue.stats.dropped += 1;
            return false;
        }
        queue.bytes += bytes;
        queue.jobs.push_back(Job::Write(Box::new(block())));
        self.changed.notify_all();
        true
    }

    /// Whether there is room for a block at present.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        self.lock().takes(bytes)
    }

    /// Notes that a block was used.
    pub(super) fn note_use(&self, name: Name, index: usize) {
        let mut queue = self.lock();
        if !queue.ended {
            queue.jobs.push_back(Job::Use(name, index));
            self.changed.notify_all();
        }
    }

    /// Waits until all that was to be written is.
    pub(super) fn flush(&self) {
        drop(self.idle(self.lock()));
    }

    fn idle<'a>(&self, mut queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        while !queue.ended && (queue.busy || !queue.jobs.is_empty()) {
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue
    }

    /// Removes all blocks, and waits until they are.
    pub(super) fn forget(&self) {
        let mut queue = self.lock();
        queue.jobs.clear();
        queue.bytes = 0;
        queue.jobs.push_back(Job::Forget);
        self.changed.notify_all();
        drop(self.idle(queue));
    }

    /// Lets the thread end once all is written.
    pub(super) fn close(&self) {
        self.lock().closing = Some(Instant::now());
        self.changed.notify_all();
    }

    pub(super) fn change_stats(&self, change: impl FnOnce(&mut DiskStats)) {
        change(&mut self.lock().stats);
    }

    pub(super) fn stats(&self) -> DiskStats {
        let queue = self.lock();
        DiskStats { waiting_bytes: queue.bytes as u64, ..queue.stats.clone() }
    }
}

/// The thread's own.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) options: DiskOptions,
    pub(super) keys: Keys,
    pub(super) weights: Weights,
    pub(super) record: Record,
    /// What else the identity follows from, given the weights.
    pub(super) identity: Box<dyn Fn([u8; 32]) -> [u8; 32] + Send>,
    /// Bytes in the folder as they were listed, and what was written since.
    pub(super) listed_bytes: u64,
    pub(super) written_bytes: u64,
}

/// Wakes those who wait, however the thread ends.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.ended = true;
        queue.jobs.clear();
        queue.bytes = 0;
        self.0.changed.notify_all();
    }
}

impl Writer {
    /// Does what is asked until it is closed.
    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _ending = Ending(&shared);
        self.listed_bytes = folder::bytes(&self.options.folder);
        self.tell_bytes();
        while let Some(job) = self.next() {
            match job {
                Job::Write(block) => self.write(&block),
                Job::Use(name, index) => self.note_use(&name, index),
                Job::Forget => {
                    self.listed_bytes = folder::clear(&self.options.folder);
                    self.written_bytes = 0;
                    self.shared.note_loss();
                }
            }
            self.tell_bytes();
        }
    }

    /// The next job; none when all is done and nothing follows.
    fn next(&self) -> Option<Job> {
        let mut queue = self.shared.lock();
        queue.busy = false;
        self.shared.changed.notify_all();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                queue.busy = true;
                if let Job::Write(block) = &job {
                    queue.bytes -= block.payload.len();
                }
                return Some(job);
            }
            if queue.closing.is_some() {
                return None;
            }
            queue = self.shared.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn tell_bytes(&self) {
        let bytes = self.listed_bytes + self.written_bytes;
        self.shared.change_stats(|stats| stats.bytes = bytes);
    }

    /// Where blocks lie. The weights are hashed first where no record tells what they are.
    fn shelf(&mut self) -> Option<Shelf> {
        if self.shared.shelf.get().is_none() {
            let closing = || self.shared.lock().closing;
            let given_up = || closing().is_some_and(|since| since.elapsed() > PATIENCE);
            let content = self.record.make(&self.weights, &given_up)?;
            let shelf = Shelf::new(&self.options.folder, (self.identity)(content));
            self.shared.shelf.get_or_init(|| shelf);
        }
        self.shared.shelf.get().cloned()
    }

    fn write(&mut self, block: &Block) {
        let Some(shelf) = self.shelf() else {
            self.shared.note_loss();
            return self.shared.change_stats(|stats| stats.dropped += 1);
        };
        let bytes = file::file_bytes(block.payload.len());
        let path = shelf.path(&block.name);
        if is_there(&path, bytes) {
            // Computed a second time, or by another process.
            return self.note_use(&block.name, block.index);
        }
        let taken = folder::taken(bytes);
        if !self.make_room(taken) {
            let bytes_max = self.options.bytes_max;
            return self.pause(format_args!(
                "there is no room for {taken} bytes more, {bytes_max} are allowed in {}; allow \
                 more or choose another folder",
                self.options.folder.display()
            ));
        }
        let header = Header::new(&shelf.identity, &block.name, &block.tokens, block.payload.len());
        let used = folder::used_now(block.index);
        match file::write(&path, &self.keys.checksums, &header, &block.payload, used) {
            Ok(()) => {
                self.written_bytes += taken;
                let mut queue = self.shared.lock();
                queue.stats.written += 1;
                queue.stats.trouble = None;
                queue.paused = None;
            }
            Err(error) => self.pause(format_args!(
                "cannot write {}: {error}; make room there or choose another folder",
                path.parent().unwrap_or(&path).display()
            )),
        }
    }

    /// Gives up blocks so that there is room for one more. `false` if it alone is too large.
    fn make_room(&mut self, taken: u64) -> bool {
        let bytes_max = self.options.bytes_max;
        let full = self.listed_bytes + self.written_bytes + taken > bytes_max;
        if full || self.written_bytes > bytes_max / LISTED_AGAIN_AFTER {
            let (bytes, evicted) = folder::make_room(&self.options.folder, bytes_max, taken);
            (self.listed_bytes, self.written_bytes) = (bytes, 0);
            self.shared.change_stats(|stats| stats.evicted += evicted);
            if evicted > 0 {
                self.shared.note_loss();
            }
        }
        self.listed_bytes + self.written_bytes + taken <= bytes_max
    }

    fn note_use(&self, name: &Name, index: usize) {
        let Some(shelf) = self.shared.shelf.get() else { return };
        match fs::File::open(shelf.path(name)) {
            Ok(file) => {
                // That it was used is worth no error.
                let _ = file.set_modified(folder::used_now(index));
            }
            Err(_) => self.shared.note_loss(),
        }
    }

    /// Nothing is written for a while; what waits is dropped.
    fn pause(&self, reason: fmt::Arguments<'_>) {
        self.shared.note_loss();
        let mut queue = self.shared.lock();
        let jobs = queue.jobs.len();
        queue.jobs.retain(|job| !matches!(job, Job::Write(_)));
        queue.stats.dropped += (1 + jobs - queue.jobs.len()) as u64;
        queue.bytes = 0;
        queue.paused = Some(Instant::now());
        queue.stats.trouble =
            Some(format!("keys and values are not kept on disk for now: {reason}"));
    }
}

fn is_there(path: &Path, bytes: u64) -> bool {
    fs::symlink_metadata(path).is_ok_and(|info| info.is_file() && info.len() == bytes)
}
