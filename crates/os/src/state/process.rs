//! A process, as the events so far have made it.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use lucid_policy::{Capability, Decision, Form, Label, Party};

use crate::event::{Birth, Budget, Exit, On, Reply, Used};
use crate::ids::{CallId, ContentId, PageId, Pid};
use crate::page::CallRecord;
use crate::state::Window;

/// A process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: Pid,
    /// Who made it; none is a person.
    pub parent: Option<Pid>,
    /// What it is an instance of.
    pub application: String,
    /// On whose behalf.
    pub principal: Party,
    /// What answers for it.
    pub provider: String,
    /// The process that was begun by a person and from which this one descends: what is served
    /// fairly.
    pub program: Pid,
    /// What it may do.
    pub capabilities: Vec<Capability>,
    /// The join of the labels of all that it ever read. Nothing takes anything out of it.
    pub label: Label,
    /// What it has read.
    pub window: Window,
    /// The number of the page that was made last.
    pub last_page: PageId,
    /// What others sent it, the oldest first.
    pub mailbox: VecDeque<Mail>,
    /// What it may spend in all.
    pub budget: Budget,
    /// What it gave of that to children.
    pub given: Budget,
    /// What it spent.
    pub used: Used,
    /// What it does.
    pub state: ProcessState,
    /// Calls that have not come back, the first one is under way.
    pub open: VecDeque<CallRecord>,
    /// How far the first of them is.
    pub progress: Progress,
    /// Turns that were answered.
    pub turns: u64,
    /// Turns in a row that failed.
    pub failures: u32,
    /// When it may be tried again after one.
    pub not_before_ms: i64,
    /// What its result must be; anything if none.
    pub form: Option<Form>,
    /// Larger goes first.
    pub priority: i32,
    /// When it has to be done.
    pub deadline_ms: Option<i64>,
    /// When it came to be.
    pub born_ms: i64,
    /// Children that were not reaped.
    pub children: BTreeSet<Pid>,
    /// Whether it is to end when its turn is over.
    pub ending: Option<crate::event::Signal>,
    /// How it ended.
    pub exit: Option<Exit>,
}

/// What a process does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// Its window is being filled.
    New,
    /// It waits for its turn.
    Ready,
    /// The model was asked.
    Running,
    /// A call waits.
    Blocked(On),
    /// It stands still; what it did before.
    Stopped(Box<ProcessState>),
    /// It ended, and its parent has not looked.
    Zombie,
}

impl ProcessState {
    /// In one word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Blocked(On::Tool) => "tool",
            Self::Blocked(On::Message | On::Child(_)) => "ipc",
            Self::Blocked(On::Human(_)) => "human",
            Self::Blocked(On::Timer(_)) => "timer",
            Self::Stopped(_) => "stopped",
            Self::Zombie => "zombie",
        }
    }
}

/// How far a call is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What was decided.
    pub decided: Option<Decided>,
    /// Under which key it is made.
    pub intended: Option<String>,
    /// What a person said.
    pub answered: Option<(Party, Reply)>,
    /// What woke it.
    pub woken: bool,
}

/// A decision with what it was made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// What was weighed, as JSON: [`crate::Weighed`].
    pub weighed: ContentId,
    /// The decision.
    pub decision: Decision,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// By whom; none is a timer.
    pub from: Option<Pid>,
    /// Its text.
    pub content: ContentId,
    /// Its length.
    pub bytes: u64,
    /// What is known of it.
    pub label: Label,
}

impl Process {
    pub(super) fn born(birth: &Birth, program: Pid, born_ms: i64) -> Self {
        Self {
            pid: birth.pid,
            parent: birth.parent,
            application: birth.application.clone(),
            principal: birth.principal.clone(),
            provider: birth.provider.clone(),
            program,
            capabilities: birth.capabilities.clone(),
            label: birth.label.clone(),
            window: Window::default(),
            last_page: PageId::default(),
            mailbox: VecDeque::new(),
            budget: birth.budget,
            given: Budget::default(),
            used: Used::default(),
            state: ProcessState::New,
            open: VecDeque::new(),
            progress: Progress::default(),
            turns: 0,
            failures: 0,
            not_before_ms: 0,
            form: birth.form.clone(),
            priority: birth.priority,
            deadline_ms: birth.deadline_ms,
            born_ms,
            children: BTreeSet::new(),
            ending: None,
            exit: None,
        }
    }

    /// What it may still spend.
    pub fn left(&self) -> Budget {
        self.budget.without(self.given).less(self.used)
    }

    /// The call that is under way.
    pub fn call(&self) -> Option<&CallRecord> {
        self.open.front()
    }

    /// Whether the model may be asked for it: nothing is open.
    pub fn wants_turn(&self) -> bool {
        self.state == ProcessState::Ready && self.open.is_empty()
    }

    /// Whether it has a call that can be worked on.
    pub fn wants_call(&self) -> bool {
        self.state == ProcessState::Ready && !self.open.is_empty()
    }

    pub(super) fn is_call(&self, id: CallId) -> bool {
        self.call().is_some_and(|call| call.id == id)
    }
}
