//! Events in a line each, for people who watch or look back.

use lucid_os::log::Log;
use lucid_os::{ContentId, Event, ExitReason, On, Page, Speaker, paging};

use crate::style::harmless;

/// Characters of a text within a line.
const TEXT_CHARS: usize = 120;

/// Gives the texts of contents.
pub(super) type Texts<'a> = &'a dyn Fn(ContentId) -> String;

/// The texts of a log.
pub(super) fn texts(log: &Log) -> impl Fn(ContentId) -> String + '_ {
    |content| log.content(content).map_or_else(|error| format!("({error})"), |text| text.text())
}

/// What an event says, in a line; none of those that only a program cares for.
pub(super) fn line(event: &Event, texts: Texts<'_>) -> Option<String> {
    let short = |content| -> String {
        let text = paging::gist(&texts(content));
        harmless(&text).chars().take(TEXT_CHARS).collect()
    };
    Some(match event {
        Event::Booted { version } => format!("started, version {version}"),
        Event::Spawned(birth) => format!("{} began: {}", birth.pid, birth.application),
        Event::Forked { pid, parent, .. } => format!("{pid} began: a copy of {parent}"),
        Event::Appended { pid, page } => {
            format!("{pid} read {}: {}", about(page), short(page.content))
        }
        Event::Handed { pid, page } => format!("{pid} holds {}", about(page)),
        Event::Replaced { pid, application, .. } => format!("{pid} became {application}"),
        Event::TurnBroken { pid, .. } => format!("{pid} was interrupted"),
        Event::Spoke { pid, page, .. } => spoke(pid.0, page, texts),
        Event::Decided { pid, decision, .. } => {
            let verdict = format!("{:?}", decision.verdict).to_lowercase();
            format!("{pid} {verdict}: {} ({:?})", decision.tool, decision.rule)
        }
        Event::Intended { pid, call, .. } => format!("{pid} goes outside, call {call}"),
        Event::Blocked { pid, on } => format!("{pid} waits for {}", waits(on)),
        Event::Returned { pid, status, page, held, .. } => {
            let status = format!("{status:?}").to_lowercase();
            let held =
                held.as_ref().map_or_else(String::new, |held| format!(", holds {}", about(held)));
            format!("{pid} {status}: {}{held}", short(page.content))
        }
        Event::Paged { pid, out, back, again, .. } => {
            format!("{pid} {} pages out, {} back, {again} tokens again", out.len(), back.len())
        }
        Event::Sent { from, to, bytes, .. } => format!("{from} sent {bytes} bytes to {to}"),
        Event::TimerSet { pid, timer, .. } => format!("{pid} set timer {timer}"),
        Event::Fired { timer } => format!("timer {timer} went off"),
        Event::Answered { call, by, .. } => format!("{} answered about call {call}", by.name()),
        Event::Granted { pid, capability } => format!("{pid} may use {}", capability.tool),
        Event::Revoked { pid, tool } => format!("{pid} may not use {tool}"),
        Event::Signalled { pid, signal } => {
            format!("{pid} was told {}", format!("{signal:?}").to_uppercase())
        }
        Event::Exited { pid, exit } => format!("{pid} ended: {}", reason(&exit.reason)),
        Event::FileWritten { application, path, file } => match file {
            Some(_) => format!("{application} wrote {path}"),
            None => format!("{application} removed {path}"),
        },
        Event::FilesKept { application, name } => format!("{application} kept files as {name}"),
        Event::Forgotten { content } => format!("forgotten: {content}"),
        Event::Admitted { .. }
        | Event::TurnBegun { .. }
        | Event::Touched { .. }
        | Event::Pinned { .. }
        | Event::Received { .. }
        | Event::Reaped { .. } => return None,
    })
}

fn about(page: &Page) -> String {
    format!("{} of {}", page.kind.name(), page.source)
}

fn spoke(pid: u64, page: &Page, texts: Texts<'_>) -> String {
    let mut parts = Vec::new();
    let text = paging::gist(&texts(page.content));
    if !text.is_empty() {
        parts.push(harmless(&text));
    }
    if let Speaker::Process { calls, .. } = &page.speaker {
        for call in calls {
            let arguments: String =
                harmless(&texts(call.arguments)).chars().take(TEXT_CHARS).collect();
            parts.push(format!("{} {arguments}", harmless(&call.name)));
        }
    }
    format!("{pid} says: {}", parts.join("; "))
}

fn waits(on: &On) -> String {
    match on {
        On::Tool => "a tool".to_owned(),
        On::Message => "a message".to_owned(),
        On::Child(None) => "a child".to_owned(),
        On::Child(Some(pid)) => format!("process {pid}"),
        On::Human(_) => "a person".to_owned(),
        On::Timer(timer) => format!("timer {timer}"),
    }
}

/// Why a process ended, in words.
pub(super) fn reason(reason: &ExitReason) -> String {
    match reason {
        ExitReason::Done => "done".to_owned(),
        ExitReason::GaveUp => "it gave up".to_owned(),
        ExitReason::Signal(signal) => format!("told {}", format!("{signal:?}").to_uppercase()),
        ExitReason::Budget => "its budget is spent".to_owned(),
        ExitReason::Provider => "the model does not answer".to_owned(),
        ExitReason::Cut => "its answer was cut off, or held back".to_owned(),
        ExitReason::Orphaned => "its parent ended".to_owned(),
    }
}
