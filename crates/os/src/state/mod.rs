//! The state of the system: a fold over the log, and nothing else.
//!
//! Invariant: `apply` is a function of state and event. So the state after a crash is the state
//! that the log tells, whatever program folds it. An event that does not fit the state is refused,
//! never guessed at.

mod apply;
mod process;
mod window;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::{Alarm, FileRecord};
use crate::ids::{CallId, PageId, Pid, TimerId};

pub(crate) use apply::MAILS_MAX;
pub use process::{Decided, Mail, Process, ProcessState, Progress};
pub use window::{Place, Slot, View, Window};

/// All processes, timers and files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Processes that were not reaped.
    pub processes: BTreeMap<Pid, Process>,
    /// Timers that have not gone off.
    pub timers: BTreeMap<TimerId, Timer>,
    /// What is known of the files of each application.
    pub files: BTreeMap<String, BTreeMap<String, FileRecord>>,
    /// Files as they were, by application and name.
    pub kept_files: BTreeMap<String, BTreeMap<String, BTreeMap<String, FileRecord>>>,
    /// The numbers that were used last.
    last: Last,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Last {
    pid: Pid,
    call: CallId,
    timer: TimerId,
}

/// A timer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// For whom.
    pub pid: Pid,
    /// When it goes off, in milliseconds since 1970.
    pub at_ms: i64,
    /// What it does.
    pub alarm: Alarm,
}

/// An event does not fit the state before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// Of a process that is not there.
    #[error("there is no process {pid}")]
    NoProcess {
        /// Which.
        pid: Pid,
    },
    /// A number that was used already.
    #[error("{what} {number} is there already")]
    Twice {
        /// What has the number.
        what: &'static str,
        /// The number.
        number: u64,
    },
    /// Of a call that is not under way.
    #[error("call {call} is not under way in process {pid}")]
    NoCall {
        /// Whose.
        pid: Pid,
        /// Which.
        call: CallId,
    },
    /// Of a page that the process does not have.
    #[error("process {pid} has no page {page}")]
    NoPage {
        /// Whose.
        pid: Pid,
        /// Which.
        page: PageId,
    },
    /// Of a timer that is not set.
    #[error("there is no timer {timer}")]
    NoTimer {
        /// Which.
        timer: TimerId,
    },
    /// Something that cannot happen to a process in its state.
    #[error("process {pid} is {state}, and cannot have {what}")]
    State {
        /// Which.
        pid: Pid,
        /// Its state.
        state: &'static str,
        /// What happened according to the event.
        what: &'static str,
    },
}

impl State {
    /// A process.
    pub fn process(&self, pid: Pid) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// Whether it can be worked with; one that was read from a file may be anything.
    pub(crate) fn is_sound(&self) -> bool {
        self.processes.values().all(|process| process.window.is_sound())
    }

    /// The number of the next process.
    pub fn next_pid(&self) -> Pid {
        Pid(self.last.pid.0 + 1)
    }

    /// The number of a process's next page, after some that are being made.
    pub fn next_page(&self, pid: Pid, made: u64) -> PageId {
        PageId(self.process(pid).map_or(0, |process| process.last_page.0) + 1 + made)
    }

    /// The number of the next call, after some that are being made.
    pub fn next_call(&self, made: u64) -> CallId {
        CallId(self.last.call.0 + 1 + made)
    }

    /// The number of the next timer.
    pub fn next_timer(&self) -> TimerId {
        TimerId(self.last.timer.0 + 1)
    }

    /// The process that a call belongs to.
    pub fn caller(&self, call: CallId) -> Option<&Process> {
        self.processes.values().find(|process| process.open.iter().any(|open| open.id == call))
    }
}
