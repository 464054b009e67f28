//! Signals and answers, from processes and from persons, also those who use another program.

use serde::{Deserialize, Serialize};

use lucid_policy::Party;

use crate::error::OsError;
use crate::event::{Event, ExitReason, On, Question, Reply, Signal};
use crate::ids::{CallId, ContentId, PageId, Pid};
use crate::kernel::Kernel;
use crate::log::Content;
use crate::state::{Place, ProcessState, State};

/// What a person wants of a system that runs; other programs leave it in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wish", rename_all = "snake_case")]
pub enum Wish {
    /// A signal to a process.
    Signal {
        /// Which.
        pid: Pid,
        /// What it is told.
        signal: Signal,
    },
    /// An answer to what was asked about a call.
    Answer {
        /// Which call.
        call: CallId,
        /// Who says so.
        by: Party,
        /// Whether it may be done; none answers in words.
        approve: Option<bool>,
        /// The words.
        text: String,
    },
    /// A page is to stay in its window, or need not.
    Pin {
        /// Whose.
        pid: Pid,
        /// Which.
        page: PageId,
        /// Whether it stays.
        stays: bool,
    },
    /// A page is to leave its window, or to come back into its place.
    Move {
        /// Whose.
        pid: Pid,
        /// Which.
        page: PageId,
        /// Where to.
        place: Place,
    },
    /// A content is to be deleted.
    Forget {
        /// Which.
        content: ContentId,
    },
}

impl Wish {
    /// Whether it fits a state, as far as whoever only looks can tell.
    pub fn fits(&self, state: &State) -> bool {
        let process = |pid: Pid| state.process(pid).filter(|it| it.state != ProcessState::Zombie);
        match self {
            Self::Signal { pid, .. } => process(*pid).is_some(),
            Self::Answer { call, .. } => state.caller(*call).is_some(),
            Self::Pin { pid, page, .. } => {
                state.process(*pid).is_some_and(|it| it.window.slot(*page).is_some())
            }
            Self::Move { pid, page, place } => state.process(*pid).is_some_and(|process| {
                let window = &process.window;
                let at = window.place_of(*page);
                at.is_some_and(|at| {
                    let leaves = *place == Place::In || window.may_leave(at);
                    window.slots()[at].place != *place && leaves
                })
            }),
            Self::Forget { .. } => true,
        }
    }
}

impl Kernel {
    /// Does what a person wants. What does not fit (a process that has ended meanwhile, a question
    /// that was answered) is left.
    ///
    /// # Errors
    /// The log fails.
    pub fn wish(&mut self, wish: Wish) -> Result<bool, OsError> {
        match wish {
            Wish::Signal { pid, signal } => self.signal(pid, signal),
            Wish::Answer { call, by, approve, text } => self.answer(call, by, approve, &text),
            Wish::Pin { pid, page, stays } => {
                if self.state.process(pid).is_none_or(|it| it.window.slot(page).is_none()) {
                    return Ok(false);
                }
                self.emit(Event::Pinned { pid, page, stays })?;
                Ok(true)
            }
            Wish::Move { pid, page, place } => self.move_page(pid, page, place),
            Wish::Forget { content } => self.forget(content),
        }
    }

    /// Sends a signal. Returns whether there is anybody to hear it.
    ///
    /// # Errors
    /// The log fails.
    pub fn signal(&mut self, pid: Pid, signal: Signal) -> Result<bool, OsError> {
        let Some(process) = self.state.process(pid) else { return Ok(false) };
        if process.state == ProcessState::Zombie {
            return Ok(false);
        }
        if matches!(signal, Signal::Stop | Signal::Kill) {
            self.cancel(pid);
        }
        self.emit(Event::Signalled { pid, signal })?;
        if signal == Signal::Kill {
            self.exit(pid, ExitReason::Signal(signal), None)?;
        }
        Ok(true)
    }

    fn answer(
        &mut self,
        call: CallId,
        by: Party,
        approve: Option<bool>,
        text: &str,
    ) -> Result<bool, OsError> {
        let asked = self
            .state
            .caller(call)
            .filter(|process| process.call().is_some_and(|open| open.id == call));
        let Some(ProcessState::Blocked(On::Human(question))) = asked.map(|process| &process.state)
        else {
            return Ok(false);
        };
        let answer = match (question, approve) {
            (Question::Approve, Some(true)) => Reply::Approved,
            (Question::Approve, _) => Reply::Refused,
            (Question::Open { .. }, _) => Reply::Said { content: self.log.put(text.as_bytes()) },
        };
        self.emit(Event::Answered { call, by, answer })?;
        Ok(true)
    }

    /// Deletes a content; that it was there, and that it was deleted, stays in the log.
    ///
    /// # Errors
    /// The log fails.
    pub fn forget(&mut self, content: ContentId) -> Result<bool, OsError> {
        if !self.log.content(content).is_ok_and(|it| it != Content::Forgotten) {
            return Ok(false);
        }
        // First that it goes: what is gone without a trace would be a hole in the log.
        self.emit(Event::Forgotten { content })?;
        self.log.sync()?;
        Ok(self.log.forget(content)?)
    }

    /// Ends those who were told to, and leaves the rest for another start.
    ///
    /// # Errors
    /// The log fails.
    pub fn close(mut self) -> Result<(), OsError> {
        for pid in self.running.keys().copied().collect::<Vec<_>>() {
            self.cancel(pid);
        }
        self.end_those_told_to()?;
        Ok(self.log.sync()?)
    }

    /// Those whose time is over, or who were told to end, and whose turn is over.
    pub(super) fn end_those_told_to(&mut self) -> Result<bool, OsError> {
        let told = self.state.processes.values().filter_map(|process| {
            // Who is at work ends when that is over: a turn, or an effect outside.
            let at_work = process.state == ProcessState::Running
                || process.state == ProcessState::Blocked(On::Tool)
                || process.progress.intended.is_some() && process.wants_call();
            let ends = process.state != ProcessState::Zombie && !at_work;
            process.ending.filter(|_| ends).map(|signal| (process.pid, signal))
        });
        let told: Vec<_> = told.collect();
        for (pid, signal) in &told {
            // One may have gone with its parent.
            if self.state.process(*pid).is_some_and(|it| it.state != ProcessState::Zombie) {
                self.exit(*pid, ExitReason::Signal(*signal), None)?;
            }
        }
        Ok(!told.is_empty())
    }
}
