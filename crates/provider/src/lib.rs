//! One interface to whatever answers: a local engine with its vocabulary, template and grammar, or
//! a remote API. Knows nothing about HTTP servers, terminals or the environment.

#![forbid(unsafe_code)]

mod answer;
pub mod dialogue;
mod error;
pub mod grammar;
mod hold;
pub mod local;
mod provider;
pub mod remote;
pub mod scripted;
mod turn;

pub use answer::{
    Answer, Answers, Call, Delta, Spoken, SpokenLogProb, Stop, Teller, Usage, Waited, answers,
};
pub use error::ProviderError;
pub use hold::{Hold, Keep};
pub use lucid_engine::{ALTERNATIVES_MAX, ClientId, SAMPLES_MAX};
pub use lucid_tokenizer::TokenId;
pub use lucid_tokenizer::template::{LocalTime, Message, ToolCall};
pub use provider::{
    Adapter, Capabilities, Card, Embedding, EmbeddingKind, Embeddings, Provider, ProviderStats,
    Ranking,
};
pub use turn::{
    Effort, LogProbs, OutputFormat, Prompt, Sampling, Text, Tool, ToolChoice, Tools, Turn,
};
