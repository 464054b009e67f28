//! What the thread that computes shares with those that ask.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lucid_engine::{EngineOptions, Scheduler};
use lucid_tensor::KV_BLOCK_LEN;
use lucid_tokenizer::{TokenId, Tokenizer};

use crate::{ProviderError, ProviderStats, Usage};

/// When to try again, at the least and at the most.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// See the module's text.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) tokenizer: Arc<Tokenizer>,
    /// Control tokens that answers in the template's format are written with, ascending.
    pub(super) marks: Vec<TokenId>,
    /// Bytes of keys and values of one block.
    pub(super) block_bytes: u64,
    /// Turns that run at once; as many as `queue_max` more may wait.
    pub(super) sequences_max: usize,
    pub(super) queue_max: usize,
    in_flight: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stats: ProviderStats,
    broken: Option<String>,
    /// Why nothing is kept on disk at present.
    trouble: Option<String>,
    /// What a turn takes, as a running mean.
    turn: Duration,
}

impl Shared {
    pub(super) fn new(
        name: String,
        tokenizer: Arc<Tokenizer>,
        marks: Vec<TokenId>,
        engine: &lucid_engine::Engine,
        sequences_max: usize,
        queue_max: usize,
    ) -> Self {
        let EngineOptions { kv_dtype, kv_blocks, .. } = *engine.options();
        let config = engine.config();
        let chunk_bytes = kv_dtype.chunk_bytes(config.head_dim, config.value_dim);
        let stats = ProviderStats { kv_blocks, ..ProviderStats::default() };
        Self {
            name,
            tokenizer,
            marks,
            block_bytes: (chunk_bytes * config.kv_head_count * config.layer_count) as u64,
            sequences_max,
            queue_max,
            in_flight: AtomicUsize::new(0),
            state: Mutex::new(State { stats, ..State::default() }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place in the queue.
    ///
    /// # Errors
    /// There is none, or nothing works any more.
    pub(super) fn enter(&self) -> Result<(), ProviderError> {
        if let Some(error) = self.broken() {
            return Err(error);
        }
        let most = self.sequences_max.saturating_add(self.queue_max);
        let entered = self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
            (count < most).then_some(count + 1)
        });
        if entered.is_ok() {
            return Ok(());
        }
        // As many turns end in the time of one as run at once.
        let waves = (self.queue_max / self.sequences_max.max(1)).clamp(1, 60) as u32;
        let retry_after = self.state().turn.saturating_mul(waves).clamp(RETRY_MIN, RETRY_MAX);
        Err(ProviderError::Busy { retry_after })
    }

    /// Gives the place back; `took` is what a turn took that was answered.
    pub(super) fn leave(&self, took: Option<Duration>) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        if let Some(took) = took {
            let mut state = self.state();
            let mean = if state.turn.is_zero() { took } else { (state.turn * 7 + took) / 8 };
            state.turn = mean;
        }
    }

    /// That it has stopped working, if it has.
    pub(super) fn broken(&self) -> Option<ProviderError> {
        self.state().broken.as_deref().map(|reason| self.broken_error(reason))
    }

    /// From now on every turn is refused.
    pub(super) fn break_down(&self, reason: &str) {
        self.state().broken = Some(reason.to_owned());
    }

    pub(super) fn broken_error(&self, reason: &str) -> ProviderError {
        ProviderError::Broken { provider: self.name.clone(), reason: reason.to_owned() }
    }

    /// Counts what an answer took; its prompt once for all samples.
    pub(super) fn count(&self, usage: &Usage, sample: usize) {
        let stats = &mut self.state().stats;
        stats.new_tokens += usage.new_tokens as u64;
        stats.proposed_tokens += usage.proposed_tokens as u64;
        stats.accepted_tokens += usage.accepted_tokens as u64;
        if sample == 0 {
            stats.prompt_tokens += (usage.prompt_tokens - usage.cached_tokens) as u64;
            stats.cached_tokens += usage.cached_tokens as u64;
        }
    }

    /// Tells what the engine holds and does.
    pub(super) fn publish(&self, scheduler: &Scheduler) {
        let engine = scheduler.engine();
        let (used, known) = (engine.kv_bytes() as u64, engine.published_bytes() as u64);
        let block_bytes = self.block_bytes.max(1);
        let disk = engine.disk_stats();
        let mut state = self.state();
        state.trouble = disk.trouble;
        let stats = &mut state.stats;
        stats.disk_bytes = disk.bytes;
        stats.disk_tokens = disk.read * KV_BLOCK_LEN as u64;
        stats.scheduler = scheduler.stats();
        stats.kv_blocks_known = (known / block_bytes) as usize;
        stats.kv_blocks_used = (used / block_bytes) as usize;
        stats.memory_bytes = used + known + engine.adapter_bytes() as u64;
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.state().trouble.clone()
    }

    pub(super) fn stats(&self) -> ProviderStats {
        self.state().stats
    }
}
