//! Models, requests and clocks of these tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lucid_checkpoint::Checkpoint;
use lucid_engine::sampler::SamplerConfig;
use lucid_engine::{
    Clock, Constraint, Engine, EngineError, EngineOptions, Event, FinishReason, KvDType, Level,
    Packing, Request, RequestId, Scheduler, SchedulerOptions, Speculation, TokenMask, Usage,
};
use lucid_sys::ThreadPool;
use lucid_tensor::{DType, Metadata, TokenId};

/// The golden model that most tests use, and its vocabulary.
pub(crate) const MODEL: &str = "llama3";
pub(crate) const VOCAB: u32 = 131;

/// More passes than any test needs.
const PASSES_MAX: usize = 50_000;

/// Weights on disk; converted ones are gone when the test is over.
pub(crate) struct Model {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) packing: Packing,
    scratch: Option<PathBuf>,
}

impl Drop for Model {
    fn drop(&mut self) {
        if let Some(path) = &self.scratch {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Model {
    /// A golden model as it is, multiplied in f32.
    pub(crate) fn golden(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
        let checkpoint = Checkpoint::open(&folder).unwrap();
        Self { checkpoint, packing: Packing::Keep, scratch: None }
    }

    /// The same in Q8_0, packed where this processor can.
    pub(crate) fn packed(name: &str, test: &str) -> Self {
        let file = format!("lucid-scheduler-{}-{test}-{name}.gguf", std::process::id());
        let path = std::env::temp_dir().join(file);
        let source = Self::golden(name);
        let (metadata, dtype) = (Metadata::default(), Some(DType::Q8_0));
        lucid_checkpoint::convert(&source.checkpoint, &metadata, dtype, &path, &mut |_, _| {})
            .unwrap();
        let checkpoint = Checkpoint::open(&path).unwrap();
        Self { checkpoint, packing: Packing::Pack, scratch: Some(path) }
    }

    /// Makes the weights file look as if somebody had written to it.
    pub(crate) fn touch(&self) {
        let file = std::fs::File::options().append(true).open(self.scratch.as_ref().unwrap());
        file.unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    }

    pub(crate) fn engine(&self, threads: usize, context: usize, kv_blocks: usize) -> Engine {
        let options = EngineOptions {
            context,
            kv_blocks,
            kv_dtype: KvDType::F16,
            level: Level::detect(),
            packing: self.packing,
        };
        Engine::load(&self.checkpoint, Arc::new(ThreadPool::new(threads)), options).unwrap()
    }
}

/// A scheduler of `MODEL` on one thread whose clock stands still.
pub(crate) fn scheduler(context: usize, kv_blocks: usize) -> Scheduler {
    let engine = Model::golden(MODEL).engine(1, context, kv_blocks);
    Scheduler::new(engine, SchedulerOptions::default(), still()).unwrap()
}

/// A clock that stands still.
pub(crate) fn still() -> Clock {
    Box::new(|| Duration::ZERO)
}

/// The most probable tokens of each place after `prompt`, one in a pass.
pub(crate) fn greedy(prompt: Vec<TokenId>, new_tokens_max: usize) -> Request {
    Request {
        prompt,
        new_tokens_max,
        sampler: SamplerConfig::greedy(),
        speculation: Speculation::Off,
        ..Request::default()
    }
}

/// Why and at what cost a sample ended.
pub(crate) fn end(events: &[Event], id: RequestId, wanted: usize) -> (FinishReason, Usage) {
    let end = |event: &Event| match event {
        Event::Finished { request, sample, reason, usage }
            if (*request, *sample) == (id, wanted) =>
        {
            Some((reason.clone(), *usage))
        }
        _ => None,
    };
    events.iter().find_map(end).unwrap()
}

/// Events until nothing is left to do.
pub(crate) fn drain(scheduler: &mut Scheduler) -> Vec<Event> {
    let mut events = Vec::new();
    for _ in 0..PASSES_MAX {
        if scheduler.idle() {
            return events;
        }
        events.extend(scheduler.step().unwrap());
    }
    panic!("no end after {PASSES_MAX} passes: {:?}", scheduler.stats());
}

/// The events of one request alone.
pub(crate) fn serve(scheduler: &mut Scheduler, request: Request) -> (RequestId, Vec<Event>) {
    let id = scheduler.submit(request).unwrap();
    (id, drain(scheduler))
}

/// The tokens of one sample.
pub(crate) fn tokens(events: &[Event], id: RequestId, wanted: usize) -> Vec<TokenId> {
    let token = |event: &Event| match event {
        Event::Token { request, sample, token, .. } if (*request, *sample) == (id, wanted) => {
            Some(*token)
        }
        _ => None,
    };
    events.iter().filter_map(token).collect()
}

/// After everything is over no sequence holds a block, and the cache gives up the rest.
pub(crate) fn all_blocks_return(scheduler: &mut Scheduler) {
    assert!(scheduler.idle());
    assert_eq!(scheduler.engine().kv_bytes(), 0, "blocks of sequences that are over");
    scheduler.forget_published();
    assert_eq!(scheduler.engine().published_bytes(), 0, "blocks that are forgotten");
}

/// A prompt of `len` tokens that no other `seed` shares.
pub(crate) fn prompt(seed: u64, len: usize) -> Vec<TokenId> {
    let mut random = Random(seed.wrapping_mul(0x1234_5678_9abc_def1) + 1);
    (0..len).map(|_| random.below(VOCAB as usize) as TokenId).collect()
}

/// SplitMix64 (Steele et al., OOPSLA 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }

    /// Whether something of one chance in `limit` happens.
    pub(crate) fn once_in(&mut self, limit: usize) -> bool {
        self.below(limit) == 0
    }
}

/// Only even tokens; one that `run_every` divides is followed by 2, 4, 6. The answer may end after
/// any even number of tokens.
#[derive(Clone)]
pub(crate) struct Even {
    pub(crate) run_every: TokenId,
    accepted: usize,
    forced: Vec<TokenId>,
}

impl Even {
    pub(crate) fn new(run_every: TokenId) -> Self {
        Self { run_every, accepted: 0, forced: Vec::new() }
    }

    /// The same for an answer that begins with these tokens.
    pub(crate) fn opening(forced: Vec<TokenId>) -> Self {
        Self { forced, ..Self::new(4) }
    }
}

impl Constraint for Even {
    fn forced(&mut self) -> Result<Vec<TokenId>, EngineError> {
        Ok(std::mem::take(&mut self.forced))
    }

    fn mask(&mut self, allowed: &mut TokenMask) -> Result<(), EngineError> {
        assert!(self.forced.is_empty(), "forced tokens come first");
        (0..allowed.vocab_size() as TokenId).step_by(2).for_each(|token| allowed.allow(token));
        Ok(())
    }

    fn accept(&mut self, token: TokenId) -> Result<(), EngineError> {
        if !token.is_multiple_of(2) {
            return Err(EngineError::Constraint { reason: format!("{token} is odd") });
        }
        self.accepted += 1;
        if token > 6 && token.is_multiple_of(self.run_every) {
            self.forced = vec![2, 4, 6];
        }
        Ok(())
    }

    fn may_end(&self) -> bool {
        self.accepted.is_multiple_of(2)
    }

    fn duplicate(&self) -> Box<dyn Constraint> {
        Box::new(self.clone())
    }
}
