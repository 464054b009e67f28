//! `lucid convert IN OUT`: one GGUF file, or a folder of safetensors.

mod folder;

use anyhow::{Context as _, Result, bail};
use lucid_checkpoint::Checkpoint;
use lucid_provider::local;
use lucid_tensor::{DType, Metadata};
use lucid_tokenizer::Tokenizer;

use crate::args::{ConvertArgs, WeightsFormat};
use crate::bar::Bar;
use crate::env::Environment;
use crate::{interrupt, load, output, style};

/// Number formats that can be written into GGUF.
const WRITABLE: [DType; 6] =
    [DType::F32, DType::F16, DType::BF16, DType::Q8_0, DType::Q4_0, DType::Q4_K];

pub(crate) fn run(args: &ConvertArgs, environment: &Environment) -> Result<i32> {
    let dtype = args.dtype.as_deref().map(|name| match args.to {
        WeightsFormat::Gguf => dtype_of(name, &WRITABLE),
        WeightsFormat::Safetensors => folder::dtype(name),
    });
    let dtype = dtype.transpose()?;
    match args.to {
        WeightsFormat::Gguf => check(args)?,
        WeightsFormat::Safetensors => folder::check(args)?,
    }
    // Ctrl-C ends the program and leaves no half-written file.
    interrupt::install();
    let checkpoint = load::checkpoint(environment, &args.input)?;
    let tokenizer = load::optional_tokenizer(&checkpoint, args.tokenizer.as_deref())?;
    if tokenizer.is_none() {
        output::warn(format_args!(
            "{} brings no vocabulary; what is written will know token ids only \
             (--tokenizer FILE adds one)",
            load::name(&checkpoint)
        ));
    }
    match args.to {
        WeightsFormat::Gguf => write(args, dtype, &checkpoint, tokenizer.as_ref())?,
        WeightsFormat::Safetensors => folder::write(args, dtype, &checkpoint, tokenizer.as_ref())?,
    }
    Ok(0)
}

fn check(args: &ConvertArgs) -> Result<()> {
    load::check_output(&args.output)?;
    if args.output.exists() && !args.force {
        bail!("{} exists already; --force replaces it", args.output.display());
    }
    Ok(())
}

fn write(
    args: &ConvertArgs,
    dtype: Option<DType>,
    checkpoint: &Checkpoint,
    tokenizer: Option<&Tokenizer>,
) -> Result<()> {
    let metadata = match tokenizer {
        Some(tokenizer) => vocabulary(checkpoint, tokenizer)?,
        None => Metadata::default(),
    };
    let mut bar = Bar::new("converting");
    let mut progress = |done: u64, total: u64| bar.show(done, total);
    lucid_checkpoint::convert(checkpoint, &metadata, dtype, &args.output, &mut progress)
        .with_context(|| format!("cannot convert {} to {}", args.input, args.output.display()))?;
    bar.clear();
    let size = std::fs::metadata(&args.output).map_or(0, |info| info.len());
    output::note(format_args!("wrote {} ({})", args.output.display(), style::bytes(size)));
    Ok(())
}

/// The vocabulary as GGUF has it, with the chat template.
pub(super) fn vocabulary(checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> Result<Metadata> {
    let mut vocabulary = tokenizer.vocabulary().clone();
    if vocabulary.model.is_empty() {
        bail!(
            "the vocabulary of {} has no form in GGUF ({}); --tokenizer FILE names another",
            load::name(checkpoint),
            tokenizer.warnings().join("; ")
        );
    }
    vocabulary.chat_template = load::chat_template(checkpoint, tokenizer);
    local::fit(&mut vocabulary, load::vocab_size(checkpoint));
    Ok(local::to_metadata(&vocabulary))
}

fn dtype_of(name: &str, writable: &[DType]) -> Result<DType> {
    let found = writable.iter().copied().find(|dtype| dtype.name().eq_ignore_ascii_case(name));
    found.with_context(|| {
        let names = writable.iter().map(|dtype| dtype.name().to_ascii_lowercase());
        format!("--type {name}: expected one of {}", names.collect::<Vec<_>>().join(", "))
    })
}
