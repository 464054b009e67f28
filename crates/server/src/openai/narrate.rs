//! Chunks of chat completions, and the parts that chunks and whole answers share.

use lucid_provider::{Delta, LogProbs, Spoken, Stop, Usage};
use serde_json::{Value, json};

use crate::family;
use crate::refusal::Refusal;
use crate::stream::{Narrator, event};

/// What is the same in all chunks of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Identifies the answer.
    pub(crate) id: String,
    /// When it was asked for, in seconds since 1970.
    pub(crate) created: u64,
    /// The model's exact name.
    pub(crate) model: String,
    /// What the numbers of an answer depend on beside its seed.
    pub(crate) fingerprint: String,
}

/// An answer in chunks, of chat completions or of completions.
#[derive(Clone, Debug)]
pub(crate) struct Chunks {
    /// What is the same in all of them.
    pub(crate) head: Head,
    /// What they are called.
    pub(crate) object: &'static str,
    /// Whether the last one tells what the answer took.
    pub(crate) usage: IncludeUsage,
}

/// Tells a chat completion in chunks.
pub(crate) struct ChatChunks {
    chunks: Chunks,
    log_probs: Option<LogProbs>,
    totals: Totals,
    begun: Vec<bool>,
}

/// Whether the last chunk tells what the answer took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IncludeUsage {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// What all answers to one prompt took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    prompt: usize,
    cached: usize,
    new: usize,
    reasoning: usize,
    accepted: usize,
    rejected: usize,
}

impl Totals {
    /// Adds an answer. They share their prompt.
    pub(crate) fn add(&mut self, usage: &Usage) {
        self.prompt = usage.prompt_tokens;
        self.cached = self.cached.max(usage.cached_tokens);
        self.new += usage.new_tokens;
        self.reasoning += usage.reasoning_tokens;
        self.accepted += usage.accepted_tokens;
        self.rejected += usage.proposed_tokens.saturating_sub(usage.accepted_tokens);
    }

    /// Adds all answers to another prompt.
    pub(crate) fn add_prompt(&mut self, other: &Self) {
        self.prompt += other.prompt;
        self.cached += other.cached;
        self.new += other.new;
        self.reasoning += other.reasoning;
        self.accepted += other.accepted;
        self.rejected += other.rejected;
    }

    /// In the words of chat completions and completions.
    pub(crate) fn json(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.new,
            "total_tokens": self.prompt + self.new,
            "prompt_tokens_details": { "cached_tokens": self.cached },
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning,
                "accepted_prediction_tokens": self.accepted,
                "rejected_prediction_tokens": self.rejected,
            },
        })
    }

    /// In the words of responses.
    pub(crate) fn response_json(&self) -> Value {
        json!({
            "input_tokens": self.prompt,
            "input_tokens_details": { "cached_tokens": self.cached },
            "output_tokens": self.new,
            "output_tokens_details": { "reasoning_tokens": self.reasoning },
            "total_tokens": self.prompt + self.new,
        })
    }
}

impl Head {
    /// An answer of these choices, or a chunk of it.
    pub(crate) fn with(&self, object: &str, choices: &Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        })
    }
}

impl Chunks {
    /// A chunk of one choice. Where usage is wanted, every chunk has the field.
    pub(crate) fn choice(&self, choice: &Value, out: &mut String) {
        let mut chunk = self.head.with(self.object, &json!([choice]));
        if self.usage == IncludeUsage::Yes {
            chunk["usage"] = Value::Null;
        }
        event(out, &chunk);
    }

    /// What follows the last choice.
    pub(crate) fn end(&self, totals: &Totals, out: &mut String) {
        if self.usage == IncludeUsage::Yes {
            let mut chunk = self.head.with(self.object, &json!([]));
            chunk["usage"] = totals.json();
            event(out, &chunk);
        }
        finish(out);
    }
}

/// That the provider failed, and the end of the chunks.
pub(crate) fn fail(refusal: &Refusal, out: &mut String) {
    event(out, &family::openai(refusal));
    finish(out);
}

impl ChatChunks {
    /// Chunks of `samples` answers.
    pub(crate) fn new(
        head: Head,
        usage: IncludeUsage,
        samples: usize,
        log_probs: Option<LogProbs>,
    ) -> Self {
        let chunks = Chunks { head, object: "chat.completion.chunk", usage };
        Self { chunks, log_probs, totals: Totals::default(), begun: vec![false; samples] }
    }

    /// A chunk with something new in it. The first one of an answer names the speaker.
    fn choice(&mut self, sample: usize, mut delta: Value, tokens: &[Spoken], out: &mut String) {
        if let Some(begun) = self.begun.get_mut(sample)
            && !std::mem::replace(begun, true)
        {
            delta["role"] = json!("assistant");
        }
        let told = match self.log_probs {
            Some(_) if !tokens.is_empty() => chat_log_probs(tokens),
            _ => Value::Null,
        };
        let choice =
            json!({ "index": sample, "delta": delta, "logprobs": told, "finish_reason": null });
        self.chunks.choice(&choice, out);
    }
}

impl Narrator for ChatChunks {
    fn tell(&mut self, delta: Delta, out: &mut String) {
        match delta {
            Delta::Begun { .. } => {
                for sample in 0..self.begun.len() {
                    self.choice(sample, json!({ "content": "" }), &[], out);
                }
            }
            Delta::Prompt(_) | Delta::Signature { .. } => {}
            Delta::Text { sample, text, tokens } => {
                if !text.is_empty() || self.log_probs.is_some() {
                    self.choice(sample, json!({ "content": text }), &tokens, out);
                }
            }
            Delta::Reasoning { sample, text, .. } => {
                if !text.is_empty() {
                    self.choice(sample, json!({ "reasoning_content": text }), &[], out);
                }
            }
            Delta::CallBegun { sample, index, id, name } => {
                let call = json!({
                    "index": index, "id": id, "type": "function",
                    "function": { "name": name, "arguments": "" },
                });
                self.choice(sample, json!({ "tool_calls": [call] }), &[], out);
            }
            Delta::CallArguments { sample, index, json } => {
                let call = json!({ "index": index, "function": { "arguments": json } });
                self.choice(sample, json!({ "tool_calls": [call] }), &[], out);
            }
            Delta::Finished { sample, stop, usage } => {
                self.totals.add(&usage);
                let mut choice = json!({
                    "index": sample, "delta": {}, "logprobs": null,
                    "finish_reason": finish_reason(&stop),
                });
                add_hint(&mut choice, &stop);
                self.chunks.choice(&choice, out);
            }
        }
    }

    fn end(&mut self, out: &mut String) {
        self.chunks.end(&self.totals, out);
    }

    fn fail(&mut self, refusal: &Refusal, out: &mut String) {
        fail(refusal, out);
    }
}

/// The end of a stream of chunks.
fn finish(out: &mut String) {
    out.push_str("data: [DONE]\n\n");
}

/// Why an answer ended, in OpenAI's words.
pub(crate) fn finish_reason(stop: &Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Text(_) | Stop::Cancelled => "stop",
        Stop::Length | Stop::ContextFull => "length",
        Stop::ToolCalls => "tool_calls",
        Stop::Refused => "content_filter",
    }
}

/// Adds what OpenAI has no word for: by which text an answer ended (vLLM's `stop_reason`), and that
/// it was the context's end and not the caller's limit.
pub(crate) fn add_hint(choice: &mut Value, stop: &Stop) {
    match stop {
        Stop::Text(text) => choice["stop_reason"] = json!(text),
        Stop::ContextFull => {
            choice["stop_reason"] = json!("context_full");
            choice["hint"] = json!(
                "prompt and answer fill the model's context: shorten the conversation, or start \
                 the server with a greater --ctx"
            );
        }
        _ => {}
    }
}

/// Log-probabilities in the words of chat completions.
pub(crate) fn chat_log_probs(tokens: &[Spoken]) -> Value {
    let content: Vec<Value> = tokens
        .iter()
        .map(|spoken| {
            let log_prob = spoken.log_prob.as_ref();
            let alternatives = log_prob.map_or(&[][..], |it| it.alternatives.as_slice());
            let top: Vec<Value> =
                alternatives.iter().map(|(_, bytes, value)| token_json(bytes, *value)).collect();
            let mut token = token_json(&spoken.bytes, log_prob.map_or(0.0, |it| it.value));
            token["top_logprobs"] = json!(top);
            token
        })
        .collect();
    json!({ "content": content, "refusal": null })
}

fn token_json(bytes: &[u8], value: f64) -> Value {
    json!({
        "token": String::from_utf8_lossy(bytes),
        "logprob": finite(value),
        "bytes": bytes,
    })
}

/// JSON has no infinities: -9999 is what OpenAI's protocol has for them.
pub(crate) fn finite(value: f64) -> f64 {
    if value.is_finite() { value.max(-9999.0) } else { -9999.0 }
}
