//! Messages in Anthropic's content blocks become messages of a template: one of theirs may hold
//! results of several tools and a text, which are several of ours. Invariants: messages of one
//! speaker that follow each other are one (so their API says, and many templates want turns to
//! alternate); a tool's result follows the call it answers; what cannot be shown to the model
//! (images, citations, searches) is refused instead of being left out.

use std::collections::HashMap;

use serde_json::{Map, Value};

use lucid_provider::{Message, ToolCall};

use crate::json::{Fields, Node};
use crate::limits;
use crate::refusal::Refusal;

/// Names of the tools called so far, by the calls' ids.
type Calls = HashMap<String, String>;

/// The system's message; none where it is empty.
pub(super) fn system(node: Node) -> Result<Option<Message>, Refusal> {
    let text = texts(node)?;
    Ok((!text.is_empty()).then(|| Message::text("system", text)))
}

/// The conversation, added to `messages`. Returns whether the last message is the assistant's, so
/// that it is to be continued.
pub(super) fn conversation(list: Vec<Node>, messages: &mut Vec<Message>) -> Result<bool, Refusal> {
    let mut calls = Calls::new();
    let mut last = String::new();
    let mut path = String::new();
    for node in list {
        path.clone_from(&node.path);
        let mut fields = node.fields()?;
        let role = fields.need("role")?;
        let content = fields.need("content")?;
        match role.value.as_str() {
            Some("user") => user(content, &calls, messages)?,
            Some("assistant") => assistant(content, &mut calls, messages)?,
            Some("system") => say(messages, "system", &texts(content)?),
            _ => return Err(role.refuse("\"user\", \"assistant\" or \"system\"")),
        }
        last = role.text()?;
    }
    let calls_tools = messages.last().is_some_and(|message| !message.tool_calls.is_empty());
    if last == "assistant" && calls_tools {
        let message = format!("`{path}` calls tools; a message with their results must follow");
        return Err(Refusal::invalid(path, message));
    }
    Ok(last == "assistant")
}

/// What a block's kind is, and its fields.
fn block(node: Node) -> Result<(Node, Fields), Refusal> {
    let mut fields = node.fields()?;
    Ok((fields.need("type")?, fields))
}

/// The texts of a string or of a list of text blocks, a line break between blocks.
fn texts(node: Node) -> Result<String, Refusal> {
    if !node.value.is_array() {
        return match node.value {
            Value::String(text) => Ok(text),
            _ => Err(node.refuse("a string or a list of blocks")),
        };
    }
    let mut whole = String::new();
    for node in node.list(limits::PARTS_MAX)? {
        let (kind, mut fields) = block(node)?;
        match kind.value.as_str() {
            Some("text") => join(&mut whole, &fields.need("text")?.text()?),
            _ => return Err(misplaced(&kind)),
        }
    }
    Ok(whole)
}

fn user(content: Node, calls: &Calls, messages: &mut Vec<Message>) -> Result<(), Refusal> {
    if !content.value.is_array() {
        say(messages, "user", &texts(content)?);
        return Ok(());
    }
    for node in content.list(limits::PARTS_MAX)? {
        let (kind, mut fields) = block(node)?;
        match kind.value.as_str() {
            Some("text") => say(messages, "user", &fields.need("text")?.text()?),
            Some("document") => say(messages, "user", &document(fields)?),
            Some("tool_result") => messages.push(result(fields, calls)?),
            _ => return Err(misplaced(&kind)),
        }
    }
    Ok(())
}

fn result(mut fields: Fields, calls: &Calls) -> Result<Message, Refusal> {
    let id = fields.need("tool_use_id")?.short_text(limits::NAME_BYTES_MAX)?;
    let Some(name) = calls.get(&id) else {
        return Err(fields.refuse("tool_use_id", "no `tool_use` block before it has this id"));
    };
    let mut text = fields.take("content").map(texts).transpose()?.unwrap_or_default();
    if fields.flag("is_error")?.unwrap_or(false) {
        // Templates have no other place for it.
        text.insert_str(0, "error: ");
    }
    Ok(Message {
        role: "tool".to_owned(),
        content: Some(text),
        tool_call_id: Some(id),
        name: Some(name.clone()),
        ..Message::default()
    })
}

/// A document that is text.
fn document(mut fields: Fields) -> Result<String, Refusal> {
    let mut source = fields.need("source")?.fields()?;
    let kind = source.need("type")?;
    let text = match kind.value.as_str() {
        Some("text") => source.need("data")?.text()?,
        Some("content") => texts(source.need("content")?)?,
        _ => return Err(kind.refuse("\"text\" or \"content\": only text is read here")),
    };
    Ok(match fields.text("title")? {
        Some(title) => format!("{title}\n\n{text}"),
        None => text,
    })
}

fn assistant(content: Node, calls: &mut Calls, messages: &mut Vec<Message>) -> Result<(), Refusal> {
    if messages.last().is_none_or(|last| last.role != "assistant") {
        messages.push(Message { role: "assistant".to_owned(), ..Message::default() });
    }
    if !content.value.is_array() {
        say(messages, "assistant", &texts(content)?);
        return Ok(());
    }
    for node in content.list(limits::PARTS_MAX)? {
        let (kind, mut fields) = block(node)?;
        match kind.value.as_str() {
            Some("text") => say(messages, "assistant", &fields.need("text")?.text()?),
            Some("thinking") => {
                think(messages, &fields.need("thinking")?.text()?);
                // Proves to their service that the thinking is its own.
                fields.text("signature")?;
            }
            // Only their own service can read it.
            Some("redacted_thinking") => {}
            Some("tool_use") => {
                let call = call(fields)?;
                calls.insert(call.id.clone(), call.name.clone());
                if let Some(last) = messages.last_mut() {
                    last.tool_calls.push(call);
                }
            }
            _ => return Err(misplaced(&kind)),
        }
    }
    Ok(())
}

fn call(mut fields: Fields) -> Result<ToolCall, Refusal> {
    let arguments = match fields.take("input") {
        Some(input) if input.value.is_object() => input.value,
        Some(input) => return Err(input.refuse("an object")),
        None => Value::Object(Map::new()),
    };
    let id = fields.need("id")?.short_text(limits::NAME_BYTES_MAX)?;
    let name = fields.need("name")?.short_text(limits::NAME_BYTES_MAX)?;
    Ok(ToolCall { id, name, arguments })
}

/// Adds to what `role` said last, or begins a message.
fn say(messages: &mut Vec<Message>, role: &str, text: &str) {
    match messages.last_mut() {
        Some(last) if last.role == role => join(last.content.get_or_insert_default(), text),
        _ => messages.push(Message::text(role, text)),
    }
}

fn think(messages: &mut [Message], text: &str) {
    if let Some(last) = messages.last_mut() {
        join(last.reasoning.get_or_insert_default(), text);
    }
}

fn join(whole: &mut String, text: &str) {
    if !whole.is_empty() && !text.is_empty() {
        whole.push('\n');
    }
    whole.push_str(text);
}

fn misplaced(kind: &Node) -> Refusal {
    match kind.value.as_str() {
        Some("image" | "document") => {
            kind.refuse("a block of text: the models here read no images or files")
        }
        _ => kind.refuse("a kind of block that can stand here"),
    }
}
