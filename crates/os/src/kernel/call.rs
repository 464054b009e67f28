//! Calls: a process's oldest open call is worked on until it waits or comes back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use serde_json::Value;

use lucid_policy::{Call, Effect, Grant, SourceKind, Verdict};
use lucid_tools::{Arguments, Outcome, Setting, Settled, Tool, ToolError};

use crate::error::OsError;
use crate::event::{Event, On, Question, Reply, Status, Weighed};
use crate::ids::Pid;
use crate::kernel::gate::Given;
use crate::kernel::{Happening, Kernel, Said};
use crate::page::{CallRecord, PageKind};
use crate::syscall::{self, Gone};

/// What a call came to.
pub(crate) enum Came {
    /// It says something, and is over.
    Back(Box<Said>),
    /// It waits.
    Waits(On),
    /// The process is not as it was: it ended, or is another.
    Gone,
}

impl From<Said> for Came {
    fn from(said: Said) -> Self {
        Self::Back(Box::new(said))
    }
}

impl Kernel {
    /// Works on a process's oldest open call.
    pub(super) fn advance_call(&mut self, pid: Pid) -> Result<(), OsError> {
        let process = self.process(pid)?;
        let Some(call) = process.call().cloned() else { return Ok(()) };
        let begun = process.progress.intended.is_some();
        let came = match self.arguments_of(&call)? {
            // Whatever is missing now, it may have been done.
            Err(_) if begun => lost().into(),
            Err(reason) => Said::not(Status::Failed, reason).into(),
            Ok(arguments) => self.dispatch_call(pid, &call, &arguments)?,
        };
        match came {
            Came::Back(said) => self.answer_call(pid, &said),
            Came::Waits(on) => self.emit(Event::Blocked { pid, on }),
            Came::Gone => Ok(()),
        }
    }

    fn arguments_of(&self, call: &CallRecord) -> Result<Result<Arguments, String>, OsError> {
        let text = self.page_text(call.arguments)?;
        if text.trim().is_empty() {
            return Ok(Ok(Arguments::new()));
        }
        Ok(match serde_json::from_str(&text) {
            Ok(Value::Object(arguments)) => Ok(arguments),
            Ok(_) => Err("the arguments are no JSON object".to_owned()),
            Err(error) => Err(format!("the arguments are no JSON: {error}")),
        })
    }

    fn dispatch_call(
        &mut self,
        pid: Pid,
        call: &CallRecord,
        arguments: &Arguments,
    ) -> Result<Came, OsError> {
        let name = call.name.clone();
        let application = self.process(pid)?.application.clone();
        let application = self.application(&application)?;
        if application.syscalls.contains(&name)
            && let Some(syscall) = syscall::find(&name)
        {
            return match (syscall.run)(self, pid, arguments) {
                Ok(came) => Ok(came),
                Err(Gone::Wrong(reason)) => Ok(Said::not(Status::Failed, reason).into()),
                Err(Gone::System(error)) => Err(error),
            };
        }
        if application.tools.contains(&name) {
            return self.call_tool(pid, &name, arguments, Reading::Now);
        }
        let known: Vec<&str> =
            application.syscalls.iter().chain(&application.tools).map(String::as_str).collect();
        let text = format!("there is no call `{name}`; there are: {}", known.join(", "));
        Ok(Said::not(Status::Failed, text).into())
    }

    /// A tool, through the gate.
    pub(crate) fn call_tool(
        &mut self,
        pid: Pid,
        name: &str,
        arguments: &Arguments,
        reading: Reading,
    ) -> Result<Came, OsError> {
        let begun = self.process(pid)?.progress.intended.clone();
        let Some(tool) = self.settings.tools.get(name).cloned() else {
            if begun.is_some() {
                return Ok(lost().into());
            }
            let known: Vec<&str> = self.settings.tools.keys().map(String::as_str).collect();
            let text = format!("there is no tool `{name}`; there are: {}", known.join(", "));
            return Ok(Said::not(Status::Failed, text).into());
        };
        if let Some(key) = begun {
            return self.settle(pid, &tool, &key, arguments, reading);
        }
        let given = match self.give(pid, tool.as_ref(), arguments)? {
            Ok(given) => given,
            Err(reason) => return Ok(Said::not(Status::Failed, reason).into()),
        };
        self.decide_call(pid, &tool, &given)?;
        let grant = match self.grant(pid, &tool, &given)? {
            Ok(grant) => grant,
            Err(came) => return Ok(came),
        };
        self.run_tool(pid, &tool, given.arguments, grant, reading)
    }

    /// Decides a call once, and writes it down.
    fn decide_call(
        &mut self,
        pid: Pid,
        tool: &Arc<dyn Tool>,
        given: &Given,
    ) -> Result<(), OsError> {
        if self.process(pid)?.progress.decided.is_some() {
            return Ok(());
        }
        let Some(call) = self.process(pid)?.call().map(|call| call.id) else { return Ok(()) };
        let decision = self.decide(pid, &tool.card().policy, given)?;
        let weighed =
            Weighed { tool: tool.card().policy.clone(), arguments: given.described.clone() };
        let weighed = self.log.put(&serde_json::to_vec(&weighed)?);
        self.emit(Event::Decided { pid, call, weighed, decision })
    }

    /// The grant of a decided call; else what the call comes to without one.
    fn grant(
        &mut self,
        pid: Pid,
        tool: &Arc<dyn Tool>,
        given: &Given,
    ) -> Result<Result<Grant, Came>, OsError> {
        let progress = &self.process(pid)?.progress;
        let Some(decided) = &progress.decided else {
            return Ok(Err(Said::not(Status::Failed, "nothing was decided").into()));
        };
        let call = Call { tool: &tool.card().policy, arguments: &given.described };
        let rule = format!("{:?}", decided.decision.rule);
        let refused = |why: &str| Said::not(Status::Refused, format!("{why} (rule {rule})")).into();
        let grant = match (decided.decision.verdict, &progress.answered) {
            (Verdict::Allow, _) => decided.decision.grant(&call),
            (Verdict::Deny, _) => return Ok(Err(refused("it may not be done"))),
            (Verdict::Ask, Some((by, Reply::Approved))) => decided.decision.approved(&call, by),
            (Verdict::Ask, Some(_)) => return Ok(Err(refused("a person said no"))),
            (Verdict::Ask, None) if self.settings.person.is_some() => {
                return Ok(Err(Came::Waits(On::Human(Question::Approve))));
            }
            (Verdict::Ask, None) => {
                return Ok(Err(refused("a person would have to say yes, and nobody is there")));
            }
        };
        Ok(grant.ok_or_else(|| refused("it may not be done")))
    }

    fn run_tool(
        &mut self,
        pid: Pid,
        tool: &Arc<dyn Tool>,
        arguments: Arguments,
        grant: Grant,
        reading: Reading,
    ) -> Result<Came, OsError> {
        let Some(call) = self.process(pid)?.call().map(|call| call.id) else {
            return Ok(Came::Gone);
        };
        let key = self.key_of(pid, call.0);
        if tool.card().policy.effect != Effect::Outside {
            let result = tool.call(grant, &arguments, &self.setting(&key));
            return Ok(self.said_by_tool(pid, tool.as_ref(), result, reading).into());
        }
        self.emit(Event::Intended { pid, call, key: key.clone() })?;
        // From here on the world may know of it.
        self.log.sync()?;
        self.working.insert(call, pid);
        let (tool, teller) = (tool.clone(), self.teller.clone());
        let (now_ms, offset_minutes) =
            (self.settings.time.now_ms(), self.settings.time.offset_minutes());
        thread::spawn(move || {
            let setting = Setting { now_ms, offset_minutes, key: &key };
            let work = AssertUnwindSafe(|| tool.call(grant, &arguments, &setting));
            // Whether it was done when it panicked nobody can tell.
            let result = catch_unwind(work).ok();
            // Nobody listens if the system was closed; the next one asks the tool.
            let _ = teller.send(Happening::Tool { call, result });
        });
        Ok(Came::Waits(On::Tool))
    }

    /// A call that was begun by a run that is over.
    fn settle(
        &mut self,
        pid: Pid,
        tool: &Arc<dyn Tool>,
        key: &str,
        arguments: &Arguments,
        reading: Reading,
    ) -> Result<Came, OsError> {
        match tool.settle(key) {
            Settled::Done(outcome) => {
                Ok(self.said_by_tool(pid, tool.as_ref(), Ok(outcome), reading).into())
            }
            Settled::Unknown => Ok(lost().into()),
            Settled::NotDone => {
                let given = match self.give(pid, tool.as_ref(), arguments)? {
                    Ok(given) => given,
                    Err(reason) => return Ok(Said::not(Status::Failed, reason).into()),
                };
                match self.grant(pid, tool, &given)? {
                    Ok(grant) => self.run_tool(pid, tool, given.arguments, grant, reading),
                    Err(came) => Ok(came),
                }
            }
        }
    }

    /// A tool has done its work.
    pub(super) fn tool_is_done(
        &mut self,
        call: crate::ids::CallId,
        result: Option<Result<Outcome, ToolError>>,
    ) -> Result<(), OsError> {
        self.working.remove(&call);
        // Of a process that was killed meanwhile nobody waits for it.
        let Some(process) = self.state.caller(call) else { return Ok(()) };
        let pid = process.pid;
        let Some(record) = process.call().filter(|open| open.id == call).cloned() else {
            return Ok(());
        };
        let arguments = self.arguments_of(&record)?.unwrap_or_default();
        let (name, reading) = syscall::tool_of(&record.name, &arguments);
        let tool = self.settings.tools.get(&name).cloned();
        let (Some(tool), Some(result)) = (tool, result) else {
            return self.answer_call(pid, &lost());
        };
        let said = self.said_by_tool(pid, tool.as_ref(), result, reading);
        self.answer_call(pid, &said)
    }

    /// What a tool's result is to the process.
    fn said_by_tool(
        &self,
        pid: Pid,
        tool: &dyn Tool,
        result: Result<Outcome, ToolError>,
        reading: Reading,
    ) -> Said {
        let card = tool.card();
        let name = format!("tool:{}", card.policy.name);
        let (status, text, (kind, source)) = match result {
            Ok(outcome) => {
                let source = outcome.source.unwrap_or((card.source, name));
                (Status::Done, outcome.text, source)
            }
            // An error repeats arguments: it is nobody's word but the process's.
            Err(error) => (Status::Failed, error.to_string(), (SourceKind::Computed, name)),
        };
        let mut label = self.label_of(pid, kind, &source);
        if status == Status::Failed {
            // It may repeat what the other side said, too.
            label.extend(&self.label_of(pid, card.source, &source));
        }
        // What was computed of arguments says what they say.
        if kind == SourceKind::Computed
            && let Some(process) = self.state.process(pid)
        {
            label.extend(&process.label);
            if let Some(decided) = &process.progress.decided {
                label.extend(&decided.decision.label);
            }
        }
        Said {
            status,
            text,
            kind: PageKind::ToolOutput,
            source,
            source_kind: Some(kind),
            label,
            hold: reading == Reading::Held,
            copy_of: None,
        }
    }

    fn setting<'a>(&self, key: &'a str) -> Setting<'a> {
        let time = &self.settings.time;
        Setting { now_ms: time.now_ms(), offset_minutes: time.offset_minutes(), key }
    }

    /// The same for the same call of the same log, and for no other: whoever made the log knows no
    /// other log's first event.
    fn key_of(&self, pid: Pid, call: u64) -> String {
        let born_ms = self.state.process(pid).map_or(0, |process| process.born_ms);
        let text = format!("lucid call {pid} {call} {born_ms}");
        crate::ids::ContentId::of(text.as_bytes()).to_string()[..32].to_owned()
    }
}

/// That nobody can tell whether something was done.
fn lost() -> Said {
    Said::not(
        Status::Unknown,
        "this was begun, and nobody can tell whether it was done; it is not tried again by itself",
    )
}

/// Whether a process reads what a call gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// At once.
    Now,
    /// Not yet: it holds it.
    Held,
}
