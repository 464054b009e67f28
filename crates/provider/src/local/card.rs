//! What a local model says of itself.

use std::collections::BTreeMap;

use lucid_checkpoint::Checkpoint;
use lucid_engine::Engine;
use lucid_engine::sampler::SamplerConfig;
use lucid_tensor::{KV_BLOCK_LEN, WeightSource as _};

use super::count_in_words;
use crate::{Capabilities, Card};

/// Bytes of each tensor that its digest looks at, at the beginning and at the end.
const DIGEST_BYTES: usize = 4096;

/// The card of a model, as far as its files tell.
pub(super) fn card(name: &str, checkpoint: &Checkpoint, engine: &Engine) -> Card {
    let (config, options) = (engine.config(), engine.options());
    let mut types: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut parameters = 0;
    let mut digest = blake3::Hasher::new();
    for name in checkpoint.tensor_names() {
        let Some(view) = checkpoint.tensor(&name) else { continue };
        parameters += view.element_count() as u64;
        *types.entry(view.dtype.name()).or_default() += view.data.len() as u64;
        digest.update(name.as_bytes());
        digest.update(format!("\0{}\0{:?}\0", view.dtype, view.shape).as_bytes());
        let len = view.data.len();
        digest.update(&(len as u64).to_le_bytes());
        digest.update(&view.data[..len.min(DIGEST_BYTES)]);
        digest.update(&view.data[len - len.min(DIGEST_BYTES)..]);
    }
    let most = types.into_iter().max_by_key(|(_, bytes)| *bytes);
    let quantisation = most.map_or(String::new(), |(name, _)| name.to_owned());
    let own = checkpoint.metadata().text("general.name").ok().flatten().unwrap_or_default();
    let own: String = own.chars().take(NAME_LENGTH_MAX).collect();
    let parts =
        [own, config.architecture.clone(), count_in_words(parameters), quantisation.clone()];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    Card {
        name: name.to_owned(),
        description: parts.join(", "),
        architecture: config.architecture.clone(),
        quantisation,
        parameters,
        file_bytes: checkpoint.file_bytes(),
        digest: digest.finalize().to_hex().to_string(),
        context: options.context.min(options.kv_blocks.saturating_mul(KV_BLOCK_LEN)),
        vocab_size: config.vocab_size,
        embedding_len: config.width,
        template: None,
        sampling: SamplerConfig::default(),
        capabilities: Capabilities {
            text: true,
            formats: true,
            log_probs: true,
            tokens: true,
            fork: true,
            holds: true,
            embeddings: true,
            ranking: true,
            adapters: true,
            reproducible: true,
            ..Capabilities::default()
        },
        warnings: Vec::new(),
    }
}

/// A model's name that is longer is cut.
const NAME_LENGTH_MAX: usize = 200;
