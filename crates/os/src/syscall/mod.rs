//! What a process can ask the system for: a file for each call.
//!
//! A call that waits is run again when it was woken, so each begins by looking whether it can come
//! back now. A call does nothing outside of the system; what does goes through `tool_call` and its
//! gate.

mod ask_human;
mod cap_grant;
mod cap_revoke;
mod cite;
mod cron;
mod exec;
mod exit;
mod fork;
mod kill;
mod note;
mod notes;
mod open;
mod page_in;
mod page_out;
mod pin;
mod read;
mod recv;
mod rollback;
mod search;
mod send;
mod signal;
mod sleep;
mod snapshot;
mod spawn;
mod tool_call;
mod tool_list;
mod wait;
mod write;

mod files;

use serde_json::{Map, Value, json};

use lucid_policy::Label;
use lucid_tools::Arguments;

use crate::error::OsError;
use crate::ids::{PageId, Pid};
use crate::kernel::{Came, Kernel, Reading, Said};
use crate::log::LogError;

/// A call that the system answers.
pub(crate) struct Syscall {
    /// By which name.
    pub(crate) name: &'static str,
    /// What it is for, in a line: models read it.
    pub(crate) description: &'static str,
    /// The JSON schema of its arguments.
    pub(crate) parameters: fn() -> Value,
    /// Does it.
    pub(crate) run: fn(&mut Kernel, Pid, &Arguments) -> Result<Came, Gone>,
}

/// Why a call did not do what it should.
pub(crate) enum Gone {
    /// The process asked for something that cannot be; it is told.
    Wrong(String),
    /// The system cannot go on.
    System(OsError),
}

impl From<OsError> for Gone {
    fn from(error: OsError) -> Self {
        Self::System(error)
    }
}

impl From<LogError> for Gone {
    fn from(error: LogError) -> Self {
        Self::System(error.into())
    }
}

fn wrong<T>(reason: impl Into<String>) -> Result<T, Gone> {
    Err(Gone::Wrong(reason.into()))
}

/// All calls, by name.
const ALL: [&Syscall; 28] = [
    &ask_human::CALL,
    &cap_grant::CALL,
    &cap_revoke::CALL,
    &cite::CALL,
    &cron::CALL,
    &exec::CALL,
    &exit::CALL,
    &fork::CALL,
    &kill::CALL,
    &note::CALL,
    &notes::CALL,
    &open::CALL,
    &page_in::CALL,
    &page_out::CALL,
    &pin::CALL,
    &read::CALL,
    &recv::CALL,
    &rollback::CALL,
    &search::CALL,
    &send::CALL,
    &signal::CALL,
    &sleep::CALL,
    &snapshot::CALL,
    &spawn::CALL,
    &tool_call::CALL,
    &tool_list::CALL,
    &wait::CALL,
    &write::CALL,
];

/// The names of all calls.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|syscall| syscall.name)
}

pub(crate) fn find(name: &str) -> Option<&'static Syscall> {
    ALL.into_iter().find(|syscall| syscall.name == name)
}

/// The tool that a call is of, and whether its result is read.
pub(crate) fn tool_of(name: &str, arguments: &Arguments) -> (String, Reading) {
    if name == tool_call::CALL.name {
        return tool_call::tool_of(arguments);
    }
    (name.to_owned(), Reading::Now)
}

/// Whether an argument must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Must,
    May,
}

use Need::{May, Must};

/// The schema of an object with these properties and no others.
fn object(properties: &[(&str, Need, Value)]) -> Value {
    let required: Vec<_> =
        properties.iter().filter(|(_, need, _)| *need == Must).map(|(name, ..)| *name).collect();
    let properties: Map<String, Value> =
        properties.iter().map(|(name, _, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn text() -> Value {
    json!({"type": "string"})
}

fn number() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

/// A text among the arguments.
fn text_of<'a>(arguments: &'a Arguments, name: &str) -> Result<&'a str, Gone> {
    match arguments.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => wrong(format!("{name}: a text is expected")),
        None => wrong(format!("{name}: it is missing")),
    }
}

fn optional_text<'a>(arguments: &'a Arguments, name: &str) -> Result<Option<&'a str>, Gone> {
    match arguments.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => text_of(arguments, name).map(Some),
    }
}

/// A number among the arguments; a text that is one, or ends in `#` and one, counts, because models
/// write pages and processes so.
fn number_of(arguments: &Arguments, name: &str) -> Result<u64, Gone> {
    let Some(value) = arguments.get(name) else { return wrong(format!("{name}: it is missing")) };
    match as_number(value) {
        Some(number) => Ok(number),
        None => wrong(format!("{name}: a whole number is expected")),
    }
}

fn as_number(value: &Value) -> Option<u64> {
    let text = value.as_str();
    let digits = || text?.rsplit('#').next()?.trim().parse().ok();
    value.as_u64().or_else(digits)
}

fn optional_number(arguments: &Arguments, name: &str) -> Result<Option<u64>, Gone> {
    match arguments.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => number_of(arguments, name).map(Some),
    }
}

fn numbers_of(arguments: &Arguments, name: &str) -> Result<Vec<u64>, Gone> {
    let elements = match arguments.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(elements)) => elements.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    match elements.iter().map(as_number).collect() {
        Some(numbers) => Ok(numbers),
        None => wrong(format!("{name}: whole numbers are expected")),
    }
}

fn flag_of(arguments: &Arguments, name: &str) -> Result<Option<bool>, Gone> {
    match arguments.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => wrong(format!("{name}: true or false is expected")),
    }
}

fn pid_of(arguments: &Arguments) -> Result<Pid, Gone> {
    number_of(arguments, "pid").map(Pid)
}

/// Why a goal is not taken, if it would leave no room.
fn too_long(kernel: &Kernel, application: &str, goal: &str) -> Option<String> {
    let provider = &kernel.settings().applications.get(application)?.provider;
    let (tokens, room) = kernel.too_long(provider, application, goal)?;
    Some(format!("the goal has {tokens} tokens, and there is room for {room}; hand pages over"))
}

fn page_of(arguments: &Arguments) -> Result<PageId, Gone> {
    number_of(arguments, "page").map(PageId)
}

/// Whether a process is itself or descends from it.
fn descends(kernel: &Kernel, pid: Pid, from: Pid) -> bool {
    let mut at = Some(pid);
    while let Some(one) = at {
        if one == from {
            return true;
        }
        at = kernel.state().process(one).and_then(|process| process.parent);
    }
    false
}

/// A process that another one may rule: one that descends from it.
fn ruled(kernel: &Kernel, pid: Pid, by: Pid) -> Result<Pid, Gone> {
    if pid != by && kernel.state().process(pid).is_some() && descends(kernel, pid, by) {
        return Ok(pid);
    }
    wrong(format!("there is no process {pid} below this one"))
}

/// Whether a process gets a text to hold instead of reading it: if it says so, or if it says
/// nothing and reading it would take privileges that it still has.
fn holds(kernel: &Kernel, pid: Pid, label: &Label, wish: Option<bool>) -> Result<bool, OsError> {
    let own = &kernel.process(pid)?.label;
    let would_lose =
        own.integrity().is_trusted() && label.integrity() == lucid_policy::Integrity::Untrusted;
    Ok(wish.unwrap_or(would_lose))
}

/// That something was done.
#[expect(clippy::unnecessary_wraps, reason = "it is what a call returns")]
fn done(text: impl Into<String>) -> Result<Came, Gone> {
    Ok(Said::system(text).into())
}
