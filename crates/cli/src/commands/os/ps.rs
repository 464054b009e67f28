//! `lucid ps`: the processes there are.

use anyhow::Result;
use lucid_os::{Process, State};
use serde_json::json;

use super::{folder, log_file, look};
use crate::env::Environment;
use crate::os_args::PsArgs;
use crate::output;
use crate::style::Paint;

pub(crate) fn run(args: &PsArgs, environment: &Environment) -> Result<i32> {
    if !log_file(&folder(&args.store, environment)?).exists() {
        // No log, no processes: nothing is wrong with that.
        return nothing(args);
    }
    let (log, state) = look(&args.store, environment)?;
    if args.json {
        let rows: Vec<_> = state.processes.values().map(row).collect();
        output::json(&rows)?;
        return Ok(0);
    }
    if state.processes.is_empty() {
        return nothing(args);
    }
    let paint = Paint::new(environment.colour);
    let header = format!(
        "{:>5} {:>5}  {:<8} {:>5} {:>7} {:>9}  {:<9}  {}",
        "PID", "PPID", "STATE", "TURNS", "TOKENS", "WINDOW", "BELIEVED", "TASK"
    );
    output::line(paint.bold(header))?;
    for process in state.processes.values() {
        let goal = goal(&log, process);
        output::line(line(process, &goal, environment.width))?;
    }
    Ok(0)
}

fn nothing(args: &PsArgs) -> Result<i32> {
    output::line(if args.json { "[]" } else { "There are no processes." })?;
    Ok(0)
}

fn line(process: &Process, goal: &str, width: usize) -> String {
    let Process { pid, state, turns, used, window, label, .. } = process;
    let parent = process.parent.map_or_else(|| "-".to_owned(), |parent| parent.to_string());
    let believed = format!("{:?}", label.integrity()).to_lowercase();
    let mut line = format!(
        "{pid:>5} {parent:>5}  {:<8} {turns:>5} {:>7} {:>9}  {believed:<9}  ",
        state.word(),
        used.tokens,
        window.tokens_in(),
    );
    let room = width.saturating_sub(line.len()).max(16);
    line.extend(crate::style::harmless(goal).chars().take(room));
    line
}

/// What a process is to do, in a line.
fn goal(log: &lucid_os::log::Log, process: &Process) -> String {
    let mut slots = process.window.slots().iter();
    let goal = slots.rfind(|slot| slot.page.kind == lucid_os::PageKind::Goal);
    let text = goal.and_then(|slot| log.content(slot.page.content).ok());
    text.map(|text| lucid_os::paging::gist(&text.text())).unwrap_or_default()
}

fn row(process: &Process) -> serde_json::Value {
    let sources: Vec<_> = process.label.sources().map(|(name, _)| name.name()).collect();
    json!({
        "pid": process.pid,
        "parent": process.parent,
        "application": process.application,
        "principal": process.principal,
        "model": process.provider,
        "state": process.state.word(),
        "turns": process.turns,
        "tokens": process.used.tokens,
        "window_tokens": process.window.tokens_in(),
        "recomputed_tokens": process.window.again,
        "integrity": process.label.integrity(),
        "sources": sources,
        "mails": process.mailbox.len(),
        "budget_left": process.left(),
        "born_unix_ms": process.born_ms,
    })
}

/// How many processes have not ended.
pub(super) fn living(state: &State) -> impl Iterator<Item = &Process> {
    state.processes.values().filter(|process| process.exit.is_none())
}
