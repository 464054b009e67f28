//! Chat templates: a conversation in, the prompt's text out, with the ranges that may not become
//! control tokens. Invariant: a control token in the output is made of the template's own bytes
//! alone (see `provenance`). Source of the semantics: transformers' `utils/chat_template_utils.py`
//! (jinja2, immutable sandbox, `trim_blocks`, `lstrip_blocks`). Departures: (1) time comes from the
//! caller; (2) every cost is bounded (`Limits`).

mod bind;
mod engine;
mod error;
mod filters;
mod format;
mod host;
mod limits;
mod lucid;
mod methods;
mod operators;
mod provenance;
mod python;
mod source;
mod types;
mod value;

pub use error::TemplateError;
pub use limits::Limits;
pub use lucid::LUCID_TEMPLATE;
pub use types::{LocalTime, Message, RenderOptions, Rendered, ToolCall};

use host::Host;
use minijinja::{Error, Value};
use provenance::{ControlTokens, Moved, Unmarked};
use std::collections::BTreeSet;
use std::sync::Arc;
use value::{Inputs, dict, list};

/// Roles that are words of the format and not message text.
const ROLES: &[&str] = &[
    "system",
    "developer",
    "user",
    "assistant",
    "model",
    "tool",
    "function",
    "ipython",
    "tool_response",
    "tool_result",
    "observation",
    "environment",
    "context",
    "documents",
    "function_response",
    "human",
    "gpt",
    "critic",
    "root",
];

/// A compiled chat template with the control tokens of its vocabulary.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: String,
    tokens: ControlTokens,
    bos: Option<String>,
    eos: Option<String>,
}

impl ChatTemplate {
    /// Checks `source` and binds it to every control-token spelling of the vocabulary. Spellings
    /// that a tokenizer matches in text but that text may contain (runs of spaces, ...) do not
    /// belong there.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`] and the limits on the source.
    pub fn new(
        source: &str,
        control_tokens: impl IntoIterator<Item = String>,
        bos: Option<&str>,
        eos: Option<&str>,
    ) -> Result<Self, TemplateError> {
        let source = source::prepare(source);
        engine::compile(&source)?;
        let own = [bos, eos].into_iter().flatten().map(str::to_owned);
        let tokens = ControlTokens::new(control_tokens.into_iter().chain(own), &source)?;
        let [bos, eos] = [bos, eos].map(|token| token.map(str::to_owned));
        Ok(Self { source, tokens, bos, eos })
    }

    /// The template of models made with Lucid.
    ///
    /// # Errors
    /// None in practice: a test compiles it.
    pub fn lucid() -> Result<Self, TemplateError> {
        use crate::control::ControlToken as C;
        let spellings = C::ALL.into_iter().map(|token| token.spelling().to_owned());
        Self::new(LUCID_TEMPLATE, spellings, Some(C::Bos.spelling()), Some(C::End.spelling()))
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// Whatever the template refuses, fails at or exhausts.
    pub fn render(
        &self,
        messages: &[Message],
        options: &RenderOptions,
    ) -> Result<Rendered, TemplateError> {
        let mut seen = Seen::default();
        seen.conversation(messages, options);
        let moved = Moved::new(&self.tokens.marks, &self.source, &seen.private)?;
        let pass = Pass { template: self, messages, options, moved: &moved, bytes: seen.bytes };
        let first = pass.run(false)?;
        let doubtful = self.tokens.doubtful(&first);
        if doubtful.is_empty() {
            return Ok(Rendered { text: first.text, literal: Vec::new() });
        }
        // Marks may make the template fail or differ; then nothing is known but its own marked
        // constants.
        let literal = match pass.run(true) {
            Ok(second) if second.text == first.text => second.messages_in(&doubtful),
            _ => first.untrusted_in(&doubtful),
        };
        Ok(Rendered { text: first.text, literal })
    }
}

/// Size of the input and the private-use characters in it.
#[derive(Default)]
struct Seen {
    bytes: u64,
    private: BTreeSet<char>,
}

impl Seen {
    fn text(&mut self, text: &str) {
        self.bytes += text.len() as u64;
        Moved::note(text, &mut self.private);
    }

    fn json(&mut self, value: &serde_json::Value) {
        self.bytes += 64;
        match value {
            serde_json::Value::String(text) => self.text(text),
            serde_json::Value::Array(items) => items.iter().for_each(|item| self.json(item)),
            serde_json::Value::Object(map) => {
                for (key, value) in map {
                    self.text(key);
                    self.json(value);
                }
            }
            _ => {}
        }
    }

    fn conversation(&mut self, messages: &[Message], options: &RenderOptions) {
        for m in messages {
            self.bytes += 256;
            let optional = [&m.content, &m.reasoning, &m.tool_call_id, &m.name];
            self.text(&m.role);
            optional.into_iter().flatten().for_each(|text| self.text(text));
            for call in &m.tool_calls {
                self.bytes += 256;
                self.text(&call.id);
                self.text(&call.name);
                self.json(&call.arguments);
            }
        }
        options.tools.iter().for_each(|tool| self.json(tool));
        for (key, value) in &options.extra {
            self.text(key);
            self.json(value);
        }
    }
}

/// One rendering, with or without marks on message text.
struct Pass<'a> {
    template: &'a ChatTemplate,
    messages: &'a [Message],
    options: &'a RenderOptions,
    moved: &'a Moved,
    bytes: u64,
}

impl Pass<'_> {
    fn run(&self, traced: bool) -> Result<Unmarked, TemplateError> {
        let options = self.options;
        let marks = &self.template.tokens.marks;
        // The inputs themselves are not the template's doing: they are paid for apart.
        let unlimited = Limits { memory_bytes: u64::MAX, ..options.limits };
        let free = Host::new(unlimited, self.bytes, options.now, marks.clone(), traced);
        let inputs = Inputs { host: &free, moved: self.moved };
        let root = self.variables(&inputs).map_err(|error| {
            free.take_failure()
                .unwrap_or_else(|| TemplateError::Render { line: 0, message: error.to_string() })
        })?;
        let host = Host::new(options.limits, self.bytes, options.now, marks.clone(), traced);
        let template = self.template;
        let text = engine::run(&Arc::new(host), &template.source, &template.tokens, &root)?;
        let unmarked = Unmarked::new(&text, marks, self.moved);
        let limit = options.limits.output_bytes.max(self.bytes.saturating_mul(2));
        if unmarked.text.len() as u64 > limit {
            return Err(TemplateError::Limit { what: "output", limit });
        }
        Ok(unmarked)
    }

    fn variables(&self, inputs: &Inputs) -> Result<Value, Error> {
        let none = || Value::from(());
        let host = inputs.host;
        let messages: Result<Vec<_>, _> =
            self.messages.iter().map(|message| message_value(inputs, message)).collect();
        let tools: Result<Vec<_>, _> = self.options.tools.iter().map(|t| inputs.json(t)).collect();
        let tools = tools?;
        let mut entries = vec![
            (Value::from("messages"), list(host, messages?)?),
            (Value::from("tools"), if tools.is_empty() { none() } else { list(host, tools)? }),
            (Value::from("documents"), none()),
            (Value::from("add_generation_prompt"), Value::from(self.options.add_generation_prompt)),
        ];
        let template = self.template;
        for (name, token) in [("bos_token", &template.bos), ("eos_token", &template.eos)] {
            if let Some(token) = token {
                let marked = template.tokens.trust(token);
                entries.push((
                    Value::from(name),
                    Value::from(marked.as_ref().unwrap_or(token).as_str()),
                ));
            }
        }
        for (name, value) in &self.options.extra {
            entries.push((Value::from(name.as_str()), inputs.json(value)?));
        }
        dict(host, entries)
    }
}

/// A message as templates expect it: transformers' fields, in its order.
fn message_value(inputs: &Inputs, message: &Message) -> Result<Value, Error> {
    let host = inputs.host;
    let key = |name: &str| Value::from(name);
    let mut entries = Vec::new();
    let reasoning = message.reasoning.as_deref();
    if let Some(reasoning) = reasoning {
        entries.push((key("thinking"), inputs.text(reasoning)));
    }
    let is_word = ROLES.contains(&message.role.as_str());
    let role =
        if is_word { Value::from(message.role.as_str()) } else { inputs.text(&message.role) };
    entries.push((key("role"), role));
    if let Some(content) = &message.content {
        entries.push((key("content"), inputs.text(content)));
    }
    if let Some(reasoning) = reasoning {
        entries.push((key("reasoning_content"), inputs.text(reasoning)));
    }
    if !message.tool_calls.is_empty() {
        let calls: Result<Vec<_>, _> =
            message.tool_calls.iter().map(|call| call_value(inputs, call)).collect();
        entries.push((key("tool_calls"), list(host, calls?)?));
    }
    for (name, text) in [("tool_call_id", &message.tool_call_id), ("name", &message.name)] {
        if let Some(text) = text {
            entries.push((key(name), inputs.text(text)));
        }
    }
    dict(host, entries)
}

fn call_value(inputs: &Inputs, call: &ToolCall) -> Result<Value, Error> {
    let host = inputs.host;
    let function = dict(
        host,
        [
            (Value::from("name"), inputs.text(&call.name)),
            (Value::from("arguments"), inputs.json(&call.arguments)?),
        ],
    )?;
    let mut entries = Vec::new();
    if !call.id.is_empty() {
        entries.push((Value::from("id"), inputs.text(&call.id)));
    }
    entries.push((Value::from("type"), Value::from("function")));
    entries.push((Value::from("function"), function));
    dict(host, entries)
}
