//! `lucid why`: the rule, the labels and the texts behind a decision.

use anyhow::{Context as _, Result};
use lucid_os::EventNumber;
use lucid_os::audit::{Why, why};

use super::look;
use crate::env::Environment;
use crate::os_args::WhyArgs;
use crate::output;
use crate::style::{Paint, harmless};

pub(crate) fn run(args: &WhyArgs, environment: &Environment) -> Result<i32> {
    let (log, _) = look(&args.store, environment)?;
    let found = why(&log, EventNumber(args.event))?.with_context(|| {
        format!("nothing was decided about event {}; `lucid logs` shows events", args.event)
    })?;
    if args.json {
        output::json(&found)?;
    } else {
        show(&found, Paint::new(environment.colour))?;
    }
    Ok(0)
}

fn show(why: &Why, paint: Paint) -> Result<()> {
    let decision = &why.decision;
    output::line(paint.bold(format!(
        "{:?}: {} (process {}, call {}, event {})",
        decision.verdict, decision.tool, why.pid, why.call, why.event
    )))?;
    output::line(format!("rule      {:?}: {}", decision.rule, decision.rule.in_words()))?;
    match &why.weighed {
        None => output::line("arguments were forgotten")?,
        Some(weighed) => {
            for argument in &weighed.arguments {
                let spec = weighed.tool.argument(&argument.name);
                let role = spec.map(|spec| format!("{:?}", spec.role).to_lowercase());
                let value: String = harmless(&argument.value).chars().take(200).collect();
                output::line(format!(
                    "argument  {} ({}) = {value}\n          {}",
                    argument.name,
                    role.unwrap_or_else(|| "unknown".to_owned()),
                    paint.dim(argument.origin.in_words())
                ))?;
            }
        }
    }
    let sources: Vec<_> = why
        .label
        .sources()
        .map(|(name, limits)| format!("{} ({:?})", name.name(), limits.integrity).to_lowercase())
        .collect();
    output::line(format!(
        "had read  {}",
        if sources.is_empty() { "nothing that limits it".to_owned() } else { sources.join(", ") }
    ))?;
    for page in &why.pages {
        let stands = if page.arguments.is_empty() {
            String::new()
        } else {
            format!(" [{} stands here]", page.arguments.join(", "))
        };
        output::line(format!(
            "page      {} {}{stands}: {}",
            page.page,
            page.source,
            harmless(&page.gist)
        ))?;
    }
    Ok(())
}
