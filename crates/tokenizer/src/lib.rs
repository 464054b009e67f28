//! Bytes to token ids and back, training of vocabularies, and chat templates. Knows nothing about
//! weights, files on disk or the network.
#![forbid(unsafe_code)]

mod added;
mod budget;
mod charsmap;
pub mod control;
mod encoder;
mod error;
mod family;
mod from_config;
mod from_gguf;
mod from_json;
mod from_lists;
mod from_llama2c;
mod from_sentencepiece;
mod from_tiktoken;
mod hash;
mod index;
mod json_model;
mod json_parts;
mod json_stream;
mod model;
mod normalize;
mod pattern;
mod scan;
mod spaces;
mod spelling;
mod split;
mod stream;
mod table;
pub mod template;
mod texts;
mod to_gguf;
mod to_json;
mod tokenizer;
pub mod train;
mod trie;
mod unicode;
mod vocabulary;

pub use encoder::Encoder;
pub use error::TokenizerError;
pub use stream::StreamDecoder;
pub use texts::{SharedBytes, TextList};
pub use tokenizer::{AddSpecial, ParseSpecial, ShowSpecial, Tokenizer};
pub use vocabulary::{Merge, Merges, TokenKind, Vocabulary};

/// A token's index in the vocabulary.
pub type TokenId = u32;
