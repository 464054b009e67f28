//! Weights files: GGUF, safetensors, llama2.c; reading, checking, converting. Knows nothing about
//! the arithmetic of architectures, nor about text.
//!
//! Whatever the file, names and keys are GGUF's, tensors are slices of the mapped file, and nothing
//! is believed before it was checked against the length of the file.
#![forbid(unsafe_code)]

mod adapter;
mod budget;
mod checkpoint;
mod convert;
mod cursor;
mod error;
mod floats;
mod gguf;
mod llama2c;
mod open;
mod safetensors;
mod table;
mod tokenizer;

pub use adapter::{AdapterFile, AdapterPart};
pub use checkpoint::{Checkpoint, Format};
pub use convert::convert;
pub use error::CheckpointError;
pub use gguf::write::{GgufLayout, GgufWriter};
pub use safetensors::write::export_safetensors;
pub use tokenizer::{TokenizerFiles, TokenizerSource};
