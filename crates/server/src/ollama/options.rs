//! Ollama's `options`: how tokens are chosen, and how Ollama runs a model. What belongs to the
//! second kind (threads, layers on a GPU, size of the context) is checked and without effect: the
//! server decides it for all clients. Names that nobody knows are let pass, as Ollama does.

use lucid_provider::Sampling;
use serde_json::Value;

use super::request::ANY;
use crate::json::{Fields, Node};
use crate::limits;
use crate::openai::common;
use crate::refusal::Refusal;

/// What options say.
#[derive(Debug, Default)]
pub(super) struct Options {
    /// How tokens are chosen.
    pub(super) sampling: Sampling,
    /// How many tokens at most.
    pub(super) new_tokens_max: Option<usize>,
    /// Texts that end the answer.
    pub(super) stops: Vec<String>,
}

/// Reads options.
pub(super) fn read(mut options: Fields) -> Result<Options, Refusal> {
    for sampler in ["mirostat", "tfs_z"] {
        let off = if sampler == "mirostat" { 0.0 } else { 1.0 };
        if options.take(sampler).is_some_and(|node| node.value.as_f64() != Some(off)) {
            return Err(options.refuse(sampler, "this sampler is not known here"));
        }
    }
    for setting in ["mirostat_tau", "mirostat_eta"] {
        options.number(setting, limits::SETTING)?;
    }
    for number in ["num_ctx", "num_keep", "num_batch", "num_thread"] {
        options.whole(number, ANY)?;
    }
    for flag in ["numa", "low_vram", "use_mmap", "use_mlock", "vocab_only", "penalize_newline"] {
        options.flag(flag)?;
    }
    let sampling = Sampling {
        top_k: options.count("top_k", limits::TOP_K)?,
        repeat_penalty: options.number("repeat_penalty", limits::REPEAT_PENALTY)?,
        penalty_last_n: last_n(&mut options)?,
        seed: seed(&mut options)?,
        ..common(&mut options)?
    };
    let new_tokens_max = new_tokens_max(&mut options)?;
    Ok(Options { sampling, new_tokens_max, stops: stops(&mut options)? })
}

/// -1 looks at the whole context.
fn last_n(options: &mut Fields) -> Result<Option<usize>, Refusal> {
    let Some(node) = options.take("repeat_last_n") else {
        return Ok(None);
    };
    match node.value.as_i64() {
        Some(-1) => Ok(Some(usize::MAX)),
        _ => node.whole(limits::LAST_N).map(|count| Some(count as usize)),
    }
}

/// -1 goes as far as the context does, and so does -2.
fn new_tokens_max(options: &mut Fields) -> Result<Option<usize>, Refusal> {
    let Some(node) = options.take("num_predict") else {
        return Ok(None);
    };
    match node.value.as_i64() {
        Some(-1 | -2) => Ok(None),
        _ => node.whole(limits::NEW_TOKENS).map(|count| Some(count as usize)),
    }
}

/// A negative seed draws one.
fn seed(options: &mut Fields) -> Result<Option<u64>, Refusal> {
    let Some(node) = options.take("seed") else {
        return Ok(None);
    };
    match node.value.as_i64() {
        Some(..0) => Ok(None),
        _ => node.whole(limits::SEED).map(Some),
    }
}

/// A list of texts, or one.
fn stops(options: &mut Fields) -> Result<Vec<String>, Refusal> {
    let Some(node) = options.take("stop") else {
        return Ok(Vec::new());
    };
    let nodes = match node.value {
        Value::String(_) => vec![node],
        _ => node.list(limits::STOPS_MAX)?,
    };
    let stop = |node: Node| node.short_text(limits::STOP_BYTES_MAX);
    let stops: Vec<String> = nodes.into_iter().map(stop).collect::<Result<_, _>>()?;
    if stops.iter().any(String::is_empty) {
        return Err(options.refuse("stop", "an empty text cannot end an answer"));
    }
    Ok(stops)
}
