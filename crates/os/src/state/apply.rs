//! How each event changes the state.

use std::sync::Arc;

use lucid_policy::{Decision, Label, inherited};

use crate::event::{Alarm, Birth, Budget, Event, Exit, On, Signal, Status};
use crate::ids::{CallId, ContentId, PageId, Pid};
use crate::page::{Page, PageKind, Speaker};
use crate::state::{Decided, FoldError, Mail, Process, ProcessState, Progress, State, Timer};

/// Messages that may wait for a process.
pub(crate) const MAILS_MAX: usize = 256;

impl State {
    /// Becomes the state after an event that was written at this time.
    ///
    /// # Errors
    /// The event does not fit; then the state may be used no more.
    pub fn apply(&mut self, event: &Event, time_ms: i64) -> Result<(), FoldError> {
        match event {
            Event::Booted { .. } => self.boot(),
            Event::Spawned(birth) => return self.spawn(birth, time_ms),
            Event::Forked { pid, parent, budget } => {
                return self.fork(*pid, *parent, *budget, time_ms);
            }
            Event::TimerSet { timer, pid, at_ms, alarm } => {
                self.of(*pid)?;
                self.last.timer = self.last.timer.max(*timer);
                let set = Timer { pid: *pid, at_ms: *at_ms, alarm: alarm.clone() };
                self.timers.insert(*timer, set);
            }
            Event::Fired { timer } => return self.fire(*timer, time_ms),
            Event::Sent { from, to, content, bytes, label } => {
                let mail = Mail {
                    from: Some(*from),
                    content: *content,
                    bytes: *bytes,
                    label: label.clone(),
                };
                self.of(*to)?.receive(mail);
            }
            Event::Exited { pid, exit } => return self.exit(*pid, exit),
            Event::Reaped { pid } => return self.reap(*pid),
            Event::FileWritten { .. } | Event::FilesKept { .. } => self.file(event),
            Event::Answered { call, by, answer } => {
                let process = self.processes.values_mut().find(|process| process.is_call(*call));
                let process = process.ok_or(FoldError::NoCall { pid: Pid(0), call: *call })?;
                process.progress.answered = Some((by.clone(), answer.clone()));
                process.wake();
            }
            Event::Forgotten { .. } => {}
            other => return self.apply_to_one(other),
        }
        Ok(())
    }

    /// Events of one process that change nothing but that process.
    fn apply_to_one(&mut self, event: &Event) -> Result<(), FoldError> {
        match event {
            Event::Admitted { pid } => self.of(*pid)?.state = ProcessState::Ready,
            Event::Appended { pid, page } => {
                let process = self.of(*pid)?;
                process.count_pages([page])?;
                process.read(page);
            }
            Event::Handed { pid, page } => {
                let process = self.of(*pid)?;
                process.count_pages([page])?;
                process.window.held.insert(page.id, Arc::new(page.clone()));
            }
            Event::Replaced { pid, application, pages } => {
                let process = self.of(*pid)?;
                process.count_pages(pages)?;
                process.replace(application, pages);
            }
            Event::TurnBegun { pid, .. } => self.of(*pid)?.begin_turn()?,
            Event::TurnBroken { pid, not_before_ms } => {
                let process = self.of(*pid)?;
                process.set_active(ProcessState::Ready);
                if let Some(not_before_ms) = not_before_ms {
                    process.failures += 1;
                    process.not_before_ms = *not_before_ms;
                }
            }
            Event::Spoke { pid, page, used } => {
                let process = self.of(*pid)?;
                process.count_pages([page])?;
                let last = process.speak(page, *used)?;
                self.last.call = self.last.call.max(last);
            }
            Event::Decided { pid, call, weighed, decision } => {
                self.at_call(*pid, *call)?.decide(*weighed, decision);
            }
            Event::Intended { pid, call, key } => {
                self.at_call(*pid, *call)?.progress.intended = Some(key.clone());
            }
            Event::Blocked { pid, on } => {
                self.of(*pid)?.set_active(ProcessState::Blocked(on.clone()));
            }
            Event::Returned { pid, call, status, page, held } => {
                // What it holds was made first, and what it reads tells its number.
                let process = self.at_call(*pid, *call)?;
                process.count_pages(held.iter().chain(std::iter::once(page)))?;
                process.take_result(*status, page, held.as_ref());
            }
            Event::Paged { pid, .. } => self.of(*pid)?.page(event)?,
            Event::Touched { pid, pages } => self.of(*pid)?.touch(pages),
            Event::Pinned { pid, page, stays } => {
                let found = self.of(*pid)?.window.slot_mut(*page);
                found.ok_or(FoldError::NoPage { pid: *pid, page: *page })?.pinned = *stays;
            }
            Event::Received { pid } => {
                self.of(*pid)?.mailbox.pop_front();
            }
            Event::Granted { pid, capability } => {
                self.of(*pid)?.capabilities.push(capability.clone());
            }
            Event::Revoked { pid, tool } => {
                self.of(*pid)?.capabilities.retain(|capability| capability.tool != *tool);
            }
            Event::Signalled { pid, signal } => self.of(*pid)?.hear(*signal),
            _ => unreachable!("`apply` has the rest"),
        }
        Ok(())
    }

    fn of(&mut self, pid: Pid) -> Result<&mut Process, FoldError> {
        self.processes.get_mut(&pid).ok_or(FoldError::NoProcess { pid })
    }

    fn at_call(&mut self, pid: Pid, call: CallId) -> Result<&mut Process, FoldError> {
        let process = self.of(pid)?;
        if process.is_call(call) { Ok(process) } else { Err(FoldError::NoCall { pid, call }) }
    }

    /// The model that was being asked is gone, and so are the tools that were at work.
    fn boot(&mut self) {
        for process in self.processes.values_mut() {
            let active = process.active_mut();
            if matches!(active, ProcessState::Running | ProcessState::Blocked(On::Tool)) {
                *active = ProcessState::Ready;
            }
        }
    }

    fn spawn(&mut self, birth: &Birth, time_ms: i64) -> Result<(), FoldError> {
        let pid = birth.pid;
        if pid <= self.last.pid {
            return Err(FoldError::Twice { what: "process", number: pid.0 });
        }
        let mut program = pid;
        if let Some(parent) = birth.parent {
            let parent = self.of(parent)?;
            program = parent.program;
            parent.children.insert(pid);
            parent.give(birth.budget);
        }
        self.last.pid = pid;
        self.processes.insert(pid, Process::born(birth, program, time_ms));
        Ok(())
    }

    fn fork(
        &mut self,
        pid: Pid,
        parent: Pid,
        budget: Budget,
        time_ms: i64,
    ) -> Result<(), FoldError> {
        let of = self.of(parent)?;
        let birth = Birth {
            pid,
            parent: Some(parent),
            application: of.application.clone(),
            principal: of.principal.clone(),
            provider: of.provider.clone(),
            capabilities: inherited(&of.capabilities),
            budget,
            priority: of.priority,
            deadline_ms: of.deadline_ms,
            form: None,
            label: of.label.clone(),
        };
        let (window, last_page, turns) = (of.window.clone(), of.last_page, of.turns);
        self.spawn(&birth, time_ms)?;
        let child = self.of(pid)?;
        child.window = window;
        child.last_page = last_page;
        child.turns = turns;
        Ok(())
    }

    fn fire(&mut self, id: crate::ids::TimerId, time_ms: i64) -> Result<(), FoldError> {
        let timer = self.timers.get_mut(&id).ok_or(FoldError::NoTimer { timer: id })?;
        let (pid, alarm) = (timer.pid, timer.alarm.clone());
        if let Alarm::Every { period_ms, .. } = &alarm {
            // What was missed while nobody ran the log is not made up for.
            let period = i64::try_from(*period_ms).unwrap_or(i64::MAX).max(1);
            let missed = time_ms.saturating_sub(timer.at_ms).max(0) / period;
            timer.at_ms = timer.at_ms.saturating_add(period.saturating_mul(missed + 1));
        } else {
            self.timers.remove(&id);
        }
        // Of a process that has ended nothing has to be told.
        let Some(process) = self.processes.get_mut(&pid) else { return Ok(()) };
        match alarm {
            Alarm::Wake => process.wake(),
            Alarm::Every { .. } if process.mailbox.len() >= MAILS_MAX => {}
            Alarm::Every { content, bytes, .. } => {
                let label = process.label.clone();
                process.receive(Mail { from: None, content, bytes, label });
            }
            Alarm::Deadline => process.hear(Signal::Deadline),
        }
        Ok(())
    }

    fn exit(&mut self, pid: Pid, exit: &Exit) -> Result<(), FoldError> {
        let process = self.of(pid)?;
        process.state = ProcessState::Zombie;
        process.exit = Some(exit.clone());
        process.open.clear();
        process.progress = Progress::default();
        let parent = process.parent;
        self.timers.retain(|_, timer| timer.pid != pid);
        if let Some(parent) = parent.and_then(|parent| self.processes.get_mut(&parent))
            && let ProcessState::Blocked(On::Child(which)) = parent.active_mut()
            && which.is_none_or(|which| which == pid)
        {
            parent.wake();
        }
        Ok(())
    }

    fn reap(&mut self, pid: Pid) -> Result<(), FoldError> {
        let process = self.of(pid)?;
        if process.state != ProcessState::Zombie {
            let state = process.state.word();
            return Err(FoldError::State { pid, state, what: "been reaped" });
        }
        let process = self.processes.remove(&pid).ok_or(FoldError::NoProcess { pid })?;
        if let Some(parent) = process.parent.and_then(|parent| self.processes.get_mut(&parent)) {
            parent.children.remove(&pid);
            parent.take_back(process.budget, process.left());
        }
        Ok(())
    }

    fn file(&mut self, event: &Event) {
        match event {
            Event::FileWritten { application, path, file } => {
                let files = self.files.entry(application.clone()).or_default();
                match file {
                    Some(file) => files.insert(path.clone(), file.clone()),
                    None => files.remove(path),
                };
            }
            Event::FilesKept { application, name } => {
                let files = self.files.get(application).cloned().unwrap_or_default();
                let kept = self.kept_files.entry(application.clone()).or_default();
                kept.insert(name.clone(), files);
            }
            _ => {}
        }
    }
}

impl Process {
    /// What it does, or did before it was stopped.
    fn active_mut(&mut self) -> &mut ProcessState {
        match &mut self.state {
            ProcessState::Stopped(was) => was,
            active => active,
        }
    }

    fn set_active(&mut self, state: ProcessState) {
        if self.state != ProcessState::Zombie {
            *self.active_mut() = state;
        }
    }

    fn wake(&mut self) {
        if matches!(self.active_mut(), ProcessState::Blocked(_)) {
            self.progress.woken = true;
            self.set_active(ProcessState::Ready);
        }
    }

    fn receive(&mut self, mail: Mail) {
        self.mailbox.push_back(mail);
        if matches!(self.active_mut(), ProcessState::Blocked(On::Message)) {
            self.wake();
        }
    }

    fn hear(&mut self, signal: Signal) {
        match signal {
            Signal::Stop => {
                if !matches!(self.state, ProcessState::Stopped(_) | ProcessState::Zombie) {
                    // The model is asked again when it goes on.
                    let was = match &self.state {
                        ProcessState::Running => ProcessState::Ready,
                        other => other.clone(),
                    };
                    self.state = ProcessState::Stopped(Box::new(was));
                }
            }
            Signal::Cont => {
                if let ProcessState::Stopped(was) = &self.state {
                    self.state = (**was).clone();
                }
            }
            Signal::Term | Signal::Kill | Signal::Deadline => {
                self.ending = self.ending.or(Some(signal));
            }
        }
    }

    /// Numbers ascend: windows find their pages by them.
    fn count_pages<'a>(
        &mut self,
        pages: impl IntoIterator<Item = &'a Page>,
    ) -> Result<(), FoldError> {
        for page in pages {
            if page.id <= self.last_page {
                return Err(FoldError::Twice { what: "page", number: page.id.0 });
            }
            self.last_page = page.id;
        }
        Ok(())
    }

    fn learn(&mut self, label: &Label) {
        self.label.extend(label);
    }

    fn read(&mut self, page: &Page) {
        self.learn(&page.label);
        let turn = self.turns;
        // A text that is shown again was missed.
        if let Some(at) = page.copy_of.and_then(|id| self.window.place_of(id)) {
            self.window.miss(at, turn);
        }
        self.window.append(page.clone(), turn);
    }

    fn replace(&mut self, application: &str, pages: &[Page]) {
        application.clone_into(&mut self.application);
        self.window.retain(|page| page.kind == PageKind::Policy && page.speaker == Speaker::System);
        for page in pages {
            self.read(page);
        }
        self.open.clear();
        self.progress = Progress::default();
    }

    fn begin_turn(&mut self) -> Result<(), FoldError> {
        if !self.wants_turn() {
            let (pid, state) = (self.pid, self.state.word());
            return Err(FoldError::State { pid, state, what: "a turn" });
        }
        self.state = ProcessState::Running;
        Ok(())
    }

    /// Returns the largest number among its calls.
    fn speak(&mut self, page: &Page, used: crate::event::Used) -> Result<CallId, FoldError> {
        if *self.active_mut() != ProcessState::Running {
            let (pid, state) = (self.pid, self.state.word());
            return Err(FoldError::State { pid, state, what: "spoken" });
        }
        self.turns += 1;
        self.failures = 0;
        self.used = self.used.and(used);
        self.read(page);
        let mut last = CallId(0);
        if let Speaker::Process { calls, .. } = &page.speaker {
            self.open.extend(calls.iter().cloned());
            last = calls.iter().map(|call| call.id).max().unwrap_or_default();
        }
        self.progress = Progress::default();
        self.set_active(ProcessState::Ready);
        Ok(last)
    }

    fn decide(&mut self, weighed: ContentId, decision: &Decision) {
        let used = decision.capability.and_then(|at| self.capabilities.get_mut(at));
        if let Some(uses) = used.and_then(|capability| capability.uses.as_mut()) {
            *uses = uses.saturating_sub(1);
        }
        self.progress.decided = Some(Decided { weighed, decision: decision.clone() });
    }

    fn take_result(&mut self, _status: Status, page: &Page, held: Option<&Page>) {
        self.open.pop_front();
        self.progress = Progress::default();
        self.set_active(ProcessState::Ready);
        if let Some(held) = held {
            self.window.held.insert(held.id, Arc::new(held.clone()));
        }
        self.read(page);
    }

    fn touch(&mut self, pages: &[PageId]) {
        let turn = self.turns;
        for page in pages {
            if let Some(slot) = self.window.slot_mut(*page) {
                slot.touched = turn;
                slot.touches += 1;
            }
        }
    }

    fn page(&mut self, event: &Event) -> Result<(), FoldError> {
        let Event::Paged { out, back, again, working_set, folded, .. } = event else {
            return Ok(());
        };
        let (pid, turn) = (self.pid, self.turns);
        let window = &mut self.window;
        let missing = |page: &PageId| FoldError::NoPage { pid, page: *page };
        for page in out {
            let at = window.place_of(*page).ok_or_else(|| missing(page))?;
            window.send_out(at, turn);
        }
        for page in back {
            let at = window.place_of(*page).ok_or_else(|| missing(page))?;
            window.bring_in(at);
            window.miss(at, turn);
        }
        window.again += again;
        if window.working_set != *working_set {
            window.widened = Some(turn);
        }
        window.working_set = *working_set;
        window.fold(*folded);
        Ok(())
    }

    fn give(&mut self, part: Budget) {
        let add = |given: Option<u64>, part: Option<u64>| match (given, part) {
            (None, None) => None,
            (given, part) => Some(given.unwrap_or(0) + part.unwrap_or(0)),
        };
        self.given = Budget {
            tokens: add(self.given.tokens, part.tokens),
            seconds: add(self.given.seconds, part.seconds),
            micro_dollars: add(self.given.micro_dollars, part.micro_dollars),
        };
    }

    /// What a child did not spend comes back.
    fn take_back(&mut self, part: Budget, left: Budget) {
        let spent = part.without(left);
        self.given = self.given.without(part);
        self.give(spent);
    }
}
