//! An engine for a checkpoint: how long its context may be, what its weights will cost where memory
//! is short, and in which form they are kept.

use std::path::PathBuf;
use std::sync::Arc;

use lucid_checkpoint::Checkpoint;
use lucid_engine::{Config, Engine, EngineOptions, PackedFrom, Packing, kv_blocks_for};
use lucid_kernels::Level;
use lucid_sys::{Memory, ThreadPool, Topology};
use lucid_tensor::{DType, KV_BLOCK_LEN, KvDType, WeightSource as _};

use super::bytes_in_words;
use super::files::{name, unloadable};
use crate::ProviderError;

/// How a model computes.
#[derive(Clone, Debug)]
pub struct Compute {
    /// Threads; none means the physical cores, within the quota.
    pub threads: Option<usize>,
    /// Tokens that a sequence may hold; none means as trained, within memory.
    pub context: Option<usize>,
    /// Number format of cached keys and values; none means f32 for f32 models, else f16.
    pub kv_dtype: Option<KvDType>,
    /// Instruction set.
    pub level: Level,
    /// What happens to weights.
    pub weights: Weights,
    /// Where packed weights are kept between runs, if they are.
    pub packed_cache: Option<PathBuf>,
    /// Sequences of the full context for which keys and values have room together.
    pub sequences: usize,
    /// The most memory that keys and values may take together, in bytes, whatever `sequences` says;
    /// but a sequence of the full context always has room.
    pub kv_bytes_max: Option<u64>,
}

impl Default for Compute {
    fn default() -> Self {
        Self {
            threads: None,
            context: None,
            kv_dtype: None,
            level: Level::detect(),
            weights: Weights::default(),
            packed_cache: None,
            sequences: 1,
            kv_bytes_max: None,
        }
    }
}

/// What happens to weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// Packed if they fit into memory beside the keys and values, else packed for each pass anew.
    #[default]
    PackIfTheyFit,
    /// Packed if they fit into memory by themselves.
    Pack,
    /// Used as they lie in the file.
    Keep,
}

/// When weights are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// In passing: the first token comes soon.
    Later,
    /// At once: for those who measure what comes then.
    Now,
}

/// Who is told what happens while a model is loaded.
pub struct Watch<'a> {
    /// Given how many bytes of weights are packed, and of how many.
    pub progress: &'a mut dyn FnMut(u64, u64),
    /// Given what people should know.
    pub warn: &'a mut dyn FnMut(&str),
}

/// Starts an engine.
///
/// # Errors
/// The model cannot run, or a context that was asked for needs more memory than there is.
pub fn start(
    checkpoint: &Checkpoint,
    compute: &Compute,
    when: When,
    watch: &mut Watch<'_>,
) -> Result<Engine, ProviderError> {
    let refused = |reason: String| unloadable(name(checkpoint), reason);
    let config = Config::read(checkpoint).map_err(|error| refused(error.to_string()))?;
    let kv_dtype = compute.kv_dtype.unwrap_or_else(|| default_kv(checkpoint));
    let memory = Memory::detect();
    let per_token = kv_dtype.bytes(config.kv_elements_per_position()) as u64;
    let weights = checkpoint.file_bytes();
    let length = compute
        .context
        .unwrap_or_else(|| default_context(config.context_length, per_token, weights, memory));
    let kv_tokens = kv_tokens(length, per_token, compute);
    let kv_bytes = per_token.saturating_mul(kv_tokens as u64);
    if let (Some(memory), Some(_)) = (memory, compute.context)
        && kv_bytes > memory.total_bytes
    {
        return Err(ProviderError::Unloadable {
            what: format!("a context of {kv_tokens} tokens"),
            reason: too_much(kv_bytes, memory.total_bytes, kv_dtype),
        });
    }
    // Packed weights are the program's own memory, which the system cannot take back.
    let fits = |bytes: u64| memory.is_none_or(|memory| bytes <= memory.available_bytes);
    let keeps =
        fits(weights.saturating_add(kv_bytes)) || compute.weights == Weights::Pack && fits(weights);
    let packing = match (compute.weights, keeps) {
        (Weights::Keep, _) => Packing::Keep,
        (_, true) => Packing::Pack,
        (_, false) => Packing::InPassing,
    };
    if let Some(memory) = memory
        && let Some(text) = paging(weights, kv_bytes, kv_tokens, packing, memory)
    {
        (watch.warn)(&text);
    }
    let threads = compute.threads.unwrap_or_else(|| Topology::detect().default_threads());
    let options = EngineOptions {
        context: length,
        kv_blocks: kv_tokens.div_ceil(KV_BLOCK_LEN),
        kv_dtype,
        level: compute.level,
        packing,
    };
    let pool = Arc::new(ThreadPool::new(threads));
    let engine = Engine::load(checkpoint, pool, options);
    let mut engine = engine.map_err(|error| refused(error.to_string()))?;
    prepare(&mut engine, compute, when, watch);
    Ok(engine)
}

/// Tokens of all sequences for whose keys and values there is room, in whole blocks.
fn kv_tokens(length: usize, per_token: u64, compute: &Compute) -> usize {
    let one = kv_blocks_for(length).saturating_mul(KV_BLOCK_LEN);
    let wanted = one.saturating_mul(compute.sequences.max(1));
    let Some(bytes_max) = compute.kv_bytes_max else { return wanted.max(length) };
    let most = usize::try_from(bytes_max / per_token.max(1)).unwrap_or(usize::MAX);
    wanted.min(most / KV_BLOCK_LEN * KV_BLOCK_LEN).max(one)
}

fn too_much(kv_bytes: u64, total_bytes: u64, kv_dtype: KvDType) -> String {
    format!(
        "its keys and values take {}, and this machine has {} of memory; use a smaller --ctx{}",
        bytes_in_words(kv_bytes),
        bytes_in_words(total_bytes),
        if kv_dtype == KvDType::F32 { " or --kv f16" } else { "" },
    )
}

/// Packs the weights now, where that is wanted or what was packed is kept.
fn prepare(engine: &mut Engine, compute: &Compute, when: When, watch: &mut Watch<'_>) {
    let cache = compute.packed_cache.as_deref();
    match engine.options().packing {
        Packing::Pack if cache.is_some() || when == When::Now => {}
        Packing::InPassing if cache.is_some() => {
            return (watch.warn)(
                "--cache-packed has no effect: the weights do not fit into the memory that is \
                 free, beside the keys and values of the context; --pack tries all the same",
            );
        }
        Packing::Keep if cache.is_some() => {
            return (watch.warn)(
                "--cache-packed has no effect without --pack here: products are computed in f32",
            );
        }
        Packing::Pack | Packing::InPassing | Packing::Keep => return,
    }
    match (engine.pack(cache, watch.progress), cache) {
        (Ok(PackedFrom::Model { cache_error: Some(error) }), Some(path)) => {
            (watch.warn)(&format!(
                "the packed weights could not be kept at {}: {error}. This run does not need them",
                path.display()
            ));
        }
        (Ok(PackedFrom::Nothing), Some(_)) => (watch.warn)(
            "--cache-packed has no effect: the weights are f32, or this processor has no fast \
             kernel for them",
        ),
        (Ok(_), _) => {}
        // The run goes on without.
        (Err(error), _) => (watch.warn)(&format!(
            "{error}. The run goes on; weights are regrouped for each pass, which is slower"
        )),
    }
}

/// Exact where the weights are exact.
pub fn default_kv(checkpoint: &Checkpoint) -> KvDType {
    let embedding = checkpoint.tensor("token_embd.weight");
    match embedding.map(|view| view.dtype) {
        Some(DType::F32) => KvDType::F32,
        _ => KvDType::F16,
    }
}

/// As trained; less where the keys and values of that many tokens would not fit beside the weights.
fn default_context(trained: usize, per_token: u64, weights: u64, memory: Option<Memory>) -> usize {
    let Some(memory) = memory else { return trained };
    let room = memory.available_bytes.saturating_sub(weights).max(memory.available_bytes / 8);
    let fits = (room / 2 / per_token.max(1)) as usize;
    trained.min(fits.max(512))
}

/// Weights that do not fit into memory are read from disk again for every token. Said before it
/// starts.
fn paging(
    weights: u64,
    kv_bytes: u64,
    kv_tokens: usize,
    packing: Packing,
    memory: Memory,
) -> Option<String> {
    let available = memory.available_bytes;
    if weights.saturating_add(kv_bytes) <= available {
        return None;
    }
    let [weights_bytes, kv_bytes, free] = [weights, kv_bytes, available].map(bytes_in_words);
    if weights <= available {
        let outcome = match packing {
            Packing::Pack => "Once the context fills up, the system may end the program",
            Packing::InPassing => {
                "Weights are regrouped for each token anew, which is slower, and once the context \
                 fills up they are read from disk again and again"
            }
            Packing::Keep => {
                "Once the context fills up, weights are read from disk again and again"
            }
        };
        return Some(format!(
            "the weights take {weights_bytes} and the keys and values of {kv_tokens} tokens \
             {kv_bytes}, but {free} of memory are free. {outcome}; a smaller --ctx would fit"
        ));
    }
    // Once around the file, nothing of what was read first is still there.
    let seconds = weights as f64 / DISK_BYTES_PER_SECOND;
    Some(format!(
        "the weights take {weights_bytes}, but {free} of memory are free. Each token will read \
         about {weights_bytes} from disk: some {seconds:.0} s a token at 2 GB/s, more on a slow \
         disk. A smaller quantisation of the same model would fit; Ctrl-C stops"
    ))
}

/// A common NVMe disk, read sequentially.
const DISK_BYTES_PER_SECOND: f64 = 2e9;
