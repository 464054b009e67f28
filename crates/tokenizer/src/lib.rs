//! Bytes to token ids and back, and chat templates. Knows nothing about weights, files on disk or the network.
#![forbid(unsafe_code)]

pub mod control;
mod error;
mod stream;
pub mod template;
mod tokenizer;
mod vocabulary;

pub use error::TokenizerError;
pub use stream::StreamDecoder;
pub use tokenizer::{AddSpecial, ParseSpecial, ShowSpecial, Tokenizer};
pub use vocabulary::{TokenKind, Vocabulary};

/// A token's index in the vocabulary.
pub type TokenId = u32;
