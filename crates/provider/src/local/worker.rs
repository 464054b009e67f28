//! The thread that owns an engine: takes in turns, drives the scheduler, and tells what comes of
//! it. It sleeps while there is nothing to do.
//!
//! A turn that nobody listens to is cancelled. A pass that fails or panics ends the turns that run;
//! after a panic the engine is not trusted any more, and every turn is told so. A panic while a
//! turn is taken in, as by its constraint, ends that turn alone: nothing was queued by then.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Weak;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::{Duration, Instant};

use lucid_checkpoint::AdapterFile;
use lucid_engine::{
    AdapterId, AdapterInfo, EngineError, Event, FinishReason, Request, RequestId, Scheduler,
};
use lucid_tokenizer::TokenId;

use super::Shared;
use super::prompt::Begins;
use super::stops::Stops;
use super::voice::{Manner, Voice, piece, spoken_log_prob};
use crate::dialogue::{self, Format};
use crate::{Delta, Hold, Keep, ProviderError, Spoken, Stop, Teller, Tool, Usage};

/// How often turns that stand still are looked at when nothing else is to be done.
const LOOK: Duration = Duration::from_millis(2);

/// What the thread is asked to do.
pub(super) enum Command {
    /// Answer a turn.
    Answer(Box<Job>),
    /// Compute a prompt that is not to be answered.
    Compute(Box<Task>),
    /// Take in an adapter.
    LoadAdapter {
        /// The adapter.
        file: Box<AdapterFile>,
        /// By what its effect is multiplied.
        scale: f32,
        /// Who waits for it.
        reply: Sender<Result<AdapterInfo, EngineError>>,
    },
    /// Let go of an adapter.
    DropAdapter(AdapterId),
    /// Say when all that is published is on disk, or why it is not.
    Flush(Sender<Option<String>>),
    /// Forget what is known of prompts.
    Forget,
}

/// A prompt that is not to be answered.
pub(super) struct Task {
    pub(super) request: Request,
    /// By which number whoever waits knows it.
    pub(super) index: usize,
    pub(super) reply: Sender<Outcome>,
    /// Held by whoever waits.
    pub(super) wanted: Weak<()>,
}

/// What came of a task.
pub(super) struct Outcome {
    pub(super) index: usize,
    /// The joined states, or the score alone; nothing of a prompt that was only computed.
    pub(super) result: Result<Vec<f32>, ProviderError>,
}

/// A task under way.
struct Pending {
    index: usize,
    reply: Sender<Outcome>,
    wanted: Weak<()>,
    values: Vec<f32>,
}

impl Pending {
    fn end(self, result: Result<Vec<f32>, ProviderError>) {
        // Who does not wait any more needs no result.
        let _ = self.reply.send(Outcome { index: self.index, result });
    }
}

/// A turn that was checked.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) begins: Begins,
    pub(super) stops: Stops,
    /// Those of the request's stop tokens that the turn asked for.
    pub(super) stop_tokens: Vec<TokenId>,
    /// How the answers are read, if they are messages.
    pub(super) reading: Option<Reading>,
    pub(super) teller: Teller,
    pub(super) hold: Option<Hold>,
}

/// How answers are read.
pub(super) struct Reading {
    pub(super) format: Format,
    pub(super) begins: dialogue::Begins,
    /// What may be called.
    pub(super) tools: Vec<Tool>,
}

/// A turn that is being answered.
struct Live<'a> {
    teller: Teller,
    voices: Vec<Voice<'a>>,
    stop_tokens: Vec<TokenId>,
    seed: u64,
    prompt_tokens: usize,
    /// Answers that are not over.
    open: usize,
    began: Instant,
    hold: Option<Hold>,
    /// What is kept of it while it stands still.
    still: Option<Keep>,
}

struct Worker<'a> {
    shared: &'a Shared,
    scheduler: Scheduler,
    live: BTreeMap<RequestId, Live<'a>>,
    tasks: BTreeMap<RequestId, Pending>,
    /// A pass panicked: the engine may be in any state.
    broken: bool,
}

/// Works until nobody can ask any more.
pub(super) fn work(shared: &Shared, scheduler: Scheduler, commands: &Receiver<Command>) {
    let mut worker =
        Worker { shared, scheduler, live: BTreeMap::new(), tasks: BTreeMap::new(), broken: false };
    loop {
        if worker.broken || worker.scheduler.idle() {
            worker.publish();
            match worker.next_command(commands) {
                Ok(command) => worker.obey(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        match worker.obey_all(commands) {
            Ok(()) if worker.broken => {}
            Ok(()) => worker.advance(),
            Err(()) => break,
        }
    }
    worker.give_up(&shared.broken_error("it was unloaded"));
}

impl Worker<'_> {
    /// Sleeps until something is asked, or until it is time to look at what stands still.
    fn next_command(&self, commands: &Receiver<Command>) -> Result<Command, RecvTimeoutError> {
        if self.live.values().any(|live| live.still.is_some()) {
            return commands.recv_timeout(LOOK);
        }
        commands.recv().map_err(|_| RecvTimeoutError::Disconnected)
    }

    /// Sets aside what is to stand still, and lets the others go on.
    fn heed_holds(&mut self) {
        for (id, live) in &mut self.live {
            let wanted = live.hold.as_ref().and_then(Hold::wanted);
            if wanted == live.still {
                continue;
            }
            live.still = wanted;
            self.scheduler.resume(*id);
            if let Some(keep) = wanted {
                self.scheduler.pause(*id, keep);
            }
        }
    }

    /// Takes in what was asked meanwhile; an error if nobody can ask any more.
    fn obey_all(&mut self, commands: &Receiver<Command>) -> Result<(), ()> {
        loop {
            match commands.try_recv() {
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(()),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Answer(job) => self.take(*job),
            Command::Compute(task) => self.compute(*task),
            // Whoever waits is told by the reply that is dropped.
            _ if self.broken => {}
            Command::LoadAdapter { file, scale, reply } => {
                let engine = self.scheduler.engine_mut();
                let loaded = engine.load_adapter(&file, scale);
                let info = loaded.map(|id| engine.adapters().find(|info| info.id == id));
                let _ = reply.send(info.map(|info| info.expect("it was loaded just now")));
            }
            Command::DropAdapter(id) => {
                // It may be dropped twice, by its name and by another one of that name.
                let _ = self.scheduler.engine_mut().drop_adapter(id);
            }
            Command::Flush(reply) => {
                let engine = self.scheduler.engine_mut();
                engine.flush_disk();
                let trouble = engine.disk_stats().trouble;
                // Whoever hears the reply finds the same trouble where it is published.
                self.publish();
                let _ = reply.send(trouble);
            }
            Command::Forget => self.scheduler.forget_published(),
        }
    }

    fn compute(&mut self, task: Task) {
        let Task { request, index, reply, wanted } = task;
        if wanted.strong_count() == 0 {
            return;
        }
        let pending = Pending { index, reply, wanted, values: Vec::new() };
        if let Some(error) = self.shared.broken() {
            return pending.end(Err(error));
        }
        match self.submit(request) {
            Ok(id) => {
                self.tasks.insert(id, pending);
            }
            Err(error) => pending.end(Err(error)),
        }
    }

    fn submit(&mut self, request: Request) -> Result<RequestId, ProviderError> {
        match catch_unwind(AssertUnwindSafe(|| self.scheduler.submit(request))) {
            Ok(submitted) => submitted.map_err(|error| self.shared.error_of(&error)),
            Err(panic) => {
                let reason = format!("the turn cannot be taken in: {}", panic_text(&*panic));
                Err(self.shared.broken_error(&reason))
            }
        }
    }

    fn take(&mut self, job: Job) {
        let Job { request, begins, stops, stop_tokens, reading, teller, hold } = job;
        if let Some(error) = self.shared.broken() {
            teller.tell(Err(error));
            return self.shared.leave(None);
        }
        let (samples, seed) = (request.samples, request.sampler.seed);
        let prompt_tokens = request.prompt.len();
        let id = match self.submit(request) {
            Ok(id) => id,
            Err(error) => {
                teller.tell(Err(error));
                return self.shared.leave(None);
            }
        };
        teller.tell(Ok(Delta::Begun { prompt_tokens, cached_tokens: 0 }));
        let tokenizer = &self.shared.tokenizer;
        let manner = Manner { tokenizer, begins, stops, marks: &self.shared.marks };
        let reader = || reading.as_ref().map(|it| it.format.reader(it.begins, &it.tools));
        let voice = |sample| Voice::new(&manner, reader(), sample);
        let voices = (0..samples).map(voice).collect();
        let began = Instant::now();
        let open = samples;
        let still = None;
        let live =
            Live { teller, voices, stop_tokens, seed, prompt_tokens, open, began, hold, still };
        self.live.insert(id, live);
    }

    /// One pass, and what comes of it.
    fn advance(&mut self) {
        let deserted =
            |(id, live): (&RequestId, &Live<'_>)| live.teller.is_deserted().then_some(*id);
        for id in self.live.iter().filter_map(deserted).collect::<Vec<_>>() {
            self.end(id);
        }
        let unwanted =
            |(id, task): (&RequestId, &Pending)| (task.wanted.strong_count() == 0).then_some(*id);
        for id in self.tasks.iter().filter_map(unwanted).collect::<Vec<_>>() {
            self.scheduler.cancel(id);
            self.tasks.remove(&id);
        }
        self.heed_holds();
        match catch_unwind(AssertUnwindSafe(|| self.scheduler.step())) {
            Ok(Ok(events)) => {
                self.publish();
                for event in events {
                    self.tell(event);
                }
            }
            Ok(Err(error)) => {
                let error = self.shared.error_of(&error);
                self.give_up(&error);
            }
            Err(panic) => {
                let reason = format!("a pass failed: {}", panic_text(&*panic));
                self.broken = true;
                self.shared.break_down(&reason);
                self.give_up(&self.shared.broken_error(&reason));
            }
        }
        self.publish();
    }

    fn tell(&mut self, event: Event) {
        let tokenizer = &self.shared.tokenizer;
        let request = match &event {
            Event::Prompt { request, .. }
            | Event::Token { request, .. }
            | Event::Embedded { request, .. }
            | Event::Finished { request, .. } => *request,
        };
        if self.tasks.contains_key(&request) {
            return self.tell_of_task(request, event);
        }
        // What ended before the engine knew may still have events under way.
        let Some(live) = self.live.get_mut(&request) else { return };
        match event {
            Event::Prompt { token, log_prob, .. } => {
                let spoken = Spoken {
                    token: Some(token),
                    bytes: piece(tokenizer, token),
                    log_prob: log_prob.map(|it| spoken_log_prob(tokenizer, it)),
                };
                live.teller.tell(Ok(Delta::Prompt(spoken)));
            }
            Event::Token { sample, token, log_prob, .. } => {
                let mut deltas = Vec::new();
                live.voices[sample].push(token, log_prob, &mut deltas);
                for delta in deltas {
                    live.teller.tell(Ok(delta));
                }
                if live.voices[sample].is_over() {
                    self.scheduler.cancel_sample(request, sample);
                }
                // Those that have not parted as yet end together.
                if live.voices.iter().all(Voice::is_over) {
                    self.scheduler.cancel(request);
                }
            }
            // Turns are answered.
            Event::Embedded { .. } => {}
            Event::Finished { sample, reason, usage, .. } => {
                self.finish(request, sample, reason, &usage);
            }
        }
    }

    fn tell_of_task(&mut self, request: RequestId, event: Event) {
        match event {
            Event::Embedded { values, .. } => {
                if let Some(task) = self.tasks.get_mut(&request) {
                    task.values = values;
                }
            }
            Event::Finished { reason, usage, .. } => {
                let Some(mut task) = self.tasks.remove(&request) else { return };
                let result = match reason {
                    FinishReason::Error(error) => Err(self.shared.error_of(&error)),
                    _ => Ok(std::mem::take(&mut task.values)),
                };
                self.shared.count(&told(&usage), 0);
                task.end(result);
            }
            Event::Prompt { .. } | Event::Token { .. } => {}
        }
    }

    /// An answer is over.
    fn finish(
        &mut self,
        request: RequestId,
        sample: usize,
        reason: FinishReason,
        usage: &lucid_engine::Usage,
    ) {
        let Some(live) = self.live.get_mut(&request) else { return };
        let voice = &mut live.voices[sample];
        let mut deltas = Vec::new();
        voice.finish(&mut deltas);
        for delta in deltas {
            live.teller.tell(Ok(delta));
        }
        voice.over = true;
        let called = voice.called();
        let stop = match (voice.stopped.take(), reason) {
            (Some(text), _) => Stop::Text(text),
            (None, FinishReason::EndToken(token)) if live.stop_tokens.contains(&token) => {
                let spelled = piece(&self.shared.tokenizer, token);
                Stop::Text(String::from_utf8_lossy(&spelled).into_owned())
            }
            (None, FinishReason::EndToken(_) | FinishReason::Constraint) if called => {
                Stop::ToolCalls
            }
            (None, FinishReason::EndToken(_) | FinishReason::Constraint) => Stop::End,
            (None, FinishReason::Limit) => Stop::Length,
            (None, FinishReason::ContextFull) => Stop::ContextFull,
            (None, FinishReason::Cancelled) => Stop::Cancelled,
            (None, FinishReason::Error(error)) => {
                live.teller.tell(Err(self.shared.error_of(&error)));
                return self.end(request);
            }
        };
        let seed = Some(live.seed.wrapping_add(sample as u64));
        let mut usage = Usage { prompt_tokens: live.prompt_tokens, seed, ..told(usage) };
        voice.count(&mut usage);
        // Counted before it is told, so that whoever was told finds it counted.
        self.shared.count(&usage, sample);
        live.teller.tell(Ok(Delta::Finished { sample, stop, usage }));
        live.open -= 1;
        if live.open == 0 {
            let began = live.began;
            self.live.remove(&request);
            self.shared.leave(Some(began.elapsed()));
        }
    }

    /// Lets go of a turn, whatever is left of it.
    fn end(&mut self, id: RequestId) {
        self.scheduler.cancel(id);
        if self.live.remove(&id).is_some() {
            self.shared.leave(None);
        }
    }

    /// Ends all turns with an error.
    fn give_up(&mut self, error: &ProviderError) {
        for (id, pending) in std::mem::take(&mut self.tasks) {
            pending.end(Err(error.clone()));
            if !self.broken {
                self.scheduler.cancel(id);
            }
        }
        for (id, live) in std::mem::take(&mut self.live) {
            live.teller.tell(Err(error.clone()));
            if !self.broken {
                self.scheduler.cancel(id);
            }
            self.shared.leave(None);
        }
    }

    fn publish(&self) {
        if self.broken {
            return;
        }
        self.shared.publish(&self.scheduler);
    }
}

/// What the engine counted.
fn told(usage: &lucid_engine::Usage) -> Usage {
    Usage {
        prompt_tokens: usage.prompt_tokens,
        cached_tokens: usage.cached_tokens,
        proposed_tokens: usage.proposed_tokens,
        accepted_tokens: usage.accepted_tokens,
        ..Usage::default()
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without words".to_owned())
}

impl Shared {
    /// What the engine's error means to whoever asked.
    pub(super) fn error_of(&self, error: &EngineError) -> ProviderError {
        match error {
            EngineError::Constraint { .. } | EngineError::NoTokenAllowed => {
                ProviderError::Grammar { reason: error.to_string() }
            }
            error => self.broken_error(&error.to_string()),
        }
    }
}
