//! The architectures: one file each, mapping metadata to a `Config`. Tensor names are the same for
//! all of them (`layers/`); what an architecture lacks is absent from its `Config`.
//!
//! Source of keys and names: `gguf-py/gguf/constants.py` and `src/llama-arch.cpp` of llama.cpp.

mod common;
mod gemma3;
mod llama;
mod qwen2;
mod qwen3;

use lucid_tensor::WeightSource;

use crate::keys::Keys;
use crate::{Config, ModelError};

type Reader = fn(&Keys<'_>) -> Result<Config, ModelError>;

/// The table: a name as in `general.architecture`, and who reads it.
const TABLE: [(&str, Reader); 4] = [
    ("llama", llama::config),
    ("qwen2", qwen2::config),
    ("qwen3", qwen3::config),
    ("gemma3", gemma3::config),
];

/// The names of all architectures that run.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.0)
}

pub(crate) fn read(source: &dyn WeightSource) -> Result<Config, ModelError> {
    let found = crate::keys::architecture(source.metadata())?;
    let Some((_, reader)) = TABLE.iter().find(|row| row.0 == found) else {
        let known = names().collect::<Vec<_>>().join(", ");
        return Err(ModelError::Architecture { found: found.to_owned(), known });
    };
    let config = reader(&Keys::new(source, found))?;
    common::check(&Keys::new(source, found), &config)?;
    Ok(config)
}
