//! Takes all capabilities for a tool from a process below, or from itself.

use super::{May, Must, Syscall, done, number, object, optional_number, text, text_of};
use crate::event::Event;
use crate::ids::Pid;

pub(super) const CALL: Syscall = Syscall {
    name: "cap_revoke",
    description: "takes the right to use a tool from a process below this one (or from this one)",
    parameters: || object(&[("pid", May, number()), ("tool", Must, text())]),
    run: |kernel, pid, arguments| {
        let tool = text_of(arguments, "tool")?.to_owned();
        let from = optional_number(arguments, "pid")?.map_or(pid, Pid);
        if from != pid {
            super::ruled(kernel, from, pid)?;
        }
        kernel.emit(Event::Revoked { pid: from, tool: tool.clone() })?;
        done(format!("process {from} may not use {tool}"))
    },
};
