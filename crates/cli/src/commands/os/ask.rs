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
    output::note(format_args!("process {} wants to call {}:", asked.pid, one_line(tool)));
    // First where it goes and what decides, whole and on a line each: nothing that is carried can
    // look like it, or push it away.
    for (name, role, value, origin) in &asked.arguments {
        let what = match role {
            Role::Destination => "goes to",
            Role::Consequence => "decides",
            Role::Content => continue,
        };
        output::note(format_args!("  {what} {}: {}", one_line(name), one_line(value)));
        output::aside(paint, format_args!("    {}", origin.in_words()));
    }
    for (name, _, value, _) in asked.arguments.iter().filter(|it| it.1 == Role::Content) {
        let count = value.chars().count();
        output::note(format_args!("  carries {} ({count} characters):", one_line(name)));
        let shown: String = value.chars().take(VALUE_CHARS).collect();
        for line in shown.lines() {
            output::note(format_args!("    | {}", one_line(line)));
        }
        if count > VALUE_CHARS {
            output::note(format_args!("    and {} characters more", count - VALUE_CHARS));
        }
    }
    if let Some(decision) = &asked.decision {
        output::note(format_args!("  It is asked because {}.", decision.rule.in_words()));
    }
    tell_sources(asked, paint);
}

/// A text on one line, with what cannot be seen, or turns the line round, made visible.
fn one_line(text: &str) -> String {
    let plain = |c: char| {
        let odd = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{feff}')
            || matches!(c, '\u{2060}'..='\u{2069}');
        if odd { c.escape_unicode().to_string() } else { c.to_string() }
    };
    text.chars().map(plain).collect()
}

fn tell_sources(asked: &Asked, paint: Paint) {
    if !asked.sources.is_empty() {
        output::note(format_args!("  It has read: {}", one_line(&asked.sources.join(", "))));
    }
    for (source, text) in &asked.excerpts {
        output::aside(paint, format_args!("  {}: {}", one_line(source), one_line(text)));
    }
}

/// A line of standard input; none at its end.
fn line() -> Result<Option<String>> {
    let mut text = String::new();
    let count = std::io::stdin().lock().read_line(&mut text)?;
    Ok((count > 0).then(|| text.trim_end_matches(['\n', '\r']).to_owned()))
}
