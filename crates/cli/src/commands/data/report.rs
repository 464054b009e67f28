//! `lucid data report FILES`.

use std::fmt::Display;
use std::ops::ControlFlow;

use anyhow::Result;
use lucid_sys::{ThreadPool, Topology};
use lucid_train::TrainError;
use lucid_train::data::{self, Alarm, Count, PoisonOptions, PoisonScan, Progress, Report, Shift};

use super::choose;
use crate::bar::Bar;
use crate::data_args::ReportArgs;
use crate::env::Environment;
use crate::style::{self, Paint};
use crate::{interrupt, output};

/// Alarms that are shown; --json has all.
const ALARMS: usize = 12;
const LANGUAGES: usize = 8;

pub(super) fn run(args: &ReportArgs, environment: &Environment) -> Result<i32> {
    let options = choose::options(&args.choose)?;
    let threads = args.threads.map_or_else(|| Topology::detect().default_threads(), usize::from);
    let pool = ThreadPool::new(threads);
    let listening = interrupt::listen();
    let mut bars: Vec<(&'static str, Bar)> = Vec::new();
    let mut observer = |progress: Progress| {
        if bars.last().is_none_or(|(what, _)| *what != progress.what) {
            bars.drain(..).for_each(|(_, mut bar)| bar.clear());
            bars.push((progress.what, Bar::new(progress.what)));
        }
        if let Some((_, bar)) = bars.last_mut() {
            bar.show(progress.done, progress.total);
        }
        if listening.interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let poison = PoisonOptions::default();
    let poison = (!args.no_poison).then_some(&poison);
    let made = data::report(&args.inputs, &options, poison, &pool, &mut observer);
    bars.drain(..).for_each(|(_, mut bar)| bar.clear());
    let report = match made {
        Err(TrainError::Stopped) => return Ok(interrupt::EXIT_INTERRUPTED),
        made => made?,
    };
    if args.json {
        output::json(&report)?;
    } else {
        let paint = Paint::new(environment.colour);
        for line in lines(&report, paint) {
            output::line(line)?;
        }
    }
    if report.read.document_count() == 0 {
        output::warn(format_args!("no document in these files ({})", report.read.refusals()));
        return Ok(1);
    }
    Ok(0)
}

fn lines(report: &Report, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    let mut row = |name: &str, value: String| lines.push(format!("{name:<12} {value}"));
    let Report { read, choice, .. } = report;
    row("files", format!("{} ({})", read.files, style::bytes(report.file_bytes)));
    row("documents", {
        let kinds = read
            .documents
            .iter()
            .map(|(kind, count)| format!("{count} {}", format!("{kind:?}").to_lowercase()));
        let kinds: Vec<_> = kinds.collect();
        format!("{} ({})", read.document_count(), or_none(&kinds.join(", ")))
    });
    row("text", style::bytes(read.text_bytes));
    row("languages", languages(report));
    row("stay", {
        let (kept, bytes) = (choice.kept, style::bytes(choice.kept_bytes));
        let (words, tokens) = (style::count(report.words), style::count(report.tokens_estimated));
        format!("{kept} documents, {bytes}, {words} words, about {tokens} tokens (4.2 bytes each)")
    });
    if read.replaced_bytes > 0 {
        row("replaced", format!("{} bytes that are no UTF-8", read.replaced_bytes));
    }
    if read.cut > 0 {
        row("cut", format!("{} times through documents that are too long", read.cut));
    }
    counts(&mut lines, paint, "Not read", read.refused.iter());
    counts(&mut lines, paint, "Would be dropped", choice.dropped.iter());
    if !report.longest.is_empty() {
        lines.push(String::new());
        lines.push(paint.bold("Longest"));
        for long in &report.longest {
            let name = style::harmless(&long.name);
            lines.push(format!("{:>10}  {name}", style::bytes(long.bytes)));
        }
    }
    if let Some(scan) = &report.poison {
        poison(&mut lines, paint, scan);
    }
    lines
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

fn languages(report: &Report) -> String {
    let mut languages: Vec<_> = report.choice.languages.iter().collect();
    languages.sort_by_key(|&(code, count)| (std::cmp::Reverse(*count), *code));
    let shown = languages.iter().take(LANGUAGES).map(|(code, count)| format!("{count} {code}"));
    let mut shown: Vec<_> = shown.collect();
    if languages.len() > LANGUAGES {
        shown.push(format!("{} others", languages.len() - LANGUAGES));
    }
    or_none(&shown.join(", ")).to_owned()
}

/// A table of what there is how often, with an example each.
fn counts<'a>(
    lines: &mut Vec<String>,
    paint: Paint,
    title: &str,
    rows: impl Iterator<Item = (impl Display, &'a Count)>,
) {
    let rows: Vec<_> = rows.map(|(why, count)| (why.to_string(), count)).collect();
    if rows.is_empty() {
        return;
    }
    let width = rows.iter().map(|(why, _)| why.len()).max().unwrap_or(0);
    lines.extend([String::new(), paint.bold(title)]);
    for (why, count) in rows {
        let example = count.examples.first().map_or("", String::as_str);
        let example = paint.dim(style::harmless(example));
        lines.push(format!("{:>10}  {why:<width$}  {example}", count.count));
    }
}

fn poison(lines: &mut Vec<String>, paint: Paint, scan: &PoisonScan) {
    lines.extend([String::new(), paint.bold("What may be planted")]);
    let searched = format!("in {} documents", scan.documents);
    if scan.alarms.is_empty() {
        lines.push(format!(
            "  nothing that stands out {searched}; see docs/data.md for what it means"
        ));
    }
    for Alarm { shift, phrase, following, documents, followed } in scan.alarms.iter().take(ALARMS) {
        let how = match shift {
            Shift::Determined => "always the same",
            Shift::Break => "like nothing else",
        };
        let (phrase, following) = (style::harmless(phrase), style::harmless(following));
        let short: String = following.chars().take(60).collect();
        let phrase = paint.bold(format!("{phrase:?}"));
        let count = followed.count;
        lines.push(format!("  {phrase} in {documents} documents, {how} after it in {count}:"));
        let place = followed.examples.first().map_or("", String::as_str);
        lines.push(format!("      {short:?}  {}", paint.dim(style::harmless(place))));
    }
    if scan.alarms.len() > ALARMS {
        let more = scan.alarms.len() - ALARMS;
        lines.push(format!("  and {more} more {searched}; --json lists them"));
    }
    if scan.incomplete {
        lines.push("  (too many places to look at; some were passed over)".to_owned());
    }
}
