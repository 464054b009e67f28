//! The audit: why a call was decided as it was, from the log alone, and whether the same log gives
//! the same decisions again, byte for byte.

use serde::Serialize;

use lucid_policy::{Call, Decision, Label, Origin, Subject, decide};

use crate::error::OsError;
use crate::event::{Event, Weighed};
use crate::ids::{CallId, EventNumber, PageId, Pid};
use crate::log::{Content, Log, LogError, Sealed};
use crate::page::Speaker;
use crate::paging;
use crate::state::{Process, State};

/// Why something was decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Why {
    /// The event that says what was decided.
    pub event: EventNumber,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// Whose call.
    pub pid: Pid,
    /// Which call.
    pub call: CallId,
    /// The verdict, the rule, and its grounds.
    pub decision: Decision,
    /// The label of the process at that moment.
    pub label: Label,
    /// What was weighed; none if it was forgotten.
    pub weighed: Option<Weighed>,
    /// The pages that had a part in it: those in which arguments stand, and those by which the
    /// process has its label.
    pub pages: Vec<WhyPage>,
}

/// A page that had a part in a decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WhyPage {
    /// Which.
    pub page: PageId,
    /// Where it comes from.
    pub source: String,
    /// What is known of it.
    pub label: Label,
    /// The beginning of its text.
    pub gist: String,
    /// The arguments that stand in it.
    pub arguments: Vec<String>,
}

/// What came of deciding everything again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// Events that were folded.
    pub events: u64,
    /// Decisions that came out the same, byte for byte.
    pub same: u64,
    /// Decisions whose arguments were forgotten.
    pub forgotten: u64,
    /// Decisions that came out differently.
    pub different: Vec<EventNumber>,
}

fn event_of(sealed: &Sealed) -> Result<Event, OsError> {
    let unreadable = |error: serde_json::Error| LogError::Unreadable {
        number: sealed.number,
        reason: error.to_string(),
    };
    Ok(serde_json::from_slice(&sealed.body).map_err(unreadable)?)
}

fn apply(state: &mut State, sealed: &Sealed, event: &Event) -> Result<(), OsError> {
    let failed = |source| OsError::Fold { number: sealed.number, source };
    state.apply(event, sealed.time_ms).map_err(failed)
}

fn weighed_in(log: &Log, id: crate::ids::ContentId) -> Result<Option<Weighed>, OsError> {
    match log.content(id)? {
        Content::Here(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Content::Forgotten => Ok(None),
    }
}

/// Decides everything again that a log tells of.
///
/// # Errors
/// The log cannot be read or does not fold.
pub fn replay(log: &Log) -> Result<Replayed, OsError> {
    let mut state = State::default();
    let mut replayed = Replayed::default();
    for sealed in log.events_from(EventNumber(1))? {
        let event = event_of(&sealed)?;
        if let Event::Decided { pid, weighed, decision, .. } = &event
            && let Some(process) = state.process(*pid)
        {
            match weighed_in(log, *weighed)? {
                None => replayed.forgotten += 1,
                Some(weighed) => {
                    let again = decided_again(process, &weighed);
                    if serde_json::to_vec(&again)? == serde_json::to_vec(decision)? {
                        replayed.same += 1;
                    } else {
                        replayed.different.push(sealed.number);
                    }
                }
            }
        }
        apply(&mut state, &sealed, &event)?;
        replayed.events += 1;
    }
    Ok(replayed)
}

fn decided_again(process: &Process, weighed: &Weighed) -> Decision {
    let subject = Subject { label: &process.label, capabilities: &process.capabilities };
    decide(&subject, &Call { tool: &weighed.tool, arguments: &weighed.arguments })
}

/// Why an event was as it was: of a decision itself, or of anything else that has to do with a call
/// (its intent, its result, a person's answer), the decision about that call. None if nothing was
/// decided about it.
///
/// # Errors
/// The log cannot be read or does not fold.
pub fn why(log: &Log, number: EventNumber) -> Result<Option<Why>, OsError> {
    let events = log.events_from(EventNumber(1))?;
    let Some(asked) = events.iter().find(|sealed| sealed.number == number) else {
        return Ok(None);
    };
    let Some(wanted) = call_of(&event_of(asked)?) else { return Ok(None) };
    let mut state = State::default();
    for sealed in &events {
        let event = event_of(sealed)?;
        if let Event::Decided { pid, call, weighed, decision } = &event
            && *call == wanted
            && let Some(process) = state.process(*pid)
        {
            let weighed = weighed_in(log, *weighed)?;
            return Ok(Some(Why {
                event: sealed.number,
                time_ms: sealed.time_ms,
                pid: *pid,
                call: *call,
                decision: decision.clone(),
                label: process.label.clone(),
                pages: pages_of(log, process, weighed.as_ref())?,
                weighed,
            }));
        }
        apply(&mut state, sealed, &event)?;
    }
    Ok(None)
}

fn call_of(event: &Event) -> Option<CallId> {
    match event {
        Event::Decided { call, .. }
        | Event::Intended { call, .. }
        | Event::Returned { call, .. }
        | Event::Answered { call, .. } => Some(*call),
        _ => None,
    }
}

fn pages_of(
    log: &Log,
    process: &Process,
    weighed: Option<&Weighed>,
) -> Result<Vec<WhyPage>, OsError> {
    let mut pages = Vec::new();
    let read = process.window.slots().iter().map(|slot| &slot.page);
    for page in read.chain(process.window.held.values()) {
        let stands = |origin: &Origin| origin.segment() == Some(page.id.0);
        let arguments: Vec<String> = weighed
            .into_iter()
            .flat_map(|weighed| &weighed.arguments)
            .filter(|argument| stands(&argument.origin))
            .map(|argument| argument.name.clone())
            .collect();
        let own = matches!(page.speaker, Speaker::Process { .. });
        let limits = !own && !page.label.integrity().is_trusted();
        let is_read = process.window.slot(page.id).is_some();
        if !arguments.is_empty() || limits && is_read {
            pages.push(WhyPage {
                page: page.id,
                source: page.source.clone(),
                label: page.label.clone(),
                gist: paging::gist(&log.content(page.content)?.text()),
                arguments,
            });
        }
    }
    Ok(pages)
}
