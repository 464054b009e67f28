//! Conversations to learn answers from: read from files in the shapes that people have, checked,
//! written out by the model's own chat template, and packed into rows.
//!
//! Only what the assistant says is learned: its text, reasoning, calls, and the token that ends
//! them. What others say, results of tools among them, is read and carries no loss. Attention never
//! crosses conversations.

mod check;
mod compared;
mod examples;
mod read;
mod render;
mod rows;
mod shapes;
#[cfg(test)]
mod tests;

pub use check::Refusal;
pub use compared::{Comparison, Verdict};
pub use examples::{Example, Examples, Gathered, Gatherer, Judged, Kind, Tally};
pub use read::{Line, read, read_comparisons};
pub use render::Writer;
pub(crate) use rows::Rows;

use lucid_tokenizer::template::Message;
use serde_json::Value;

/// A conversation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// What was said, in order.
    pub messages: Vec<Message>,
    /// The tools that the assistant may call, as JSON schemas.
    pub tools: Vec<Value>,
}
