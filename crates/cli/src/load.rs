//! From the name that a person typed to a model that answers: finds the file, opens it, reads its
//! vocabulary, starts an engine, and says what it will cost where memory is short.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use lucid_checkpoint::{Checkpoint, TokenizerFiles, TokenizerSource};
use lucid_engine::{Engine, EngineOptions, PackedFrom, Packing, kv_blocks_for};
use lucid_hub::Resolved;
use lucid_kernels::Level;
use lucid_model::Config;
use lucid_sys::{Bytes, Memory, ThreadPool, Topology};
use lucid_tensor::{DType, KvDType, WeightSource as _};
use lucid_tokenizer::Tokenizer;

use crate::args::{ComputeArgs, KvChoice, SimdChoice};
use crate::bar::Bar;
use crate::env::Environment;
use crate::{commands, output, style, vocabulary};

/// Finds and opens the weights that `model` names.
pub(crate) fn checkpoint(environment: &Environment, model: &str) -> Result<Checkpoint> {
    let path = find(environment, model)?;
    // Opening a pipe would wait for whoever writes to it.
    if std::fs::metadata(&path).is_ok_and(|info| !info.is_file() && !info.is_dir()) {
        bail!("{} is neither a file nor a folder: a model is one of the two", path.display());
    }
    Ok(Checkpoint::open(&path)?)
}

/// Refuses an output that cannot be written, before anything is computed for it.
pub(crate) fn check_output(path: &Path) -> Result<()> {
    lucid_sys::check_target(path).with_context(|| format!("cannot write {}", path.display()))
}

/// The path that `model` names. A model that is not on disk is offered to be fetched, where a
/// person can be asked.
pub(crate) fn find(environment: &Environment, model: &str) -> Result<PathBuf> {
    match lucid_hub::resolve(&environment.hub, model)? {
        Resolved::File(path) => Ok(path),
        Resolved::NotOnDisk { .. } => commands::pull::offer(environment, model),
        Resolved::Ambiguous(models) => {
            let names: Vec<_> = models.iter().map(|model| format!("  {}", model.name)).collect();
            bail!("`{model}` may be any of these; give more of the name:\n{}", names.join("\n"));
        }
        Resolved::Unknown { suggestions } if suggestions.is_empty() => bail!(
            "there is no file and no model `{model}`. `lucid list` shows what is on this \
             machine; `lucid pull ORG/REPO` fetches one"
        ),
        Resolved::Unknown { suggestions } => bail!(
            "there is no file and no model `{model}`. Did you mean {}?",
            suggestions.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
        ),
    }
}

/// The vocabulary of a checkpoint, or the one in `file`.
pub(crate) fn tokenizer(checkpoint: &Checkpoint, file: Option<&Path>) -> Result<Tokenizer> {
    match optional_tokenizer(checkpoint, file)? {
        Some(tokenizer) => Ok(tokenizer),
        None => bail!(
            "{} brings no vocabulary; name its file with --tokenizer (tokenizer.json, \
             tokenizer.model, tokenizer.bin)",
            name(checkpoint)
        ),
    }
}

/// The same; `None` where the checkpoint brings none.
pub(crate) fn optional_tokenizer(
    checkpoint: &Checkpoint,
    file: Option<&Path>,
) -> Result<Option<Tokenizer>> {
    if let Some(file) = file {
        return tokenizer_file(checkpoint, file).map(Some);
    }
    let context = || format!("the vocabulary of {}", name(checkpoint));
    match checkpoint.tokenizer() {
        TokenizerSource::Metadata => {
            let rows = vocab_size(checkpoint);
            let memory = checkpoint.vocabulary_bytes_max();
            vocabulary::tokenizer(checkpoint.metadata(), rows, memory).with_context(context)
        }
        TokenizerSource::Files(files) => hugging_face(&files).with_context(context),
        TokenizerSource::Llama2c(bytes) => {
            let size = vocab_size(checkpoint);
            Tokenizer::from_llama2c(&bytes, size).map(Some).with_context(context)
        }
        TokenizerSource::None => Ok(None),
    }
}

fn hugging_face(files: &TokenizerFiles) -> Result<Option<Tokenizer>> {
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

fn tokenizer_file(checkpoint: &Checkpoint, file: &Path) -> Result<Tokenizer> {
    let context = || format!("the vocabulary file {}", file.display());
    if std::fs::metadata(file).is_ok_and(|info| !info.is_file()) {
        bail!("the vocabulary file {} is not a regular file", file.display());
    }
    let bytes = Bytes::map(file).with_context(context)?;
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    match extension {
        "json" => Tokenizer::from_tokenizer_json(&bytes, None),
        "model" => Tokenizer::from_sentencepiece(&bytes),
        "bin" => Tokenizer::from_llama2c(&bytes, vocab_size(checkpoint)),
        "gguf" => {
            let other = Checkpoint::open(file).with_context(context)?;
            return tokenizer(&other, None);
        }
        _ => bail!(
            "{}: expected a file that ends in .json (tokenizer.json), .model (SentencePiece), \
             .bin (llama2.c) or .gguf",
            file.display()
        ),
    }
    .with_context(context)
}

/// The chat template of a checkpoint: its vocabulary's, or the one that lies beside it.
pub(crate) fn chat_template(checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> Option<String> {
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
pub(crate) fn vocab_size(checkpoint: &Checkpoint) -> usize {
    let view = checkpoint.tensor("token_embd.weight");
    view.and_then(|view| view.shape.first().copied()).unwrap_or(0)
}

/// The checkpoint's file or folder, as an error message names it.
pub(crate) fn name(checkpoint: &Checkpoint) -> String {
    checkpoint.files().first().map_or_else(String::new, |file| file.display().to_string())
}

/// When weights are packed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// In passing: the first token comes soon.
    Later,
    /// At once: for those who measure what comes then.
    Now,
}

/// Starts an engine for one sequence.
pub(crate) fn engine(checkpoint: &Checkpoint, compute: &ComputeArgs) -> Result<Engine> {
    engine_for(checkpoint, compute, 1, When::Later)
}

/// Starts an engine for so many sequences of the full context, and warns on standard error where
/// the weights do not fit into memory.
pub(crate) fn engine_for(
    checkpoint: &Checkpoint,
    compute: &ComputeArgs,
    sequences: usize,
    when: When,
) -> Result<Engine> {
    let context = || name(checkpoint);
    let config = Config::read(checkpoint).with_context(context)?;
    let kv_dtype = match compute.kv {
        Some(KvChoice::F32) => KvDType::F32,
        Some(KvChoice::F16) => KvDType::F16,
        Some(KvChoice::Bf16) => KvDType::BF16,
        Some(KvChoice::Q8_0) => KvDType::Q8_0,
        Some(KvChoice::Q4_0) => KvDType::Q4_0,
        None => default_kv(checkpoint),
    };
    let memory = Memory::detect();
    let per_token = kv_dtype.bytes(config.kv_elements_per_position()) as u64;
    let length = match compute.ctx {
        Some(ctx) => ctx as usize,
        None => default_context(config.context_length, per_token, checkpoint.file_bytes(), memory),
    };
    let kv_tokens = length.saturating_mul(sequences);
    let kv_bytes = per_token.saturating_mul(kv_tokens as u64);
    if let (Some(memory), Some(_)) = (memory, compute.ctx)
        && kv_bytes > memory.total_bytes
    {
        bail!(
            "a context of {kv_tokens} tokens needs {} of keys and values, and this machine has {} \
             of memory; use a smaller --ctx{}",
            style::bytes(kv_bytes),
            style::bytes(memory.total_bytes),
            if kv_dtype == KvDType::F32 { " or --kv f16" } else { "" },
        );
    }
    let weights = checkpoint.file_bytes();
    // Packed weights are the program's own memory, which the system cannot take back.
    let fits = |bytes: u64| memory.is_none_or(|memory| bytes <= memory.available_bytes);
    let keeps = fits(weights.saturating_add(kv_bytes)) || compute.pack && fits(weights);
    let packing = match (compute.no_pack, keeps) {
        (true, _) => Packing::Keep,
        (false, true) => Packing::Pack,
        (false, false) => Packing::InPassing,
    };
    if let Some(memory) = memory {
        warn_of_paging(weights, kv_bytes, kv_tokens, packing, memory);
    }
    let threads = compute.threads.map_or_else(|| Topology::detect().default_threads(), usize::from);
    let pool = Arc::new(ThreadPool::new(threads));
    let level = level(compute.simd)?;
    let kv_blocks = kv_blocks_for(length) * sequences;
    let options = EngineOptions { context: length, kv_blocks, kv_dtype, level, packing };
    let mut engine = Engine::load(checkpoint, pool, options).with_context(context)?;
    let cache = compute.cache_packed.then(|| cache_path(checkpoint));
    match packing {
        Packing::Pack if cache.is_some() || when == When::Now => {
            pack(&mut engine, cache.as_deref());
        }
        Packing::InPassing if cache.is_some() => output::warn(
            "--cache-packed has no effect: the weights do not fit into the memory that is free, \
             beside the keys and values of the context; --pack tries all the same",
        ),
        Packing::Keep if compute.cache_packed => output::warn(
            "--cache-packed has no effect without --pack here: products are computed in f32",
        ),
        Packing::Pack | Packing::InPassing | Packing::Keep => {}
    }
    Ok(engine)
}

/// Packs all weights now. Where that fails the run goes on without.
fn pack(engine: &mut Engine, cache: Option<&Path>) {
    let mut bar = Bar::new("packing weights");
    let mut progress = |done: u64, total: u64| bar.show(done, total);
    let packed = engine.pack(cache, &mut progress);
    bar.clear();
    match (packed, cache) {
        (Ok(PackedFrom::Model { cache_error: Some(error) }), Some(path)) => {
            output::warn(format_args!(
                "the packed weights could not be kept at {}: {error}. This run does not need them",
                path.display()
            ));
        }
        (Ok(PackedFrom::Nothing), Some(_)) => output::warn(
            "--cache-packed has no effect: the weights are f32, or this processor has no fast \
             kernel for them",
        ),
        (Ok(_), _) => {}
        (Err(error), _) => output::warn(format_args!(
            "{error}. The run goes on; weights are regrouped for each pass, which is slower"
        )),
    }
}

/// Where packed weights are kept: beside the model's first file.
fn cache_path(checkpoint: &Checkpoint) -> PathBuf {
    lucid_hub::packed_beside(checkpoint.files().first().map_or(Path::new(""), |file| file))
}

/// Exact where the weights are exact.
pub(crate) fn default_kv(checkpoint: &Checkpoint) -> KvDType {
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
fn warn_of_paging(weights: u64, kv_bytes: u64, context: usize, packing: Packing, memory: Memory) {
    if weights.saturating_add(kv_bytes) <= memory.available_bytes {
        return;
    }
    if weights <= memory.available_bytes {
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
        output::warn(format_args!(
            "the weights take {} and the keys and values of {context} tokens {}, but {} of memory \
             are free. {outcome}; a smaller --ctx would fit",
            style::bytes(weights),
            style::bytes(kv_bytes),
            style::bytes(memory.available_bytes),
        ));
        return;
    }
    // Once around the file, nothing of what was read first is still there.
    let seconds = weights as f64 / DISK_BYTES_PER_SECOND;
    output::warn(format_args!(
        "the weights take {}, but {} of memory are free. Each token will read \
         about {} from disk: some {seconds:.0} s a token at 2 GB/s, more on a slow disk. A \
         smaller quantisation of the same model would fit; Ctrl-C stops",
        style::bytes(weights),
        style::bytes(memory.available_bytes),
        style::bytes(weights),
    ));
}

/// A common NVMe disk, read sequentially.
const DISK_BYTES_PER_SECOND: f64 = 2e9;

pub(crate) fn level(choice: Option<SimdChoice>) -> Result<Level> {
    let Some(choice) = choice else { return Ok(Level::detect()) };
    let wanted = match choice {
        SimdChoice::Scalar => "scalar",
        SimdChoice::Avx2 => "avx2",
        SimdChoice::Avx512 => "avx512",
    };
    let found = Level::available().into_iter().find(|level| level.name() == wanted);
    found.with_context(|| format!("this processor has no {wanted}; leave out --simd"))
}
