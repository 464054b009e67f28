//! Adapters as PEFT writes them: `adapter_config.json` and `adapter_model.safetensors`. Source: the
//! fields of `LoraConfig` and the names of saved tensors in huggingface/peft: a module's factors
//! are `base_model.model.MODULE.lora_A.weight` and `...lora_B.weight`, an embedding's
//! `...lora_embedding_A` `[rank, vocab]` and `...lora_embedding_B`; the scaling is
//! `lora_alpha / r`, or `lora_alpha / sqrt(r)` with `use_rslora`.
//!
//! Departures: (1) what would need more than a low-rank addition is refused by the name of its
//! key; (2) in `alpha_pattern` and `rank_pattern` only plain names are read, no expressions.

use super::{AdapterFile, EMBEDDING, Side, item, malformed, pairs, part, unsupported};
use crate::CheckpointError;
use crate::cursor::brief;
use crate::floats;
use crate::safetensors::family::Family;
use crate::safetensors::header::Named;
use crate::safetensors::json::Object;
use lucid_sys::Bytes;
use lucid_tensor::{DType, RotaryPairing, TensorView};
use serde_json::Value;
use std::path::Path;

pub(super) const CONFIG: &str = "adapter_config.json";
pub(super) const WEIGHTS: &str = "adapter_model.safetensors";

/// What a saved name begins with.
const PREFIX: &str = "base_model.model.";

/// Keys that ask for something else than low-rank additions, unless they are absent, false, empty
/// or "none".
const REFUSED: [(&str, &str); 16] = [
    ("use_dora", "magnitudes (DoRA)"),
    ("modules_to_save", "whole modules instead of additions"),
    ("trainable_token_indices", "single rows of the embedding"),
    ("fan_in_fan_out", "transposed matrices, which no known family has"),
    ("layer_replication", "layers that are used several times"),
    ("lora_bias", "biases"),
    ("bias", "biases"),
    ("target_parameters", "additions to parameters that are no modules"),
    ("alora_invocation_tokens", "an adapter that tokens switch on"),
    ("use_qalora", "pooled inputs (QA-LoRA)"),
    ("use_bdlora", "block-diagonal factors"),
    ("arrow_config", "a choice between adapters"),
    ("kasa_config", "singular values (KaSA)"),
    ("monteclora_config", "random factors (MonteCLoRA)"),
    ("lora_ga_config", "a base that LoRA-GA has changed"),
    ("loftq_config", "a base that LoftQ has changed"),
];

/// Ways of initialising that change the base, so that the additions do not suit the original.
const BASE_CHANGED: [&str; 4] = ["pissa", "olora", "corda", "loftq"];

pub(super) fn open(folder: &Path) -> Result<AdapterFile, CheckpointError> {
    let (config, weights) = (folder.join(CONFIG), folder.join(WEIGHTS));
    if !config.is_file() {
        let found = format!("a folder without {CONFIG}");
        return Err(unsupported(folder, &found, super::ADVICE));
    }
    if !weights.is_file() {
        let pickled = folder.join("adapter_model.bin").is_file();
        let advice = if pickled {
            "its adapter_model.bin is a pickle, which can run any program and is never opened: \
             save it as safetensors"
        } else {
            super::ADVICE
        };
        return Err(unsupported(folder, &format!("a folder without {WEIGHTS}"), advice));
    }
    let text = Bytes::map(&config)?;
    join(&weights, &Config::read(&config, &text)?, Bytes::map(&weights)?)
}

pub(super) fn read(file: &Path, config: &[u8], map: Bytes) -> Result<AdapterFile, CheckpointError> {
    join(file, &Config::read(&file.with_file_name(CONFIG), config)?, map)
}

fn join(file: &Path, config: &Config, map: Bytes) -> Result<AdapterFile, CheckpointError> {
    let checkpoint = super::raw_safetensors(file, map)?;
    let mut parts = Vec::new();
    for (module, (a, b)) in pairs(&checkpoint, factor)? {
        let tensor = matrix(&module).ok_or_else(|| {
            let found = format!("factors of `{}` (`{}`)", brief(&module), brief(&a.name));
            unsupported(file, &found, "Lucid computes no module of this name")
        })?;
        let a = if tensor == EMBEDDING { transposed(file, a)? } else { a };
        let alpha = config.alpha(&module);
        let rank_stated = config.rank(&module);
        let rslora = config.rslora;
        let scale = |rank: usize| alpha / if rslora { (rank as f64).sqrt() } else { rank as f64 };
        let part = part(file, tensor, (a, b), scale)?;
        let rank = part.shape().0;
        if rank as f64 != rank_stated {
            let expected = format!("the rank {rank_stated} that {CONFIG} states");
            let (item, found) = (item(&part.a.name), rank.to_string());
            return Err(malformed(file, &item, part.a.offset, &expected, &found));
        }
        parts.push(part);
    }
    parts.sort_by(|one, other| one.tensor.cmp(&other.tensor));
    if let Some(pair) = parts.windows(2).find(|pair| pair[0].tensor == pair[1].tensor) {
        let expected = format!("one addition to `{}`", pair[0].tensor);
        let second = &pair[1].a;
        return Err(malformed(file, &item(&second.name), second.offset, &expected, "a second one"));
    }
    let (architecture, pairing) = (None, RotaryPairing::Halves);
    Ok(AdapterFile { file: file.to_owned(), architecture, pairing, parts })
}

/// The module and factor that a saved name says.
fn factor(tensor: &str) -> Result<(String, Side), String> {
    const ENDINGS: [(&str, Side); 4] = [
        (".lora_A.weight", Side::A),
        (".lora_B.weight", Side::B),
        (".lora_embedding_A", Side::A),
        (".lora_embedding_B", Side::B),
    ];
    let inner = tensor.strip_prefix(PREFIX).unwrap_or(tensor);
    let found =
        ENDINGS.iter().find_map(|(ending, side)| Some((inner.strip_suffix(ending)?, *side)));
    let (module, side) = found.ok_or("it is no factor of a low-rank addition")?;
    let looked_up = tensor.contains(".lora_embedding_");
    if looked_up != (module == "embed_tokens" || module.ends_with(".embed_tokens")) {
        return Err("factors of an embedding belong to `embed_tokens`, others do not".to_owned());
    }
    Ok((module.to_owned(), side))
}

/// What a module's matrix is called in GGUF. Families name their products alike.
fn matrix(module: &str) -> Option<String> {
    match Family::Llama.rename(&format!("{module}.weight"), false) {
        Named::Tensor(name) => Some(name),
        Named::Skip | Named::Unknown => None,
    }
}

/// The first factor of an embedding with a row per token.
fn transposed(file: &Path, view: TensorView) -> Result<TensorView, CheckpointError> {
    let [rows, cols] = *view.shape.as_slice() else {
        let found = format!("the shape {:?}", view.shape);
        return Err(malformed(file, &item(&view.name), view.offset, "a matrix", &found));
    };
    // Twice the file's bytes at most: its formats have two or four to an element.
    let values = floats::decode(view.dtype, &view.data);
    let mut bytes = Vec::with_capacity(values.len() * 4);
    for col in 0..cols {
        for row in 0..rows {
            bytes.extend_from_slice(&values[row * cols + col].to_le_bytes());
        }
    }
    Ok(TensorView { dtype: DType::F32, shape: vec![cols, rows], data: bytes.into(), ..view })
}

/// What an `adapter_config.json` says.
struct Config {
    rank: f64,
    alpha: f64,
    rslora: bool,
    /// (name, value) of modules that differ.
    alphas: Vec<(String, f64)>,
    ranks: Vec<(String, f64)>,
}

impl Config {
    fn read(file: &Path, text: &[u8]) -> Result<Self, CheckpointError> {
        let config = Object::parse(file, text)?;
        let kind = config.text("peft_type")?.unwrap_or_default();
        if kind != "LORA" {
            let found = format!("an adapter of the type `{}` (`peft_type`)", brief(kind));
            return Err(unsupported(file, &found, "only LORA is read"));
        }
        for (key, what) in REFUSED {
            if config.value(key).is_some_and(asks) {
                let found = format!("an adapter with {what} (the key `{key}`)");
                return Err(unsupported(file, &found, "only low-rank additions are applied"));
            }
        }
        if let Some(Value::String(kind)) = config.value("init_lora_weights")
            && BASE_CHANGED.iter().any(|known| kind.to_lowercase().starts_with(known))
        {
            let found = format!("additions to a base that was changed first (`{}`)", brief(kind));
            let advice = "save them as additions to the original weights (PEFT's \
                path_initial_model_for_weight_conversion)";
            return Err(unsupported(file, &found, advice));
        }
        let rank = config.unsigned("r")?.ok_or_else(|| config.missing("r", "the rank"))?;
        let alpha =
            config.float("lora_alpha")?.ok_or_else(|| config.missing("lora_alpha", "a number"))?;
        Ok(Self {
            rank: rank as f64,
            alpha,
            rslora: config.bool("use_rslora")?.unwrap_or(false),
            alphas: patterns(&config, "alpha_pattern")?,
            ranks: patterns(&config, "rank_pattern")?,
        })
    }

    fn alpha(&self, module: &str) -> f64 {
        matching(&self.alphas, module).unwrap_or(self.alpha)
    }

    fn rank(&self, module: &str) -> f64 {
        matching(&self.ranks, module).unwrap_or(self.rank)
    }
}

/// Whether a key's value asks for what it names.
fn asks(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(values) => !values.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::String(text) => !text.is_empty() && text != "none",
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// An object of numbers by the names of modules.
fn patterns(config: &Object, key: &str) -> Result<Vec<(String, f64)>, CheckpointError> {
    let Some(object) = config.object(key)? else { return Ok(Vec::new()) };
    let mut patterns = Vec::new();
    for name in object.keys() {
        let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        if !name.chars().all(plain) {
            return Err(config.refuse(key, "names of modules, no expressions", &brief(name)));
        }
        let value = object.float(name)?.ok_or_else(|| object.missing(name, "a number"))?;
        patterns.push((name.to_owned(), value));
    }
    Ok(patterns)
}

/// The value of the first name that a module's name is or, behind a point, ends with.
fn matching(patterns: &[(String, f64)], module: &str) -> Option<f64> {
    let matches = |name: &str| {
        module.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    patterns.iter().find(|(name, _)| matches(name)).map(|(_, value)| *value)
}
