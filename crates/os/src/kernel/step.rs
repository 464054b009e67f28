//! The loop: what came in, what is due, whose turn it is.

use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use lucid_provider::{Hold, Keep};

use crate::dispatch::Contender;
use crate::error::OsError;
use crate::event::{Alarm, Event, On};
use crate::ids::Pid;
use crate::kernel::{Happening, Kernel, Told, contender};
use crate::log::LogError;
use crate::state::{Process, ProcessState};

/// How often other programs' wishes are looked for.
const LOOK: Duration = Duration::from_millis(100);

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Something was done.
    Worked,
    /// Nothing can be done until a model, a tool or another program says something.
    Waits,
    /// Nothing can be done until a person answers, or sends a message or a signal.
    Asks,
    /// All processes have ended.
    Over,
}

impl Kernel {
    /// One round: hears what came, works on calls, begins turns. Waits for nothing.
    ///
    /// # Errors
    /// The log fails; then the system is to be opened again.
    pub fn step(&mut self) -> Result<Step, OsError> {
        let mut worked = self.hear_wishes()?;
        worked |= self.hear_happenings()?;
        worked |= self.ring_timers()?;
        worked |= self.end_those_told_to()?;
        worked |= self.advance_calls()?;
        worked |= self.begin_turns()?;
        self.log.flush_if_many()?;
        self.keep_state()?;
        if self.told.iter().any(|told| !matches!(told, Told::Event(_))) {
            // Somebody may show it to a person.
            self.log.sync()?;
        }
        if worked {
            return Ok(Step::Worked);
        }
        self.log.flush()?;
        Ok(self.rest())
    }

    fn rest(&self) -> Step {
        let mut living =
            self.state.processes.values().filter(|it| it.state != ProcessState::Zombie);
        let stopped = |it: &Process| matches!(it.state, ProcessState::Stopped(_));
        let asks = |it: &Process| matches!(it.state, ProcessState::Blocked(On::Human(_)));
        let mut some = false;
        let mut others = false;
        let busy = !self.running.is_empty() || !self.working.is_empty();
        for process in living.by_ref() {
            some |= !stopped(process);
            let here = self.settings.providers.contains_key(&process.provider);
            others |= here && !asks(process) && !stopped(process) && !waits_for_ipc(process);
        }
        // A deadline wakes nobody.
        let wakes = self.state.timers.values().any(|timer| timer.alarm != Alarm::Deadline);
        match (some, others || busy || wakes) {
            (false, _) => Step::Over,
            (true, true) => Step::Waits,
            (true, false) => Step::Asks,
        }
    }

    /// Steps until nothing is left to be done, or only a person can go on.
    ///
    /// # Errors
    /// The log fails.
    pub fn run(&mut self) -> Result<Step, OsError> {
        loop {
            match self.step()? {
                Step::Worked => self.told.clear(),
                Step::Waits => self.wait(LOOK)?,
                step @ (Step::Asks | Step::Over) => return Ok(step),
            }
        }
    }

    /// Waits until something comes in, a timer is due, or it is time to look for wishes.
    ///
    /// # Errors
    /// The log fails.
    pub fn wait(&mut self, longest: Duration) -> Result<(), OsError> {
        let busy = !self.running.is_empty() || !self.working.is_empty();
        let now_ms = self.settings.time.now_ms();
        let due = self.due_ms();
        if !busy && let Some(at_ms) = due {
            self.settings.time.idle_until(at_ms);
        }
        let left = due
            .map(|at_ms| Duration::from_millis(u64::try_from(at_ms - now_ms).unwrap_or_default()));
        let patience = left.map_or(longest, |left| left.min(longest));
        match self.happenings.recv_timeout(patience) {
            Ok(happening) => self.hear(happening),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Ok(()),
        }
    }

    /// When something is due at the latest.
    fn due_ms(&self) -> Option<i64> {
        let timers = self.state.timers.values().map(|timer| timer.at_ms);
        let pauses = self.state.processes.values().filter(|process| process.wants_turn());
        let now_ms = self.settings.time.now_ms();
        let pauses = pauses.map(|process| process.not_before_ms).filter(|at_ms| *at_ms > now_ms);
        timers.chain(pauses).min()
    }

    fn hear_wishes(&mut self) -> Result<bool, OsError> {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return Ok(false);
        }
        self.looked = Some(Instant::now());
        let requests = self.log.requests()?;
        for request in &requests {
            // What cannot be read was written by nobody we know.
            if let Ok(wish) = serde_json::from_slice(&request.body) {
                self.wish(wish)?;
            }
            self.log.heard(request);
        }
        if !requests.is_empty() {
            self.log.flush()?;
        }
        Ok(!requests.is_empty())
    }

    fn hear_happenings(&mut self) -> Result<bool, OsError> {
        let mut some = false;
        loop {
            match self.happenings.try_recv() {
                Ok(happening) => self.hear(happening)?,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(some),
            }
            some = true;
        }
    }

    fn hear(&mut self, happening: Happening) -> Result<(), OsError> {
        match happening {
            Happening::Turn { pid, serial, delta } => self.turn_goes_on(pid, serial, delta),
            Happening::Tool { call, result } => self.tool_is_done(call, result),
        }
    }

    fn ring_timers(&mut self) -> Result<bool, OsError> {
        let now_ms = self.settings.time.now_ms();
        let timers = self.state.timers.iter().filter(|(_, timer)| timer.at_ms <= now_ms);
        let mut due: Vec<_> = timers.map(|(id, timer)| (timer.at_ms, *id)).collect();
        due.sort_unstable();
        for (_, timer) in &due {
            self.emit(Event::Fired { timer: *timer })?;
        }
        Ok(!due.is_empty())
    }

    /// Works on one call of each process that has one.
    fn advance_calls(&mut self) -> Result<bool, OsError> {
        let wanting = self.state.processes.values().filter(|process| process.wants_call());
        let pids: Vec<Pid> = wanting.map(|process| process.pid).collect();
        for pid in &pids {
            // A call of another one may have ended it.
            if self.state.process(*pid).is_some_and(Process::wants_call) {
                self.advance_call(*pid)?;
            }
        }
        Ok(!pids.is_empty())
    }

    /// Gives slots to whoever goes first: free ones, and those of turns that can be set aside for
    /// it.
    fn begin_turns(&mut self) -> Result<bool, OsError> {
        let now_ms = self.settings.time.now_ms();
        let mut some = false;
        loop {
            let still = |pid: Pid| self.running.get(&pid).is_some_and(|running| running.still);
            let waits = |process: &&Process| {
                let ready = process.wants_turn() && process.ending.is_none();
                // Whose model is not here waits for a run that has it.
                let ready = ready && self.settings.providers.contains_key(&process.provider);
                ready && process.not_before_ms <= now_ms || still(process.pid)
            };
            let waiting: Vec<Contender> =
                self.state.processes.values().filter(waits).map(contender).collect();
            let goes = self.running.iter().filter(|(_, running)| !running.still);
            let goes = goes.map(|(pid, _)| *pid).collect::<Vec<_>>();
            self.dispatcher.waits(waiting.iter().map(|contender| contender.pid), &goes);
            let Some(first) = self.dispatcher.first(&waiting, now_ms) else { return Ok(some) };
            let first = first.clone();
            let busy = self.running.values().filter(|running| !running.still).count();
            if busy >= self.settings.slots.max(1) && !self.set_aside_for(&first, now_ms) {
                return Ok(some);
            }
            match self.running.get_mut(&first.pid) {
                None => self.begin_turn(first.pid)?,
                Some(running) => {
                    running.still = false;
                    running.hold.iter().for_each(Hold::resume);
                }
            }
            some = true;
        }
    }

    /// Sets aside the turn that comes last, if another one should have its slot.
    fn set_aside_for(&mut self, first: &Contender, now_ms: i64) -> bool {
        let goes = self.running.iter().filter(|(_, it)| !it.still && it.hold.is_some());
        let goes: Vec<Contender> = goes
            .filter_map(|(pid, _)| self.state.process(*pid))
            .map(contender)
            .filter(|running| self.dispatcher.outranks(first, running, now_ms))
            .collect();
        let Some(last) = self.dispatcher.last(&goes, now_ms) else { return false };
        let Some(running) = self.running.get_mut(&last.pid) else { return false };
        running.still = true;
        running.hold.iter().for_each(|hold| hold.pause(Keep::Blocks));
        true
    }

    /// Keeps the state when many events have come since the last time.
    fn keep_state(&mut self) -> Result<(), OsError> {
        if self.since_snapshot < self.settings.snapshot_events {
            return Ok(());
        }
        let state = serde_json::to_vec(&self.state)?;
        let now_ms = self.settings.time.now_ms();
        let kept: Result<(), LogError> = self.log.append_snapshot(now_ms, &state);
        self.since_snapshot = 0;
        Ok(kept?)
    }
}

fn waits_for_ipc(process: &Process) -> bool {
    matches!(process.state, ProcessState::Blocked(On::Message | On::Child(_)))
}
