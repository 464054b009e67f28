//! OpenAI's protocol from the client's side. Source: OpenAI's API reference (chat/completions,
//! completions, embeddings), as vLLM, SGLang and llama-server speak it.
//!
//! Departures: (1) reasoning comes as `reasoning_content` or `reasoning`, which the reference does
//! not have and open servers do; (2) `rerank` is Jina's, as vLLM and llama-server have it.

use serde_json::{Map, Value, json};

use super::demand::{Demand, Kept};
use super::http::Reply;
use super::{Ended, Next, Shared, Telling, number, tokens_of};
use crate::{
    Delta, Effort, Embedding, EmbeddingKind, Embeddings, Message, OutputFormat, Prompt,
    ProviderError, Ranking, Spoken, SpokenLogProb, Stop, Teller, ToolChoice, Turn, Usage,
};

/// Where a turn is sent, and what.
pub(super) fn request(
    shared: &Shared,
    turn: &Turn,
) -> Result<(&'static str, Value), ProviderError> {
    if turn.adapter.is_some() {
        return Err(shared.unsupported("it takes no adapters"));
    }
    if turn.hold.is_some() {
        return Err(shared.unsupported("it sets no turns aside"));
    }
    if turn.log_probs.is_some_and(|wanted| wanted.prompt) {
        return Err(shared.unsupported("it tells no log-probabilities of prompts"));
    }
    if turn.ignore_end && !shared.options.extended {
        return Err(shared.unsupported("it cannot disregard the end of a text"));
    }
    if !turn.stop_tokens.is_empty() && !shared.options.extended {
        return Err(shared.unsupported("it knows stop texts, not stop tokens"));
    }
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(shared.options.model));
    body.insert("stream".to_owned(), json!(true));
    body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    sampling(shared, turn, &mut body)?;
    if turn.samples > 1 {
        body.insert("n".to_owned(), json!(turn.samples));
    }
    if !turn.stops.is_empty() {
        body.insert("stop".to_owned(), json!(turn.stops));
    }
    if shared.options.extended {
        if turn.ignore_end {
            body.insert("ignore_eos".to_owned(), json!(true));
        }
        if !turn.stop_tokens.is_empty() {
            body.insert("stop_token_ids".to_owned(), json!(turn.stop_tokens));
        }
    }
    let path = prompt(shared, turn, &mut body)?;
    Ok((path, Value::Object(body)))
}

/// What is to be continued, and all that depends on whether it is a conversation.
fn prompt(
    shared: &Shared,
    turn: &Turn,
    body: &mut Map<String, Value>,
) -> Result<&'static str, ProviderError> {
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    let Prompt::Chat { messages, variables, continues } = &turn.prompt else {
        if !turn.tools.list.is_empty() || turn.format != OutputFormat::Free {
            return Err(shared.unsupported("it continues texts without tools and formats only"));
        }
        match &turn.prompt {
            Prompt::Text(text) => put("prompt", json!(text.text)),
            Prompt::Tokens(tokens) if shared.options.extended => put("prompt", json!(tokens)),
            Prompt::Infill { prefix, suffix } => {
                put("suffix", json!(suffix));
                put("prompt", json!(prefix))
            }
            _ => return Err(shared.unsupported("it takes texts, not tokens")),
        };
        if let Some(most) = turn.new_tokens_max {
            put("max_tokens", json!(most));
        }
        if let Some(wanted) = turn.log_probs {
            put("logprobs", json!(wanted.alternatives));
        }
        return Ok("completions");
    };
    put("messages", messages.iter().map(message).collect());
    let mut template = variables.clone();
    match turn.effort {
        Effort::Default => {}
        Effort::Off => {
            put("reasoning_effort", json!("none"));
            template.insert("enable_thinking".to_owned(), json!(false));
        }
        Effort::On { tokens_max } => {
            let effort = match tokens_max {
                Some(0..=1024) => "low",
                None | Some(1025..=8192) => "medium",
                Some(_) => "high",
            };
            put("reasoning_effort", json!(effort));
            template.insert("enable_thinking".to_owned(), json!(true));
        }
    }
    if shared.options.extended {
        if !template.is_empty() {
            put("chat_template_kwargs", Value::Object(template));
        }
        if *continues {
            put("continue_final_message", json!(true));
            put("add_generation_prompt", json!(false));
        }
    } else if !variables.is_empty() || *continues {
        return Err(shared.unsupported("its template takes no variables, and continues nothing"));
    }
    if let Some(most) = turn.new_tokens_max {
        // The newer name is the only one that reasoning models of the closed API take.
        let name = if shared.options.extended { "max_tokens" } else { "max_completion_tokens" };
        put(name, json!(most));
    }
    if let Some(wanted) = turn.log_probs {
        put("logprobs", json!(true));
        put("top_logprobs", json!(wanted.alternatives));
    }
    tools_and_format(shared, turn, body)?;
    Ok("chat/completions")
}

fn message(message: &Message) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("role", json!(message.role));
    put("content", json!(message.content));
    if let Some(reasoning) = &message.reasoning {
        put("reasoning_content", json!(reasoning));
    }
    if let Some(name) = &message.name {
        put("name", json!(name));
    }
    if let Some(id) = &message.tool_call_id {
        put("tool_call_id", json!(id));
    }
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(|call| {
            let arguments = call.arguments.to_string();
            let function = json!({"name": call.name, "arguments": arguments});
            json!({"id": call.id, "type": "function", "function": function})
        });
        put("tool_calls", calls.collect());
    }
    Value::Object(fields)
}

fn tools_and_format(
    shared: &Shared,
    turn: &Turn,
    body: &mut Map<String, Value>,
) -> Result<(), ProviderError> {
    if !turn.tools.list.is_empty() {
        let tools = turn.tools.list.iter().map(|tool| {
            let mut function = json!({"name": tool.name});
            if let Some(description) = &tool.description {
                function["description"] = json!(description);
            }
            if !tool.parameters.is_null() {
                function["parameters"] = tool.parameters.clone();
            }
            json!({"type": "function", "function": function})
        });
        body.insert("tools".to_owned(), tools.collect());
        let choice = match &turn.tools.choice {
            ToolChoice::Auto => json!("auto"),
            ToolChoice::None => json!("none"),
            ToolChoice::Required => json!("required"),
            ToolChoice::Named(name) => json!({"type": "function", "function": {"name": name}}),
        };
        body.insert("tool_choice".to_owned(), choice);
        if !turn.tools.parallel {
            body.insert("parallel_tool_calls".to_owned(), json!(false));
        }
    }
    let format = match &turn.format {
        OutputFormat::Free => return Ok(()),
        OutputFormat::JsonObject => json!({"type": "json_object"}),
        OutputFormat::JsonSchema(schema) => json!({
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": true, "schema": schema},
        }),
        // Servers that do not know a field pass over it, and would answer without it.
        OutputFormat::Regex(_)
        | OutputFormat::Choice(_)
        | OutputFormat::Lark(_)
        | OutputFormat::Gbnf(_) => {
            return Err(shared.unsupported("it keeps to JSON schemas, not to other grammars"));
        }
    };
    body.insert("response_format".to_owned(), format);
    Ok(())
}

fn sampling(
    shared: &Shared,
    turn: &Turn,
    body: &mut Map<String, Value>,
) -> Result<(), ProviderError> {
    let set = &turn.sampling;
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put("temperature", set.temperature.map(number));
    put("top_p", set.top_p.map(number));
    put("frequency_penalty", set.frequency_penalty.map(number));
    put("presence_penalty", set.presence_penalty.map(number));
    put("seed", set.seed.map(|seed| json!(seed & i64::MAX as u64)));
    if !set.logit_bias.is_empty() {
        let bias = set.logit_bias.iter().map(|&(token, bias)| {
            // The protocol's bounds; -100 bans a token.
            (token.to_string(), number(bias.clamp(-100.0, 100.0)))
        });
        put("logit_bias", Some(Value::Object(bias.collect())));
    }
    let foreign = set.typical_p.is_some()
        || set.top_n_sigma.is_some()
        || set.penalty_last_n.is_some()
        || set.dry_multiplier.or(set.dry_base).is_some()
        || set.dry_allowed_length.or(set.dry_last_n).is_some()
        || set.dry_breakers.is_some()
        || set.xtc_probability.or(set.xtc_threshold).is_some()
        || set.dynamic_temperature_range.is_some();
    let extended = set.top_k.is_some() || set.min_p.is_some() || set.repeat_penalty.is_some();
    if foreign || extended && !shared.options.extended {
        return Err(shared.unsupported(
            "of the ways of sampling it knows temperature, top-p, penalties, bias and seed, and \
             where it was declared to be extended, top-k, min-p and repeat-penalty",
        ));
    }
    put("top_k", set.top_k.map(|value| json!(value)));
    put("min_p", set.min_p.map(number));
    // llama-server's name, and vLLM's.
    put("repeat_penalty", set.repeat_penalty.map(number));
    put("repetition_penalty", set.repeat_penalty.map(number));
    Ok(())
}

/// Reads the stream of an answer.
pub(super) fn read(telling: &Telling<'_>, reply: Reply) -> Result<(), ProviderError> {
    let Telling { shared, turn, demand, teller } = telling;
    let mut state = State::new(turn);
    teller.tell(Ok(Delta::Begun { prompt_tokens: 0, cached_tokens: 0 }));
    let mut take = |event: &str| {
        if event == "[DONE]" {
            return Ok(Next::Over);
        }
        let value = shared.parsed(event)?;
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            let message = error.get("message").unwrap_or(error);
            let reason = message.as_str().map_or_else(|| message.to_string(), str::to_owned);
            let status = error.get("code").and_then(Value::as_u64).unwrap_or(500);
            return Err(shared.told(u16::try_from(status).unwrap_or(500), &reason));
        }
        Ok(if state.take(&value, demand, teller) { Next::More } else { Next::Deserted })
    };
    let ended = shared.each_event(reply, &mut take)?;
    let whole = state.samples.iter().all(|sample| sample.kept.stop.is_some());
    match ended {
        Ended::Deserted => Ok(()),
        Ended::Cut if !whole => Err(shared.cut("the answer ended before it was over")),
        Ended::Said | Ended::Cut => state.finish(telling),
    }
}

/// An answer on its way.
struct State {
    samples: Vec<Sample>,
    usage: Usage,
}

#[derive(Default)]
struct Sample {
    kept: Kept,
    /// Which calls were begun.
    calls: Vec<bool>,
}

/// The most calls of an answer.
const CALLS_MAX: usize = 128;

impl State {
    fn new(turn: &Turn) -> Self {
        let mut samples = Vec::new();
        samples.resize_with(turn.samples.max(1), Sample::default);
        Self { samples, usage: Usage::default() }
    }

    /// Takes a chunk in. False when nobody listens any more.
    fn take(&mut self, chunk: &Value, demand: &Demand, teller: &Teller) -> bool {
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            self.usage = read_usage(usage);
        }
        let choices = chunk.get("choices").and_then(Value::as_array);
        for choice in choices.into_iter().flatten() {
            let sample = choice.get("index").and_then(Value::as_u64).unwrap_or(0) as usize;
            let Some(state) = self.samples.get_mut(sample) else { continue };
            let delta = choice.get("delta").unwrap_or(choice);
            let text = |name: &str| delta.get(name).and_then(Value::as_str).unwrap_or("");
            for name in ["reasoning_content", "reasoning"] {
                if !text(name).is_empty() {
                    let text = text(name).to_owned();
                    let said = Delta::Reasoning { sample, text, tokens: Vec::new() };
                    if !teller.tell(Ok(said)) {
                        return false;
                    }
                }
            }
            let tokens = spoken(choice);
            // `content` of a conversation, `text` of a text.
            let said = [text("content"), text("text"), text("refusal")].concat();
            if !said.is_empty() || !tokens.is_empty() {
                demand.keep(&mut state.kept, &said);
                if !teller.tell(Ok(Delta::Text { sample, text: said, tokens })) {
                    return false;
                }
            }
            let calls = delta.get("tool_calls").and_then(Value::as_array);
            for call in calls.into_iter().flatten() {
                if !state.call(sample, call, teller) {
                    return false;
                }
            }
            if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
                state.kept.stop = Some(match reason {
                    "length" => Stop::Length,
                    "tool_calls" | "function_call" => Stop::ToolCalls,
                    "content_filter" => Stop::Refused,
                    _ => Stop::End,
                });
            }
        }
        true
    }

    /// Says how the answers ended.
    fn finish(self, telling: &Telling<'_>) -> Result<(), ProviderError> {
        let Telling { shared, demand, teller, .. } = telling;
        let usage = shared.priced(self.usage);
        for (sample, state) in self.samples.into_iter().enumerate() {
            let stop = demand.ended(shared, state.kept)?;
            // The API counts all answers together.
            let usage = if sample == 0 {
                usage
            } else {
                Usage { new_tokens: 0, reasoning_tokens: 0, cost_usd: None, ..usage }
            };
            teller.tell(Ok(Delta::Finished { sample, stop, usage }));
        }
        Ok(())
    }
}

impl Sample {
    fn call(&mut self, sample: usize, call: &Value, teller: &Teller) -> bool {
        let index = call.get("index").and_then(Value::as_u64).unwrap_or(0) as usize;
        if index >= CALLS_MAX {
            return true;
        }
        let function = call.get("function").unwrap_or(&Value::Null);
        let text = |value: &Value, name: &str| {
            value.get(name).and_then(Value::as_str).unwrap_or("").to_owned()
        };
        if self.calls.len() <= index {
            self.calls.resize(index + 1, false);
        }
        if !self.calls[index] {
            self.calls[index] = true;
            self.kept.calls += 1;
            let (id, name) = (text(call, "id"), text(function, "name"));
            if !teller.tell(Ok(Delta::CallBegun { sample, index, id, name })) {
                return false;
            }
        }
        let json = text(function, "arguments");
        json.is_empty() || teller.tell(Ok(Delta::CallArguments { sample, index, json }))
    }
}

fn read_usage(usage: &Value) -> Usage {
    let count = |path: &str| usage.pointer(path).map_or(0, tokens_of);
    let prompt_tokens = count("/prompt_tokens");
    Usage {
        prompt_tokens,
        // A part of them, whatever it says.
        cached_tokens: count("/prompt_tokens_details/cached_tokens").min(prompt_tokens),
        new_tokens: count("/completion_tokens"),
        reasoning_tokens: count("/completion_tokens_details/reasoning_tokens"),
        proposed_tokens: 0,
        accepted_tokens: count("/completion_tokens_details/accepted_prediction_tokens"),
        ..Usage::default()
    }
}

/// The tokens of a choice with their log-probabilities, in either protocol's shape.
fn spoken(choice: &Value) -> Vec<Spoken> {
    let Some(log_probs) = choice.get("logprobs").filter(|it| it.is_object()) else {
        return Vec::new();
    };
    if let Some(content) = log_probs.get("content").and_then(Value::as_array) {
        return content.iter().map(spoken_in_chat).collect();
    }
    let list = |name: &str| log_probs.get(name).and_then(Value::as_array);
    let (Some(tokens), Some(values)) = (list("tokens"), list("token_logprobs")) else {
        return Vec::new();
    };
    let tops = list("top_logprobs");
    let one = |(index, (token, value)): (usize, (&Value, &Value))| {
        let top = tops.and_then(|tops| tops.get(index)).and_then(Value::as_object);
        let mut alternatives: Vec<_> = top
            .into_iter()
            .flatten()
            .map(|(text, value)| (None, text.as_bytes().to_vec(), value.as_f64().unwrap_or(0.0)))
            .collect();
        alternatives.sort_by(|a, b| b.2.total_cmp(&a.2));
        let log_prob = value.as_f64().map(|value| SpokenLogProb { value, alternatives });
        let bytes = token.as_str().unwrap_or("").as_bytes().to_vec();
        Spoken { token: None, bytes, log_prob }
    };
    tokens.iter().zip(values).enumerate().map(one).collect()
}

fn spoken_in_chat(token: &Value) -> Spoken {
    let bytes = |token: &Value| match token.get("bytes").and_then(Value::as_array) {
        Some(bytes) => bytes.iter().filter_map(Value::as_u64).map(|byte| byte as u8).collect(),
        None => token.get("token").and_then(Value::as_str).unwrap_or("").as_bytes().to_vec(),
    };
    let value = |token: &Value| token.get("logprob").and_then(Value::as_f64).unwrap_or(0.0);
    let top = token.get("top_logprobs").and_then(Value::as_array);
    let alternatives =
        top.into_iter().flatten().map(|token| (None, bytes(token), value(token))).collect();
    let log_prob = Some(SpokenLogProb { value: value(token), alternatives });
    Spoken { token: None, bytes: bytes(token), log_prob }
}

pub(super) fn embed(
    shared: &Shared,
    prompts: &[Prompt],
    kind: EmbeddingKind,
) -> Result<Embeddings, ProviderError> {
    if kind.raw {
        return Err(shared.unsupported("its embeddings have length 1"));
    }
    let inputs: Option<Vec<&str>> = prompts
        .iter()
        .map(|prompt| match prompt {
            Prompt::Text(text) => Some(text.text.as_str()),
            _ => None,
        })
        .collect();
    let inputs = inputs.ok_or_else(|| shared.unsupported("it embeds texts, not tokens"))?;
    let mut body =
        json!({"model": shared.options.model, "input": inputs, "encoding_format": "float"});
    if let Some(dimensions) = kind.dimensions {
        body["dimensions"] = json!(dimensions);
    }
    let answer = shared.ask("embeddings", &body)?;
    let data = answer.get("data").and_then(Value::as_array);
    let mut list = vec![Embedding::default(); prompts.len()];
    for entry in data.into_iter().flatten() {
        let index = entry.get("index").and_then(Value::as_u64).unwrap_or(0) as usize;
        let values = entry.get("embedding").and_then(Value::as_array);
        if let (Some(place), Some(values)) = (list.get_mut(index), values) {
            place.values = values.iter().filter_map(Value::as_f64).map(|it| it as f32).collect();
        }
    }
    if list.iter().any(|embedding| embedding.values.is_empty()) {
        return Err(shared.nonsense("embeddings are missing"));
    }
    let tokens = answer.pointer("/usage/prompt_tokens").map_or(0, tokens_of);
    Ok(Embeddings { list, tokens })
}

pub(super) fn rank(
    shared: &Shared,
    query: &str,
    documents: &[String],
) -> Result<Ranking, ProviderError> {
    let body = json!({"model": shared.options.model, "query": query, "documents": documents});
    let answer = shared.ask("rerank", &body)?;
    let mut scores = vec![f32::NAN; documents.len()];
    let results = answer.get("results").and_then(Value::as_array);
    for result in results.into_iter().flatten() {
        let index = result.get("index").and_then(Value::as_u64).map(|index| index as usize);
        let score = result.get("relevance_score").and_then(Value::as_f64);
        if let (Some(place), Some(score)) = (index.and_then(|index| scores.get_mut(index)), score) {
            *place = score as f32;
        }
    }
    if scores.iter().any(|score| score.is_nan()) {
        return Err(shared.nonsense("scores are missing"));
    }
    let tokens = answer.pointer("/usage/total_tokens").map_or(0, tokens_of);
    Ok(Ranking { scores, tokens })
}
