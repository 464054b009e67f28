//! How tokens are chosen: what a turn sets, over what the model's makers recommend, over the
//! engine's defaults.
//!
//! Source of the keys: llama.cpp's `src/llama-arch.cpp` (`general.sampling.*`), transformers'
//! `GenerationConfig`, of which those are taken that vLLM takes (`get_diff_sampling_param`).

use lucid_checkpoint::{Checkpoint, TokenizerSource};
use lucid_engine::sampler::{SamplerConfig, SamplerError};
use lucid_tensor::WeightSource as _;
use lucid_tokenizer::{AddSpecial, ParseSpecial, TokenId, Tokenizer};
use serde_json::Value;

use crate::{ProviderError, Sampling};

/// The most biases, breakers, and bytes of a breaker in a turn.
const BIASES_MAX: usize = 4096;
const BREAKERS_MAX: usize = 64;
const BREAKER_BYTES_MAX: usize = 256;

/// llama.cpp's: a line, a speaker, a quotation, an emphasis.
const BREAKERS: [&str; 4] = ["\n", ":", "\"", "*"];

/// What the model's makers recommend, over the engine's defaults. What cannot be used is left out,
/// and `warn` is told.
pub(super) fn recommended(checkpoint: &Checkpoint, warn: &mut dyn FnMut(&str)) -> SamplerConfig {
    let mut config = SamplerConfig::default();
    let metadata = checkpoint.metadata();
    let in_metadata = |name: &str| {
        let key = format!("general.sampling.{name}");
        metadata.value(&key).map(|_| metadata.float(&key).ok().flatten().unwrap_or(f64::NAN))
    };
    let json = generation_config(checkpoint);
    let in_json = |name: &str| {
        let value = json.get(name).filter(|value| !value.is_null())?;
        Some(value.as_f64().unwrap_or(f64::NAN))
    };
    let mut set = |name: &str, value: Option<f64>, put: &dyn Fn(&mut SamplerConfig, f64)| {
        let Some(value) = value else { return };
        let mut changed = config.clone();
        put(&mut changed, value);
        match changed.validate() {
            Ok(()) if value.is_finite() => config = changed,
            _ => warn(&format!("the model recommends a {name} of {value}, which is left out")),
        }
    };
    let either = |gguf: &str, hub: &str| in_metadata(gguf).or_else(|| in_json(hub));
    set("temperature", either("temp", "temperature"), &|c, v| c.temperature = v as f32);
    set("top_k", either("top_k", "top_k"), &|c, v| c.top_k = v.max(0.0) as usize);
    set("top_p", either("top_p", "top_p"), &|c, v| c.top_p = v as f32);
    set("min_p", either("min_p", "min_p"), &|c, v| c.min_p = v as f32);
    set("typical_p", in_json("typical_p"), &|c, v| c.typical_p = v as f32);
    set("xtc_probability", in_metadata("xtc_probability"), &|c, v| c.xtc.probability = v as f32);
    set("xtc_threshold", in_metadata("xtc_threshold"), &|c, v| c.xtc.threshold = v as f32);
    set("penalty_last_n", in_metadata("penalty_last_n"), &|c, v| {
        c.penalties.last_n = (v >= 0.0).then_some(v as usize);
    });
    set("penalty_repeat", in_metadata("penalty_repeat"), &|c, v| c.penalties.repeat = v as f32);
    // Transformers looks at all tokens.
    set("repetition_penalty", in_json("repetition_penalty"), &|c, v| {
        c.penalties.repeat = v as f32;
        c.penalties.last_n = if v == 1.0 { c.penalties.last_n } else { None };
    });
    config
}

/// `generation_config.json` where it lies beside the weights; null elsewhere.
pub(super) fn generation_config(checkpoint: &Checkpoint) -> Value {
    let TokenizerSource::Files(files) = checkpoint.tokenizer() else { return Value::Null };
    let json = files.generation_config.as_deref();
    json.and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default()
}

/// The settings of a turn. A seed that is not set is drawn.
///
/// # Errors
/// A setting is out of its range, or a token does not exist.
pub(super) fn resolve(
    sampling: &Sampling,
    defaults: &SamplerConfig,
    tokenizer: &Tokenizer,
    vocab_size: usize,
) -> Result<SamplerConfig, ProviderError> {
    let mut config = defaults.clone();
    let unbounded = |last_n: usize| (last_n != usize::MAX).then_some(last_n);
    put(&mut config.temperature, sampling.temperature);
    put(&mut config.top_k, sampling.top_k);
    put(&mut config.top_p, sampling.top_p);
    put(&mut config.min_p, sampling.min_p);
    put(&mut config.typical_p, sampling.typical_p);
    put(&mut config.top_n_sigma, sampling.top_n_sigma);
    put(&mut config.penalties.repeat, sampling.repeat_penalty);
    put(&mut config.penalties.frequency, sampling.frequency_penalty);
    put(&mut config.penalties.presence, sampling.presence_penalty);
    put(&mut config.penalties.last_n, sampling.penalty_last_n.map(unbounded));
    put(&mut config.dry.multiplier, sampling.dry_multiplier);
    put(&mut config.dry.base, sampling.dry_base);
    put(&mut config.dry.allowed_length, sampling.dry_allowed_length);
    put(&mut config.dry.last_n, sampling.dry_last_n.map(unbounded));
    put(&mut config.xtc.probability, sampling.xtc_probability);
    put(&mut config.xtc.threshold, sampling.xtc_threshold);
    put(&mut config.dynamic_temperature.range, sampling.dynamic_temperature_range);
    if config.dry.multiplier != 0.0 {
        config.dry.breakers = breakers(sampling.dry_breakers.as_deref(), tokenizer)?;
    }
    if sampling.logit_bias.len() > BIASES_MAX {
        let reason = format!("{} tokens, expected at most {BIASES_MAX}", sampling.logit_bias.len());
        return Err(ProviderError::invalid("sampling.logit_bias", reason));
    }
    let unknown = sampling.logit_bias.iter().find(|(token, _)| *token as usize >= vocab_size);
    if let Some((token, _)) = unknown {
        return Err(ProviderError::unknown_token("sampling.logit_bias", *token, vocab_size));
    }
    config.logit_bias.clone_from(&sampling.logit_bias);
    config.seed = match sampling.seed {
        Some(seed) => seed,
        None => draw_seed()?,
    };
    config.validate().map_err(|error| refused(&error))?;
    Ok(config)
}

fn put<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}

fn draw_seed() -> Result<u64, ProviderError> {
    // Short enough for any program to read it from JSON as it is.
    let drawn = getrandom::u64().map(|seed| seed >> 11);
    drawn.map_err(|error| {
        ProviderError::invalid("sampling.seed", format!("no random number to be had: {error}"))
    })
}

/// Names the setting as `Sampling` does.
fn refused(error: &SamplerError) -> ProviderError {
    let SamplerError::Setting { setting, found, expected } = error else {
        return ProviderError::invalid("sampling", error.to_string());
    };
    let field = match *setting {
        "temperature" => "sampling.temperature",
        "dynamic_temperature.range" => "sampling.dynamic_temperature_range",
        "top_n_sigma" => "sampling.top_n_sigma",
        "typical_p" => "sampling.typical_p",
        "top_p" => "sampling.top_p",
        "min_p" => "sampling.min_p",
        "xtc.probability" => "sampling.xtc_probability",
        "xtc.threshold" => "sampling.xtc_threshold",
        "penalties.repeat" => "sampling.repeat_penalty",
        "penalties.frequency" => "sampling.frequency_penalty",
        "penalties.presence" => "sampling.presence_penalty",
        "dry.multiplier" => "sampling.dry_multiplier",
        "dry.base" => "sampling.dry_base",
        "logit_bias" => "sampling.logit_bias",
        _ => return ProviderError::invalid("sampling", error.to_string()),
    };
    ProviderError::invalid(field, format!("{found}, expected {expected}"))
}

/// Texts as token sequences: each token that holds the text, and the tokens that spell it. As in
/// llama.cpp's `get_overlapping_token_sequences`, without its sequences that merely overlap the
/// text's beginning.
fn breakers(
    texts: Option<&[String]>,
    tokenizer: &Tokenizer,
) -> Result<Vec<Vec<TokenId>>, ProviderError> {
    let field = "sampling.dry_breakers";
    let texts: Vec<&[u8]> = match texts {
        Some(texts) => texts.iter().map(String::as_bytes).collect(),
        None => BREAKERS.iter().map(|text| text.as_bytes()).collect(),
    };
    if texts.len() > BREAKERS_MAX {
        let reason = format!("{} texts, expected at most {BREAKERS_MAX}", texts.len());
        return Err(ProviderError::invalid(field, reason));
    }
    if let Some(long) = texts.iter().find(|text| text.len() > BREAKER_BYTES_MAX) {
        let reason =
            format!("a text of {} bytes, expected at most {BREAKER_BYTES_MAX}", long.len());
        return Err(ProviderError::invalid(field, reason));
    }
    let mut found = Vec::new();
    for text in texts.into_iter().filter(|text| !text.is_empty()) {
        let holds = |id: &TokenId| {
            let piece = tokenizer.piece(*id);
            piece.is_some_and(|piece| piece.windows(text.len()).any(|part| part == text))
        };
        found.extend((0..tokenizer.len() as TokenId).filter(holds).map(|id| vec![id]));
        let spelled = spelled(text, tokenizer, ParseSpecial::No);
        if spelled.len() > 1 {
            found.push(spelled);
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The tokens of a text in the middle of another: without the space that some vocabularies put in
/// front.
pub(super) fn spelled(text: &[u8], tokenizer: &Tokenizer, control: ParseSpecial) -> Vec<TokenId> {
    let mut ids = tokenizer.encode(text, &[], AddSpecial::No, control);
    let first = ids.first().and_then(|&id| tokenizer.piece(id));
    if first.as_deref() == Some(b" ") && text.first() != Some(&b' ') {
        ids.remove(0);
    }
    ids
}
