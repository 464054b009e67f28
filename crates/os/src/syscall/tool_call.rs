//! A tool, through the gate.

use serde_json::{Value, json};

use lucid_tools::Arguments;

use super::{May, Must, Syscall, flag, object, text, text_of, wrong};
use crate::kernel::Reading;

pub(super) const CALL: Syscall = Syscall {
    name: "tool_call",
    description: "calls a tool; with `hold` its result is not read but held",
    parameters: || {
        object(&[
            ("tool", Must, text()),
            ("arguments", May, json!({"type": "object"})),
            ("hold", May, flag()),
        ])
    },
    run: |kernel, pid, arguments| {
        let name = text_of(arguments, "tool")?.to_owned();
        let given = match arguments.get("arguments") {
            None | Some(Value::Null) => Arguments::new(),
            Some(Value::Object(given)) => given.clone(),
            Some(_) => return wrong("arguments: an object is expected"),
        };
        let (_, reading) = tool_of(arguments);
        Ok(kernel.call_tool(pid, &name, &given, reading)?)
    },
};

/// The tool of a call, and whether its result is read.
pub(super) fn tool_of(arguments: &Arguments) -> (String, Reading) {
    let name = arguments.get("tool").and_then(Value::as_str).unwrap_or_default();
    let hold = arguments.get("hold").and_then(Value::as_bool).unwrap_or_default();
    (name.to_owned(), if hold { Reading::Held } else { Reading::Now })
}
