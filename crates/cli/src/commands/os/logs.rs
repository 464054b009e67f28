//! `lucid logs`: what happened, event by event.

use std::collections::VecDeque;

use anyhow::{Result, bail};
use chrono::{DateTime, Local, Utc};
use lucid_os::audit::replay;
use lucid_os::{Event, EventNumber};
use serde_json::{Value, json};

use super::look;
use super::show::{line, texts};
use crate::env::Environment;
use crate::os_args::LogsArgs;
use crate::output;
use crate::style::Paint;

pub(crate) fn run(args: &LogsArgs, environment: &Environment) -> Result<i32> {
    let (log, _) = look(&args.store, environment)?;
    if args.check {
        // Opening it has walked the whole chain.
        let (head, hash) = log.head();
        let replayed = replay(&log)?;
        if args.json {
            output::json(&json!({"head": head, "hash": hex(&hash), "decisions": replayed}))?;
        } else {
            output::line(format!(
                "{head} events in an unbroken chain, the last one is {}; {} decisions come out \
                 again as they were, {} were made of what was forgotten",
                hex(&hash),
                replayed.same,
                replayed.forgotten
            ))?;
        }
        if let Some(first) = replayed.different.first() {
            bail!(
                "{} decisions come out differently, the first is event {first}",
                replayed.different.len()
            );
        }
        return Ok(0);
    }
    let texts = texts(&log);
    let paint = Paint::new(environment.colour);
    let mut last = VecDeque::new();
    for sealed in log.events_from(EventNumber(1))? {
        let event: Event = serde_json::from_slice(&sealed.body)?;
        let value: Value = serde_json::from_slice(&sealed.body)?;
        if args.pid.is_some_and(|pid| !is_of(&value, pid)) {
            continue;
        }
        let text = if args.json {
            Some(
                json!({"number": sealed.number, "time_unix_ms": sealed.time_ms, "event": value})
                    .to_string(),
            )
        } else {
            line(&event, &texts).map(|text| {
                let time = paint.dim(time_of(sealed.time_ms));
                format!("{:>7} {time} {text}", sealed.number)
            })
        };
        last.extend(text);
        if last.len() > args.count {
            last.pop_front();
        }
    }
    last.into_iter().try_for_each(output::line)?;
    Ok(0)
}

/// Whether an event has to do with a process.
fn is_of(event: &Value, pid: u64) -> bool {
    ["pid", "parent", "from", "to"]
        .iter()
        .any(|name| event.get(*name).and_then(Value::as_u64) == Some(pid))
}

fn time_of(ms: i64) -> String {
    let time = DateTime::<Utc>::from_timestamp_millis(ms).unwrap_or_default();
    time.with_timezone(&Local).format("%m-%d %H:%M:%S").to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
