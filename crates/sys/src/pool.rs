//! A persistent pool of threads for loops over items that are known beforehand.
//!
//! One run at a time is published in a single atomic word, `[generation | flags | active workers]`.
//! A worker joins by adding one to it while the run is open. The caller works too; when no item is
//! left it closes the run and waits for those that joined. So a worker that sleeps, or that the
//! system has not scheduled, is never waited for.
//!
//! Invariant: the job behind the pointer in `Shared::job` lives on the caller's stack, is only read
//! by a worker that has joined, and the caller does not leave (nor unwind) before the run is closed
//! and nobody is active.
//!
//! Items are shared out in advance: each thread begins with its own consecutive part and then helps
//! the others with theirs. What a thread writes in one run lies near the processor that reads it in
//! the next run of the same shape. Which thread takes which item in the end is left to chance, so
//! results must not depend on it.

use std::any::Any;
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a thread spins for the next run, or for the last item of this one, before it parks.
const SPIN: Duration = Duration::from_micros(50);

const ACTIVE: u64 = (1 << 24) - 1;
const OPEN: u64 = 1 << 24;
const CALLER_WAITS: u64 = 1 << 25;
const SHUTDOWN: u64 = 1 << 26;
const GENERATION_SHIFT: u32 = 32;

/// Persistent worker threads. The thread that calls counts as one of them.
///
/// A run that starts while another one is under way on the same pool (from a second thread, or from
/// inside a task) is done by its caller alone: same result, no deadlock, no speed-up.
#[derive(Debug)]
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    busy: AtomicBool,
}

impl ThreadPool {
    /// Starts a pool in which `threads` threads work, the caller among them. Where the system
    /// refuses to start that many, the pool is smaller; [`threads`](Self::threads) tells.
    ///
    /// # Panics
    /// `threads` is 0.
    pub fn new(threads: usize) -> Self {
        assert!(threads >= 1, "a pool needs at least the thread that calls it");
        let threads = threads.min(ACTIVE as usize);
        let available = std::thread::available_parallelism().map_or(1, usize::from);
        // With more threads than processors, spinning only takes time from those that work.
        let spin = if threads <= available { SPIN } else { Duration::ZERO };
        let shared = Arc::new(Shared::new(spin, threads));
        let mut workers = Vec::new();
        for slot in 1..threads {
            let shared = Arc::clone(&shared);
            let thread = std::thread::Builder::new().name(format!("lucid-{slot}"));
            match thread.spawn(move || shared.work(slot)) {
                Ok(worker) => workers.push(worker),
                Err(_) => break,
            }
        }
        Self { shared, workers, busy: AtomicBool::new(false) }
    }

    /// How many threads work on a run, the caller among them.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `f(scratch, index, item)` once for each item and returns when all are done. Thread `t`
    /// of `n` first claims, one by one in ascending order, the items from `t / n` to `(t + 1) / n`
    /// of them, then what others have left; it has one element of `scratch` to itself.
    ///
    /// # Panics
    /// `scratch` has fewer elements than the pool has threads. A panic in `f` is passed on once all
    /// threads have left; items that nobody had claimed by then are not visited. The pool stays
    /// usable.
    pub fn for_each_with<S, T, F>(&self, scratch: &mut [S], items: &mut [T], f: F)
    where
        S: Send,
        T: Send,
        F: Fn(&mut S, usize, &mut T) + Sync,
    {
        assert!(
            scratch.len() >= self.threads(),
            "{} scratch elements for {} threads",
            scratch.len(),
            self.threads()
        );
        let alone = self.workers.is_empty() || items.len() <= 1;
        let turn = if alone { None } else { Turn::take(&self.busy) };
        if turn.is_none() {
            for (index, item) in items.iter_mut().enumerate() {
                f(&mut scratch[0], index, item);
            }
            return;
        }
        for (slot, next) in self.shared.next[..self.threads()].iter().enumerate() {
            next.0.store(part(items.len(), slot, self.threads()).start, Ordering::Relaxed);
        }
        let run = Run {
            next: &self.shared.next[..self.threads()],
            scratch: scratch.as_mut_ptr(),
            items: items.as_mut_ptr(),
            len: items.len(),
            f: &f,
            panics: Mutex::new(Vec::new()),
        };
        let job = Job { data: (&raw const run).cast(), call: take_items::<S, T, F> };
        // SAFETY: `Turn` makes this the only caller; `run` outlives the call, which returns only
        // when nobody uses it. Slots are below `threads()`, hence inside `scratch`.
        unsafe { self.shared.publish(job, items.len() - 1) };
        // SAFETY: slot 0 is the caller's alone.
        unsafe { take_items::<S, T, F>(job.data, 0) };
        self.shared.close();
        let mut panics = run.panics.into_inner().unwrap_or_else(PoisonError::into_inner);
        drop(turn);
        if !panics.is_empty() {
            resume_unwind(panics.swap_remove(0));
        }
    }

    /// Calls `f(index, item)` once for each item and returns when all are done; see
    /// [`for_each_with`](Self::for_each_with).
    ///
    /// # Panics
    /// A panic in `f` is passed on.
    pub fn for_each<T, F>(&self, items: &mut [T], f: F)
    where
        T: Send,
        F: Fn(usize, &mut T) + Sync,
    {
        // A vector of `()` allocates nothing.
        self.for_each_with(&mut vec![(); self.threads()], items, |(), index, item| f(index, item));
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.state.fetch_or(SHUTDOWN, Ordering::SeqCst);
        let guard = self.shared.lock();
        self.shared.wake.notify_all();
        drop(guard);
        for worker in self.workers.drain(..) {
            // A worker catches every panic of a task, so there is nothing to pass on.
            let _ = worker.join();
        }
    }
}

/// The right to publish a run; given back when dropped.
struct Turn<'pool>(&'pool AtomicBool);

impl<'pool> Turn<'pool> {
    fn take(busy: &'pool AtomicBool) -> Option<Self> {
        let taken = busy.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        // Lazily: a `Turn` that was not taken must not be dropped either.
        taken.is_ok().then(|| Self(busy))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Keeps a counter that threads write away from all else.
#[derive(Debug)]
#[repr(align(128))]
struct Line<T>(T);

/// The items that thread `slot` begins with.
fn part(len: usize, slot: usize, threads: usize) -> Range<usize> {
    len * slot / threads..len * (slot + 1) / threads
}

/// One run, on its caller's stack.
struct Run<'run, S, T, F> {
    /// The next item of each thread's part.
    next: &'run [Line<AtomicUsize>],
    scratch: *mut S,
    items: *mut T,
    len: usize,
    f: &'run F,
    panics: Mutex<Vec<Box<dyn Any + Send>>>,
}

/// A [`Run`] with its types erased.
#[derive(Clone, Copy, Debug)]
struct Job {
    data: *const (),
    call: unsafe fn(*const (), usize),
}

/// Claims items until none is left. Never unwinds.
///
/// # Safety
/// `data` points to a live `Run<S, T, F>` whose `scratch` has more than `slot` elements, whose
/// `items` has `len`, and nobody else uses the same `slot` meanwhile.
unsafe fn take_items<S, T, F>(data: *const (), slot: usize)
where
    F: Fn(&mut S, usize, &mut T),
{
    // SAFETY: by contract of this function.
    let run = unsafe { &*data.cast::<Run<S, T, F>>() };
    let caught = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: inside `scratch`, and this slot is ours.
        let scratch = unsafe { &mut *run.scratch.add(slot) };
        let threads = run.next.len();
        for owner in (slot..threads).chain(0..slot) {
            let (end, next) = (part(run.len, owner, threads).end, &run.next[owner].0);
            // Looked at first: most parts are over when others come, and a line that nobody writes
            // can be read by all.
            while next.load(Ordering::Relaxed) < end {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= end {
                    break;
                }
                // SAFETY: inside `items`; parts are disjoint, and the counter of each gives an
                // index out once.
                let item = unsafe { &mut *run.items.add(index) };
                (run.f)(scratch, index, item);
            }
        }
    }));
    if let Err(panic) = caught {
        for next in run.next {
            next.0.fetch_max(run.len, Ordering::Relaxed);
        }
        // Kept, all of them: dropping a payload may panic too, and that is for the caller to bear.
        run.panics.lock().unwrap_or_else(PoisonError::into_inner).push(panic);
    }
}

#[derive(Debug)]
struct Shared {
    state: AtomicU64,
    job: UnsafeCell<Job>,
    /// For each thread, the next item of its part of the run; at least one, as many as there may be
    /// threads.
    next: Box<[Line<AtomicUsize>]>,
    /// Workers that are parked, or about to.
    parked: AtomicUsize,
    spin: Duration,
    mutex: Mutex<()>,
    /// A run was published, or the pool is going.
    wake: Condvar,
    /// The last worker has left a closed run.
    done: Condvar,
}

// SAFETY: `job` is written only by the caller that holds the turn, while the run is closed and
// nobody is active, and read only by workers that joined an open run; joining (Acquire) reads what
// publishing (SeqCst store) wrote.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is followed only under the same rule, whose `S` and `T` are `Send`
// and `F` is `Sync`.
unsafe impl Send for Shared {}

impl Shared {
    fn new(spin: Duration, threads: usize) -> Self {
        unsafe fn nothing(_: *const (), _: usize) {}
        Self {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(Job { data: std::ptr::null(), call: nothing }),
            next: (0..threads).map(|_| Line(AtomicUsize::new(0))).collect(),
            parked: AtomicUsize::new(0),
            spin,
            mutex: Mutex::new(()),
            wake: Condvar::new(),
            done: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a run and wakes up to `helpers` workers.
    ///
    /// # Safety
    /// The last run is closed and left by all; nobody else publishes. `job` may be called with
    /// every slot from 1 to the number of workers, each by one thread at a time, until
    /// [`close`](Self::close) returns.
    unsafe fn publish(&self, job: Job, helpers: usize) {
        let state = self.state.load(Ordering::Relaxed);
        debug_assert_eq!(state & (ACTIVE | OPEN), 0, "the last run is not over");
        // SAFETY: by contract nobody reads the cell now.
        unsafe { *self.job.get() = job };
        let generation = (state >> GENERATION_SHIFT).wrapping_add(1);
        // SeqCst here and in `park`: either the worker sees the run or we see that it is parked.
        self.state.store(generation << GENERATION_SHIFT | OPEN, Ordering::SeqCst);
        let parked = self.parked.load(Ordering::SeqCst);
        if parked == 0 {
            return;
        }
        let _guard = self.lock();
        if helpers >= parked {
            self.wake.notify_all();
        } else {
            for _ in 0..helpers {
                self.wake.notify_one();
            }
        }
    }

    /// Lets nobody join any more and waits until all who had joined have left.
    fn close(&self) {
        let mut state = self.state.fetch_and(!OPEN, Ordering::Acquire);
        let mut clock = SpinClock::new(self.spin);
        while state & ACTIVE != 0 && clock.tick() {
            state = self.state.load(Ordering::Acquire);
        }
        if state & ACTIVE == 0 {
            return;
        }
        let mut guard = self.lock();
        // Whoever leaves last after this sees the flag and must take the lock to notify.
        state = self.state.fetch_or(CALLER_WAITS, Ordering::Acquire);
        while state & ACTIVE != 0 {
            guard = self.done.wait(guard).unwrap_or_else(PoisonError::into_inner);
            state = self.state.load(Ordering::Acquire);
        }
        drop(guard);
    }

    /// The life of worker number `slot`.
    fn work(&self, slot: usize) {
        let mut last = 0;
        loop {
            let state = self.next_run(last);
            if state & SHUTDOWN != 0 {
                return;
            }
            last = state >> GENERATION_SHIFT;
            if !self.join(state) {
                continue;
            }
            // SAFETY: having joined an open run, we may read the cell.
            let job = unsafe { *self.job.get() };
            // SAFETY: by contract of `publish`; this thread alone has this slot.
            unsafe { (job.call)(job.data, slot) };
            let before = self.state.fetch_sub(1, Ordering::Release);
            if before & CALLER_WAITS != 0 && before & ACTIVE == 1 {
                let _guard = self.lock();
                self.done.notify_one();
            }
        }
    }

    /// Waits for an open run other than number `last`, or for the end of the pool.
    fn next_run(&self, last: u64) -> u64 {
        let calls = |state: u64| {
            state & SHUTDOWN != 0 || (state & OPEN != 0 && state >> GENERATION_SHIFT != last)
        };
        let mut clock = SpinClock::new(self.spin);
        loop {
            let state = self.state.load(Ordering::Relaxed);
            if calls(state) {
                return state;
            }
            if !clock.tick() {
                break;
            }
        }
        let mut guard = self.lock();
        self.parked.fetch_add(1, Ordering::SeqCst);
        let state = loop {
            let state = self.state.load(Ordering::SeqCst);
            if calls(state) {
                break state;
            }
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        };
        self.parked.fetch_sub(1, Ordering::SeqCst);
        drop(guard);
        state
    }

    /// Adds one to the active workers if the run of `state` is still open.
    fn join(&self, mut state: u64) -> bool {
        let generation = state >> GENERATION_SHIFT;
        while state & OPEN != 0 && state >> GENERATION_SHIFT == generation {
            let joined = self.state.compare_exchange_weak(
                state,
                state + 1,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            match joined {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }
}

/// Counts down the time that a thread may spin; asks the clock only now and then.
struct SpinClock {
    limit: Duration,
    started: Option<Instant>,
    ticks: u32,
}

impl SpinClock {
    fn new(limit: Duration) -> Self {
        Self { limit, started: None, ticks: 0 }
    }

    /// Whether to look once more.
    fn tick(&mut self) -> bool {
        if self.limit.is_zero() {
            return false;
        }
        spin_loop();
        self.ticks += 1;
        if !self.ticks.is_multiple_of(32) {
            return true;
        }
        self.started.get_or_insert_with(Instant::now).elapsed() < self.limit
    }
}

#[cfg(test)]
mod tests;
