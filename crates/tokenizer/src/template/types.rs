//! What a template is given and what it gives back.

use super::Limits;
use serde_json::{Map, Value};
use std::ops::Range;

/// One message of a conversation. A field that is `None` or empty is absent for the template.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, ... A word outside the known ones is treated as
    /// untrusted text.
    pub role: String,
    /// The text.
    pub content: Option<String>,
    /// The model's reasoning; templates see it as `reasoning_content` and as `thinking`.
    pub reasoning: Option<String>,
    /// Calls that this (assistant) message makes.
    pub tool_calls: Vec<ToolCall>,
    /// Which call this (tool) message answers.
    pub tool_call_id: Option<String>,
    /// The name of the speaker or of the tool.
    pub name: Option<String>,
}

impl Message {
    /// A message with text and nothing else.
    pub fn text(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Some(content.into()), ..Self::default() }
    }
}

/// A call of a tool.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolCall {
    /// Identifies the call; absent for the template when empty.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments, usually an object.
    pub arguments: Value,
}

/// A wall-clock time, given by the caller: rendering reads no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// Gregorian year.
    pub year: i32,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60.
    pub second: u8,
}

impl Default for LocalTime {
    /// 1 January 2025, midnight: a fixed date, so that what is not told the time renders the same
    /// every day.
    fn default() -> Self {
        Self { year: 2025, month: 1, day: 1, hour: 0, minute: 0, second: 0 }
    }
}

/// What to render beside the messages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RenderOptions {
    /// Whether to end with the opening of an assistant's message.
    pub add_generation_prompt: bool,
    /// Tool descriptions (JSON schemas).
    pub tools: Vec<Value>,
    /// What `strftime_now` tells.
    pub now: LocalTime,
    /// Further variables, such as `enable_thinking`. They replace `bos_token` and `eos_token` too,
    /// as plain text.
    pub extra: Map<String, Value>,
    /// Bounds on time and memory.
    pub limits: Limits,
}

/// A rendered conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The prompt.
    pub text: String,
    /// Byte ranges of `text`, ascending and disjoint, that came from message text and are part of a
    /// control token's spelling. The tokenizer must encode them as plain text: no control token may
    /// contain a byte of them.
    pub literal: Vec<Range<usize>>,
}
