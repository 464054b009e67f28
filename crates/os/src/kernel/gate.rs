//! The gate between a call and the world: what a decision is made of, and how it is made.

use serde_json::Value;

use lucid_policy::origin::{self, Segment};
use lucid_policy::{
    Argument, Audience, Call, Decision, Effect, Ground, Label, Origin, Role, SourceKind, Subject,
    Tool as Described, decide,
};
use lucid_tools::{Arguments, Tool};

use crate::error::OsError;
use crate::event::{On, Question, Weighed};
use crate::ids::{CallId, PageId, Pid};
use crate::kernel::Kernel;
use crate::page::Speaker;
use crate::state::ProcessState;

/// Characters of a source's text that a person is shown around what stands there.
const EXCERPT_CHARS: usize = 240;

/// What a call gives to its tool: the arguments with what is held put in.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// As the tool takes them.
    pub arguments: Arguments,
    /// As the decision sees them.
    pub described: Vec<Argument>,
}

/// What a person is asked before a call: all that a decision depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Whose call.
    pub pid: Pid,
    /// Which call.
    pub call: CallId,
    /// The tool, or none if the process has a question of its own.
    pub tool: Option<String>,
    /// Arguments by name: where it goes, how much, and what is carried.
    pub arguments: Vec<(String, Role, String, Origin)>,
    /// The sources that had a part in it.
    pub sources: Vec<String>,
    /// The texts that speak for an argument or against it, with where they come from.
    pub excerpts: Vec<(String, String)>,
    /// What was decided, if the call is a tool's.
    pub decision: Option<Decision>,
    /// The question, if the process has one of its own.
    pub question: Option<String>,
}

impl Kernel {
    /// The arguments of a call, with their origins.
    ///
    /// The outer error is the system's, the inner one tells the process what is wrong.
    pub(super) fn give(
        &self,
        pid: Pid,
        tool: &dyn Tool,
        arguments: &Arguments,
    ) -> Result<Result<Given, String>, OsError> {
        let described = &tool.card().policy;
        let mut given = Given { arguments: Arguments::new(), described: Vec::new() };
        for (name, value) in arguments {
            let spec = described.argument(name);
            let role = spec.map_or(Role::Content, |spec| spec.role);
            let mut plain = Vec::new();
            for element in elements(value) {
                let argument = match self.one_argument(pid, described, name, role, element)? {
                    Ok((value, mut argument)) => {
                        if role == Role::Destination {
                            match tool.destination(name, &argument.value) {
                                Ok(to) => {
                                    argument.value = to.canonical;
                                    argument.audience = to.audience;
                                }
                                Err(error) => return Ok(Err(error.to_string())),
                            }
                        }
                        plain.push(value);
                        argument
                    }
                    Err(reason) => return Ok(Err(reason)),
                };
                given.described.push(argument);
            }
            let whole = if value.is_array() {
                Value::Array(plain)
            } else {
                plain.pop().unwrap_or(Value::Null)
            };
            given.arguments.insert(name.clone(), whole);
        }
        Ok(Ok(given))
    }

    fn one_argument(
        &self,
        pid: Pid,
        tool: &Described,
        name: &str,
        role: Role,
        value: &Value,
    ) -> Result<Result<(Value, Argument), String>, OsError> {
        let mut argument = Argument {
            name: name.to_owned(),
            value: String::new(),
            origin: Origin::Written,
            label: Label::unlimited(),
            audience: Audience::Public,
        };
        if let Some(held) = value.get("held") {
            let Some(id) = held.as_u64().map(PageId) else {
                return Ok(Err(format!("{name}: {{\"held\": NUMBER}} is expected")));
            };
            let Some(page) = self.process(pid)?.window.held.get(&id) else {
                return Ok(Err(format!("{name}: nothing is held under {id}")));
            };
            // Unread text cannot say where something goes, unless somebody speaks for it.
            let spoken = page.source_kind.is_some_and(|kind| kind != SourceKind::Computed);
            if role == Role::Destination && !(spoken && page.label.integrity().is_trusted()) {
                return Ok(Err(format!("{name}: what is held cannot say where it goes")));
            }
            argument.value = self.page_text(page.content)?;
            argument.origin = Origin::Held { segment: id.0, integrity: page.label.integrity() };
            argument.label = page.label.clone();
            return Ok(Ok((Value::String(argument.value.clone()), argument)));
        }
        argument.value = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        // Where content comes from is in the process's label; only what decides needs a place.
        if tool.effect == Effect::Outside && role != Role::Content {
            argument.origin = self.origin_of(pid, &argument.value)?;
        }
        Ok(Ok((value.clone(), argument)))
    }

    /// Where a value stands among the texts that a process was given. What a process wrote speaks
    /// for nothing, neither its own words nor another one's, nor what a tool computed of them.
    pub(crate) fn origin_of(&self, pid: Pid, value: &str) -> Result<Origin, OsError> {
        let mut texts = Vec::new();
        for slot in self.process(pid)?.window.slots() {
            let page = &slot.page;
            let given = page.source_kind.is_some_and(|kind| kind != SourceKind::Computed);
            if given && !matches!(page.speaker, Speaker::Process { .. }) {
                texts.push((page.id.0, self.page_text(page.content)?, page.label.clone()));
            }
        }
        let segments =
            texts.iter().map(|(number, text, label)| Segment { number: *number, text, label });
        Ok(origin::find(value, segments))
    }

    /// The decision about a call.
    pub(super) fn decide(
        &self,
        pid: Pid,
        tool: &Described,
        given: &Given,
    ) -> Result<Decision, OsError> {
        let process = self.process(pid)?;
        let subject = Subject { label: &process.label, capabilities: &process.capabilities };
        Ok(decide(&subject, &Call { tool, arguments: &given.described }))
    }

    /// What persons are asked at present, the oldest first.
    ///
    /// # Errors
    /// The log fails.
    pub fn asked(&self) -> Result<Vec<Asked>, OsError> {
        let mut all = Vec::new();
        for process in self.state.processes.values() {
            let ProcessState::Blocked(On::Human(question)) = &process.state else { continue };
            let Some(call) = process.call() else { continue };
            let mut asked = Asked {
                pid: process.pid,
                call: call.id,
                tool: None,
                arguments: Vec::new(),
                sources: process.label.sources().map(|(name, _)| name.name().to_owned()).collect(),
                excerpts: Vec::new(),
                decision: None,
                question: None,
            };
            match question {
                Question::Open { content } => asked.question = Some(self.page_text(*content)?),
                Question::Approve => self.describe(process.pid, &mut asked)?,
            }
            all.push(asked);
        }
        Ok(all)
    }

    fn describe(&self, pid: Pid, asked: &mut Asked) -> Result<(), OsError> {
        let process = self.process(pid)?;
        let Some(decided) = &process.progress.decided else { return Ok(()) };
        let text = self.page_text(decided.weighed)?;
        let Ok(weighed) = serde_json::from_str::<Weighed>(&text) else { return Ok(()) };
        let mut segments = Vec::new();
        for argument in weighed.arguments {
            let spec = weighed.tool.argument(&argument.name);
            let role = spec.map_or(Role::Content, |spec| spec.role);
            segments.extend(argument.origin.segment().map(|at| (at, argument.value.clone())));
            asked.arguments.push((argument.name, role, argument.value, argument.origin));
        }
        // And the texts that are not to be believed, with what they say of where it goes.
        let goes = asked.arguments.iter().find(|(_, role, ..)| *role == Role::Destination);
        let goes = goes.map_or_else(String::new, |(_, _, value, _)| value.clone());
        for (source, limits) in process.label.sources() {
            let named = decided.decision.grounds.contains(&Ground::Source(source.clone()));
            if limits.integrity.is_trusted() && !named {
                continue;
            }
            let from = process.window.slots().iter().find(|slot| {
                slot.page.label.sources().any(|(name, _)| name == source)
                    && !matches!(slot.page.speaker, Speaker::Process { .. })
            });
            segments.extend(from.map(|slot| (slot.page.id.0, goes.clone())));
        }
        for (number, value) in segments {
            let Some(page) = process.window.page(PageId(number)) else { continue };
            let excerpt = excerpt(&self.page_text(page.content)?, &value);
            if !asked.excerpts.iter().any(|(_, text)| *text == excerpt) {
                asked.excerpts.push((page.source.clone(), excerpt));
            }
        }
        asked.tool = Some(decided.decision.tool.clone());
        asked.decision = Some(decided.decision.clone());
        Ok(())
    }
}

/// A list is an argument for each of its elements, an empty one none.
fn elements(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(elements) => elements.iter().collect(),
        other => vec![other],
    }
}

/// The part of a text around a value.
fn excerpt(text: &str, value: &str) -> String {
    let at = text.find(value).unwrap_or_default();
    let before = text[..at].chars().count().saturating_sub(EXCERPT_CHARS / 2);
    let part: String = text.chars().skip(before).take(EXCERPT_CHARS).collect();
    let whole = part.len() == text.len();
    if whole { part } else { format!("\u{2026}{part}\u{2026}") }
}
