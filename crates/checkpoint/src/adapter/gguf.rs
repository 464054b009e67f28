//! Adapters in GGUF. Source: llama.cpp's `convert_lora_to_gguf.py`, which writes them, and
//! `src/llama-adapter.cpp`, which reads them: `general.type` is `adapter`, `adapter.type` is
//! `lora`; a matrix `NAME` has the factors `NAME.lora_a` and `NAME.lora_b`; the scaling is
//! `adapter.lora.alpha / rank`, or 1 without an alpha.

use super::{AdapterFile, Side, pairs, part, unsupported};
use crate::cursor::brief;
use crate::{Checkpoint, CheckpointError};
use lucid_tensor::{MetadataError, RotaryPairing, WeightSource};
use std::path::Path;

pub(super) fn open(path: &Path) -> Result<AdapterFile, CheckpointError> {
    read(path, &Checkpoint::open(path)?)
}

pub(super) fn read(file: &Path, checkpoint: &Checkpoint) -> Result<AdapterFile, CheckpointError> {
    let metadata = checkpoint.metadata();
    let wrong = |source: MetadataError| CheckpointError::Metadata { file: file.to_owned(), source };
    let kind = metadata.text("general.type").map_err(wrong)?.unwrap_or("model");
    if kind != "adapter" {
        let found = format!("a `{}`, no adapter (the metadata key `general.type`)", brief(kind));
        return Err(unsupported(file, &found, super::ADVICE));
    }
    let kind = metadata.text("adapter.type").map_err(wrong)?.unwrap_or_default();
    if kind != "lora" {
        let found = format!("an adapter of the type `{}` (`adapter.type`)", brief(kind));
        return Err(unsupported(file, &found, "only `lora` is read"));
    }
    let tokens = "adapter.alora.invocation_tokens";
    if metadata.value(tokens).is_some() {
        let found = format!("an adapter that tokens switch on (`{tokens}`)");
        return Err(unsupported(file, &found, "only adapters of whole sequences are applied"));
    }
    let alpha = metadata.float("adapter.lora.alpha").map_err(wrong)?.unwrap_or(0.0);
    let architecture = metadata.text("general.architecture").map_err(wrong)?.map(str::to_owned);
    // llama.cpp rotates neighbours in this architecture alone.
    let neighbours = architecture.as_deref() == Some("llama");
    let pairing = if neighbours { RotaryPairing::Neighbours } else { RotaryPairing::Halves };
    let name = |tensor: &str| match tensor.rsplit_once('.') {
        Some((matrix, "lora_a")) => Ok((matrix.to_owned(), Side::A)),
        Some((matrix, "lora_b")) => Ok((matrix.to_owned(), Side::B)),
        _ => Err("it is neither a lora_a nor a lora_b".to_owned()),
    };
    let scale = |rank: usize| if alpha == 0.0 { 1.0 } else { alpha / rank as f64 };
    let parts = pairs(checkpoint, name)?
        .into_iter()
        .map(|(tensor, factors)| part(file, tensor, factors, scale))
        .collect::<Result<_, _>>()?;
    Ok(AdapterFile { file: file.to_owned(), architecture, pairing, parts })
}
