//! What lies beside weights: the vocabulary, the chat template, and names for messages.

use std::error::Error;
use std::path::Path;

use lucid_checkpoint::{Checkpoint, TokenizerFiles, TokenizerSource};
use lucid_sys::Bytes;
use lucid_tensor::WeightSource as _;
use lucid_tokenizer::{Tokenizer, TokenizerError};

use super::vocabulary;
use crate::ProviderError;

/// The vocabulary of a checkpoint, or the one in `file`.
///
/// # Errors
/// It cannot be read, or there is none.
pub fn tokenizer(checkpoint: &Checkpoint, file: Option<&Path>) -> Result<Tokenizer, ProviderError> {
    optional_tokenizer(checkpoint, file)?.ok_or_else(|| {
        let reason = "brings no vocabulary; name its file with --tokenizer (tokenizer.json, \
                      tokenizer.model, tokenizer.bin)";
        unloadable(name(checkpoint), reason)
    })
}

/// The same; `None` where the checkpoint brings none.
///
/// # Errors
/// It cannot be read.
pub fn optional_tokenizer(
    checkpoint: &Checkpoint,
    file: Option<&Path>,
) -> Result<Option<Tokenizer>, ProviderError> {
    if let Some(file) = file {
        return tokenizer_file(checkpoint, file).map(Some);
    }
    let wrong =
        |reason: String| unloadable(format!("the vocabulary of {}", name(checkpoint)), reason);
    match checkpoint.tokenizer() {
        TokenizerSource::Metadata => {
            let rows = vocab_size(checkpoint);
            let memory = checkpoint.vocabulary_bytes_max();
            vocabulary::tokenizer(checkpoint.metadata(), rows, memory).map_err(wrong)
        }
        TokenizerSource::Files(files) => {
            hugging_face(&files).map_err(|error| wrong(error.to_string()))
        }
        TokenizerSource::Llama2c(bytes) => {
            let read = Tokenizer::from_llama2c(&bytes, vocab_size(checkpoint));
            read.map(Some).map_err(|error| wrong(error.to_string()))
        }
        TokenizerSource::None => Ok(None),
    }
}

fn hugging_face(files: &TokenizerFiles) -> Result<Option<Tokenizer>, TokenizerError> {
    let config = files.tokenizer_config.as_deref();
    if let Some(json) = &files.tokenizer_json {
        return Ok(Some(Tokenizer::from_tokenizer_json(json, config)?));
    }
    if let Some(model) = &files.sentencepiece {
        return Ok(Some(Tokenizer::from_sentencepiece(model)?));
    }
    if let (Some(vocab), Some(merges)) = (&files.vocab_json, &files.merges_txt) {
        let tokenizer = Tokenizer::from_vocab_and_merges(vocab, merges, "gpt-2", config)?;
        return Ok(Some(tokenizer));
    }
    Ok(None)
}

fn tokenizer_file(checkpoint: &Checkpoint, file: &Path) -> Result<Tokenizer, ProviderError> {
    let what = || format!("the vocabulary file {}", file.display());
    if std::fs::metadata(file).is_ok_and(|info| !info.is_file()) {
        return Err(unloadable(what(), "it is not a regular file"));
    }
    let bytes = Bytes::map(file).map_err(|error| unloadable(what(), in_full(&error)))?;
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    let read = match extension {
        "json" => Tokenizer::from_tokenizer_json(&bytes, None),
        "model" => Tokenizer::from_sentencepiece(&bytes),
        "bin" => Tokenizer::from_llama2c(&bytes, vocab_size(checkpoint)),
        "gguf" => {
            let other = Checkpoint::open(file);
            let other = other.map_err(|error| unloadable(what(), in_full(&error)))?;
            return tokenizer(&other, None);
        }
        _ => {
            let reason = "expected a file that ends in .json (tokenizer.json), .model \
                          (SentencePiece), .bin (llama2.c) or .gguf";
            return Err(unloadable(file.display().to_string(), reason));
        }
    };
    read.map_err(|error| unloadable(what(), error.to_string()))
}

/// The chat template of a checkpoint: its vocabulary's, or the one that lies beside it.
pub fn chat_template(checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> Option<String> {
    if let TokenizerSource::Files(files) = checkpoint.tokenizer() {
        if let Some(source) = files.chat_template_jinja.as_deref() {
            return Some(String::from_utf8_lossy(source).into_owned());
        }
        if let Some(json) = files.chat_template_json.as_deref()
            && let Ok(value) = serde_json::from_slice::<serde_json::Value>(json)
            && let Some(source) = value.get("chat_template").and_then(|value| value.as_str())
        {
            return Some(source.to_owned());
        }
    }
    tokenizer.vocabulary().chat_template.clone()
}

/// Rows of the token embedding; 0 where there is none.
pub fn vocab_size(checkpoint: &Checkpoint) -> usize {
    let view = checkpoint.tensor("token_embd.weight");
    view.and_then(|view| view.shape.first().copied()).unwrap_or(0)
}

/// The checkpoint's file or folder, as an error message names it.
pub fn name(checkpoint: &Checkpoint) -> String {
    checkpoint.files().first().map_or_else(String::new, |file| file.display().to_string())
}

/// That something cannot be loaded.
pub(super) fn unloadable(what: impl Into<String>, reason: impl Into<String>) -> ProviderError {
    ProviderError::Unloadable { what: what.into(), reason: reason.into() }
}

/// An error and what caused it, in one line.
pub(super) fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
