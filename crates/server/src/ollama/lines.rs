//! Pieces of an answer become the objects that Ollama writes, one to a line. Invariant: one object
//! at the end has `done`, the reason and the timings; a call of a tool comes whole, once its
//! arguments are.

use std::time::Duration;

use serde_json::{Map, Value, json};

use lucid_provider::{Call, Delta, Spoken, Stop, Usage};

/// Where an answer's text stands in its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// In `response`.
    Generate,
    /// In `message`.
    Chat,
}

/// The state between the pieces.
#[derive(Debug)]
pub(crate) struct Lines {
    shape: Shape,
    model: String,
    note: Option<&'static str>,
    /// From the request until the model was there.
    load: Duration,
    /// From the request until the first token.
    first: Option<Duration>,
    calls: Vec<Call>,
    told_calls: usize,
}

/// When something happens.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    /// The time of day, as RFC 3339 writes it.
    pub(crate) wall: String,
    /// Since the request came.
    pub(crate) elapsed: Duration,
}

impl Lines {
    /// The objects of an answer by this model, which took `load` to be there.
    pub(crate) fn new(shape: Shape, model: impl Into<String>, load: Duration) -> Self {
        let model = model.into();
        Self { shape, model, note: None, load, first: None, calls: Vec::new(), told_calls: 0 }
    }

    /// Says something to the client with the last object.
    #[must_use]
    pub(crate) fn with_note(mut self, note: Option<&'static str>) -> Self {
        self.note = note;
        self
    }

    /// The objects that a piece becomes.
    pub(crate) fn of(&mut self, delta: Delta, now: &Moment) -> Vec<Value> {
        let mut lines = Vec::new();
        match delta {
            Delta::Text { text, tokens, .. } => {
                self.tell_calls(now, &mut lines);
                if !text.is_empty() || tokens.iter().any(|token| token.log_prob.is_some()) {
                    self.first.get_or_insert(now.elapsed);
                    lines.push(self.text(&text, &tokens, now));
                }
            }
            Delta::Reasoning { text, .. } if !text.is_empty() => {
                self.first.get_or_insert(now.elapsed);
                lines.push(self.line("thinking", text.into(), now));
            }
            Delta::CallBegun { id, name, .. } => {
                self.tell_calls(now, &mut lines);
                self.first.get_or_insert(now.elapsed);
                self.calls.push(Call { id, name, arguments: String::new() });
            }
            Delta::CallArguments { index, json, .. } => {
                if let Some(call) = self.calls.get_mut(index) {
                    call.arguments.push_str(&json);
                }
            }
            Delta::Finished { stop, usage, .. } => {
                self.forget_cut_call(&stop);
                self.tell_calls(now, &mut lines);
                lines.push(self.end(&stop, usage, now));
            }
            Delta::Begun { .. }
            | Delta::Prompt(_)
            | Delta::Reasoning { .. }
            | Delta::Signature { .. } => {}
        }
        lines
    }

    /// What is told when a model was loaded or let go of.
    pub(crate) fn loaded(&self, reason: &str, now: &Moment) -> Value {
        let mut line = self.line(self.text_field(), "".into(), now);
        line["done"] = true.into();
        line["done_reason"] = reason.into();
        line
    }

    fn text_field(&self) -> &'static str {
        match self.shape {
            Shape::Generate => "response",
            Shape::Chat => "content",
        }
    }

    fn text(&self, text: &str, tokens: &[Spoken], now: &Moment) -> Value {
        let mut line = self.line(self.text_field(), text.into(), now);
        let probs: Vec<Value> = tokens.iter().filter_map(log_prob).collect();
        if !probs.is_empty() {
            line["logprobs"] = probs.into();
        }
        line
    }

    fn line(&self, field: &str, value: Value, now: &Moment) -> Value {
        let mut line = json!({"model": self.model, "created_at": now.wall});
        match self.shape {
            Shape::Generate => {
                line["response"] = "".into();
                line[field] = value;
            }
            Shape::Chat => {
                line["message"] = json!({"role": "assistant", "content": ""});
                line["message"][field] = value;
            }
        }
        line["done"] = false.into();
        line
    }

    /// A call whose arguments a limit has cut off is none: told with those that are missing, a
    /// client would run it.
    fn forget_cut_call(&mut self, stop: &Stop) {
        let cut = matches!(stop, Stop::Length | Stop::ContextFull | Stop::Cancelled);
        let last = self.calls.get(self.told_calls..).and_then(<[Call]>::last);
        if cut && last.is_some_and(|call| !call.parsed().arguments.is_object()) {
            self.calls.pop();
        }
    }

    /// Tells the calls that are whole: those that nothing can be added to any more.
    fn tell_calls(&mut self, now: &Moment, lines: &mut Vec<Value>) {
        for index in self.told_calls..self.calls.len() {
            let call = &self.calls[index];
            let arguments = match call.parsed().arguments {
                Value::Object(map) => map,
                _ => Map::new(),
            };
            let function = json!({"index": index, "name": call.name, "arguments": arguments});
            let calls = json!([{"id": call.id, "function": function}]);
            lines.push(self.line("tool_calls", calls, now));
        }
        self.told_calls = self.calls.len();
    }

    fn end(&self, stop: &Stop, usage: Usage, now: &Moment) -> Value {
        let reason = match stop {
            Stop::End | Stop::Text(_) | Stop::ToolCalls | Stop::Refused => "stop",
            Stop::Length | Stop::ContextFull => "length",
            Stop::Cancelled => "cancelled",
        };
        let mut line = self.loaded(reason, now);
        let first = self.first.unwrap_or(now.elapsed);
        for (name, number) in [
            ("total_duration", nanoseconds(now.elapsed)),
            ("load_duration", nanoseconds(self.load)),
            ("prompt_eval_count", usage.prompt_tokens as u64),
            ("prompt_eval_duration", nanoseconds(first.saturating_sub(self.load))),
            ("eval_count", usage.new_tokens as u64),
            ("eval_duration", nanoseconds(now.elapsed.saturating_sub(first))),
        ] {
            line[name] = number.into();
        }
        let full = (*stop == Stop::ContextFull).then_some("the context is full");
        if let Some(note) = self.note.or(full) {
            line["note"] = note.into();
        }
        line
    }
}

/// All objects of an answer in one.
pub(crate) fn whole(lines: Vec<Value>) -> Value {
    let mut text = String::new();
    let mut thinking = String::new();
    let mut calls = Vec::new();
    let mut probs = Vec::new();
    let mut whole = Value::Null;
    for mut line in lines {
        let said = if line["message"].is_object() { &mut line["message"] } else { &mut line };
        let part = |field: &str| said.get(field).and_then(Value::as_str).unwrap_or_default();
        text.push_str(part("response"));
        text.push_str(part("content"));
        thinking.push_str(part("thinking"));
        if let Some(Value::Array(list)) = said.get_mut("tool_calls") {
            calls.append(list);
        }
        if let Some(Value::Array(list)) = line.get_mut("logprobs") {
            probs.append(list);
        }
        whole = line;
    }
    let chat = whole["message"].is_object();
    if !probs.is_empty() {
        whole["logprobs"] = probs.into();
    }
    let said = if chat { &mut whole["message"] } else { &mut whole };
    said[if chat { "content" } else { "response" }] = text.into();
    if !thinking.is_empty() {
        said["thinking"] = thinking.into();
    }
    if !calls.is_empty() {
        said["tool_calls"] = calls.into();
    }
    whole
}

fn log_prob(spoken: &Spoken) -> Option<Value> {
    let told = spoken.log_prob.as_ref()?;
    let token = |bytes: &[u8], value: f64| {
        let text = String::from_utf8_lossy(bytes);
        json!({"token": text, "logprob": value, "bytes": bytes})
    };
    let mut whole = token(&spoken.bytes, told.value);
    if !told.alternatives.is_empty() {
        let best = told.alternatives.iter().map(|(_, bytes, value)| token(bytes, *value));
        whole["top_logprobs"] = best.collect();
    }
    Some(whole)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
