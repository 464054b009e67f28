//! The end of processes.

use std::sync::atomic::Ordering;

use crate::error::OsError;
use crate::event::{Event, Exit, ExitReason, ExitValue, Status};
use crate::ids::Pid;
use crate::kernel::{Kernel, Said};
use crate::state::ProcessState;

impl Kernel {
    /// Ends a process, and before it its children. A value is checked by whoever gives it.
    pub(crate) fn exit(
        &mut self,
        pid: Pid,
        reason: ExitReason,
        value: Option<&str>,
    ) -> Result<(), OsError> {
        let children: Vec<Pid> = self.process(pid)?.children.iter().copied().collect();
        for child in children {
            if self.process(child)?.state != ProcessState::Zombie {
                self.exit(child, ExitReason::Orphaned, None)?;
            }
            self.emit(Event::Reaped { pid: child })?;
        }
        self.cancel(pid);
        self.give_up_effect(pid)?;
        let value = match value {
            None => None,
            Some(text) => {
                let process = self.process(pid)?;
                // A value of a closed form cannot speak, whatever it was made of. What a model's
                // failure says is no such value.
                let label = match &process.form {
                    Some(_) if reason == ExitReason::Done => process.label.as_value(),
                    _ => process.label.clone(),
                };
                let content = self.log.put(text.as_bytes());
                Some(ExitValue { content, bytes: text.len() as u64, label })
            }
        };
        self.emit(Event::Exited { pid, exit: Exit { reason, value } })
    }

    /// An effect that was begun and of whose end nobody will hear any more has an unknown outcome.
    fn give_up_effect(&mut self, pid: Pid) -> Result<(), OsError> {
        if self.process(pid)?.progress.intended.is_none() {
            return Ok(());
        }
        let said = Said::not(
            Status::Unknown,
            "the process ended while this was being done, and nobody can tell whether it was done",
        );
        self.answer_call(pid, &said)
    }

    /// Lets go of a process that a person began and has looked at.
    ///
    /// # Errors
    /// There is none, it has not ended, or the log fails.
    pub fn reap(&mut self, pid: Pid) -> Result<(), OsError> {
        self.emit(Event::Reaped { pid })?;
        self.dispatcher.ended(pid);
        Ok(self.log.flush()?)
    }

    /// Those that ended when nobody was there to look.
    pub(super) fn reap_roots(&mut self) -> Result<(), OsError> {
        let roots = self.state.processes.values();
        let ended = roots.filter(|it| it.parent.is_none() && it.state == ProcessState::Zombie);
        for pid in ended.map(|process| process.pid).collect::<Vec<_>>() {
            self.emit(Event::Reaped { pid })?;
            self.dispatcher.ended(pid);
        }
        Ok(())
    }

    /// Breaks off what the model is saying, if it is.
    pub(super) fn cancel(&mut self, pid: Pid) {
        if let Some(running) = self.running.remove(&pid) {
            running.cancelled.store(true, Ordering::Relaxed);
            // Only what goes on notices that nobody wants it.
            running.hold.into_iter().for_each(|hold| hold.resume());
        }
    }
}
