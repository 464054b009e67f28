//! A message to another process.

use lucid_policy::Audience;

use super::{
    May, Must, Syscall, done, number, object, optional_number, pid_of, text, text_of, wrong,
};
use crate::event::Event;
use crate::ids::PageId;
use crate::state::{MAILS_MAX, ProcessState};

pub(super) const CALL: Syscall = Syscall {
    name: "send",
    description: "sends a text, or what is held, to another process",
    parameters: || {
        object(&[("pid", Must, number()), ("text", May, text()), ("held", May, number())])
    },
    run: |kernel, pid, arguments| {
        let to = pid_of(arguments)?;
        let own = kernel.process(pid)?;
        let Some(target) = kernel.state().process(to) else {
            return wrong(format!("there is no process {to}"));
        };
        if target.state == ProcessState::Zombie {
            return wrong(format!("process {to} has ended"));
        }
        if target.mailbox.len() >= MAILS_MAX {
            return wrong(format!("the mailbox of process {to} is full; try again later"));
        }
        let mut label = own.label.clone();
        let text = match optional_number(arguments, "held")?.map(PageId) {
            None => text_of(arguments, "text")?.to_owned(),
            Some(id) => {
                let Some(page) = own.window.held.get(&id) else {
                    return wrong(format!("nothing is held under {id}"));
                };
                label.extend(&page.label);
                kernel.page_text(page.content)?
            }
        };
        // To somebody else's process only what he may read.
        let theirs = Audience::of(&target.principal);
        if target.principal != own.principal && !label.readers().admit(&theirs) {
            return wrong(format!("process {to} belongs to somebody who may not read this"));
        }
        let content = kernel.put(text.as_bytes());
        let bytes = text.len() as u64;
        kernel.emit(Event::Sent { from: pid, to, content, bytes, label })?;
        done(format!("sent to process {to}"))
    },
};
