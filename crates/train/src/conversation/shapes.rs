//! The shapes in which people keep conversations.
//!
//! Sources: OpenAI's fine-tuning guide (`messages`, `tools`); ShareGPT's `conversations` with
//! `from` and `value`, as `LLaMA-Factory`'s data/README.md has them (function calls and
//! observations included); Stanford Alpaca's `instruction`, `input`, `output`; TRL's `prompt` and
//! `completion`.

use lucid_tokenizer::template::{Message, ToolCall};
use serde_json::{Map, Value, json};

use super::Conversation;
use super::check::Refusal;

/// Reads a conversation in any of the shapes.
pub(super) fn conversation(value: &Value) -> Result<Conversation, Refusal> {
    let Value::Object(object) = value else { return Err(Refusal::NoObject) };
    let tools = tools_of(object)?;
    let mut messages = Vec::new();
    if let Some(Value::Array(all)) = object.get("messages") {
        for message in all {
            messages.push(open_ai(message)?);
        }
    } else if let Some(Value::Array(all)) = object.get("conversations") {
        messages.extend(system(object)?);
        for message in all {
            messages.push(share_gpt(message)?);
        }
    } else if let Some(instruction) = object.get("instruction") {
        messages.extend(system(object)?);
        messages.extend(alpaca(object, instruction)?);
    } else if let (Some(prompt), Some(completion)) =
        (object.get("prompt"), object.get("completion"))
    {
        messages.extend(side(prompt, "user")?);
        messages.extend(side(completion, "assistant")?);
    } else {
        return Err(Refusal::Shape);
    }
    Ok(Conversation { messages, tools })
}

/// The tools of a conversation, as templates expect them.
pub(super) fn tools_of(object: &Map<String, Value>) -> Result<Vec<Value>, Refusal> {
    let tools = object.get("tools").map_or(Ok(Vec::new()), tools)?;
    Ok(tools.into_iter().map(wrapped).collect())
}

/// A list, or the JSON text of one.
fn tools(value: &Value) -> Result<Vec<Value>, Refusal> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(tools) => Ok(tools.clone()),
        Value::String(text) if text.trim().is_empty() => Ok(Vec::new()),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(Value::Array(tools)) => Ok(tools),
            _ => Err(Refusal::Tools),
        },
        _ => Err(Refusal::Tools),
    }
}

/// A tool as templates expect it, which is OpenAI's object.
fn wrapped(tool: Value) -> Value {
    if tool.get("function").is_some() {
        return tool;
    }
    json!({"type": "function", "function": tool})
}

pub(super) fn system(object: &Map<String, Value>) -> Result<Option<Message>, Refusal> {
    match object.get("system") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(Message::text("system", text))),
        Some(_) => Err(Refusal::Text { role: "system".to_owned() }),
    }
}

fn text(value: Option<&Value>, role: &str) -> Result<Option<String>, Refusal> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        // Parts of text, as the chat API has them.
        Some(Value::Array(parts)) => {
            let part = |part: &Value| {
                part.get("text")
                    .or_else(|| part.get("value"))
                    .and_then(Value::as_str)
                    .map(str::to_owned)
                    .ok_or_else(|| Refusal::Text { role: role.to_owned() })
            };
            Ok(Some(parts.iter().map(part).collect::<Result<String, _>>()?))
        }
        Some(_) => Err(Refusal::Text { role: role.to_owned() }),
    }
}

pub(super) fn open_ai(value: &Value) -> Result<Message, Refusal> {
    let role = value.get("role").and_then(Value::as_str).ok_or(Refusal::NoRole)?;
    let content = text(value.get("content"), role)?;
    if role == "assistant" && value.get("weight").and_then(Value::as_f64) == Some(0.0) {
        return Err(Refusal::Weight);
    }
    let reasoning = ["reasoning_content", "reasoning", "thinking"];
    let reasoning = reasoning.iter().find_map(|key| value.get(key).filter(|it| !it.is_null()));
    let calls = match value.get("tool_calls") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(calls)) => calls.iter().map(call).collect::<Result<_, _>>()?,
        Some(_) => return Err(Refusal::Call),
    };
    let word = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    Ok(Message {
        role: role.to_owned(),
        content,
        reasoning: text(reasoning, role)?,
        tool_calls: calls,
        tool_call_id: word("tool_call_id"),
        name: word("name"),
    })
}

/// `{"function": {"name", "arguments"}}`, or the inside of it; arguments as an object or its text.
fn call(value: &Value) -> Result<ToolCall, Refusal> {
    let function = value.get("function").unwrap_or(value);
    let name = function.get("name").and_then(Value::as_str).ok_or(Refusal::Call)?;
    let arguments = match function.get("arguments").or_else(|| function.get("parameters")) {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(Value::String(text)) => serde_json::from_str(text).map_err(|_| Refusal::Call)?,
        Some(other) => other.clone(),
    };
    let id = value.get("id").and_then(Value::as_str).unwrap_or_default();
    Ok(ToolCall { id: id.to_owned(), name: name.to_owned(), arguments })
}

pub(super) fn share_gpt(value: &Value) -> Result<Message, Refusal> {
    let from = value.get("from").and_then(Value::as_str).ok_or(Refusal::NoRole)?;
    let said = text(value.get("value"), from)?.unwrap_or_default();
    Ok(match from {
        "human" | "user" => Message::text("user", said),
        "gpt" | "assistant" | "chatgpt" | "bard" | "bing" => Message::text("assistant", said),
        "system" => Message::text("system", said),
        "observation" | "tool" | "function_response" => Message::text("tool", said),
        "function_call" => {
            let value: Value = serde_json::from_str(&said).map_err(|_| Refusal::Call)?;
            let tool_calls = match &value {
                Value::Array(calls) => calls.iter().map(call).collect::<Result<_, _>>()?,
                one => vec![call(one)?],
            };
            Message { role: "assistant".to_owned(), tool_calls, ..Message::default() }
        }
        other => return Err(Refusal::Role { role: short(other) }),
    })
}

fn alpaca(object: &Map<String, Value>, instruction: &Value) -> Result<Vec<Message>, Refusal> {
    let mut messages = history(object)?;
    messages.push(asked(object, instruction)?);
    let said = text(object.get("output"), "assistant")?.unwrap_or_default();
    messages.push(Message::text("assistant", said));
    Ok(messages)
}

/// What Alpaca's shape says was said before.
pub(super) fn history(object: &Map<String, Value>) -> Result<Vec<Message>, Refusal> {
    let mut messages = Vec::new();
    if let Some(Value::Array(history)) = object.get("history") {
        for pair in history {
            let said = |at: usize, role: &str| {
                let said = text(pair.get(at), role)?.unwrap_or_default();
                Ok::<_, Refusal>(Message::text(role, said))
            };
            messages.extend([said(0, "user")?, said(1, "assistant")?]);
        }
    }
    Ok(messages)
}

/// An instruction with its input.
pub(super) fn asked(object: &Map<String, Value>, instruction: &Value) -> Result<Message, Refusal> {
    let mut asked = text(Some(instruction), "user")?.unwrap_or_default();
    if let Some(input) = text(object.get("input"), "user")?.filter(|input| !input.is_empty()) {
        asked = format!("{asked}\n\n{input}");
    }
    Ok(Message::text("user", asked))
}

/// One side of TRL's shape: a text, or messages.
pub(super) fn side(value: &Value, role: &str) -> Result<Vec<Message>, Refusal> {
    match value {
        Value::Array(messages) => messages.iter().map(open_ai).collect(),
        other => Ok(vec![Message::text(role, text(Some(other), role)?.unwrap_or_default())]),
    }
}

/// The beginning of a word, for messages.
pub(super) fn short(word: &str) -> String {
    word.chars().take(24).filter(|c| !c.is_control()).collect()
}
