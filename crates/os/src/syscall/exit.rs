//! Ends the process with a result.

use super::{May, Syscall, object, optional_text, text, wrong};
use crate::event::ExitReason;
use crate::kernel::Came;

pub(super) const CALL: Syscall = Syscall {
    name: "exit",
    description: "ends this process; `value` is its result",
    parameters: || object(&[("value", May, text())]),
    run: |kernel, pid, arguments| {
        let value = optional_text(arguments, "value")?.map(str::to_owned);
        let form = kernel.process(pid)?.form.clone();
        if let Some(form) = form {
            let parsed = value.as_deref().map(|value| form.parse(value.trim()));
            return match parsed {
                Some(Ok(value)) => {
                    kernel.exit(pid, ExitReason::Done, Some(value.text()))?;
                    Ok(Came::Gone)
                }
                Some(Err(error)) => wrong(format!("value: {error:?}; expected is {form:?}")),
                None => {
                    kernel.exit(pid, ExitReason::GaveUp, None)?;
                    Ok(Came::Gone)
                }
            };
        }
        kernel.exit(pid, ExitReason::Done, value.as_deref())?;
        Ok(Came::Gone)
    },
};
