//! What is asked for with `POST /v1/responses`: items become messages, and the rest a turn.

use lucid_provider::{Effort, LogProbs, Message, OutputFormat, ToolCall, Turn};
use serde_json::{Map, Value, json};

use crate::identifiers::identifier;
use crate::json::{Fields, Node};
use crate::limits;
use crate::openai::messages::{arguments, content};
use crate::openai::sampling::{bounded_schema, sampling};
use crate::openai::tools::{function, tools_of};
use crate::refusal::Refusal;

/// A request, read.
pub(super) struct Asked {
    /// The model's name.
    pub(super) model: Option<String>,
    /// What the model is to heed, of this request alone.
    pub(super) instructions: Option<String>,
    /// What is said with this request, each item with an identifier.
    pub(super) input: Vec<Value>,
    /// The response to go on from.
    pub(super) previous: Option<String>,
    /// Everything but the prompt.
    pub(super) turn: Turn,
    /// Variables of the template.
    pub(super) variables: Map<String, Value>,
    /// Whether it is kept.
    pub(super) stored: Stored,
    /// Whether the caller waits for it.
    pub(super) waits: Waits,
    /// Whether it is told as it is made.
    pub(super) streams: Streams,
    /// Fields that are told again in the response.
    pub(super) echo: Map<String, Value>,
}

/// Whether a response is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Yes,
    No,
}

/// Whether the caller waits for the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    Yes,
    /// It is made in the background.
    No,
}

/// Whether the response is told as it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Streams {
    Yes,
    No,
}

/// Reads a request.
pub(super) fn read(body: &mut Fields) -> Result<Asked, Refusal> {
    refuse_what_is_missing(body)?;
    let mut echo = Map::new();
    for name in ["temperature", "top_p", "max_output_tokens", "user", "tool_choice", "tools"] {
        echo.insert(name.to_owned(), body.peek(name).cloned().unwrap_or(Value::Null));
    }
    echo.insert("metadata".to_owned(), metadata(body)?);
    let stored = if body.flag("store")?.unwrap_or(true) { Stored::Yes } else { Stored::No };
    let waits = if body.flag("background")?.unwrap_or(false) { Waits::No } else { Waits::Yes };
    if waits == Waits::No && stored == Stored::No {
        return Err(body.refuse("background", "it needs `store`: nobody could ask for it later"));
    }
    let streams = if body.flag("stream")?.unwrap_or(false) { Streams::Yes } else { Streams::No };
    // Functions, whose fields stand beside their type.
    let tools = tools_of(body, function)?;
    echo.insert("parallel_tool_calls".to_owned(), json!(tools.parallel));
    let (format, text) = format(body)?;
    echo.insert("text".to_owned(), text);
    let mut variables = Map::new();
    let (effort, reasoning) = reasoning(body, &mut variables)?;
    echo.insert("reasoning".to_owned(), reasoning);
    let log_probs = log_probs(body)?;
    echo.insert(
        "top_logprobs".to_owned(),
        json!(log_probs.map_or(0, |log_probs| log_probs.alternatives)),
    );
    let turn = Turn {
        sampling: sampling(body)?,
        new_tokens_max: body.count("max_output_tokens", limits::NEW_TOKENS)?,
        ignore_end: body.flag("ignore_eos")?.unwrap_or(false),
        format,
        tools,
        effort,
        log_probs,
        samples: 1,
        ..Turn::default()
    };
    Ok(Asked {
        model: body.text("model")?,
        instructions: body.take("instructions").map(content).transpose()?,
        input: input(body)?,
        previous: body.name("previous_response_id")?,
        turn,
        variables,
        stored,
        waits,
        streams,
        echo,
    })
}

/// Fields of the protocol that cannot be honoured.
fn refuse_what_is_missing(body: &mut Fields) -> Result<(), Refusal> {
    for name in ["conversation", "prompt", "max_tool_calls"] {
        if body.has(name) {
            return Err(body.refuse(name, "this server does not have it"));
        }
    }
    match body.take("truncation") {
        Some(node) if node.value == "auto" => {
            let why = "`auto`: nothing is cut in silence here; shorten the input";
            Err(body.refuse("truncation", why))
        }
        Some(node) if node.value != "disabled" => Err(node.refuse("`disabled`")),
        _ => Ok(()),
    }
}

/// Pairs of texts that are kept with the response.
fn metadata(body: &mut Fields) -> Result<Value, Refusal> {
    let Some(node) = body.take("metadata") else { return Ok(json!({})) };
    let path = node.path.clone();
    let map = node.fields()?.into_map();
    let fits = |(name, value): (&String, &Value)| {
        name.len() <= 64 && value.as_str().is_some_and(|text| text.len() <= 512)
    };
    if map.len() > limits::METADATA_MAX || !map.iter().all(fits) {
        let most = limits::METADATA_MAX;
        let message = format!(
            "`{path}` must be {most} pairs at most, names of 64 bytes and texts of 512 bytes"
        );
        return Err(Refusal::invalid(path, message));
    }
    Ok(Value::Object(map))
}

fn log_probs(body: &mut Fields) -> Result<Option<LogProbs>, Refusal> {
    let alternatives = body.count("top_logprobs", limits::ALTERNATIVES)?;
    let include = body.list("include", 64)?;
    let wanted = include.iter().any(|node| node.value == "message.output_text.logprobs");
    let some = wanted || alternatives.is_some_and(|count| count > 0);
    let alternatives = alternatives.unwrap_or(0);
    Ok(some.then_some(LogProbs { alternatives, prompt: false }))
}

/// `reasoning`.
fn reasoning(
    body: &mut Fields,
    variables: &mut Map<String, Value>,
) -> Result<(Effort, Value), Refusal> {
    let told = body.peek("reasoning").cloned().unwrap_or_else(|| json!({}));
    let Some(mut fields) = body.fields("reasoning")? else { return Ok((Effort::Default, told)) };
    let effort = crate::openai::chat::effort_of(fields.take("effort"), variables)?;
    Ok((effort, told))
}

/// `text.format`.
fn format(body: &mut Fields) -> Result<(OutputFormat, Value), Refusal> {
    let told = json!({ "format": { "type": "text" } });
    let text = body.peek("text").cloned().filter(|text| text.get("format").is_some());
    let told = text.unwrap_or(told);
    let Some(mut text) = body.fields("text")? else { return Ok((OutputFormat::Free, told)) };
    let Some(mut format) = text.fields("format")? else { return Ok((OutputFormat::Free, told)) };
    let kind = format.need("type")?;
    let format = match kind.value.as_str() {
        Some("text") => OutputFormat::Free,
        Some("json_object") => OutputFormat::JsonObject,
        Some("json_schema") => OutputFormat::JsonSchema(bounded_schema(format.need("schema")?)?),
        Some("grammar") => {
            let text = format.need("grammar")?.short_text(limits::SCHEMA_BYTES_MAX)?;
            crate::openai::sampling::grammar_of(text)
        }
        _ => return Err(kind.refuse("`text`, `json_object` or `json_schema`")),
    };
    Ok((format, told))
}

/// `input`: a text is what the user says.
fn input(body: &mut Fields) -> Result<Vec<Value>, Refusal> {
    let node = body.need("input")?;
    if let Value::String(text) = node.value {
        let part = json!({ "type": "input_text", "text": text });
        return Ok(vec![json!({
            "id": identifier("msg_"), "type": "message", "role": "user", "status": "completed",
            "content": [part],
        })]);
    }
    let path = node.path.clone();
    let list = node.list(limits::MESSAGES_MAX)?;
    if list.is_empty() {
        return Err(Refusal::invalid(path, "`input` must not be empty"));
    }
    let mut items = Vec::with_capacity(list.len());
    for mut node in list {
        // Read now for what is wrong with it, and again when the conversation is whole.
        add(&mut Vec::new(), &mut None, node.clone())?;
        if let Some(fields) = node.value.as_object_mut() {
            let kind = fields.entry("type").or_insert_with(|| json!("message"));
            let prefix = match kind.as_str() {
                Some("function_call") => "fc_",
                Some("function_call_output") => "fco_",
                Some("reasoning") => "rs_",
                _ => "msg_",
            };
            let id = fields.entry("id").or_insert(Value::Null);
            if !id.is_string() {
                *id = json!(identifier(prefix));
            }
        }
        items.push(node.value);
    }
    Ok(items)
}

/// The messages that items make.
///
/// # Errors
/// An item is not what it must be. What was kept was read before.
pub(super) fn messages<'a>(
    items: impl Iterator<Item = &'a Value>,
) -> Result<Vec<Message>, Refusal> {
    let mut messages = Vec::new();
    let mut reasoning = None;
    for (index, value) in items.enumerate() {
        let node = Node { value: value.clone(), path: format!("input[{index}]") };
        add(&mut messages, &mut reasoning, node)?;
    }
    Ok(messages)
}

/// Adds an item to the conversation. A reasoning goes into the message or call that follows it, and
/// calls into the assistant's message before them.
fn add(
    messages: &mut Vec<Message>,
    reasoning: &mut Option<String>,
    node: Node,
) -> Result<(), Refusal> {
    let mut fields = node.fields()?;
    let kind = fields.take("type");
    match kind.as_ref().map_or(Some("message"), |kind| kind.value.as_str()) {
        Some("message") => {
            let role = fields.need("role")?;
            let role = match role.value.as_str() {
                Some("system" | "developer") => "system",
                Some("user") => "user",
                Some("assistant") => "assistant",
                _ => return Err(role.refuse("`system`, `developer`, `user` or `assistant`")),
            };
            let text = content(fields.need("content")?)?;
            let mut message = Message::text(role, text);
            if role == "assistant" {
                message.reasoning = reasoning.take();
            }
            messages.push(message);
        }
        Some("function_call") => {
            let id = fields.need("call_id")?.short_text(limits::NAME_BYTES_MAX)?;
            let name = fields.need("name")?.short_text(limits::NAME_BYTES_MAX)?;
            let arguments = arguments(fields.need("arguments")?);
            let call = ToolCall { id, name, arguments };
            match messages.last_mut() {
                Some(last) if last.role == "assistant" && reasoning.is_none() => {
                    last.tool_calls.push(call);
                }
                _ => messages.push(Message {
                    role: "assistant".to_owned(),
                    reasoning: reasoning.take(),
                    tool_calls: vec![call],
                    ..Message::default()
                }),
            }
        }
        Some("function_call_output") => {
            let id = fields.need("call_id")?.short_text(limits::NAME_BYTES_MAX)?;
            let output = content(fields.need("output")?)?;
            messages.push(Message { tool_call_id: Some(id), ..Message::text("tool", output) });
        }
        Some("reasoning") => {
            let mut text = String::new();
            for part in fields.list("content", limits::PARTS_MAX)? {
                text.push_str(&part.fields()?.text("text")?.unwrap_or_default());
            }
            *reasoning = Some(text).filter(|text| !text.is_empty());
        }
        _ => {
            let expected = "`message`, `function_call`, `function_call_output` or `reasoning`";
            return Err(kind.map_or_else(|| fields.missing("type"), |kind| kind.refuse(expected)));
        }
    }
    Ok(())
}
