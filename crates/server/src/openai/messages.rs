//! `messages` of chat completions.

use lucid_provider::{Message, ToolCall};
use serde_json::Value;

use crate::json::{self, Fields, Node};
use crate::limits;
use crate::refusal::Refusal;

/// The conversation.
pub(crate) fn messages(body: &mut Fields) -> Result<Vec<Message>, Refusal> {
    let node = body.need("messages")?;
    let path = node.path.clone();
    let list = node.list(limits::MESSAGES_MAX)?;
    if list.is_empty() {
        return Err(Refusal::invalid(path, "`messages` must not be empty"));
    }
    list.into_iter().map(message).collect()
}

fn message(node: Node) -> Result<Message, Refusal> {
    let mut fields = node.fields()?;
    let role = fields.need("role")?;
    let role = match role.value.as_str() {
        // Templates know no developers.
        Some("system" | "developer") => "system",
        Some("user") => "user",
        Some("assistant") => "assistant",
        Some("tool" | "function") => "tool",
        _ => return Err(role.refuse("`system`, `developer`, `user`, `assistant` or `tool`")),
    };
    let content = fields.take("content").map(content).transpose()?;
    let reasoning = match fields.text("reasoning_content")? {
        Some(reasoning) => Some(reasoning),
        None => fields.text("reasoning")?,
    };
    let calls = fields.list("tool_calls", limits::TOOL_CALLS_MAX)?;
    let tool_calls: Vec<ToolCall> = calls.into_iter().map(call).collect::<Result<_, _>>()?;
    if content.is_none() && tool_calls.is_empty() && role != "assistant" {
        return Err(fields.missing("content"));
    }
    Ok(Message {
        role: role.to_owned(),
        content,
        reasoning: reasoning.filter(|text| !text.is_empty()),
        tool_calls,
        tool_call_id: fields.name("tool_call_id")?,
        name: fields.name("name")?,
    })
}

/// A text, or parts of which each is one. Parts follow each other without anything between.
pub(crate) fn content(node: Node) -> Result<String, Refusal> {
    if node.value.is_string() {
        return node.text();
    }
    if !node.value.is_array() {
        return Err(node.refuse("a string or a list of parts"));
    }
    let mut whole = String::new();
    for part in node.list(limits::PARTS_MAX)? {
        let mut fields = part.fields()?;
        let kind = fields.need("type")?;
        match kind.value.as_str() {
            Some("text" | "input_text" | "output_text") => {
                whole.push_str(&fields.need("text")?.text()?);
            }
            Some("refusal") => whole.push_str(&fields.need("refusal")?.text()?),
            _ => return Err(kind.refuse("`text`: models here read nothing else")),
        }
    }
    Ok(whole)
}

fn call(node: Node) -> Result<ToolCall, Refusal> {
    let mut fields = node.fields()?;
    let id = fields.name("id")?.unwrap_or_default();
    let mut function = fields.need("function")?.fields()?;
    let name = function.need("name")?.short_text(limits::NAME_BYTES_MAX)?;
    let arguments = match function.take("arguments") {
        Some(node) => arguments(node),
        None => Value::Object(serde_json::Map::new()),
    };
    Ok(ToolCall { id, name, arguments })
}

/// Arguments are JSON in a text. What a model wrote may be no JSON; it stays a text then.
pub(crate) fn arguments(node: Node) -> Value {
    match node.value {
        Value::String(text) if text.trim().is_empty() => Value::Object(serde_json::Map::new()),
        Value::String(text) => json::parse(text.as_bytes()).unwrap_or(Value::String(text)),
        value => value,
    }
}
