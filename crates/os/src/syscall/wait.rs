//! Waits for the end of a child, and takes its result.

use super::{May, Syscall, flag, flag_of, holds, number, object, optional_number, wrong};
use crate::event::{Event, ExitReason, On, Status};
use crate::ids::Pid;
use crate::kernel::{Came, Said};
use crate::page::PageKind;
use crate::state::ProcessState;

pub(super) const CALL: Syscall = Syscall {
    name: "wait",
    description: "waits until a process below this one (any, if none is named) has ended; gives \
                  its result, or holds it if reading it would take privileges",
    parameters: || object(&[("pid", May, number()), ("hold", May, flag())]),
    run: |kernel, pid, arguments| {
        let which = optional_number(arguments, "pid")?.map(Pid);
        let children = &kernel.process(pid)?.children;
        if children.is_empty() || which.is_some_and(|which| !children.contains(&which)) {
            return wrong("there is no such process below this one");
        }
        let ended = children.iter().copied().find(|child| {
            let ended = |process: &crate::state::Process| process.state == ProcessState::Zombie;
            which.is_none_or(|which| which == *child)
                && kernel.state().process(*child).is_some_and(ended)
        });
        let Some(child) = ended else { return Ok(Came::Waits(On::Child(which))) };
        let exit = kernel.process(child)?.exit.clone();
        let reason = exit.as_ref().map_or(ExitReason::GaveUp, |exit| exit.reason.clone());
        let value = exit.and_then(|exit| exit.value);
        let Some(value) = value else {
            // How it ended is one of a few words; the child may have chosen which.
            let label = kernel.process(child)?.label.as_value();
            kernel.emit(Event::Reaped { pid: child })?;
            let text = format!("process {child} has ended without a result: {reason:?}");
            return Ok(Said { label, source_kind: None, ..Said::system(text) }.into());
        };
        let status = if reason == ExitReason::Done { Status::Done } else { Status::Failed };
        let hold = holds(kernel, pid, &value.label, flag_of(arguments, "hold")?)?;
        let text = kernel.page_text(value.content)?;
        kernel.emit(Event::Reaped { pid: child })?;
        Ok(Said {
            status,
            text,
            kind: PageKind::Message,
            source: format!("process {child}"),
            source_kind: None,
            label: value.label,
            hold,
            ..Said::system("")
        }
        .into())
    },
};
