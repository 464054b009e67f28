//! `POST /v1/chat/completions`.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use lucid_provider::{Answer, Effort, LogProbs, OutputFormat, Prompt, Stop, Turn};
use serde_json::{Map, Value, json};

use crate::app::{App, Caller};
use crate::body::Body;
use crate::identifiers::identifier;
use crate::json::{Fields, Node};
use crate::limits;
use crate::openai::messages::messages;
use crate::openai::narrate::{
    ChatChunks, Head, IncludeUsage, Totals, add_hint, chat_log_probs, finish_reason,
};
use crate::openai::sampling::{output_format, sampling, stops};
use crate::openai::tools::tools;
use crate::refusal::Refusal;
use crate::registry::Lease;
use crate::status::unix_seconds;
use crate::stream::{Wire, stream};

/// Answers a conversation.
pub(crate) async fn complete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(mut body, share): Body,
) -> Result<Response, Refusal> {
    let Manner { model, streams, include } = Manner::read(&mut body)?;
    let turn = turn(&mut body)?;
    let (samples, log_probs) = (turn.samples, turn.log_probs);
    let lease = app.lease(model.as_deref()).await?;
    let head = Head::new("chatcmpl-", &lease);
    let mut reply = app.ask(&caller, lease, turn).await?;
    drop(share);
    if streams {
        reply.begun().await?;
        let chunks = ChatChunks::new(head, include, samples, log_probs);
        return Ok(stream(reply, chunks, Wire::Events));
    }
    let answers = reply.gather().await?;
    Ok(Json(whole(&head, answers, log_probs)).into_response())
}

impl Head {
    /// The head of an answer that begins now.
    pub(crate) fn new(prefix: &str, lease: &Lease) -> Self {
        let card = lease.provider().card();
        let digest = card.digest.get(..12).unwrap_or("0");
        Self {
            id: identifier(prefix),
            created: unix_seconds(SystemTime::now()),
            model: lease.shown_name(),
            fingerprint: format!("fp_lucid-{}-{digest}", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// Who is to answer, and in which manner.
pub(crate) struct Manner {
    /// The model's name.
    pub(crate) model: Option<String>,
    /// Whether the answer is told as it is made.
    pub(crate) streams: bool,
    /// Whether the last chunk tells what it took.
    pub(crate) include: IncludeUsage,
}

impl Manner {
    /// Reads `model`, `stream` and `stream_options`.
    pub(crate) fn read(body: &mut Fields) -> Result<Self, Refusal> {
        Ok(Self {
            model: body.text("model")?,
            streams: body.flag("stream")?.unwrap_or(false),
            include: include_usage(body)?,
        })
    }
}

/// `stream_options`.
fn include_usage(body: &mut Fields) -> Result<IncludeUsage, Refusal> {
    let Some(mut options) = body.fields("stream_options")? else { return Ok(IncludeUsage::No) };
    match options.flag("include_usage")? {
        Some(true) => Ok(IncludeUsage::Yes),
        _ => Ok(IncludeUsage::No),
    }
}

/// What is asked for.
fn turn(body: &mut Fields) -> Result<Turn, Refusal> {
    refuse_what_is_missing(body)?;
    let messages = messages(body)?;
    let mut variables = variables(body)?;
    let effort = effort_of(body.take("reasoning_effort"), &mut variables)?;
    let continues = body.flag("continue_final_message")?.unwrap_or(false);
    let tools = tools(body)?;
    let format = output_format(body)?;
    if !tools.list.is_empty() && format != OutputFormat::Free && is_forced(&tools.choice) {
        return Err(body.refuse("response_format", "a call that is demanded has its own format"));
    }
    Ok(Turn {
        prompt: Prompt::Chat { messages, variables, continues },
        sampling: sampling(body)?,
        new_tokens_max: new_tokens_max(body)?,
        stops: stops(body)?,
        stop_tokens: stop_tokens(body)?,
        ignore_end: body.flag("ignore_eos")?.unwrap_or(false),
        format,
        tools,
        effort,
        log_probs: log_probs(body)?,
        samples: body.count("n", limits::SAMPLES)?.unwrap_or(1),
        adapter: body.name("lora")?,
        ..Turn::default()
    })
}

fn is_forced(choice: &lucid_provider::ToolChoice) -> bool {
    use lucid_provider::ToolChoice;
    matches!(choice, ToolChoice::Required | ToolChoice::Named(_))
}

/// Fields of the protocol that cannot be honoured: to answer as if they were not there would be a
/// lie.
fn refuse_what_is_missing(body: &mut Fields) -> Result<(), Refusal> {
    for name in ["audio", "functions", "function_call", "web_search_options"] {
        if body.has(name) {
            return Err(body.refuse(name, "this server does not have it"));
        }
    }
    for kind in body.list("modalities", 8)? {
        if kind.value != "text" {
            return Err(kind.refuse("`text`"));
        }
    }
    Ok(())
}

/// `max_completion_tokens`, or its older name.
fn new_tokens_max(body: &mut Fields) -> Result<Option<usize>, Refusal> {
    let old = body.count("max_tokens", limits::NEW_TOKENS)?;
    Ok(body.count("max_completion_tokens", limits::NEW_TOKENS)?.or(old))
}

/// `stop_token_ids`.
pub(crate) fn stop_tokens(body: &mut Fields) -> Result<Vec<u32>, Refusal> {
    let list = body.list("stop_token_ids", limits::STOPS_MAX)?;
    list.into_iter().map(|node| Ok(node.whole(limits::TOKEN)? as u32)).collect()
}

fn log_probs(body: &mut Fields) -> Result<Option<LogProbs>, Refusal> {
    let wanted = body.flag("logprobs")?.unwrap_or(false);
    let top = body.count("top_logprobs", limits::ALTERNATIVES)?;
    match (wanted, top) {
        (false, Some(1..)) => Err(body.refuse("top_logprobs", "it needs `logprobs`: true")),
        (false, _) => Ok(None),
        (true, top) => Ok(Some(LogProbs { alternatives: top.unwrap_or(0), prompt: false })),
    }
}

/// Variables of the template.
fn variables(body: &mut Fields) -> Result<Map<String, Value>, Refusal> {
    let Some(node) = body.take("chat_template_kwargs") else { return Ok(Map::new()) };
    let path = node.path.clone();
    let map = node.fields()?.into_map();
    if map.len() > limits::VARIABLES_MAX {
        let most = limits::VARIABLES_MAX;
        return Err(Refusal::invalid(path, format!("there may be {most} variables at most")));
    }
    Ok(map)
}

/// `reasoning_effort`: how much the model thinks. The words are turned into bounds, because models
/// here know no degrees; templates that do see the word.
pub(crate) fn effort_of(
    node: Option<Node>,
    variables: &mut Map<String, Value>,
) -> Result<Effort, Refusal> {
    let Some(node) = node else { return Ok(Effort::Default) };
    let effort = match node.value.as_str() {
        Some("none" | "minimal") => Effort::Off,
        Some("low") => Effort::On { tokens_max: Some(1024) },
        Some("medium") => Effort::On { tokens_max: Some(8192) },
        Some("high" | "xhigh") => Effort::On { tokens_max: None },
        _ => return Err(node.refuse("`none`, `minimal`, `low`, `medium` or `high`")),
    };
    variables.entry("reasoning_effort").or_insert(node.value);
    Ok(effort)
}

fn whole(head: &Head, answers: Vec<Answer>, log_probs: Option<LogProbs>) -> Value {
    let mut totals = Totals::default();
    let mut choices = Vec::with_capacity(answers.len());
    for (index, answer) in answers.into_iter().enumerate() {
        totals.add(&answer.usage);
        choices.push(choice(index, answer, log_probs));
    }
    let mut whole = head.with("chat.completion", &choices.into());
    whole["usage"] = totals.json();
    whole
}

fn choice(index: usize, answer: Answer, log_probs: Option<LogProbs>) -> Value {
    let stop = answer.stop.unwrap_or(Stop::Cancelled);
    let content = if answer.text.is_empty() && !answer.calls.is_empty() {
        Value::Null
    } else {
        Value::String(answer.text)
    };
    let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
    if !answer.reasoning.is_empty() {
        message["reasoning_content"] = json!(answer.reasoning);
    }
    if !answer.calls.is_empty() {
        let calls: Vec<Value> = answer
            .calls
            .iter()
            .map(|call| {
                json!({
                    "id": call.id, "type": "function",
                    "function": { "name": call.name, "arguments": call.arguments },
                })
            })
            .collect();
        message["tool_calls"] = json!(calls);
    }
    let told = log_probs.map_or(Value::Null, |_| chat_log_probs(&answer.tokens));
    let mut choice = json!({
        "index": index,
        "message": message,
        "logprobs": told,
        "finish_reason": finish_reason(&stop),
    });
    add_hint(&mut choice, &stop);
    choice
}
