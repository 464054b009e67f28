//! The kernel: the one place where events are made. It asks models, runs calls, moves pages, and
//! writes what happened to the log before anybody outside can know of it.
//!
//! Invariants: the state changes only by events (`emit`). What one step does is written together or
//! not at all. Before an effect outside, and before a person sees a text, all that led to it is on
//! the disk.

mod call;
mod exit;
mod gate;
mod pages;
mod render;
mod settings;
mod signal;
mod step;
mod tell;
mod turn;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

use lucid_policy::Party;
use lucid_provider::{Answer, Delta, Hold, ProviderError};
use lucid_tools::{Outcome, ToolError};

use crate::dispatch::{Contender, Dispatcher};
use crate::error::OsError;
use crate::event::{Birth, Budget, Event};
use crate::ids::{CallId, ContentId, EventNumber, Pid};
use crate::log::{Content, Log, LogError, Store};
use crate::page::{PageKind, Speaker};
use crate::state::{Process, State};

pub(crate) use call::{Came, Reading};
pub use gate::{Asked, Given};
pub use pages::{PageLine, page_lines};
pub use settings::{Application, FILE_BYTES_MAX, Settings, SystemClock, Time};
pub use signal::Wish;
pub use step::Step;
pub(crate) use tell::{Said, TextPage, held_note};

/// A system that runs.
pub struct Kernel {
    log: Log,
    state: State,
    settings: Settings,
    running: BTreeMap<Pid, Running>,
    /// Calls whose tools are at work.
    working: BTreeMap<CallId, Pid>,
    happenings: Receiver<Happening>,
    teller: Sender<Happening>,
    dispatcher: Dispatcher,
    since_snapshot: u64,
    /// Numbers the turns of this run, so that what an interrupted one still says is not heard.
    serial: u64,
    /// Tokens that a prompt has without any page, by application.
    fixed_tokens: BTreeMap<String, u64>,
    told: Vec<Told>,
    /// When other programs' wishes were last looked for.
    looked: Option<Instant>,
}

/// A turn that the model is answering.
struct Running {
    serial: u64,
    answers: Vec<Answer>,
    begun_ms: i64,
    cancelled: Arc<AtomicBool>,
    /// Sets it aside, where the provider can.
    hold: Option<Hold>,
    /// Whether it stands still, so that others have its slot.
    still: bool,
    /// Tokens that were counted as service.
    served: u64,
}

/// What comes from other threads.
enum Happening {
    /// Of a turn.
    Turn { pid: Pid, serial: u64, delta: Option<Result<Delta, ProviderError>> },
    /// A tool has done its work.
    Tool { call: CallId, result: Option<Result<Outcome, ToolError>> },
}

/// What whoever watches may want to see.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// A model's answer goes on.
    Text {
        /// Whose.
        pid: Pid,
        /// What is added.
        text: String,
    },
    /// A model's reasoning goes on.
    Reasoning {
        /// Whose.
        pid: Pid,
        /// What is added.
        text: String,
    },
    /// A call that it writes goes on.
    Arguments {
        /// Whose.
        pid: Pid,
        /// What is added to the arguments.
        text: String,
    },
    /// Something happened.
    Event(Box<Event>),
}

/// What is to be done, by a person.
#[derive(Clone, Debug)]
pub struct Task {
    /// Of which application.
    pub application: String,
    /// On whose behalf.
    pub principal: Party,
    /// In words.
    pub goal: String,
    /// Texts that belong to it: where from, what kind of place that is, and the text.
    pub texts: Vec<(lucid_policy::SourceKind, String, String)>,
    /// What it may cost.
    pub budget: Budget,
    /// Larger goes first.
    pub priority: i32,
    /// When it has to be done.
    pub deadline_ms: Option<i64>,
    /// What the result must be; anything if none.
    pub form: Option<lucid_policy::Form>,
}

impl Task {
    /// A task without bounds.
    pub fn new(application: &str, principal: &Party, goal: &str) -> Self {
        Self {
            application: application.to_owned(),
            principal: principal.clone(),
            goal: goal.to_owned(),
            texts: Vec::new(),
            budget: Budget::default(),
            priority: 0,
            deadline_ms: None,
            form: None,
        }
    }
}

/// Folds a log without running it: the state, and the log to look into.
///
/// # Errors
/// The log cannot be read, was tampered with, or does not fold.
pub fn fold(store: Box<dyn Store>) -> Result<(Log, State, u64), OsError> {
    let (log, start) = Log::open(store)?;
    let (mut state, mut events) = (State::default(), start.events);
    if let Some((_, bytes)) = &start.snapshot {
        match serde_json::from_slice::<State>(bytes) {
            Ok(kept) if kept.is_sound() => state = kept,
            // Another version's; the events tell the same.
            _ => events = log.events_from(EventNumber(1))?,
        }
    }
    let count = events.len() as u64;
    for sealed in events {
        let event: Event = serde_json::from_slice(&sealed.body).map_err(|error| {
            let (number, reason) = (sealed.number, error.to_string());
            LogError::Unreadable { number, reason }
        })?;
        let failed = |source| OsError::Fold { number: sealed.number, source };
        state.apply(&event, sealed.time_ms).map_err(failed)?;
    }
    Ok((log, state, count))
}

impl Kernel {
    /// Opens a log and takes up what was under way.
    ///
    /// # Errors
    /// The log cannot be read or written, was tampered with, or does not fold.
    pub fn open(store: Box<dyn Store>, settings: Settings) -> Result<Self, OsError> {
        let (log, state, since_snapshot) = fold(store)?;
        let (teller, happenings) = mpsc::channel();
        let mut kernel = Self {
            log,
            state,
            settings,
            running: BTreeMap::new(),
            working: BTreeMap::new(),
            happenings,
            teller,
            dispatcher: Dispatcher::default(),
            since_snapshot,
            serial: 0,
            fixed_tokens: BTreeMap::new(),
            told: Vec::new(),
            looked: None,
        };
        kernel.measure_fixed();
        for process in kernel.state.processes.values() {
            kernel.dispatcher.served(&contender(process), process.used.tokens);
        }
        kernel.emit(Event::Booted { version: env!("CARGO_PKG_VERSION").to_owned() })?;
        kernel.reap_roots()?;
        Ok(kernel)
    }

    /// The state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The last event.
    pub fn head(&self) -> (EventNumber, [u8; 32]) {
        self.log.head()
    }

    /// Waits until all that happened is on the disk: before a person sees anything of it.
    ///
    /// # Errors
    /// The log fails.
    pub fn sync(&mut self) -> Result<(), OsError> {
        Ok(self.log.sync()?)
    }

    /// A content.
    ///
    /// # Errors
    /// The log fails.
    pub fn content(&self, id: ContentId) -> Result<Content, OsError> {
        Ok(self.log.content(id)?)
    }

    /// What happened since this was asked last.
    pub fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// Makes a process that does what a person wants. What is written goes to the disk.
    ///
    /// # Errors
    /// There is no such application, or the log fails.
    pub fn spawn(&mut self, task: &Task) -> Result<Pid, OsError> {
        let application = self.application(&task.application)?;
        if let Some((tokens, room)) =
            self.too_long(&application.provider, &task.application, &task.goal)
        {
            return Err(OsError::LongTask { tokens, room });
        }
        let pid = self.state.next_pid();
        let birth = Birth {
            pid,
            parent: None,
            application: task.application.clone(),
            principal: task.principal.clone(),
            provider: application.provider.clone(),
            capabilities: application.capabilities.clone(),
            budget: task.budget,
            priority: task.priority,
            deadline_ms: task.deadline_ms,
            form: task.form.clone(),
            label: lucid_policy::Label::unlimited(),
        };
        self.emit(Event::Spawned(birth))?;
        self.begin_window(pid)?;
        for (kind, name, text) in &task.texts {
            let label = self.label_of(pid, *kind, name);
            self.append_text(
                pid,
                &TextPage {
                    kind: PageKind::File,
                    speaker: Speaker::Person,
                    source: name.clone(),
                    source_kind: Some(*kind),
                    label,
                },
                text,
            )?;
        }
        self.append_goal(pid, &task.goal)?;
        if let Some(at_ms) = task.deadline_ms {
            self.set_deadline(pid, at_ms)?;
        }
        self.emit(Event::Admitted { pid })?;
        self.log.sync()?;
        Ok(pid)
    }

    /// Writes an event and becomes the state after it.
    pub(crate) fn emit(&mut self, event: Event) -> Result<(), OsError> {
        let now_ms = self.settings.time.now_ms();
        // First the state: an event that does not fit is not written.
        self.state.apply(&event, now_ms)?;
        self.log.append(now_ms, serde_json::to_vec(&event)?);
        self.since_snapshot += 1;
        self.told.push(Told::Event(Box::new(event)));
        Ok(())
    }

    pub(crate) fn process(&self, pid: Pid) -> Result<&Process, OsError> {
        self.state.process(pid).ok_or(OsError::NoProcess { pid })
    }

    pub(crate) fn application(&self, name: &str) -> Result<&Application, OsError> {
        self.settings.applications.get(name).ok_or_else(|| OsError::NoApplication {
            name: name.to_owned(),
            known: self.settings.applications.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// The text of a page; what was forgotten says so.
    pub(crate) fn page_text(&self, content: ContentId) -> Result<String, OsError> {
        Ok(self.log.content(content)?.text())
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> ContentId {
        self.log.put(bytes)
    }
}

/// A process as the dispatcher sees it.
fn contender(process: &Process) -> Contender {
    Contender {
        pid: process.pid,
        program: process.program,
        principal: process.principal.clone(),
        priority: process.priority,
        deadline_ms: process.deadline_ms,
    }
}
