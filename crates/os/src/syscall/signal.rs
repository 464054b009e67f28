//! Tells a process below to stop, go on or end.

use serde_json::json;

use super::{Must, Syscall, done, number, object, pid_of, ruled, text_of, wrong};
use crate::event::Signal;

pub(super) const CALL: Syscall = Syscall {
    name: "signal",
    description: "tells a process below this one to stop, to go on, or to end",
    parameters: || {
        let words = json!({"enum": ["STOP", "CONT", "TERM", "KILL"]});
        object(&[("pid", Must, number()), ("signal", Must, words)])
    },
    run: |kernel, pid, arguments| {
        let signal = match text_of(arguments, "signal")? {
            "STOP" => Signal::Stop,
            "CONT" => Signal::Cont,
            "TERM" => Signal::Term,
            "KILL" => Signal::Kill,
            _ => return wrong("signal: STOP, CONT, TERM or KILL is expected"),
        };
        let target = ruled(kernel, pid_of(arguments)?, pid)?;
        let heard = kernel.signal(target, signal)?;
        done(if heard { "it was told" } else { "it has ended" })
    },
};
