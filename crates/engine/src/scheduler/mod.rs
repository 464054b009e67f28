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
mod pass;
mod pause;
mod plan;
mod purpose;
mod queue;
mod reading;
mod request;
mod run;
mod speculation;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lucid_tensor::{KV_BLOCK_LEN, TokenId};

use crate::EngineError;
use crate::engine::{Engine, SequenceId, kv_blocks_for};
use crate::prefix::{ClientId, Scope};
use crate::sampler::{Sampler, SamplerError};

pub use constraint::{Constraint, TokenMask};
use pace::Pace;
use pause::Aside;
pub use pause::Keep;
use queue::Queue;
use reading::OnDisk;
pub use request::{
    ALTERNATIVES_MAX, Event, FinishReason, LogProb, Purpose, Request, RequestId, SAMPLES_MAX,
    Speculation, Usage, WantedLogProbs,
};
use run::{Desk, Run, Terms};
use speculation::{Draft, Speculator};

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
    /// Whether what follows is guessed from the text so far, where a request lets it.
    pub lookup: bool,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self { stall: Duration::from_millis(100), sequences_max: 64, lookup: true }
    }
}

/// What a scheduler has done, and has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerStats {
    /// Sequences that wait; samples of a prompt that is not computed count as one.
    pub waiting: usize,
    /// Sequences that stand still because somebody said so, counted alike.
    pub paused: usize,
    /// Sequences that run, counted alike.
    pub running: usize,
    /// Passes so far.
    pub passes: u64,
    /// Tokens that passes computed.
    pub rows: u64,
    /// How often a sequence had to make room and was computed again.
    pub preemptions: u64,
    /// How often one that ran was told to stand still.
    pub pauses: u64,
    /// Tokens whose keys and values were read from disk.
    pub disk_tokens: u64,
    /// Tokens that speculation computed ahead.
    pub proposed_tokens: u64,
    /// Of these, tokens that came true.
    pub accepted_tokens: u64,
    /// Time of the steps that computed something, by the scheduler's clock.
    pub busy: Duration,
    /// Of it, time of the engine's passes. The rest went to planning, guessing and choosing.
    pub passing: Duration,
}

/// A sequence that runs.
struct Active {
    run: Run,
    sequence: SequenceId,
    /// The same answer in the draft model.
    draft: Option<SequenceId>,
    /// An older sequence that is computing what this one waits for, and how many tokens of it.
    leader: Option<(SequenceId, usize)>,
    on_disk: OnDisk,
    /// When it was last its turn to read, in parts that were read.
    read_last: u64,
    /// What the pass takes of it.
    rows: usize,
    /// What the pass takes beyond: tokens that may follow.
    proposal: Vec<TokenId>,
    /// Tokens of it that were computed, and settled, before the pass.
    computed: usize,
    settled: usize,
    /// Answers that begin where its prompt ends, between a pass and its end.
    split: Vec<Run>,
}

impl Active {
    fn new(run: Run, sequence: SequenceId) -> Self {
        Self {
            run,
            sequence,
            draft: None,
            leader: None,
            on_disk: OnDisk::default(),
            read_last: 0,
            rows: 0,
            proposal: Vec::new(),
            computed: 0,
            settled: 0,
            split: Vec::new(),
        }
    }

    fn client(&self) -> ClientId {
        self.run.terms.scope.client()
    }

    /// Greater for what was taken in later.
    fn age(&self) -> (Option<u64>, usize) {
        (self.run.admission, self.run.sample)
    }

    /// In which order a client's sequences get their parts of a budget, where it is not the turn of
    /// the shortest: those that have begun to answer, then the oldest.
    fn prefill_order(&self) -> (bool, RequestId, usize) {
        let Run { terms, sample, .. } = &self.run;
        (!self.run.has_begun(), terms.id, *sample)
    }
}

/// The scheduler. See the module's text.
pub struct Scheduler {
    engine: Engine,
    draft: Option<Draft>,
    options: SchedulerOptions,
    clock: Clock,
    pace: Pace,
    queue: Queue,
    running: Vec<Active>,
    /// What stands still, in the order in which it was set aside.
    aside: Vec<Aside>,
    /// One for each thread.
    desks: Vec<Desk>,
    events: Vec<Event>,
    /// Counts what may let in somebody who did not fit: blocks freed, or found to be shared.
    changes: u64,
    requests: u64,
    admissions: u64,
    /// The client that had the last part of a budget.
    prefilled_last: Option<ClientId>,
    /// The client that read the last part of what it has on disk, and how many parts were read.
    read_last: Option<ClientId>,
    parts_read: u64,
    /// Of each client, the rows that its oldest prompt had more than its shortest.
    lead: BTreeMap<ClientId, usize>,
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
        let desks = (0..engine.pool().threads()).map(|_| Desk::default()).collect();
        Ok(Self {
            engine,
            draft: None,
            options,
            clock,
            pace: Pace::new(options.stall),
            queue: Queue::default(),
            running: Vec::new(),
            aside: Vec::new(),
            desks,
            events: Vec::new(),
            changes: 0,
            requests: 0,
            admissions: 0,
            prefilled_last: None,
            read_last: None,
            parts_read: 0,
            lead: BTreeMap::new(),
            failure: None,
            stats: SchedulerStats::default(),
        })
    }

    /// The same scheduler with a smaller model that guesses what follows. Without blocks or room
    /// it guesses nothing; when it cannot compute any more it is let go of.
    ///
    /// # Errors
    /// Its vocabulary is another one, or it has open sequences.
    pub fn with_draft(mut self, draft: Engine) -> Result<Self, EngineError> {
        let [expected, found] = [&self.engine, &draft].map(|engine| engine.config().vocab_size);
        if expected != found {
            return Err(EngineError::DraftVocabulary { expected, found });
        }
        match draft.sequence_count() {
            0 => {}
            open => return Err(EngineError::OpenSequences { open }),
        }
        self.draft = Some(Draft::new(draft));
        Ok(self)
    }

    /// Takes a request into the queue. Its events come from `step`.
    ///
    /// # Errors
    /// The request can never be computed: a setting is out of its range, a token does not exist, or
    /// prompt and answer have no room even alone.
    pub fn submit(&mut self, request: Request) -> Result<RequestId, EngineError> {
        self.check(&request)?;
        let pool = purpose::pool(&request, &self.engine)?;
        let adapter = request.adapter.map(|id| self.engine.lease(id)).transpose()?;
        let mut sampler = Sampler::new(request.sampler)?;
        request.prompt.iter().for_each(|&token| sampler.accept(token));
        let id = RequestId(self.requests);
        self.requests += 1;
        let echo = request.log_probs.is_some_and(|wanted| wanted.prompt);
        let terms = Terms {
            id,
            scope: Scope::new(request.client, &request.scope).with_adapter(adapter.as_deref()),
            prompt_tokens: request.prompt.len(),
            new_tokens_max: if pool.is_some() { 0 } else { request.new_tokens_max },
            stop_tokens: request.stop_tokens,
            log_probs: request.log_probs,
            vocab_size: self.engine.config().vocab_size,
            capacity: self.capacity(),
            speculation: request.speculation,
            adapter,
            purpose: request.purpose,
        };
        let mut run = Run {
            sample: 0,
            siblings: request.samples - 1,
            sampler,
            constraint: request.constraint,
            reported: if echo { 0 } else { request.prompt.len() },
            tokens: request.prompt,
            ending: None,
            admission: None,
            refusal: None,
            cached: 0,
            from_disk: 0,
            fed: false,
            speculator: Speculator::default(),
            pool,
            terms: Arc::new(terms),
        };
        run.open(&mut self.events);
        if run.is_over() {
            run.finish(&mut self.events);
        } else {
            self.queue.push_back(run);
        }
        Ok(id)
    }

    /// Ends a request: the next `step` says so for each answer that was not over. Returns whether
    /// there was one.
    pub fn cancel(&mut self, id: RequestId) -> bool {
        self.cancel_all(|run| run.terms.id == id)
    }

    /// The same of one answer, for whoever has heard enough of it. `false` as well while the prompt
    /// that it shares with others is computed.
    pub fn cancel_sample(&mut self, id: RequestId, sample: usize) -> bool {
        let parted = |run: &Run| run.siblings == 0;
        self.cancel_all(|run| run.terms.id == id && run.sample == sample && parted(run))
    }

    fn cancel_all(&mut self, which: impl Fn(&Run) -> bool) -> bool {
        let mut runs = self.queue.remove(&which);
        for active in std::mem::take(&mut self.running) {
            if which(&active.run) {
                self.close(&active);
                runs.push(active.run);
            } else {
                self.running.push(active);
            }
        }
        for aside in std::mem::take(&mut self.aside) {
            match aside {
                aside if !which(aside.run()) => self.aside.push(aside),
                Aside::Held(active) => {
                    self.close(&active);
                    runs.push(active.run);
                }
                Aside::Bare(run) => runs.push(*run),
            }
        }
        let found = !runs.is_empty();
        for mut run in runs {
            run.ending = Some(FinishReason::Cancelled);
            run.finish(&mut self.events);
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
            && self.events.is_empty()
        {
            return Err(failure);
        }
        let began = (self.clock)();
        self.admit();
        self.read_disk();
        self.plan();
        if self.running.iter().any(|active| active.rows > 0) {
            match self.compute() {
                Ok(()) => {
                    self.settle();
                    self.stats.busy += (self.clock)().saturating_sub(began);
                }
                // Nobody's events wait for the others' trouble.
                Err(error) if !self.events.is_empty() => self.failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        Ok(std::mem::take(&mut self.events))
    }

    /// Whether there is nothing to compute and nothing to say; what stands still does not count.
    pub fn idle(&self) -> bool {
        self.running.is_empty() && self.queue.len() == 0 && self.events.is_empty()
    }

    /// What was done, and what waits.
    pub fn stats(&self) -> SchedulerStats {
        let (waiting, running) = (self.queue.len(), self.running.len());
        SchedulerStats { waiting, running, paused: self.aside.len(), ..self.stats }
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
        let needed = prompt.len() + usize::from(request.purpose == Purpose::Answer);
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

    /// Tokens of a running sequence whose keys and values are there.
    fn computed(&self, sequence: SequenceId) -> usize {
        self.engine.tokens(sequence).map_or(0, <[_]>::len)
    }

    fn close(&mut self, active: &Active) {
        self.engine.close(active.sequence).expect("a running sequence is open");
        if let (Some(draft), Some(sequence)) = (&mut self.draft, active.draft) {
            draft.close(sequence);
        }
        self.changes += 1;
    }
}
