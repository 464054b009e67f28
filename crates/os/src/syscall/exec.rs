//! Becomes another application. Label, capabilities and budget stay: nothing is gained by it.

use super::{Must, Syscall, object, text, text_of, too_long, wrong};
use crate::event::Event;
use crate::kernel::Came;

pub(super) const CALL: Syscall = Syscall {
    name: "exec",
    description: "becomes another application with a goal; the window is emptied",
    parameters: || object(&[("application", Must, text()), ("goal", Must, text())]),
    run: |kernel, pid, arguments| {
        let name = text_of(arguments, "application")?.to_owned();
        let goal = text_of(arguments, "goal")?.to_owned();
        let Some(application) = kernel.settings().applications.get(&name) else {
            return wrong(format!("there is no application `{name}`"));
        };
        if let Some(reason) = too_long(kernel, &name, &goal) {
            return wrong(reason);
        }
        let instructions = application.instructions.clone();
        let pages = kernel.application_pages(pid, &instructions, &goal)?;
        kernel.emit(Event::Replaced { pid, application: name, pages })?;
        Ok(Came::Gone)
    },
};
