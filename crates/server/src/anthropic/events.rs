//! Pieces of an answer become the Messages API's events. Invariant: one `message_start` first;
//! blocks one after the other, each with a start, deltas and a stop; then `message_delta` and
//! `message_stop`, or an `error` wherever it happens. Source: Anthropic's API reference,
//! "Streaming messages".

use serde_json::{Value, json};

use lucid_provider::{Answer, Delta, Stop, Usage};

/// An event: its name and its data. The data's `type` is the name.
pub(crate) type Event = (&'static str, Value);

/// The state between the pieces.
#[derive(Debug)]
pub(crate) struct Events {
    id: String,
    model: String,
    open: Option<Block>,
    begun: usize,
}

/// The block that is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
    Call(usize),
}

impl Events {
    /// The events of a message of this id by this model.
    pub(crate) fn new(id: impl Into<String>, model: impl Into<String>) -> Self {
        Self { id: id.into(), model: model.into(), open: None, begun: 0 }
    }

    /// The events that a piece becomes.
    pub(crate) fn of(&mut self, delta: &Delta) -> Vec<Event> {
        let mut events = Vec::new();
        match delta {
            Delta::Begun { prompt_tokens, cached_tokens } => {
                let [prompt_tokens, cached_tokens] = [*prompt_tokens, *cached_tokens];
                let usage = Usage { prompt_tokens, cached_tokens, ..Usage::default() };
                let message = message(&self.id, &self.model, &[], None, usage);
                events.push(("message_start", json!({ "message": message })));
                events.push(("ping", json!({})));
            }
            Delta::Text { text, .. } if !text.is_empty() => {
                self.open(Block::Text, || json!({"type": "text", "text": ""}), &mut events);
                self.add(&json!({"type": "text_delta", "text": text}), &mut events);
            }
            Delta::Reasoning { text, .. } if !text.is_empty() => {
                let block = || json!({"type": "thinking", "thinking": "", "signature": ""});
                self.open(Block::Thinking, block, &mut events);
                self.add(&json!({"type": "thinking_delta", "thinking": text}), &mut events);
            }
            Delta::Signature { signature, .. } if self.open == Some(Block::Thinking) => {
                let delta = json!({"type": "signature_delta", "signature": signature});
                self.add(&delta, &mut events);
            }
            Delta::CallBegun { index, id, name, .. } => {
                let block = || json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                self.open(Block::Call(*index), block, &mut events);
                self.add(&json!({"type": "input_json_delta", "partial_json": ""}), &mut events);
            }
            Delta::CallArguments { index, json, .. }
                if self.open == Some(Block::Call(*index)) && !json.is_empty() =>
            {
                let delta = json!({"type": "input_json_delta", "partial_json": json});
                self.add(&delta, &mut events);
            }
            Delta::Finished { stop, usage, .. } => {
                self.close(&mut events);
                let (reason, sequence) = stop_reason(stop);
                let delta = json!({"stop_reason": reason, "stop_sequence": sequence});
                let data = json!({"delta": delta, "usage": usage_of(*usage)});
                events.push(("message_delta", data));
                events.push(("message_stop", json!({})));
            }
            // Empty pieces, tokens of the prompt, and what belongs to a block that is over.
            Delta::Text { .. }
            | Delta::Reasoning { .. }
            | Delta::Signature { .. }
            | Delta::CallArguments { .. }
            | Delta::Prompt(_) => {}
        }
        events.into_iter().map(typed).collect()
    }

    /// Opens a block, unless it is open already; what is open is closed.
    fn open(&mut self, block: Block, start: impl FnOnce() -> Value, events: &mut Vec<Event>) {
        if self.open == Some(block) {
            return;
        }
        self.close(events);
        let data = json!({"index": self.begun, "content_block": start()});
        events.push(("content_block_start", data));
        self.open = Some(block);
        self.begun += 1;
    }

    fn close(&mut self, events: &mut Vec<Event>) {
        if self.open.take().is_some() {
            events.push(("content_block_stop", json!({"index": self.begun - 1})));
        }
    }

    fn add(&self, delta: &Value, events: &mut Vec<Event>) {
        let index = self.begun.saturating_sub(1);
        events.push(("content_block_delta", json!({"index": index, "delta": delta})));
    }
}

/// The data of an event begins with its name.
fn typed((name, data): Event) -> Event {
    let mut whole = serde_json::Map::new();
    whole.insert("type".to_owned(), name.into());
    if let Value::Object(map) = data {
        whole.extend(map);
    }
    (name, Value::Object(whole))
}

/// An answer as one message.
pub(crate) fn whole(id: &str, model: &str, answer: &Answer) -> Value {
    let mut content = Vec::new();
    if !answer.reasoning.is_empty() {
        let signature = answer.signature.as_deref().unwrap_or_default();
        let thinking = &answer.reasoning;
        let block = json!({"type": "thinking", "thinking": thinking, "signature": signature});
        content.push(block);
    }
    if !answer.text.is_empty() {
        content.push(json!({"type": "text", "text": answer.text}));
    }
    for call in &answer.calls {
        let input = match call.parsed().arguments {
            Value::Object(map) => Value::Object(map),
            _ => json!({}),
        };
        let block = json!({"type": "tool_use", "id": call.id, "name": call.name, "input": input});
        content.push(block);
    }
    message(id, model, &content, answer.stop.as_ref(), answer.usage)
}

fn message(id: &str, model: &str, content: &[Value], stop: Option<&Stop>, usage: Usage) -> Value {
    let (reason, sequence) = stop.map_or((None, None), |stop| {
        let (reason, sequence) = stop_reason(stop);
        (Some(reason), sequence)
    });
    json!({
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": usage_of(usage),
    })
}

fn stop_reason(stop: &Stop) -> (&'static str, Option<&str>) {
    match stop {
        Stop::End | Stop::Cancelled => ("end_turn", None),
        Stop::Text(text) => ("stop_sequence", Some(text)),
        Stop::Length => ("max_tokens", None),
        Stop::ContextFull => ("model_context_window_exceeded", None),
        Stop::ToolCalls => ("tool_use", None),
        Stop::Refused => ("refusal", None),
    }
}

/// Their input tokens are those that were not known.
fn usage_of(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens.saturating_sub(usage.cached_tokens),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.new_tokens,
        "output_tokens_details": { "thinking_tokens": usage.reasoning_tokens },
    })
}
