//! Asking a person about a call, or for an answer: where it goes, what goes there, and which texts
//! had a part in it.

use std::io::BufRead as _;

use anyhow::Result;
use lucid_os::{Asked, Wish};
use lucid_policy::{Party, Role};

use crate::output;
use crate::style::{Paint, harmless};

/// Characters of an argument that are shown.
const VALUE_CHARS: usize = 2000;

/// Asks at the terminal. None if nobody answers any more.
pub(super) fn ask(asked: &Asked, person: &Party, paint: Paint) -> Result<Option<Wish>> {
    let answer = |approve, text: String| Wish::Answer {
        call: asked.call,
        by: person.clone(),
        approve,
        text,
    };
    if let Some(question) = &asked.question {
        output::note(format_args!("process {} asks: {}", asked.pid, harmless(question)));
        tell_sources(asked, paint);
        output::question("> ");
        return Ok(line()?.map(|text| answer(None, text)));
    }
    tell_call(asked, paint);
    output::question("Do it once? [y/N] ");
    let Some(text) = line()? else { return Ok(None) };
    let yes = matches!(text.trim().to_lowercase().as_str(), "y" | "yes");
    Ok(Some(answer(Some(yes), String::new())))
}

fn tell_call(asked: &Asked, paint: Paint) {
    let tool = asked.tool.as_deref().unwrap_or("?");
    output::note(format_args!("process {} wants to call {}:", asked.pid, harmless(tool)));
    for (name, role, value, origin) in &asked.arguments {
        let shown: String = harmless(value).chars().take(VALUE_CHARS).collect();
        let cut = if value.chars().nth(VALUE_CHARS).is_some() { " \u{2026}" } else { "" };
        let what = match role {
            Role::Destination => "goes to",
            Role::Consequence => "decides",
            Role::Content => "carries",
        };
        output::note(format_args!("  {what} {}: {shown}{cut}", harmless(name)));
        if *role != Role::Content {
            output::aside(paint, format_args!("    {}", origin.in_words()));
        }
    }
    if let Some(decision) = &asked.decision {
        output::note(format_args!("  It is asked because {}.", decision.rule.in_words()));
    }
    tell_sources(asked, paint);
}

fn tell_sources(asked: &Asked, paint: Paint) {
    if !asked.sources.is_empty() {
        output::note(format_args!("  It has read: {}", harmless(&asked.sources.join(", "))));
    }
    for (source, text) in &asked.excerpts {
        output::aside(paint, format_args!("  {}: {}", harmless(source), harmless(text)));
    }
}

/// A line of standard input; none at its end.
fn line() -> Result<Option<String>> {
    let mut text = String::new();
    let count = std::io::stdin().lock().read_line(&mut text)?;
    Ok((count > 0).then(|| text.trim_end_matches(['\n', '\r']).to_owned()))
}
