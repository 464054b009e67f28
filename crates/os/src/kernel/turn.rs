//! A turn: the model is asked, and what it says becomes a page with calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use lucid_provider::{Answer, Answers, Delta, Hold, ProviderError, Stop, Turn, Waited};

use crate::error::OsError;
use crate::event::{Event, ExitReason, Used};
use crate::ids::Pid;
use crate::kernel::{Happening, Kernel, Running, TextPage, Told, contender};
use crate::page::{CallRecord, PageKind, Speaker};
use crate::paging;
use crate::state::Place;

/// How often a model may fail in a row.
const FAILURES_MAX: u32 = 4;
/// How long after the first failure it is asked again; twice as long after each further one.
const PAUSE_MS: i64 = 500;
/// How soon a turn that is broken off is let go of.
const PATIENCE: Duration = Duration::from_millis(20);
/// Calls of one turn that are looked at.
const CALLS_MAX: usize = 32;

impl Kernel {
    /// Asks the model for a process.
    pub(super) fn begin_turn(&mut self, pid: Pid) -> Result<(), OsError> {
        if self.process(pid)?.left().is_gone() {
            return self.exit(pid, ExitReason::Budget, None);
        }
        self.make_room(pid)?;
        let seed = self.seed_of(pid)?;
        let turn = self.render(pid, seed)?;
        let process = self.process(pid)?;
        let Some(provider) = self.settings.providers.get(&process.provider).cloned() else {
            return self.exit(pid, ExitReason::Provider, None);
        };
        self.emit(Event::TurnBegun { pid, seed })?;
        if !provider.card().capabilities.reproducible {
            // It may be far away: what is asked there is known there.
            self.log.sync()?;
        }
        let hold = provider.card().capabilities.holds.then(Hold::default);
        let turn = Turn { hold: hold.clone(), ..turn };
        let answers = match provider.generate(turn) {
            Ok(answers) => answers,
            Err(error) => return self.turn_failed(pid, &error),
        };
        self.serial += 1;
        let cancelled = Arc::new(AtomicBool::new(false));
        let running = Running {
            serial: self.serial,
            answers: Vec::new(),
            begun_ms: self.settings.time.now_ms(),
            cancelled: cancelled.clone(),
            hold,
            still: false,
            served: 0,
        };
        self.running.insert(pid, running);
        let (teller, serial) = (self.teller.clone(), self.serial);
        thread::spawn(move || listen(pid, serial, answers, &teller, &cancelled));
        Ok(())
    }

    /// The same seed for the same turn, so that a turn that was lost is said again as it was.
    fn seed_of(&self, pid: Pid) -> Result<u64, OsError> {
        let process = self.process(pid)?;
        let text = format!("lucid turn {} {}", pid, process.turns);
        let id = crate::ids::ContentId::of(text.as_bytes());
        let bytes: [u8; 8] = id.as_bytes()[..8].try_into().unwrap_or_default();
        // Templates and remote interfaces take positive numbers of 63 bits.
        Ok(u64::from_le_bytes(bytes) >> 1)
    }

    /// A piece of an answer came.
    pub(super) fn turn_goes_on(
        &mut self,
        pid: Pid,
        serial: u64,
        delta: Option<Result<Delta, ProviderError>>,
    ) -> Result<(), OsError> {
        let Some(running) = self.running.get_mut(&pid).filter(|it| it.serial == serial) else {
            return Ok(());
        };
        match delta {
            Some(Ok(delta)) => {
                let told = match &delta {
                    Delta::Text { text, .. } => Some(Told::Text { pid, text: text.clone() }),
                    Delta::Reasoning { text, .. } => {
                        Some(Told::Reasoning { pid, text: text.clone() })
                    }
                    Delta::CallArguments { json, .. } => {
                        Some(Told::Arguments { pid, text: json.clone() })
                    }
                    _ => None,
                };
                let tokens = tokens_of(&delta);
                running.served += tokens;
                Answer::add(&mut running.answers, delta);
                self.told.extend(told);
                let served = contender(self.process(pid)?);
                self.dispatcher.served(&served, tokens);
                Ok(())
            }
            Some(Err(error)) => {
                self.running.remove(&pid);
                self.turn_failed(pid, &error)
            }
            None => {
                let Some(running) = self.running.remove(&pid) else { return Ok(()) };
                let ms = self.settings.time.now_ms() - running.begun_ms;
                let served = running.served;
                let answer = running.answers.into_iter().next();
                if let Some(answer) = answer.filter(|answer| answer.stop.is_some()) {
                    return self.speak(pid, answer, ms, served);
                }
                let reason = "it ended without saying why".to_owned();
                let provider = self.process(pid)?.provider.clone();
                self.turn_failed(pid, &ProviderError::Broken { provider, reason })
            }
        }
    }

    fn turn_failed(&mut self, pid: Pid, error: &ProviderError) -> Result<(), OsError> {
        let failures = self.process(pid)?.failures + 1;
        let lasting = matches!(
            error,
            ProviderError::Invalid { .. }
                | ProviderError::Unsupported { .. }
                | ProviderError::PromptTooLong { .. }
                | ProviderError::Grammar { .. }
                | ProviderError::Template { .. }
                | ProviderError::UnknownAdapter { .. }
                | ProviderError::Unauthorized { .. }
                | ProviderError::Unloadable { .. }
        );
        let pause = match error {
            ProviderError::Busy { retry_after } => retry_after.as_millis() as i64,
            _ => PAUSE_MS << failures.min(10),
        };
        let not_before_ms = Some(self.settings.time.now_ms() + pause);
        self.emit(Event::TurnBroken { pid, not_before_ms })?;
        if lasting || failures >= FAILURES_MAX {
            return self.exit(pid, ExitReason::Provider, Some(&error.to_string()));
        }
        Ok(())
    }

    /// What the model said becomes a page, and its calls are open.
    fn speak(&mut self, pid: Pid, answer: Answer, ms: i64, counted: u64) -> Result<(), OsError> {
        let Answer { text, reasoning, usage, stop, .. } = answer;
        let mut calls = Vec::new();
        for call in answer.calls.into_iter().take(CALLS_MAX) {
            let id = self.state.next_call(calls.len() as u64);
            let arguments = self.log.put(call.arguments.as_bytes());
            calls.push(CallRecord { id, name: call.name, arguments });
        }
        let thought = if reasoning.is_empty() { 0 } else { self.count_tokens(pid, &reasoning) };
        let reasoning = (!reasoning.is_empty()).then(|| self.log.put(reasoning.as_bytes()));
        let last = calls.is_empty();
        let arguments: Vec<_> = calls.iter().map(|call| call.arguments).collect();
        let of = TextPage {
            kind: PageKind::Dialogue,
            speaker: Speaker::Process { calls, reasoning },
            source: format!("process {pid}"),
            source_kind: None,
            label: self.process(pid)?.label.clone(),
        };
        let mut page = self.make_page(pid, &of, &text, 0);
        page.tokens += thought;
        for content in arguments {
            let arguments = self.page_text(content)?;
            page.tokens += self.count_tokens(pid, &arguments);
        }
        let cost = usage.cost_usd.unwrap_or_default() * 1e6;
        let used = Used {
            tokens: usage.new_tokens as u64,
            prompt_tokens: usage.prompt_tokens.saturating_sub(usage.cached_tokens) as u64,
            ms: u64::try_from(ms).unwrap_or_default(),
            micro_dollars: cost.ceil() as u64,
        };
        self.emit(Event::Spoke { pid, page, used })?;
        let served = contender(self.process(pid)?);
        self.dispatcher.served(&served, used.tokens.saturating_sub(counted));
        if last {
            let whole = matches!(stop, Some(Stop::End | Stop::Text(_) | Stop::ToolCalls));
            if whole {
                return self.say_goodbye(pid, &text);
            }
            let spent = self.process(pid)?.left().is_gone();
            let reason = if spent { ExitReason::Budget } else { ExitReason::Cut };
            return self.exit(pid, reason, Some(&text));
        }
        if self.process(pid)?.left().is_gone() {
            return self.exit(pid, ExitReason::Budget, None);
        }
        self.bring_mentioned(pid, &text)
    }

    /// A turn without a call is the last one: its text is the result.
    fn say_goodbye(&mut self, pid: Pid, text: &str) -> Result<(), OsError> {
        let form = self.process(pid)?.form.clone();
        match form.map(|form| form.parse(text.trim())) {
            None => self.exit(pid, ExitReason::Done, Some(text)),
            Some(Ok(value)) => self.exit(pid, ExitReason::Done, Some(value.text())),
            // It is not told what is wrong with it: the form was.
            Some(Err(_)) => self.exit(pid, ExitReason::GaveUp, None),
        }
    }

    /// Pages that are out and were mentioned come back.
    fn bring_mentioned(&mut self, pid: Pid, text: &str) -> Result<(), OsError> {
        let process = self.process(pid)?;
        let mentioned = paging::mentioned(text);
        let known = |id: &&crate::ids::PageId| process.window.slot(**id).is_some();
        let known: Vec<_> = mentioned.iter().filter(known).copied().collect();
        let out = |id: &&crate::ids::PageId| {
            process.window.slot(**id).is_some_and(|slot| slot.place == Place::Out)
        };
        let out: Vec<_> = known.iter().filter(out).copied().collect();
        if !known.is_empty() {
            self.emit(Event::Touched { pid, pages: known })?;
        }
        for id in out {
            self.show_again(pid, id)?;
        }
        Ok(())
    }
}

/// Tokens of a piece of an answer.
fn tokens_of(delta: &Delta) -> u64 {
    match delta {
        Delta::Text { tokens, .. } | Delta::Reasoning { tokens, .. } => tokens.len() as u64,
        _ => 0,
    }
}

/// Hands the pieces of an answer on until it is over or nobody wants it.
fn listen(
    pid: Pid,
    serial: u64,
    mut answers: Answers,
    teller: &Sender<Happening>,
    cancelled: &AtomicBool,
) {
    loop {
        let waited = answers.wait_for(PATIENCE);
        if cancelled.load(Ordering::Relaxed) {
            // Whoever drops the answers cancels them.
            return;
        }
        let delta = match waited {
            Waited::Nothing => continue,
            Waited::Delta(delta) => Some(delta),
            Waited::Over => None,
        };
        let over = !matches!(delta, Some(Ok(_)));
        if teller.send(Happening::Turn { pid, serial, delta }).is_err() || over {
            return;
        }
    }
}
