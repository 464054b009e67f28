//! Which tools there are.

use super::{Syscall, done, object};

pub(super) const CALL: Syscall = Syscall {
    name: "tool_list",
    description: "lists the tools that this process may call",
    parameters: || object(&[]),
    run: |kernel, pid, _arguments| {
        let own = &kernel.process(pid)?.capabilities;
        let may = |name: &str| own.iter().any(|capability| capability.tool == name);
        let tools = kernel.settings().tools.values().map(|tool| tool.card());
        let lines: Vec<_> = tools
            .filter(|card| may(&card.policy.name))
            .map(|card| {
                let arguments = card.policy.arguments.iter().map(|it| it.name.as_str());
                let arguments: Vec<_> = arguments.collect();
                format!("{}({}): {}", card.policy.name, arguments.join(", "), card.description)
            })
            .collect();
        done(if lines.is_empty() { "there is none".to_owned() } else { lines.join("\n") })
    },
};
