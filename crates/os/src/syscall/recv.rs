//! Takes the oldest message, or waits for one.

use super::{May, Syscall, flag, flag_of, holds, object};
use crate::event::{Event, On};
use crate::kernel::{Came, Said};
use crate::page::PageKind;

pub(super) const CALL: Syscall = Syscall {
    name: "recv",
    description: "waits for the next message of another process or of a timer",
    parameters: || object(&[("hold", May, flag())]),
    run: |kernel, pid, arguments| {
        let Some(mail) = kernel.process(pid)?.mailbox.front().cloned() else {
            return Ok(Came::Waits(On::Message));
        };
        let hold = holds(kernel, pid, &mail.label, flag_of(arguments, "hold")?)?;
        kernel.emit(Event::Received { pid })?;
        let source = mail.from.map_or("timer".to_owned(), |from| format!("process {from}"));
        let text = kernel.page_text(mail.content)?;
        Ok(Said {
            text: if hold { text } else { format!("{source}: {text}") },
            kind: PageKind::Message,
            source,
            source_kind: None,
            label: mail.label,
            hold,
            ..Said::system("")
        }
        .into())
    },
};
