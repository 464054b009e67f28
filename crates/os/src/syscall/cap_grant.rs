//! Gives a capability to a process below, or a flow to itself: before anything untrusted is read,
//! and to destinations that stand in trusted text.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use lucid_policy::{Capability, Flow, Integrity, Named, SourceName, Subject, may_grant};

use super::{
    Gone, May, Must, Syscall, done, number, object, optional_number, text, text_of, wrong,
};
use crate::event::Event;
use crate::ids::Pid;

pub(super) const CALL: Syscall = Syscall {
    name: "cap_grant",
    description: "lets a process below this one (or this one) use a tool, also for what comes from \
                  the sources in `from`, towards the destinations in `to`, with the amounts, \
                  dates and choices in `values`",
    parameters: || {
        let list = || json!({"type": "array", "items": {"type": "string"}});
        object(&[
            ("pid", May, number()),
            ("tool", Must, text()),
            ("from", May, list()),
            ("to", May, list()),
            ("values", May, list()),
            ("uses", May, number()),
        ])
    },
    run: |kernel, pid, arguments| {
        let tool = text_of(arguments, "tool")?.to_owned();
        let to_whom = optional_number(arguments, "pid")?.map_or(pid, Pid);
        if to_whom != pid {
            super::ruled(kernel, to_whom, pid)?;
        }
        let destinations = texts_of(arguments.get("to"), "to")?;
        let uses = optional_number(arguments, "uses")?;
        let values = texts_of(arguments.get("values"), "values")?;
        let from = texts_of(arguments.get("from"), "from")?;
        let flow = if destinations.is_empty() {
            Flow::none()
        } else {
            let sources = from.iter().map(|name| SourceName::new(name)).collect();
            Flow {
                from: if from.is_empty() { Named::Any } else { Named::Only(sources) },
                to: Named::Only(destinations.clone()),
                consequence: Integrity::Person,
                values: Named::Only(values),
            }
        };
        let uses = uses.map(|uses| u32::try_from(uses).unwrap_or(u32::MAX));
        let capability = Capability { tool: tool.clone(), flow, uses };
        let mut origins = Vec::new();
        for destination in &destinations {
            origins.push(kernel.origin_of(pid, destination)?);
        }
        let process = kernel.process(pid)?;
        let subject = Subject { label: &process.label, capabilities: &process.capabilities };
        if !may_grant(&subject, &capability, &origins) {
            return wrong(
                "it may not be granted: a flow is granted while nothing untrusted was read, for a \
                 tool that may be called, to destinations that stand in trusted text",
            );
        }
        kernel.emit(Event::Granted { pid: to_whom, capability })?;
        done(format!("process {to_whom} may use {tool}"))
    },
};

fn texts_of(value: Option<&Value>, name: &str) -> Result<BTreeSet<String>, Gone> {
    let texts = match value {
        None | Some(Value::Null) => return Ok(BTreeSet::new()),
        Some(Value::Array(texts)) => texts.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    let texts = texts.iter().map(|text| text.as_str().map(str::to_owned));
    match texts.collect() {
        Some(texts) => Ok(texts),
        None => wrong(format!("{name}: texts are expected")),
    }
}
