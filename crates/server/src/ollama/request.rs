//! Requests of Ollama's generate and chat, read. Source of the fields: Ollama's API documentation
//! (docs/api.md). Departures: (1) images and `template` are refused, as nothing here could heed
//! them; (2) `context`, the tokens of an earlier answer, is taken and not used, and the answer says
//! so: its end comes without one; (3) a number outside its bounds is refused instead of clamped.

use std::time::Duration;

use serde_json::{Map, Value};

use lucid_provider::{
    Effort, LogProbs, Message, OutputFormat, Prompt, Text, Tool, ToolCall, ToolChoice, Tools, Turn,
};

use super::options::{self, Options};
use crate::json::Fields;
use crate::limits::{self, Whole};
use crate::openai::{bounded_schema, tokens};
use crate::refusal::Refusal;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The model's name, as the client knows it.
    pub(crate) model: String,
    /// What is to be done.
    pub(crate) work: Work,
    /// Whether lines are wanted instead of one object.
    pub(crate) stream: bool,
    /// How long the model is to stay in memory afterwards.
    pub(crate) keep_alive: Option<KeepAlive>,
    /// What the client should know about its request.
    pub(crate) note: Option<&'static str>,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Work {
    /// A turn is to be answered.
    Answer(Box<Turn>),
    /// The model is to be loaded, or let go of where `keep_alive` is 0.
    Load,
}

/// How long a model stays in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepAlive {
    /// So long after its last answer; 0 lets go of it at once.
    For(Duration),
    /// Until its memory is needed.
    Forever,
}

/// Whether the model has a chat template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Templated {
    /// It has.
    Yes,
    /// It has none: prompts are continued as they stand.
    No,
}

/// A request for `generate`, whose turn depends on what the model can do.
#[derive(Debug)]
pub(crate) struct Generate {
    asked: Asked,
    prompt: String,
    suffix: Option<String>,
    system: Option<String>,
    raw: bool,
}

impl Generate {
    /// Reads a request.
    pub(crate) fn read(mut body: Fields) -> Result<Self, Refusal> {
        let prompt = body.text("prompt")?.unwrap_or_default();
        let suffix = body.text("suffix")?.filter(|suffix| !suffix.is_empty());
        let system = body.text("system")?.filter(|system| !system.is_empty());
        let raw = body.flag("raw")?.unwrap_or(false);
        no_images(&mut body)?;
        if body.text("template")?.is_some_and(|template| !template.is_empty()) {
            let why = "the model's own template is used; write the prompt whole and set `raw`";
            return Err(body.refuse("template", why));
        }
        let context = body.take("context").map(tokens).transpose()?.unwrap_or_default();
        let empty = prompt.is_empty() && suffix.is_none();
        let mut asked = common(&mut body, empty)?;
        if !context.is_empty() {
            asked.note = Some("`context` is not used here; send the messages to /api/chat");
        }
        Ok(Self { asked, prompt, suffix, system, raw })
    }

    /// What is asked, as far as it does not depend on the model.
    pub(crate) fn asked(&self) -> &Asked {
        &self.asked
    }

    /// What is asked of a model.
    pub(crate) fn of(self, templated: Templated) -> Result<Asked, Refusal> {
        let Self { mut asked, prompt, suffix, system, raw } = self;
        let Work::Answer(turn) = &mut asked.work else {
            return Ok(asked);
        };
        turn.prompt = match (suffix, templated) {
            (Some(suffix), _) => Prompt::Infill { prefix: prompt, suffix },
            // Whoever asks for it has written the template's control tokens himself.
            (None, _) if raw => Prompt::Text(Text { text: prompt, control: true }),
            (None, Templated::No) if system.is_some() => {
                let message = "`system`: this model has no chat template; put it into the prompt";
                return Err(Refusal::invalid("system", message));
            }
            (None, Templated::No) => Prompt::text(prompt),
            (None, Templated::Yes) => {
                let system = system.map(|text| Message::text("system", text));
                Prompt::chat(system.into_iter().chain([Message::text("user", prompt)]).collect())
            }
        };
        Ok(asked)
    }
}

/// Reads a request for `chat`.
pub(crate) fn chat(mut body: Fields) -> Result<Asked, Refusal> {
    let mut messages = Vec::new();
    for node in body.list("messages", limits::MESSAGES_MAX)? {
        messages.push(message(node.fields()?, &messages)?);
    }
    let mut list = Vec::new();
    for node in body.list("tools", limits::TOOLS_MAX)? {
        list.push(tool(node.fields()?)?);
    }
    let continues = match messages.last() {
        Some(last) if last.role == "assistant" && !last.tool_calls.is_empty() => {
            return Err(body.refuse("messages", "the last one calls tools; results must follow"));
        }
        Some(last) => last.role == "assistant",
        None => false,
    };
    let mut asked = common(&mut body, messages.is_empty())?;
    if let Work::Answer(turn) = &mut asked.work {
        turn.prompt = Prompt::Chat { messages, variables: Map::new(), continues };
        turn.tools = Tools { list, choice: ToolChoice::Auto, parallel: true };
    }
    Ok(asked)
}

/// What both have.
fn common(body: &mut Fields, empty: bool) -> Result<Asked, Refusal> {
    let model = model(body)?;
    let stream = body.flag("stream")?.unwrap_or(true);
    let keep_alive = keep_alive(body)?;
    let format = format(body)?;
    let effort = effort(body)?;
    let log_probs = log_probs(body)?;
    let options = body.fields("options")?.map(options::read).transpose()?.unwrap_or_default();
    let Options { sampling, new_tokens_max, stops } = options;
    let work = if empty {
        Work::Load
    } else {
        let turn = Turn {
            sampling,
            new_tokens_max,
            stops,
            format,
            effort,
            log_probs,
            samples: 1,
            ..Turn::default()
        };
        Work::Answer(Box::new(turn))
    };
    Ok(Asked { model, work, stream, keep_alive, note: None })
}

/// The name of the model: `model`, or `name` as it was called first.
pub(crate) fn model(body: &mut Fields) -> Result<String, Refusal> {
    let node = body.take("model").or_else(|| body.take("name"));
    let node = node.ok_or_else(|| body.missing("model"))?;
    match node.short_text(limits::MODEL_BYTES_MAX)? {
        name if name.is_empty() => Err(body.missing("model")),
        name => Ok(name),
    }
}

fn message(mut fields: Fields, before: &[Message]) -> Result<Message, Refusal> {
    no_images(&mut fields)?;
    let role = fields.need("role")?;
    if !matches!(role.value.as_str(), Some("system" | "user" | "assistant" | "tool")) {
        return Err(role.refuse("\"system\", \"user\", \"assistant\" or \"tool\""));
    }
    let mut tool_calls = Vec::new();
    for node in fields.list("tool_calls", limits::TOOL_CALLS_MAX)? {
        tool_calls.push(call(node.fields()?)?);
    }
    let tool_call_id = fields.name("tool_call_id")?;
    let name = fields.name("tool_name")?;
    // Which tool is answered is told by its name, by the call's id, or not at all.
    let called = || before.iter().rev().flat_map(|message| &message.tool_calls);
    let by_id = |id: &String| called().find(|call| call.id == *id).map(|call| call.name.clone());
    let name = name.or_else(|| tool_call_id.as_ref().and_then(by_id));
    Ok(Message {
        role: role.text()?,
        content: fields.text("content")?,
        reasoning: fields.text("thinking")?.filter(|text| !text.is_empty()),
        tool_calls,
        tool_call_id,
        name,
    })
}

fn call(mut fields: Fields) -> Result<ToolCall, Refusal> {
    let id = fields.name("id")?.unwrap_or_default();
    let mut function = fields.need("function")?.fields()?;
    let arguments = match function.take("arguments") {
        Some(arguments) if arguments.value.is_object() => arguments.value,
        Some(arguments) => return Err(arguments.refuse("an object")),
        None => Value::Object(Map::new()),
    };
    let name = function.need("name")?.short_text(limits::NAME_BYTES_MAX)?;
    Ok(ToolCall { id, name, arguments })
}

fn tool(mut fields: Fields) -> Result<Tool, Refusal> {
    if fields.name("type")?.is_some_and(|kind| kind != "function") {
        return Err(fields.refuse("type", "only tools of type \"function\" are known"));
    }
    let mut function = fields.need("function")?.fields()?;
    let name = function.need("name")?.short_text(limits::NAME_BYTES_MAX)?;
    let description = function.text("description")?;
    let parameters = match function.take("parameters") {
        Some(node) => bounded_schema(node)?,
        None => Value::Null,
    };
    Ok(Tool { name, description, parameters })
}

fn no_images(fields: &mut Fields) -> Result<(), Refusal> {
    if fields.list("images", limits::PARTS_MAX)?.is_empty() {
        return Ok(());
    }
    Err(fields.refuse("images", "the models here read text only"))
}

fn format(body: &mut Fields) -> Result<OutputFormat, Refusal> {
    let Some(node) = body.take("format") else {
        return Ok(OutputFormat::Free);
    };
    match node.value.as_str() {
        Some("") => Ok(OutputFormat::Free),
        Some("json") => Ok(OutputFormat::JsonObject),
        None if node.value.is_object() => Ok(OutputFormat::JsonSchema(bounded_schema(node)?)),
        _ => Err(node.refuse("\"json\" or a JSON schema (an object)")),
    }
}

fn effort(body: &mut Fields) -> Result<Effort, Refusal> {
    let Some(node) = body.take("think") else {
        return Ok(Effort::Default);
    };
    match (node.value.as_bool(), node.value.as_str()) {
        (Some(false), _) => Ok(Effort::Off),
        (Some(true), _) | (_, Some("low" | "medium" | "high" | "max")) => {
            Ok(Effort::On { tokens_max: None })
        }
        _ => Err(node.refuse("true, false, \"low\", \"medium\" or \"high\"")),
    }
}

fn log_probs(body: &mut Fields) -> Result<Option<LogProbs>, Refusal> {
    let wanted = body.flag("logprobs")?.unwrap_or(false);
    let alternatives = body.count("top_logprobs", limits::ALTERNATIVES)?;
    Ok((wanted || alternatives.is_some_and(|count| count > 0))
        .then(|| LogProbs { alternatives: alternatives.unwrap_or(0), prompt: false }))
}

/// A number of seconds, or a length of time as Go writes it: `5m`, `1h30m`, `-1`.
pub(crate) fn keep_alive(body: &mut Fields) -> Result<Option<KeepAlive>, Refusal> {
    let Some(node) = body.take("keep_alive") else {
        return Ok(None);
    };
    let seconds = match &node.value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => seconds(text),
        _ => None,
    };
    match seconds {
        Some(seconds) if seconds < 0.0 => Ok(Some(KeepAlive::Forever)),
        Some(seconds) => match Duration::try_from_secs_f64(seconds) {
            Ok(time) => Ok(Some(KeepAlive::For(time))),
            Err(_) => Ok(Some(KeepAlive::Forever)),
        },
        None => Err(node.refuse("a number of seconds or a length of time such as \"5m\"")),
    }
}

/// The seconds of a length of time as Go writes it. A bare number counts seconds.
fn seconds(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        return number.is_finite().then_some(number);
    }
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    let mut whole = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c != '.' && !c.is_ascii_digit())?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
        whole += number
            * match &rest[..unit_end] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    Some(sign * whole)
}

/// The bounds of what only concerns how Ollama itself runs models.
pub(super) const ANY: Whole = Whole { min: 0, max: u64::MAX };
