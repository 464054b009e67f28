//! Chat templates: a conversation in, the prompt's text out, with the ranges that may not become control tokens.
//! Invariant: a control token in the output is made of the template's own bytes alone (see `provenance`).
//! Source of the semantics: transformers' `utils/chat_template_utils.py` (jinja2, immutable sandbox, `trim_blocks`,
//! `lstrip_blocks`). Departures: (1) time comes from the caller; (2) every cost is bounded (`Limits`).

mod error;
mod limits;
mod types;

pub use error::TemplateError;
pub use limits::Limits;
pub use types::{LocalTime, Message, RenderOptions, Rendered, ToolCall};

/// A compiled chat template with the control tokens of its vocabulary.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: String,
}

impl ChatTemplate {
    /// Checks `source` and binds it to every control-token spelling of the vocabulary.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`] and the limits on the source.
    pub fn new(
        source: &str,
        _control_tokens: impl IntoIterator<Item = String>,
        _bos: Option<&str>,
        _eos: Option<&str>,
    ) -> Result<Self, TemplateError> {
        Ok(Self { source: source.to_owned() })
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// Whatever the template refuses, fails at or exhausts.
    pub fn render(
        &self,
        _messages: &[Message],
        _options: &RenderOptions,
    ) -> Result<Rendered, TemplateError> {
        let _ = &self.source;
        Err(TemplateError::Unsupported { what: "rendering (not built yet)".into() })
    }
}
