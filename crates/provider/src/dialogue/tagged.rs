//! Calls with a tag for each argument. A value is text where the tool's schema says so, else JSON
//! if it can be read as such.

use serde_json::{Map, Value};

use super::json_call::is_name;
use super::python;
use super::syntax::{Count, Tagged};
use super::whole_call::Written;
use crate::Tool;

/// The calls in `body`; none if anything else is in it, or more than there may be.
pub(super) fn calls(
    tags: &Tagged,
    count: Count,
    body: &str,
    tools: &[Tool],
) -> Option<Vec<Written>> {
    let mut calls = Vec::new();
    let mut rest = body.trim();
    while !rest.is_empty() {
        let (call, after) = call(tags, rest, tools)?;
        calls.push(call);
        rest = after.trim_start();
    }
    let most = if count == Count::One { 1 } else { usize::MAX };
    (1..=most).contains(&calls.len()).then_some(calls)
}

fn call<'a>(tags: &Tagged, text: &'a str, tools: &[Tool]) -> Option<(Written, &'a str)> {
    let rest = text.strip_prefix(tags.before_name.trim())?;
    let ends = tags.after_name.trim();
    let (name, mut rest) = if ends.is_empty() {
        let end = |character: char| character.is_whitespace() || character == '<';
        rest.split_at(rest.find(end).unwrap_or(rest.len()))
    } else {
        rest.split_once(ends)?
    };
    let name = name.trim();
    if !is_name(name) {
        return None;
    }
    let tool = tools.iter().find(|tool| tool.name == name);
    let mut arguments = Map::new();
    while let Some(after) = rest.trim_start().strip_prefix(tags.before_key.trim()) {
        let ((key, value), after) = argument(tags, after, tool)?;
        arguments.insert(key, value);
        rest = after;
    }
    let rest = rest.trim_start().strip_prefix(tags.after.trim())?;
    Some(((name.to_owned(), Value::Object(arguments)), rest))
}

type Argument = (String, Value);

fn argument<'a>(tags: &Tagged, text: &'a str, tool: Option<&Tool>) -> Option<(Argument, &'a str)> {
    let first = tags.before_value.split_whitespace().next()?;
    let (key, _) = text.split_once(first)?;
    let rest = &text[key.len()..];
    let as_text = loosely(rest, tags.before_text);
    let (rest, told) = match (as_text, loosely(rest, tags.before_value)) {
        (Some(rest), None) => (rest, Some(Kind::Text)),
        (None, Some(rest)) => (rest, Some(Kind::Json)),
        (Some(rest), Some(_)) => (rest, None),
        (None, None) => return None,
    };
    let ends = tags.after_value.trim();
    let (value, after) = rest.split_once(ends)?;
    // A line break beside a tag belongs to the tag.
    let value = if tags.before_value.ends_with('\n') {
        value.strip_prefix('\n').unwrap_or(value)
    } else {
        value
    };
    let value = if tags.after_value.starts_with('\n') {
        value.strip_suffix('\n').unwrap_or(value)
    } else {
        value
    };
    let key = key.trim().to_owned();
    let kind = told.or_else(|| tool.and_then(|tool| Kind::of(tool, &key)));
    let read = match kind {
        Some(Kind::Text) => None,
        None => serde_json::from_str(value.trim()).ok(),
        // Some templates write lists as Python prints them.
        Some(Kind::Json) => {
            serde_json::from_str(value.trim()).ok().or_else(|| python::literal(value.trim()))
        }
    };
    let value = read.unwrap_or_else(|| Value::String(value.to_owned()));
    Some(((key, value), after))
}

/// What follows `tag`, its white space being passed over.
fn loosely<'a>(text: &'a str, tag: &str) -> Option<&'a str> {
    let mut rest = text;
    for part in tag.split_whitespace() {
        rest = rest.trim_start().strip_prefix(part)?;
    }
    Some(rest)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Json,
}

impl Kind {
    /// What a tool's schema says of an argument.
    fn of(tool: &Tool, key: &str) -> Option<Self> {
        let kind = tool.parameters.get("properties")?.get(key)?.get("type")?;
        let is_text = match kind {
            Value::String(kind) => kind == "string",
            Value::Array(kinds) => kinds.iter().all(|kind| kind == "string"),
            _ => false,
        };
        Some(if is_text { Self::Text } else { Self::Json })
    }
}
