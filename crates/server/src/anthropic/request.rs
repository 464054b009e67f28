//! A request of the Messages API, read. Source of the fields: Anthropic's API reference, version
//! 2023-06-01. Departures: (1) `thinking.budget_tokens` may be less than 1024; (2) `temperature`
//! may exceed 1; (3) the last message may end with white space; (4) fields that only concern
//! Anthropic's own service (`service_tier`, `cache_control`, `thinking.display`) are let pass
//! unread; (5) `output_config.effort` is let pass: models here know no degrees.

use serde_json::{Map, Value};

use lucid_provider::{Effort, OutputFormat, Prompt, Sampling, Tool, ToolChoice, Tools, Turn};

use super::content;
use crate::json::{Fields, Node};
use crate::limits;
use crate::openai::bounded_schema;
use crate::refusal::Refusal;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The model's name, as the client knows it.
    pub(crate) model: String,
    /// The turn, without the client.
    pub(crate) turn: Turn,
    /// Whether events are wanted instead of one message.
    pub(crate) stream: bool,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An answer, which needs a `max_tokens`.
    Answer,
    /// The number of its tokens.
    Count,
}

/// Reads a request.
pub(crate) fn read(mut body: Fields, purpose: Purpose) -> Result<Asked, Refusal> {
    let model = body.need("model")?.short_text(limits::MODEL_BYTES_MAX)?;
    let new_tokens_max = body.count("max_tokens", limits::NEW_TOKENS)?;
    if purpose == Purpose::Answer && new_tokens_max.is_none() {
        return Err(body.missing("max_tokens"));
    }
    for foreign in ["mcp_servers", "container"] {
        if body.take(foreign).is_some_and(|node| node.value != Value::Array(Vec::new())) {
            return Err(body.refuse(foreign, "this server has none; leave the field out"));
        }
    }
    if let Some(mut metadata) = body.fields("metadata")? {
        metadata.text("user_id")?;
    }
    let stream = body.flag("stream")?.unwrap_or(false);
    let turn = Turn {
        prompt: prompt(&mut body)?,
        sampling: sampling(&mut body)?,
        new_tokens_max,
        stops: stops(&mut body)?,
        format: format(&mut body)?,
        tools: tools(&mut body)?,
        effort: effort(&mut body, new_tokens_max)?,
        samples: 1,
        ..Turn::default()
    };
    Ok(Asked { model, turn, stream })
}

fn prompt(body: &mut Fields) -> Result<Prompt, Refusal> {
    let mut messages = Vec::new();
    if let Some(system) = body.take("system") {
        messages.extend(content::system(system)?);
    }
    let list = body.need("messages")?.list(limits::MESSAGES_MAX)?;
    if list.is_empty() {
        return Err(body.refuse("messages", "at least one message is needed"));
    }
    let continues = content::conversation(list, &mut messages)?;
    Ok(Prompt::Chat { messages, variables: Map::new(), continues })
}

fn sampling(body: &mut Fields) -> Result<Sampling, Refusal> {
    Ok(Sampling {
        temperature: body.number("temperature", limits::TEMPERATURE)?,
        top_k: body.count("top_k", limits::TOP_K)?,
        top_p: body.number("top_p", limits::PROBABILITY)?,
        ..Sampling::default()
    })
}

fn stops(body: &mut Fields) -> Result<Vec<String>, Refusal> {
    let stop = |node: Node| {
        let path = node.path.clone();
        match node.short_text(limits::STOP_BYTES_MAX)? {
            text if text.is_empty() => {
                let message = format!("`{path}`: a stop sequence cannot be empty");
                Err(Refusal::invalid(path, message))
            }
            text => Ok(text),
        }
    };
    body.list("stop_sequences", limits::STOPS_MAX)?.into_iter().map(stop).collect()
}

/// `output_config.format`, or `output_format` as it was called first.
fn format(body: &mut Fields) -> Result<OutputFormat, Refusal> {
    let mut format = body.fields("output_format")?;
    if let Some(mut config) = body.fields("output_config")? {
        format = config.fields("format")?.or(format);
    }
    let Some(mut format) = format else {
        return Ok(OutputFormat::Free);
    };
    let kind = format.need("type")?;
    match kind.value.as_str() {
        Some("json_schema") => {
            Ok(OutputFormat::JsonSchema(bounded_schema(format.need("schema")?)?))
        }
        _ => Err(kind.refuse("\"json_schema\"")),
    }
}

fn tools(body: &mut Fields) -> Result<Tools, Refusal> {
    let mut tools = Tools::default();
    for node in body.list("tools", limits::TOOLS_MAX)? {
        let path = node.path.clone();
        let tool = tool(node.fields()?)?;
        if tools.list.iter().any(|known: &Tool| known.name == tool.name) {
            let message = format!("`{path}`: there are two tools named {:?}", tool.name);
            return Err(Refusal::invalid(path, message));
        }
        tools.list.push(tool);
    }
    let Some(mut choice) = body.fields("tool_choice")? else {
        return Ok(tools);
    };
    let kind = choice.need("type")?;
    tools.choice = match kind.value.as_str() {
        Some("auto") => ToolChoice::Auto,
        Some("any") => ToolChoice::Required,
        Some("none") => ToolChoice::None,
        Some("tool") => ToolChoice::Named(choice.need("name")?.text()?),
        _ => return Err(kind.refuse("\"auto\", \"any\", \"tool\" or \"none\"")),
    };
    let there = match &tools.choice {
        ToolChoice::Required => !tools.list.is_empty(),
        ToolChoice::Named(name) => tools.list.iter().any(|tool| tool.name == *name),
        ToolChoice::Auto | ToolChoice::None => true,
    };
    if !there {
        return Err(choice.refuse("name", "`tools` has no tool that could be called so"));
    }
    tools.parallel = !choice.flag("disable_parallel_tool_use")?.unwrap_or(false);
    Ok(tools)
}

fn tool(mut fields: Fields) -> Result<Tool, Refusal> {
    if fields.name("type")?.is_some_and(|kind| kind != "custom") {
        let why = "only tools that the client runs are known here (\"custom\"); this server runs \
                   none of its own";
        return Err(fields.refuse("type", why));
    }
    let name = fields.need("name")?.text()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > 128 || !name.chars().all(plain) {
        return Err(fields.refuse("name", "must be 1 to 128 letters, digits, `_` or `-`"));
    }
    let description = fields.text("description")?;
    Ok(Tool { name, description, parameters: bounded_schema(fields.need("input_schema")?)? })
}

/// Without a word about it, this API's models do not think.
fn effort(body: &mut Fields, new_tokens_max: Option<usize>) -> Result<Effort, Refusal> {
    let Some(mut thinking) = body.fields("thinking")? else {
        return Ok(Effort::Off);
    };
    let kind = thinking.need("type")?;
    match kind.value.as_str() {
        Some("disabled") => Ok(Effort::Off),
        Some("adaptive" | "between_tools") => Ok(Effort::On { tokens_max: None }),
        Some("enabled") => {
            let budget = thinking.count("budget_tokens", limits::NEW_TOKENS)?;
            let budget = budget.ok_or_else(|| thinking.missing("budget_tokens"))?;
            if new_tokens_max.is_some_and(|most| budget >= most) {
                return Err(thinking.refuse("budget_tokens", "must be less than `max_tokens`"));
            }
            Ok(Effort::On { tokens_max: Some(budget) })
        }
        _ => Err(kind.refuse("\"enabled\", \"adaptive\" or \"disabled\"")),
    }
}
