//! A response as it comes to be: pieces become items and events. The events' order and fields are
//! those of the reference of OpenAI's Responses API (streaming events).

use lucid_provider::{Delta, Stop};
use serde_json::{Map, Value, json};

use crate::family;
use crate::openai::narrate::{Totals, chat_log_probs};
use crate::refusal::Refusal;
use crate::stream::named_event;

/// A response as it comes to be.
pub(super) struct Story {
    response: Value,
    /// Items so far; the last one may be open.
    items: Vec<Value>,
    open: Option<Open>,
    /// Which item a call is.
    calls: Vec<usize>,
    totals: Totals,
    stop: Option<Stop>,
    /// Numbers the events.
    sequence: u64,
    new_id: fn(&str) -> String,
}

/// What kind of item is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Reasoning,
    Message,
}

impl Story {
    /// A story of a response without output.
    pub(super) fn new(response: Value, new_id: fn(&str) -> String) -> Self {
        Self {
            response,
            items: Vec::new(),
            open: None,
            calls: Vec::new(),
            totals: Totals::default(),
            stop: None,
            sequence: 0,
            new_id,
        }
    }

    /// The response as it is now.
    pub(super) fn response(&self) -> &Value {
        &self.response
    }

    /// The events before everything else.
    pub(super) fn begin(&mut self, out: &mut String) {
        let response = self.response.clone();
        self.event("response.created", json!({ "response": response }), out);
        self.response["status"] = json!("in_progress");
        let response = self.response.clone();
        self.event("response.in_progress", json!({ "response": response }), out);
    }

    /// A piece.
    pub(super) fn tell(&mut self, delta: Delta, out: &mut String) {
        match delta {
            Delta::Begun { .. } | Delta::Prompt(_) | Delta::Signature { .. } => {}
            Delta::Reasoning { text, .. } => {
                if !text.is_empty() {
                    self.reasoning(&text, out);
                }
            }
            Delta::Text { text, tokens, .. } => {
                let told = tokens.iter().any(|spoken| spoken.log_prob.is_some());
                let log_probs =
                    if told { chat_log_probs(&tokens)["content"].take() } else { json!([]) };
                if !text.is_empty() || log_probs != json!([]) {
                    self.text(&text, &log_probs, out);
                }
            }
            Delta::CallBegun { index, id, name, .. } => {
                self.close(out);
                let item = json!({
                    "id": (self.new_id)("fc_"), "type": "function_call", "status": "in_progress",
                    "call_id": id, "name": name, "arguments": "",
                });
                if self.calls.len() <= index {
                    self.calls.resize(index + 1, usize::MAX);
                }
                self.calls[index] = self.items.len();
                self.add(item, out);
            }
            Delta::CallArguments { index, json, .. } => self.arguments(index, &json, out),
            Delta::Finished { stop, usage, .. } => {
                self.totals.add(&usage);
                self.stop = Some(stop);
            }
        }
    }

    /// The provider has said everything. The last event comes from `last`, once the response is
    /// kept.
    pub(super) fn finish(&mut self, out: &mut String) {
        self.close(out);
        self.close_calls(out);
        let reason = match self.stop {
            Some(Stop::Length | Stop::ContextFull) => Some("max_output_tokens"),
            Some(Stop::Refused) => Some("content_filter"),
            _ => None,
        };
        let cancelled = matches!(self.stop, None | Some(Stop::Cancelled));
        let status = match reason {
            Some(_) => "incomplete",
            None if cancelled => "cancelled",
            None => "completed",
        };
        if let Some(reason) = reason {
            self.response["incomplete_details"] = json!({ "reason": reason });
        }
        if self.stop == Some(Stop::ContextFull) {
            self.response["incomplete_details"]["hint"] =
                json!("prompt and answer fill the model's context");
        }
        self.settle(status);
    }

    /// The provider failed.
    pub(super) fn fail(&mut self, refusal: &Refusal) {
        let error = family::openai(refusal);
        self.response["error"] =
            json!({ "code": "server_error", "message": error["error"]["message"] });
        self.settle("failed");
    }

    /// Nobody wants it any more.
    pub(super) fn cancel(&mut self) {
        self.settle("cancelled");
    }

    /// The last event.
    pub(super) fn last(&mut self, out: &mut String) {
        let name = match self.response["status"].as_str() {
            Some("failed") => "response.failed",
            Some("incomplete") => "response.incomplete",
            Some("cancelled") => "response.cancelled",
            _ => "response.completed",
        };
        let response = self.response.clone();
        self.event(name, json!({ "response": response }), out);
    }

    fn settle(&mut self, status: &str) {
        self.response["status"] = json!(status);
        self.response["output"] = json!(self.items);
        self.response["usage"] = self.totals.response_json();
    }

    fn reasoning(&mut self, text: &str, out: &mut String) {
        if self.open != Some(Open::Reasoning) {
            self.close(out);
            let item = json!({
                "id": (self.new_id)("rs_"), "type": "reasoning", "status": "in_progress",
                "summary": [], "content": [],
            });
            self.add(item, out);
            self.open = Some(Open::Reasoning);
            self.add_part(&json!({ "type": "reasoning_text", "text": "" }), out);
        }
        self.grow(text);
        self.item_event("response.reasoning_text.delta", json!({ "delta": text }), out);
    }

    fn text(&mut self, text: &str, log_probs: &Value, out: &mut String) {
        if self.open != Some(Open::Message) {
            self.close(out);
            let item = json!({
                "id": (self.new_id)("msg_"), "type": "message", "status": "in_progress",
                "role": "assistant", "content": [],
            });
            self.add(item, out);
            self.open = Some(Open::Message);
            let part =
                json!({ "type": "output_text", "text": "", "annotations": [], "logprobs": [] });
            self.add_part(&part, out);
        }
        self.grow(text);
        if let (Some(all), Some(new)) = (self.log_probs(), log_probs.as_array()) {
            all.extend(new.iter().cloned());
        }
        let fields = json!({ "delta": text, "logprobs": log_probs });
        self.item_event("response.output_text.delta", fields, out);
    }

    fn arguments(&mut self, index: usize, json: &str, out: &mut String) {
        let Some(&at) = self.calls.get(index).filter(|&&at| at < self.items.len()) else { return };
        let item = &mut self.items[at];
        if let Value::String(arguments) = &mut item["arguments"] {
            arguments.push_str(json);
        }
        let fields = json!({ "item_id": item["id"], "output_index": at, "delta": json });
        self.event("response.function_call_arguments.delta", fields, out);
    }

    /// Begins an item.
    fn add(&mut self, item: Value, out: &mut String) {
        let fields = json!({ "output_index": self.items.len(), "item": item });
        self.items.push(item);
        self.event("response.output_item.added", fields, out);
    }

    /// Begins the only part of the open item.
    fn add_part(&mut self, part: &Value, out: &mut String) {
        self.item_event("response.content_part.added", json!({ "part": part }), out);
        if let Some(item) = self.items.last_mut() {
            item["content"] = json!([part]);
        }
    }

    /// Adds text to the open item.
    fn grow(&mut self, more: &str) {
        let part = self.items.last_mut().map(|item| &mut item["content"][0]["text"]);
        if let Some(Value::String(text)) = part {
            text.push_str(more);
        }
    }

    fn log_probs(&mut self) -> Option<&mut Vec<Value>> {
        self.items.last_mut()?["content"][0]["logprobs"].as_array_mut()
    }

    /// Ends the open item.
    fn close(&mut self, out: &mut String) {
        let Some(open) = self.open.take() else { return };
        let Some(item) = self.items.last_mut() else { return };
        item["status"] = json!("completed");
        let (item, part) = (item.clone(), item["content"][0].clone());
        let (name, mut fields) = match open {
            Open::Reasoning => ("response.reasoning_text.done", json!({ "text": part["text"] })),
            Open::Message => (
                "response.output_text.done",
                json!({ "text": part["text"], "logprobs": part["logprobs"] }),
            ),
        };
        self.item_event(name, fields.take(), out);
        self.item_event("response.content_part.done", json!({ "part": part }), out);
        let fields = json!({ "output_index": self.items.len() - 1, "item": item });
        self.event("response.output_item.done", fields, out);
    }

    /// Ends the calls. They may be told in turns, so all of them end at the end.
    fn close_calls(&mut self, out: &mut String) {
        for at in std::mem::take(&mut self.calls) {
            let Some(item) = self.items.get_mut(at) else { continue };
            item["status"] = json!("completed");
            let item = item.clone();
            let fields = json!({
                "item_id": item["id"], "output_index": at, "name": item["name"],
                "arguments": item["arguments"],
            });
            self.event("response.function_call_arguments.done", fields, out);
            let fields = json!({ "output_index": at, "item": item });
            self.event("response.output_item.done", fields, out);
        }
    }

    /// An event about the part of the last item.
    fn item_event(&mut self, name: &str, mut fields: Value, out: &mut String) {
        let id = self.items.last().map_or(Value::Null, |item| item["id"].clone());
        fields["item_id"] = id;
        fields["output_index"] = json!(self.items.len().saturating_sub(1));
        fields["content_index"] = json!(0);
        self.event(name, fields, out);
    }

    fn event(&mut self, name: &str, fields: Value, out: &mut String) {
        let mut event = Map::new();
        event.insert("type".to_owned(), json!(name));
        event.insert("sequence_number".to_owned(), json!(self.sequence));
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        self.sequence += 1;
        named_event(out, name, &Value::Object(event));
    }
}
