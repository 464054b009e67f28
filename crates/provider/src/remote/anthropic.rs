//! Anthropic's protocol from the client's side. Source: Anthropic's API reference (messages,
//! count_tokens).
//!
//! Departures: (1) an answer that must be JSON is asked for as the arguments of one forced tool,
//! which are handed on as text; (2) earlier reasoning is not sent back, because a message does not
//! keep the API's signature of it; so a turn that answers tools is sent without thinking.

use serde_json::{Map, Value, json};

use super::demand::{Demand, Kept};
use super::http::Reply;
use super::{Ended, Next, Shared, Telling, number, tokens_of};
use crate::{
    Delta, Effort, Message, OutputFormat, Prompt, ProviderError, Stop, Teller, ToolChoice, Turn,
    Usage,
};

/// The API demands a bound on the answer; this is one where the turn has none.
const NEW_TOKENS_MAX: usize = 8192;
/// Its least budget of reasoning, and what is asked for where the turn does not say.
const THINKING_MIN: usize = 1024;
const THINKING: usize = 4096;
/// The tool whose arguments are the answer.
const ANSWER_TOOL: &str = "answer";
/// The most blocks of an answer.
const BLOCKS_MAX: usize = 256;

/// Where a turn is sent, and what.
pub(super) fn request(
    shared: &Shared,
    turn: &Turn,
) -> Result<(&'static str, Value), ProviderError> {
    refuse(shared, turn)?;
    let mut body = conversation(shared, turn)?;
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    put("stream", json!(true));
    let (max_tokens, budget) = bounds(shared, turn)?;
    if let Some(budget) = budget {
        put("thinking", json!({"type": "enabled", "budget_tokens": budget}));
    }
    put("max_tokens", json!(max_tokens));
    let set = &turn.sampling;
    if let Some(temperature) = set.temperature {
        if !(0.0..=1.0).contains(&temperature) {
            return Err(shared.unsupported("temperatures above 1"));
        }
        put("temperature", number(temperature));
    }
    if let Some(top_p) = set.top_p {
        put("top_p", number(top_p));
    }
    if let Some(top_k) = set.top_k.filter(|&top_k| top_k > 0) {
        put("top_k", json!(top_k));
    }
    if !turn.stops.is_empty() {
        put("stop_sequences", json!(turn.stops));
    }
    Ok(("messages", Value::Object(body)))
}

/// The most tokens of an answer, and of the reasoning in it: the API counts both together, as
/// `Turn::new_tokens_max` does.
fn bounds(shared: &Shared, turn: &Turn) -> Result<(usize, Option<usize>), ProviderError> {
    let asked = match turn.effort {
        Effort::On { tokens_max } if !answers_tools(turn) => tokens_max,
        _ => return Ok((turn.new_tokens_max.unwrap_or(NEW_TOKENS_MAX), None)),
    };
    if asked.is_some_and(|asked| asked < THINKING_MIN) {
        let what = format!("to think for fewer than {THINKING_MIN} tokens");
        return Err(shared.unsupported(&what));
    }
    let budget = asked.unwrap_or(THINKING);
    let Some(most) = turn.new_tokens_max else {
        return Ok((budget.saturating_add(NEW_TOKENS_MAX), Some(budget)));
    };
    // A budget that nobody asked for gives way.
    let budget = if asked.is_none() { budget.min(most / 2).max(THINKING_MIN) } else { budget };
    if most <= budget {
        let what = format!("to think for {budget} tokens in an answer of at most {most}");
        return Err(shared.unsupported(&what));
    }
    Ok((most, Some(budget)))
}

/// Refuses what the protocol cannot express.
fn refuse(shared: &Shared, turn: &Turn) -> Result<(), ProviderError> {
    let set = &turn.sampling;
    let foreign = [
        (turn.samples > 1, "several answers to one prompt"),
        (turn.log_probs.is_some(), "log-probabilities"),
        (turn.adapter.is_some(), "adapters"),
        (turn.hold.is_some(), "turns that are set aside"),
        (turn.ignore_end, "to go on after the end"),
        (!turn.stop_tokens.is_empty(), "stop tokens"),
        (set.seed.is_some(), "seeds"),
        (!set.logit_bias.is_empty(), "logit bias"),
        (set.min_p.is_some() || set.typical_p.is_some(), "min-p and typical-p"),
        (set.top_n_sigma.is_some(), "top-n-sigma"),
        (set.xtc_probability.or(set.xtc_threshold).is_some(), "XTC"),
        (set.frequency_penalty.is_some() || set.presence_penalty.is_some(), "penalties"),
        (set.repeat_penalty.is_some() || set.penalty_last_n.is_some(), "penalties"),
        (set.dry_multiplier.or(set.dry_base).is_some(), "DRY"),
        (set.dry_allowed_length.or(set.dry_last_n).is_some(), "DRY"),
        (set.dry_breakers.is_some(), "DRY"),
        (set.dynamic_temperature_range.is_some(), "dynamic temperature"),
    ];
    if let Some((_, what)) = foreign.iter().find(|(present, _)| *present) {
        return Err(shared.unsupported(what));
    }
    let json = matches!(turn.format, OutputFormat::JsonObject | OutputFormat::JsonSchema(_));
    if turn.format != OutputFormat::Free && !json {
        return Err(shared.unsupported("it keeps to JSON schemas, not to other grammars"));
    }
    if json && (!turn.tools.list.is_empty() || matches!(turn.effort, Effort::On { .. })) {
        return Err(shared.unsupported("a JSON schema together with tools or thinking"));
    }
    Ok(())
}

/// The part of a request that decides how many tokens its prompt has.
fn conversation(shared: &Shared, turn: &Turn) -> Result<Map<String, Value>, ProviderError> {
    let Prompt::Chat { messages, variables, continues } = &turn.prompt else {
        return Err(shared.unsupported("it takes conversations, not texts"));
    };
    if !variables.is_empty() {
        return Err(shared.unsupported("it has no template that takes variables"));
    }
    // It goes on with a last message that is the assistant's, and answers any other.
    let last = messages.last().is_some_and(|message| message.role == "assistant");
    if last != *continues {
        return Err(shared.unsupported(if last {
            "to answer the assistant's own message: it would go on with it"
        } else {
            "to go on with a message that is not the assistant's"
        }));
    }
    let is_system = |message: &&Message| matches!(&*message.role, "system" | "developer");
    let system: Vec<&str> =
        messages.iter().take_while(is_system).filter_map(|it| it.content.as_deref()).collect();
    let mut said: Vec<Value> = Vec::new();
    for message in messages.iter().skip_while(is_system) {
        append(&mut said, message);
    }
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(shared.options.model));
    body.insert("messages".to_owned(), Value::Array(said));
    if !system.is_empty() {
        body.insert("system".to_owned(), json!(system.join("\n\n")));
    }
    tools(turn, &mut body);
    Ok(body)
}

/// Adds a message; neighbours of one role become one, as the API demands.
fn append(said: &mut Vec<Value>, message: &Message) {
    let role = if message.role == "assistant" { "assistant" } else { "user" };
    let mut blocks: Vec<Value> = Vec::new();
    let content = message.content.as_deref().unwrap_or("");
    if let Some(id) = &message.tool_call_id {
        blocks.push(json!({"type": "tool_result", "tool_use_id": id, "content": content}));
    } else if !content.is_empty() {
        // What stands in the middle as a system's word is not the API's system prompt.
        blocks.push(json!({"type": "text", "text": content}));
    }
    for call in &message.tool_calls {
        blocks.push(json!({
            "type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments,
        }));
    }
    if let Some(last) = said.last_mut()
        && last["role"] == role
        && let Some(list) = last["content"].as_array_mut()
    {
        list.extend(blocks);
    } else if !blocks.is_empty() {
        said.push(json!({"role": role, "content": blocks}));
    }
}

fn answers_tools(turn: &Turn) -> bool {
    match &turn.prompt {
        Prompt::Chat { messages, .. } => {
            messages.last().is_some_and(|message| message.tool_call_id.is_some())
        }
        _ => false,
    }
}

fn tools(turn: &Turn, body: &mut Map<String, Value>) {
    let any = json!({"type": "object"});
    let schema = match &turn.format {
        OutputFormat::JsonSchema(schema) => Some(schema),
        OutputFormat::JsonObject => Some(&any),
        _ => None,
    };
    if let Some(schema) = schema {
        let tool = json!({
            "name": ANSWER_TOOL, "description": "Gives the answer.", "input_schema": schema,
        });
        body.insert("tools".to_owned(), json!([tool]));
        body.insert("tool_choice".to_owned(), json!({"type": "tool", "name": ANSWER_TOOL}));
        return;
    }
    if turn.tools.list.is_empty() {
        return;
    }
    let list = turn.tools.list.iter().map(|tool| {
        let schema = if tool.parameters.is_null() { any.clone() } else { tool.parameters.clone() };
        let mut value = json!({"name": tool.name, "input_schema": schema});
        if let Some(description) = &tool.description {
            value["description"] = json!(description);
        }
        value
    });
    body.insert("tools".to_owned(), list.collect());
    let mut choice = match &turn.tools.choice {
        ToolChoice::Auto => json!({"type": "auto"}),
        ToolChoice::None => json!({"type": "none"}),
        ToolChoice::Required => json!({"type": "any"}),
        ToolChoice::Named(name) => json!({"type": "tool", "name": name}),
    };
    if !turn.tools.parallel && turn.tools.choice != ToolChoice::None {
        choice["disable_parallel_tool_use"] = json!(true);
    }
    body.insert("tool_choice".to_owned(), choice);
}

/// How many tokens a turn's prompt has.
pub(super) fn count(shared: &Shared, turn: &Turn) -> Result<usize, ProviderError> {
    let body = Value::Object(conversation(shared, turn)?);
    let answer = shared.ask("messages/count_tokens", &body)?;
    let count = answer.get("input_tokens").filter(|count| count.is_u64());
    count.map(tokens_of).ok_or_else(|| shared.nonsense("it counted no tokens"))
}

/// Reads the stream of an answer.
pub(super) fn read(telling: &Telling<'_>, reply: Reply) -> Result<(), ProviderError> {
    let Telling { shared, turn, demand, teller } = telling;
    let text_is_arguments = turn.format != OutputFormat::Free;
    let mut state = State { text_is_arguments, ..State::new() };
    let mut take = |event: &str| state.take(shared, demand, &shared.parsed(event)?, teller);
    match shared.each_event(reply, &mut take)? {
        Ended::Said => {}
        Ended::Deserted => return Ok(()),
        Ended::Cut => return Err(shared.cut("the answer ended before it was over")),
    }
    let usage = shared.priced(state.usage);
    let stop = demand.ended(shared, state.kept)?;
    teller.tell(Ok(Delta::Finished { sample: 0, stop, usage }));
    Ok(())
}

/// An answer on its way.
struct State {
    /// The forced tool's arguments are the answer.
    text_is_arguments: bool,
    /// For each block the index of the call it is, if it is one.
    blocks: Vec<Option<usize>>,
    usage: Usage,
    kept: Kept,
}

impl State {
    fn new() -> Self {
        Self {
            text_is_arguments: false,
            blocks: Vec::new(),
            usage: Usage::default(),
            kept: Kept::default(),
        }
    }

    fn take(
        &mut self,
        shared: &Shared,
        demand: &Demand,
        event: &Value,
        teller: &Teller,
    ) -> Result<Next, ProviderError> {
        let listening = match event.get("type").and_then(Value::as_str).unwrap_or("") {
            "message_start" => {
                self.count(event.pointer("/message/usage"));
                let Usage { prompt_tokens, cached_tokens, .. } = self.usage;
                teller.tell(Ok(Delta::Begun { prompt_tokens, cached_tokens }))
            }
            "content_block_start" => self.begin(event, teller),
            "content_block_delta" => self.go_on(demand, event, teller),
            "message_delta" => {
                self.count(event.get("usage"));
                let reason = event.pointer("/delta/stop_reason").and_then(Value::as_str);
                let stopped = event.pointer("/delta/stop_sequence").and_then(Value::as_str);
                self.kept.stop = reason.map(|reason| self.why(reason, stopped));
                true
            }
            "message_stop" => return Ok(Next::Over),
            "error" => {
                let text = |path| event.pointer(path).and_then(Value::as_str).unwrap_or("");
                let overloaded = text("/error/type") == "overloaded_error";
                let status = if overloaded { 529 } else { 500 };
                return Err(shared.told(status, text("/error/message")));
            }
            _ => true,
        };
        Ok(if listening { Next::More } else { Next::Deserted })
    }

    fn why(&self, reason: &str, stopped: Option<&str>) -> Stop {
        match reason {
            "max_tokens" => Stop::Length,
            "model_context_window_exceeded" => Stop::ContextFull,
            "stop_sequence" => Stop::Text(stopped.unwrap_or("").to_owned()),
            "tool_use" if !self.text_is_arguments => Stop::ToolCalls,
            "refusal" => Stop::Refused,
            _ => Stop::End,
        }
    }

    fn count(&mut self, usage: Option<&Value>) {
        let Some(usage) = usage else { return };
        let count = |name: &str| usage.get(name).map(tokens_of);
        if let Some(fresh) = count("input_tokens") {
            let cached = count("cache_read_input_tokens").unwrap_or(0);
            let written = count("cache_creation_input_tokens").unwrap_or(0);
            self.usage.prompt_tokens = fresh.saturating_add(cached).saturating_add(written);
            self.usage.cached_tokens = cached;
        }
        if let Some(new) = count("output_tokens") {
            self.usage.new_tokens = new;
        }
    }

    fn begin(&mut self, event: &Value, teller: &Teller) -> bool {
        let index = event.get("index").and_then(Value::as_u64).unwrap_or(0) as usize;
        if index >= BLOCKS_MAX {
            return true;
        }
        if self.blocks.len() <= index {
            self.blocks.resize(index + 1, None);
        }
        let Some(block) = event.get("content_block") else { return true };
        let text = |name: &str| block.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        if block.get("type").and_then(Value::as_str) != Some("tool_use") || self.text_is_arguments {
            return true;
        }
        let call = self.kept.calls;
        self.blocks[index] = Some(call);
        self.kept.calls += 1;
        let (id, name) = (text("id"), text("name"));
        teller.tell(Ok(Delta::CallBegun { sample: 0, index: call, id, name }))
    }

    fn go_on(&mut self, demand: &Demand, event: &Value, teller: &Teller) -> bool {
        let block = event.get("index").and_then(Value::as_u64).unwrap_or(0) as usize;
        let Some(delta) = event.get("delta") else { return true };
        let text = |name: &str| delta.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        let (sample, tokens) = (0, Vec::new());
        let said = match delta.get("type").and_then(Value::as_str).unwrap_or("") {
            "text_delta" if !self.text_is_arguments => {
                Delta::Text { sample, text: text("text"), tokens }
            }
            "thinking_delta" => Delta::Reasoning { sample, text: text("thinking"), tokens },
            "signature_delta" => Delta::Signature { sample, signature: text("signature") },
            "input_json_delta" if self.text_is_arguments => {
                let text = text("partial_json");
                demand.keep(&mut self.kept, &text);
                Delta::Text { sample, text, tokens }
            }
            "input_json_delta" => match self.blocks.get(block).copied().flatten() {
                Some(index) => Delta::CallArguments { sample, index, json: text("partial_json") },
                None => return true,
            },
            _ => return true,
        };
        teller.tell(Ok(said))
    }
}
