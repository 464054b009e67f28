//! A folder as transformers loads it: weights, `config.json`, and the vocabulary's two files.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use lucid_checkpoint::{Checkpoint, TokenizerSource, export_safetensors};
use lucid_tensor::{DType, WeightSource as _};
use lucid_tokenizer::Tokenizer;

use crate::args::ConvertArgs;
use crate::bar::Bar;
use crate::{load, output, style};

/// Number formats that can be written.
const WRITABLE: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// Refuses a folder that cannot be written to, before anything is read.
pub(super) fn check(args: &ConvertArgs) -> Result<()> {
    let folder = &args.output;
    let Ok(info) = std::fs::metadata(folder) else { return Ok(()) };
    if !info.is_dir() {
        bail!("{} is a file; safetensors are written into a folder", folder.display());
    }
    let input = Path::new(&args.input);
    let source = if input.is_dir() { Some(input) } else { input.parent() };
    let source = source.map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    if source.and_then(real).is_some_and(|source| Some(source) == real(folder)) {
        bail!("{} holds what is to be converted; name another folder", folder.display());
    }
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot list {}", folder.display()))?
        .count();
    if entries > 0 && !args.force {
        bail!("{} exists already; --force replaces the files of a model in it", folder.display());
    }
    Ok(())
}

pub(super) fn dtype(name: &str) -> Result<DType> {
    super::dtype_of(name, &WRITABLE)
}

pub(super) fn write(
    args: &ConvertArgs,
    dtype: Option<DType>,
    checkpoint: &Checkpoint,
    tokenizer: Option<&Tokenizer>,
) -> Result<()> {
    let folder = &args.output;
    let dtype = dtype.unwrap_or_else(|| usual(checkpoint));
    let files = match tokenizer {
        Some(tokenizer) => vocabulary(args, checkpoint, tokenizer)?,
        None => Vec::new(),
    };
    let beside: Vec<(&str, &[u8])> =
        files.iter().map(|(name, content)| (*name, content.as_slice())).collect();
    // Those of another model would be read with the new weights.
    let stale: Vec<&str> = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"]
        .into_iter()
        .filter(|name| !beside.iter().any(|(own, _)| own == name))
        .collect();
    let mut bar = Bar::new("converting");
    let mut progress = |done: u64, total: u64| bar.show(done, total);
    export_safetensors(checkpoint, dtype, &beside, &stale, folder, &mut progress)
        .with_context(|| format!("cannot convert {} to {}", args.input, folder.display()))?;
    bar.clear();
    let weights = folder.join("model.safetensors");
    let size = std::fs::metadata(&weights).map_or(0, |info| info.len());
    output::note(format_args!("wrote {} ({})", weights.display(), style::bytes(size)));
    for name in files.iter().map(|(name, _)| *name).chain(["config.json"]) {
        output::note(format_args!("wrote {}", folder.join(name).display()));
    }
    Ok(())
}

/// As the matrices are, if they can be written so.
fn usual(checkpoint: &Checkpoint) -> DType {
    let view = checkpoint.tensor("token_embd.weight");
    view.map(|view| view.dtype).filter(|dtype| WRITABLE.contains(dtype)).unwrap_or(DType::F16)
}

/// The files of the vocabulary: those that the weights came with, or made anew.
fn vocabulary(
    args: &ConvertArgs,
    checkpoint: &Checkpoint,
    tokenizer: &Tokenizer,
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    const JSON: &str = "tokenizer.json";
    const CONFIG: &str = "tokenizer_config.json";
    let is_json = |file: &&Path| file.extension().is_some_and(|end| end == "json");
    if let Some(file) = args.tokenizer.as_deref().filter(is_json) {
        let json =
            std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        return Ok(vec![(JSON, json), (CONFIG, config(checkpoint, tokenizer))]);
    }
    if args.tokenizer.is_none()
        && let TokenizerSource::Files(files) = checkpoint.tokenizer()
        && let Some(json) = &files.tokenizer_json
    {
        let config = match &files.tokenizer_config {
            Some(config) => config.to_vec(),
            None => config(checkpoint, tokenizer),
        };
        let mut all = vec![(JSON, json.to_vec()), (CONFIG, config)];
        all.extend(files.chat_template_jinja.iter().map(|it| ("chat_template.jinja", it.to_vec())));
        return Ok(all);
    }
    match tokenizer.to_tokenizer_json() {
        Ok(json) => Ok(vec![(JSON, json.into_bytes()), (CONFIG, config(checkpoint, tokenizer))]),
        Err(error) => {
            output::warn(format_args!(
                "no tokenizer.json is written ({error}); the folder will know token ids only \
                 (--tokenizer tokenizer.json adds one)"
            ));
            Ok(Vec::new())
        }
    }
}

fn config(checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> Vec<u8> {
    let metadata = checkpoint.metadata();
    let positions = metadata
        .text("general.architecture")
        .ok()
        .flatten()
        .and_then(|name| metadata.unsigned(&format!("{name}.context_length")).ok().flatten());
    let template = load::chat_template(checkpoint, tokenizer);
    tokenizer.to_tokenizer_config(positions, template.as_deref()).into_bytes()
}
