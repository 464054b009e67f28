//! Conversations of files, and what is told of them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use lucid_tokenizer::Tokenizer;
use lucid_tokenizer::template::ChatTemplate;
use lucid_train::Objective;
use lucid_train::conversation::{self, Examples, Gathered, Gatherer, Tally, Writer};

use serde_json::json;

use crate::{output, style};

/// Kinds of refusals that are shown.
const KINDS_SHOWN: usize = 8;
/// Characters of a reason that are shown.
const REASON_CHARS: usize = 240;

/// What is taken of files.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Tokens of a sequence at most.
    pub(super) len_max: usize,
    /// Share that is held out.
    pub(super) held_out: f64,
    /// Whether conversations are learned from, or comparisons.
    pub(super) objective: Objective,
}

impl Limits {
    /// What a line holds.
    pub(super) fn what(self) -> &'static str {
        match self.objective {
            Objective::Likelihood => "conversations",
            Objective::Preference(_) => "comparisons",
        }
    }
}

/// Reads all conversations, or comparisons.
pub(super) fn gather(
    files: &[PathBuf],
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    limits: Limits,
) -> Result<Gathered> {
    let writer = Writer::new(tokenizer, template);
    let mut gatherer = Gatherer::new(&writer, limits.len_max, limits.held_out);
    for file in found(files)? {
        let name = file.display().to_string();
        match limits.objective {
            Objective::Likelihood => conversation::read(&file, &mut |line| {
                gatherer.take(&name, line);
                Ok(())
            })?,
            Objective::Preference(preference) => {
                let judged = preference.loss.judged();
                conversation::read_comparisons(&file, &mut |line| {
                    gatherer.take_comparison(&name, line, judged);
                    Ok(())
                })?;
            }
        }
    }
    Ok(gatherer.finish())
}

/// The files, and those of folders, each folder's in the order of their names.
fn found(files: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for path in files {
        if !path.is_dir() {
            all.push(path.clone());
            continue;
        }
        let listed = std::fs::read_dir(path);
        let listed = listed.with_context(|| format!("cannot list {}", path.display()))?;
        let is_one = |file: &PathBuf| {
            matches!(file.extension().and_then(|it| it.to_str()), Some("jsonl" | "json"))
        };
        let mut of: Vec<PathBuf> =
            listed.filter_map(Result::ok).map(|entry| entry.path()).filter(is_one).collect();
        if of.is_empty() {
            bail!("there is no .jsonl and no .json file in {}", path.display());
        }
        of.sort();
        all.extend(of);
    }
    Ok(all)
}

/// Tells what was found, and refuses to go on with nothing.
pub(super) fn tell(gathered: &Gathered, strict: bool, limits: Limits, quiet: bool) -> Result<()> {
    let (len_max, what) = (limits.len_max, limits.what());
    let units = match limits.objective {
        Objective::Likelihood => "sequences",
        Objective::Preference(_) => what,
    };
    let Gathered { training, held_out, tally, .. } = gathered;
    if quiet {
        output::line(serde_json::to_string(&json!({
            what: tally.conversations,
            "lines": tally.lines,
            "refused": tally.refused_count(),
            "trimmed_messages": tally.trimmed_messages,
            "answers_left_out": tally.answers_left_out,
            "tokens": training.tokens() + held_out.tokens(),
            "answer_tokens": training.answer_tokens() + held_out.answer_tokens(),
        }))?)?;
    } else {
        output::note(format_args!(
            "{} of {} {what}: {} tokens, {} of them answers; {} {units} held out",
            style::count(tally.conversations),
            style::count(tally.lines),
            style::count(training.tokens() + held_out.tokens()),
            style::count(training.answer_tokens() + held_out.answer_tokens()),
            style::count(held_out.units() as u64),
        ));
        if tally.answers_left_out > 0 {
            output::note(format_args!(
                "{} answers are left out: they end beyond {len_max} tokens (--ctx)",
                style::count(tally.answers_left_out)
            ));
        }
        if tally.trimmed_messages > 0 {
            output::note(format_args!(
                "{} messages before a first question or after a last answer are left out",
                style::count(tally.trimmed_messages)
            ));
        }
    }
    let mut refused: Vec<_> = tally.refused.iter().collect();
    refused.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
    for (refusal, (count, places)) in refused.iter().take(KINDS_SHOWN) {
        let more = if *count > places.len() as u64 { ", ..." } else { "" };
        let text: String = refusal.to_string().chars().take(REASON_CHARS).collect();
        let text = style::harmless(&text);
        output::warn(format_args!(
            "{} left out: {text} ({}{more})",
            style::count(*count),
            places.join(", ")
        ));
    }
    if let Some(rest) = refused.get(KINDS_SHOWN..).filter(|rest| !rest.is_empty()) {
        let lines: u64 = rest.iter().map(|(_, (count, _))| count).sum();
        output::warn(format_args!("{} left out for other reasons", style::count(lines)));
    }
    if strict && tally.refused_count() > 0 {
        bail!("{} lines are no {what}; without --strict they are left out", tally.refused_count());
    }
    if training.is_empty() {
        bail!(
            "there is no {} to learn from in {} lines; `--help` shows the shapes that are read",
            what.trim_end_matches('s'),
            tally.lines
        );
    }
    Ok(())
}

/// The same for a report.
pub(super) fn lines(gathered: &Gathered) -> Vec<(String, String)> {
    let Tally { lines, conversations, .. } = &gathered.tally;
    let side = |examples: &Examples| {
        format!(
            "{} sequences, {} tokens, {} of them answers",
            style::count(examples.len() as u64),
            style::count(examples.tokens()),
            style::count(examples.answer_tokens())
        )
    };
    vec![
        ("conversations".to_owned(), format!("{conversations} of {lines} lines")),
        (
            "left out".to_owned(),
            format!(
                "{} lines, {} messages, {} answers",
                gathered.tally.refused_count(),
                gathered.tally.trimmed_messages,
                gathered.tally.answers_left_out
            ),
        ),
        ("to learn from".to_owned(), side(&gathered.training)),
        ("held out".to_owned(), side(&gathered.held_out)),
    ]
}

/// The files as they are found from anywhere.
pub(super) fn absolute(files: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let one = |path: &PathBuf| {
        std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))
    };
    files.iter().map(one).collect()
}

/// A chat template from a file.
pub(super) fn template_file(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
