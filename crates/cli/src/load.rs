//! From the name that a person typed to a checkpoint, and from flags to what a model is loaded
//! with. Warnings go to standard error, progress to a bar.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use lucid_checkpoint::Checkpoint;
use lucid_engine::Engine;
use lucid_hub::Resolved;
use lucid_kernels::Level;
use lucid_provider::ProviderError;
use lucid_provider::local::{self, Compute, Local, LocalOptions, TemplateUse, Watch, Weights};
use lucid_tensor::KvDType;

use crate::args::{ComputeArgs, KvChoice, SimdChoice};
use crate::bar::Bar;
use crate::env::Environment;
use crate::{clock, commands, output};

pub(crate) use lucid_provider::local::{
    When, chat_template, default_kv, name, optional_tokenizer, tokenizer, vocab_size,
};

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

/// Starts an engine for one sequence.
pub(crate) fn engine(checkpoint: &Checkpoint, compute: &ComputeArgs) -> Result<Engine> {
    engine_for(checkpoint, compute, 1, When::Later)
}

/// Starts an engine for so many sequences of the full context, and warns on standard error where
/// the weights do not fit into memory.
pub(crate) fn engine_for(
    checkpoint: &Checkpoint,
    args: &ComputeArgs,
    sequences: usize,
    when: When,
) -> Result<Engine> {
    let compute = Compute { sequences, ..compute(checkpoint, args)? };
    watched(|watch| local::start(checkpoint, &compute, when, watch))
}

/// Loads a model as a provider.
pub(crate) fn provider(
    name: &str,
    checkpoint: &Checkpoint,
    options: &LocalOptions,
) -> Result<Local> {
    watched(|watch| Local::load(name, checkpoint, options, watch))
}

/// A model for one person, computing as the flags say.
pub(crate) fn options(checkpoint: &Checkpoint, args: &ComputeArgs) -> Result<LocalOptions> {
    Ok(LocalOptions {
        compute: compute(checkpoint, args)?,
        tokenizer: args.tokenizer.clone(),
        template: TemplateUse::Required,
        now: clock::now,
        ..LocalOptions::default()
    })
}

/// What the flags say of how to compute.
pub(crate) fn compute(checkpoint: &Checkpoint, args: &ComputeArgs) -> Result<Compute> {
    Ok(Compute {
        threads: args.threads.map(usize::from),
        context: args.ctx.map(|ctx| ctx as usize),
        kv_dtype: args.kv.map(|kv| match kv {
            KvChoice::F32 => KvDType::F32,
            KvChoice::F16 => KvDType::F16,
            KvChoice::Bf16 => KvDType::BF16,
            KvChoice::Q8_0 => KvDType::Q8_0,
            KvChoice::Q4_0 => KvDType::Q4_0,
        }),
        level: level(args.simd)?,
        weights: match (args.no_pack, args.pack) {
            (true, _) => Weights::Keep,
            (false, true) => Weights::Pack,
            (false, false) => Weights::PackIfTheyFit,
        },
        packed_cache: args.cache_packed.then(|| cache_path(checkpoint)),
        ..Compute::default()
    })
}

/// Shows what happens meanwhile.
fn watched<T>(load: impl FnOnce(&mut Watch<'_>) -> Result<T, ProviderError>) -> Result<T> {
    let mut bar: Option<Bar> = None;
    let mut progress = |done: u64, total: u64| {
        bar.get_or_insert_with(|| Bar::new("packing weights")).show(done, total);
        if done >= total
            && let Some(mut bar) = bar.take()
        {
            bar.clear();
        }
    };
    let mut warn = |text: &str| output::warn(text);
    let loaded = load(&mut Watch { progress: &mut progress, warn: &mut warn });
    if let Some(mut bar) = bar {
        bar.clear();
    }
    Ok(loaded?)
}

/// Where packed weights are kept: beside the model's first file.
fn cache_path(checkpoint: &Checkpoint) -> PathBuf {
    lucid_hub::packed_beside(checkpoint.files().first().map_or(Path::new(""), |file| file))
}

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
