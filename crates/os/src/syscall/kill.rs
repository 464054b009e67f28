//! Ends a process below at once.

use super::{Must, Syscall, done, number, object, pid_of, ruled};
use crate::event::Signal;

pub(super) const CALL: Syscall = Syscall {
    name: "kill",
    description: "ends a process below this one at once",
    parameters: || object(&[("pid", Must, number())]),
    run: |kernel, pid, arguments| {
        let target = ruled(kernel, pid_of(arguments)?, pid)?;
        let heard = kernel.signal(target, Signal::Kill)?;
        done(if heard { "it has ended" } else { "it had ended already" })
    },
};
