//! Many requests over one engine: each pass computes the next row of every sequence that is being
//! answered, and as much of waiting prompts as does not hold the others up. Source of continuous
//! batching: Yu et al., "Orca" (OSDI 2022), section 4; of mixing prefill chunks with decode rows:
//! Agrawal et al., arXiv:2308.16369 (Sarathi).
//!
//! Invariant: tokens and log-probabilities of a request depend on the request alone, not on what
//! else runs, on time, on what is cached, or on whether it had to make room. It rests on the
//! engine's fixed order of sums, and on every answer keeping its own sampler.
//!
//! Departures: (1) a prompt's budget follows from the time that others may be held up; (2) what has
//! to make room is computed again, not swapped out, and mostly finds its blocks still known.

mod admission;
mod constraint;
mod pace;
mod plan;
mod queue;
mod request;
mod run;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lucid_tensor::{KV_BLOCK_LEN, PackedFrom};

use crate::EngineError;
use crate::engine::{Engine, Feed, SequenceId, Wanted, kv_blocks_for};
use crate::prefix::{ClientId, Scope};
use crate::sampler::{Sampler, SamplerConfig, SamplerError};

pub use constraint::{Constraint, TokenMask};
use pace::Pace;
use queue::Queue;
pub use request::{
    ALTERNATIVES_MAX, Event, FinishReason, LogProb, Request, RequestId, SAMPLES_MAX, Usage,
    WantedLogProbs,
};
use run::{Desk, Run, Sample, Terms};

/// Tells the time since any fixed moment.
pub type Clock = Box<dyn FnMut() -> Duration + Send>;

/// How a scheduler is set up.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerOptions {
    /// How much longer a pass may take answers under way for the sake of somebody's prompt. At
    /// least 32 prompt tokens are computed in a pass, whatever they take; 512 where nobody is
    /// answered.
    pub stall: Duration,
    /// Requests are taken in while fewer sequences than these run; the others wait. A request of
    /// many samples is taken in as one; its samples run even where they are more.
    pub sequences_max: usize,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self { stall: Duration::from_millis(100), sequences_max: 64 }
    }
}

/// What a scheduler has done, and has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerStats {
    /// Sequences that wait; samples of a prompt that is not computed count as one.
    pub waiting: usize,
    /// Sequences that run, counted alike.
    pub running: usize,
    /// Passes so far.
    pub passes: u64,
    /// Tokens that passes computed.
    pub rows: u64,
    /// How often a sequence had to make room and was computed again.
    pub preemptions: u64,
}

/// A sequence that runs.
struct Active {
    run: Run,
    sequence: SequenceId,
    /// What the pass takes of it.
    rows: usize,
    /// Answers that begin where its prompt ends, between a pass and its end.
    split: Vec<Run>,
}

impl Active {
    fn new(run: Run, sequence: SequenceId) -> Self {
        Self { run, sequence, rows: 0, split: Vec::new() }
    }

    fn client(&self) -> ClientId {
        self.run.terms.scope.client()
    }

    /// Greater for what was taken in later.
    fn age(&self) -> (Option<u64>, usize) {
        (self.run.admission, self.run.sample.index)
    }

    /// In which order a client's sequences get their parts of a budget: those that have begun to
    /// answer, then the oldest.
    fn prefill_order(&self) -> (bool, RequestId, usize) {
        let Run { terms, tokens, sample, .. } = &self.run;
        (tokens.len() == terms.prompt_tokens, terms.id, sample.index)
    }
}

/// The scheduler. See the module's text.
pub struct Scheduler {
    engine: Engine,
    options: SchedulerOptions,
    clock: Clock,
    pace: Pace,
    queue: Queue,
    running: Vec<Active>,
    desk: Desk,
    requests: u64,
    admissions: u64,
    /// The client that had the last part of a budget.
    prefilled_last: Option<ClientId>,
    /// An error that the next step returns: events went first.
    failure: Option<EngineError>,
    stats: SchedulerStats,
}

impl Scheduler {
    /// A scheduler of an engine.
    ///
    /// # Errors
    /// The engine has open sequences: nobody could close them any more.
    pub fn new(
        engine: Engine,
        options: SchedulerOptions,
        clock: Clock,
    ) -> Result<Self, EngineError> {
        match engine.sequence_count() {
            0 => {}
            open => return Err(EngineError::OpenSequences { open }),
        }
        Ok(Self {
            engine,
            options,
            clock,
            pace: Pace::new(options.stall),
            queue: Queue::default(),
            running: Vec::new(),
            desk: Desk::default(),
            requests: 0,
            admissions: 0,
            prefilled_last: None,
            failure: None,
            stats: SchedulerStats::default(),
        })
    }

    /// Takes a request into the queue. Its events come from `step`.
    ///
    /// # Errors
    /// The request can never be computed: a setting is out of its range, a token does not exist, or
    /// prompt and answer have no room even alone.
    pub fn submit(&mut self, mut request: Request) -> Result<RequestId, EngineError> {
        self.check(&request)?;
        let constraint = request.constraint.take();
        let siblings: Vec<Sample> = (1..request.samples)
            .map(|index| sample(&request, index, constraint.as_ref().map(|it| it.duplicate())))
            .collect::<Result<_, _>>()?;
        let sample = sample(&request, 0, constraint)?;
        let id = RequestId(self.requests);
        self.requests += 1;
        let echo = request.log_probs.is_some_and(|wanted| wanted.prompt);
        let terms = Terms {
            id,
            scope: Scope::new(request.client, &request.scope),
            prompt_tokens: request.prompt.len(),
            new_tokens_max: request.new_tokens_max,
            stop_tokens: request.stop_tokens,
            log_probs: request.log_probs,
            vocab_size: self.engine.config().vocab_size,
            capacity: self.capacity(),
        };
        self.queue.push_back(Run {
            sample,
            siblings,
            reported: if echo { 0 } else { request.prompt.len() },
            tokens: request.prompt,
            ending: None,
            admission: None,
            cached: 0,
            terms: Arc::new(terms),
        });
        Ok(id)
    }

    /// Ends a request: the next `step` says so for each answer that was not over. Returns whether
    /// there was one.
    pub fn cancel(&mut self, id: RequestId) -> bool {
        let mut runs = self.queue.remove(id);
        for active in std::mem::take(&mut self.running) {
            if active.run.terms.id == id {
                self.close(active.sequence);
                runs.push(active.run);
            } else {
                self.running.push(active);
            }
        }
        let found = !runs.is_empty();
        for mut run in runs {
            run.ending = Some(FinishReason::Cancelled);
            run.finish(&mut self.desk.events);
        }
        found
    }

    /// Computes one pass, if there is anything to compute, and says what came of it.
    ///
    /// # Errors
    /// The engine cannot compute, as when the weights file has changed. No request was touched, and
    /// what there was to say was said by the step before. Whoever gives up cancels all that run;
    /// the next `step` then tells of their end.
    pub fn step(&mut self) -> Result<Vec<Event>, EngineError> {
        if let Some(failure) = self.failure.take()
            && !self.running.is_empty()
            && self.desk.events.is_empty()
        {
            return Err(failure);
        }
        self.admit();
        self.plan();
        if self.running.iter().any(|active| active.rows > 0) {
            match self.compute() {
                Ok(()) => self.settle(),
                // Nobody's events wait for the others' trouble.
                Err(error) if !self.desk.events.is_empty() => self.failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        Ok(std::mem::take(&mut self.desk.events))
    }

    /// Whether there is nothing to compute and nothing to say.
    pub fn idle(&self) -> bool {
        self.running.is_empty() && self.queue.len() == 0 && self.desk.events.is_empty()
    }

    /// What was done, and what waits.
    pub fn stats(&self) -> SchedulerStats {
        let (waiting, running) = (self.queue.len(), self.running.len());
        SchedulerStats { waiting, running, ..self.stats }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, for what is done between passes: adapters, embeddings, a store on disk. Whoever
    /// opens a sequence closes it before the next step, and touches no other.
    pub fn engine_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Ends all that runs, without a word to anybody, and gives the engine back.
    pub fn into_engine(mut self) -> Engine {
        for active in std::mem::take(&mut self.running) {
            self.close(active.sequence);
        }
        self.engine
    }

    /// Packs all weights now; see [`Engine::pack`].
    ///
    /// # Errors
    /// As there.
    pub fn pack(
        &mut self,
        cache: Option<&Path>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<PackedFrom, EngineError> {
        self.engine.pack(cache, progress)
    }

    /// Forgets the keys and values of what is over; what runs keeps its own.
    pub fn forget_published(&mut self) {
        self.engine.forget_published();
    }
}

impl Scheduler {
    /// Tokens that a sequence can have: its last one is never fed, but counts.
    fn capacity(&self) -> usize {
        let options = self.engine.options();
        options.context.min(options.kv_blocks.saturating_mul(KV_BLOCK_LEN))
    }

    /// Refuses what can never be computed.
    fn check(&self, request: &Request) -> Result<(), EngineError> {
        let vocab_size = self.engine.config().vocab_size;
        let Request { prompt, samples, sampler, stop_tokens, .. } = request;
        if prompt.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        if *samples == 0 || *samples > SAMPLES_MAX {
            return Err(EngineError::Samples { found: *samples, most: SAMPLES_MAX });
        }
        let alternatives = request.log_probs.map_or(0, |wanted| wanted.alternatives);
        if alternatives > ALTERNATIVES_MAX {
            return Err(EngineError::Alternatives { found: alternatives, most: ALTERNATIVES_MAX });
        }
        let needed = prompt.len() + 1;
        let options = self.engine.options();
        if needed > options.context {
            return Err(EngineError::ContextFull { needed, context: options.context });
        }
        if needed > self.capacity() {
            let (needed, limit) = (kv_blocks_for(needed), options.kv_blocks);
            return Err(EngineError::TooFewBlocks { needed, limit });
        }
        let unknown = |token: &&u32| **token as usize >= vocab_size;
        if let Some(&token) = prompt.iter().chain(stop_tokens).find(unknown) {
            return Err(EngineError::Token { token, vocab_size });
        }
        let bias = sampler.logit_bias.iter().find(|(token, _)| *token as usize >= vocab_size);
        if let Some(&(token, _)) = bias {
            return Err(SamplerError::BiasOutOfRange { token, vocab: vocab_size }.into());
        }
        Ok(())
    }

    /// Runs the planned pass and lets every run take in its logits.
    fn compute(&mut self) -> Result<(), EngineError> {
        let began = (self.clock)();
        let computed: Vec<usize> =
            self.running.iter().map(|active| self.computed(active.sequence)).collect();
        let Self { engine, running, desk, .. } = self;
        let fed = || running.iter().zip(&computed).filter(|(active, _)| active.rows > 0);
        let feeds: Vec<Feed<'_>> =
            fed().map(|(active, &computed)| feed(active, computed)).collect();
        let firsts: Vec<usize> = feeds
            .iter()
            .zip(fed())
            .map(|(feed, (active, computed))| match feed.wanted {
                Wanted::All => *computed,
                Wanted::None | Wanted::Last => computed + active.rows - 1,
            })
            .collect();
        let logits = engine.forward(&feeds)?;
        let (mut decoding, mut prefill) = (0, 0);
        let fed = running.iter_mut().filter(|active| active.rows > 0).zip(firsts).enumerate();
        for (index, (active, first)) in fed {
            *if active.rows == 1 { &mut decoding } else { &mut prefill } += active.rows;
            active.split = active.run.take(first, logits.of(index), desk);
        }
        let took = (self.clock)().saturating_sub(began);
        self.pace.record(took, decoding, prefill);
        self.stats.passes += 1;
        self.stats.rows += (decoding + prefill) as u64;
        Ok(())
    }

    /// After a pass: what is full can be adopted, what split goes its own ways, what is over ends.
    fn settle(&mut self) {
        for Active { run, sequence, rows, split } in std::mem::take(&mut self.running) {
            let computed = self.computed(sequence);
            if computed / KV_BLOCK_LEN > (computed - rows) / KV_BLOCK_LEN {
                let published = self.engine.publish(sequence, &run.terms.scope);
                published.expect("a running sequence is open");
            }
            let mut forks = Vec::new();
            for run in split {
                if run.is_over() {
                    run.finish(&mut self.desk.events);
                } else {
                    let fork = self.engine.fork(sequence).expect("a running sequence is open");
                    forks.push(Active::new(run, fork));
                }
            }
            if run.is_over() {
                self.close(sequence);
                run.finish(&mut self.desk.events);
            } else {
                self.running.push(Active::new(run, sequence));
            }
            self.running.append(&mut forks);
        }
    }

    /// Tokens of a running sequence whose keys and values are there.
    fn computed(&self, sequence: SequenceId) -> usize {
        self.engine.tokens(sequence).map_or(0, <[_]>::len)
    }

    fn close(&mut self, sequence: SequenceId) {
        self.engine.close(sequence).expect("a running sequence is open");
    }
}

/// An answer that has not begun: its sampler knows the prompt.
fn sample(
    request: &Request,
    index: usize,
    constraint: Option<Box<dyn Constraint>>,
) -> Result<Sample, EngineError> {
    let seed = request.sampler.seed.wrapping_add(index as u64);
    let mut sampler = Sampler::new(SamplerConfig { seed, ..request.sampler.clone() })?;
    for &token in &request.prompt {
        sampler.accept(token);
    }
    Ok(Sample { index, sampler, constraint })
}

/// The next rows of a running sequence.
fn feed(active: &Active, computed: usize) -> Feed<'_> {
    let Active { run, sequence, rows, .. } = active;
    let end = computed + rows;
    let wanted = if run.owes() {
        Wanted::All
    } else if end == run.target() {
        Wanted::Last
    } else {
        Wanted::None
    };
    Feed { sequence: *sequence, tokens: &run.tokens[computed..end], wanted }
}
