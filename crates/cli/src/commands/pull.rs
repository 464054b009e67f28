//! `lucid pull ORG/REPO[:FILE]`, and the offer to do so when a named model is not on disk.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lucid_hub::{HubError, PullEvent, PullPlan};
use serde_json::json;

use crate::args::PullArgs;
use crate::env::Environment;
use crate::{interrupt, output, style};

pub(crate) fn run(args: &PullArgs, environment: &Environment) -> Result<i32> {
    let plan = lucid_hub::plan_pull(&environment.hub, &args.model)?;
    if args.dry_run {
        if args.json {
            output::json(&describe(&plan))?;
        } else {
            output::line(summary(&plan))?;
        }
        return Ok(0);
    }
    if !args.json {
        output::note(summary(&plan));
    }
    let show_progress = environment.stderr_is_terminal && !args.json;
    let Some(path) = fetch(environment, &plan, show_progress)? else {
        output::note(format_args!("stopped; `lucid pull {}` goes on from here", args.model));
        return Ok(interrupt::EXIT_INTERRUPTED);
    };
    if args.json {
        let mut value = describe(&plan);
        value["path"] = json!(path.to_string_lossy());
        output::json(&value)?;
    } else {
        output::line(style::harmless(&path.display().to_string()))?;
    }
    Ok(0)
}

/// Asks whether a model that is not on disk shall be fetched; never does so unasked.
pub(crate) fn offer(environment: &Environment, model: &str) -> Result<PathBuf> {
    if !environment.stdin_is_terminal || !environment.stderr_is_terminal {
        bail!("`{model}` is not on this machine; `lucid pull {model}` fetches it");
    }
    let plan = lucid_hub::plan_pull(&environment.hub, model)?;
    output::note(summary(&plan));
    let size = style::bytes(plan.missing_bytes);
    if !super::rm::ask(&format!("`{model}` is not on this machine. Fetch {size}?"))? {
        bail!("`{model}` is not on this machine, and was not fetched");
    }
    match fetch(environment, &plan, true)? {
        Some(path) => Ok(path),
        None => bail!("stopped; `lucid pull {model}` goes on from here"),
    }
}

/// Fetches what a plan lists; `None` where Ctrl-C came before the end.
fn fetch(environment: &Environment, plan: &PullPlan, show: bool) -> Result<Option<PathBuf>> {
    let bar = ProgressBar::new(plan.total_bytes);
    if !show {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let template = "{bar:30} {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left  {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    let listening = interrupt::listen();
    let mut on_event = |event: PullEvent<'_>| match event {
        PullEvent::Started { file, .. } => bar.set_message(style::harmless(&file.name)),
        PullEvent::Progress { done_bytes, .. } => bar.set_position(done_bytes),
        PullEvent::Verifying { file } => {
            bar.set_message(format!("checking {}", style::harmless(&file.name)));
        }
        PullEvent::Retrying { reason, wait, .. } => bar.suspend(|| {
            let seconds = wait.as_secs_f64().ceil();
            output::note(format_args!("{reason}; trying again in {seconds:.0} s"));
        }),
        PullEvent::Finished { file, checked: false } => bar.suspend(|| {
            let name = &file.name;
            output::note(format_args!(
                "{name}: the hub gives no checksum; only its size was checked"
            ));
        }),
        _ => {}
    };
    let fetched = lucid_hub::pull(&environment.hub, plan, &mut on_event, listening.flag());
    bar.finish_and_clear();
    match fetched {
        Ok(path) => Ok(Some(path)),
        Err(HubError::Cancelled) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn summary(plan: &PullPlan) -> String {
    let mut lines = vec![plan.reason.clone()];
    for file in &plan.files {
        lines.push(format!("  {:>8}  {}", style::bytes(file.bytes), file.name));
    }
    if plan.missing_bytes < plan.total_bytes {
        let here = style::bytes(plan.total_bytes - plan.missing_bytes);
        lines.push(format!("  {here} of it are here already"));
    }
    if !plan.alternatives.is_empty() {
        let names = plan.alternatives.iter();
        let names = names.map(|(name, bytes)| format!("{name} ({})", style::bytes(*bytes)));
        lines.push(format!("  others: {}", names.collect::<Vec<_>>().join(", ")));
    }
    style::harmless(&lines.join("\n"))
}

fn describe(plan: &PullPlan) -> serde_json::Value {
    let files: Vec<_> =
        plan.files.iter().map(|file| json!({ "name": file.name, "bytes": file.bytes })).collect();
    json!({
        "repo": plan.repo.to_string(),
        "revision": plan.revision,
        "reason": plan.reason,
        "files": files,
        "total_bytes": plan.total_bytes,
        "missing_bytes": plan.missing_bytes,
    })
}
