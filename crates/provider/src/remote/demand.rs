//! What an answer is held to that no grammar has ruled: an API's word is not taken for it.
//!
//! Invariant: an answer that ended by itself conforms to the turn's format, and calls a tool where
//! it must, or it is an error. One that was cut says so by how it ended (`Stop`).

use serde_json::Value;

use super::Shared;
use crate::grammar::Judge;
use crate::{OutputFormat, ProviderError, Stop, ToolChoice, Turn};

/// What a turn's answers are held to.
pub(super) struct Demand {
    judge: Option<Judge>,
    /// Whether a tool must be called.
    call: bool,
}

/// What is kept of an answer, to be judged at its end.
#[derive(Debug, Default)]
pub(super) struct Kept {
    text: String,
    /// Calls of tools that were begun.
    pub(super) calls: usize,
    pub(super) stop: Option<Stop>,
}

impl Demand {
    /// # Errors
    /// The schema is wrong, or says what cannot be judged here.
    pub(super) fn of(turn: &Turn) -> Result<Self, ProviderError> {
        let judge = match &turn.format {
            OutputFormat::JsonObject => Some(Judge::new(&serde_json::json!({"type": "object"}))?),
            OutputFormat::JsonSchema(schema) => Some(Judge::new(schema)?),
            // Those that are not refused, when the request is written.
            _ => None,
        };
        let call = matches!(turn.tools.choice, ToolChoice::Required | ToolChoice::Named(_));
        Ok(Self { judge, call })
    }

    /// Takes in a part of an answer; what is not judged is not kept.
    pub(super) fn keep(&self, kept: &mut Kept, text: &str) {
        if self.judge.is_some() {
            kept.text.push_str(text);
        }
    }

    /// How an answer ended.
    ///
    /// # Errors
    /// It ended by itself and is not what was asked for.
    pub(super) fn ended(&self, shared: &Shared, kept: Kept) -> Result<Stop, ProviderError> {
        let stop = kept.stop.unwrap_or(Stop::End);
        if stop != Stop::End {
            return Ok(stop);
        }
        if self.call && kept.calls == 0 {
            return Err(shared.nonsense("it had to call a tool, and called none"));
        }
        let Some(judge) = self.judge.as_ref().filter(|_| kept.calls == 0) else { return Ok(stop) };
        let value: Value = serde_json::from_str(&kept.text)
            .map_err(|error| shared.nonsense(&format!("its answer had to be JSON: {error}")))?;
        let judged = judge.check(&value);
        judged.map_err(|why| shared.nonsense(&format!("its answer is not as demanded: {why}")))?;
        Ok(stop)
    }
}
