//! `lucid convert IN OUT.gguf`.

use anyhow::{Context as _, Result, bail};
use lucid_provider::local;
use lucid_tensor::{DType, Metadata};

use crate::args::ConvertArgs;
use crate::bar::Bar;
use crate::env::Environment;
use crate::{interrupt, load, output, style};

/// Number formats that can be written.
const WRITABLE: [DType; 5] = [DType::F32, DType::F16, DType::BF16, DType::Q8_0, DType::Q4_0];

pub(crate) fn run(args: &ConvertArgs, environment: &Environment) -> Result<i32> {
    let dtype = args.dtype.as_deref().map(dtype).transpose()?;
    load::check_output(&args.output)?;
    if args.output.exists() && !args.force {
        bail!("{} exists already; --force replaces it", args.output.display());
    }
    // Ctrl-C ends the program and leaves no half-written file.
    interrupt::install();
    let checkpoint = load::checkpoint(environment, &args.input)?;
    let tokenizer = load::optional_tokenizer(&checkpoint, args.tokenizer.as_deref())?;
    let metadata = if let Some(tokenizer) = &tokenizer {
        let mut vocabulary = tokenizer.vocabulary().clone();
        if vocabulary.model.is_empty() {
            bail!(
                "the vocabulary of {} has no form in GGUF ({}); --tokenizer FILE names another",
                load::name(&checkpoint),
                tokenizer.warnings().join("; ")
            );
        }
        vocabulary.chat_template = load::chat_template(&checkpoint, tokenizer);
        local::fit(&mut vocabulary, load::vocab_size(&checkpoint));
        local::to_metadata(&vocabulary)
    } else {
        output::warn(format_args!(
            "{} brings no vocabulary; the GGUF file will know token ids only \
             (--tokenizer FILE adds one)",
            load::name(&checkpoint)
        ));
        Metadata::default()
    };
    let mut bar = Bar::new("converting");
    let mut progress = |done: u64, total: u64| bar.show(done, total);
    lucid_checkpoint::convert(&checkpoint, &metadata, dtype, &args.output, &mut progress)
        .with_context(|| format!("cannot convert {} to {}", args.input, args.output.display()))?;
    bar.clear();
    let size = std::fs::metadata(&args.output).map_or(0, |info| info.len());
    output::note(format_args!("wrote {} ({})", args.output.display(), style::bytes(size)));
    Ok(0)
}

fn dtype(name: &str) -> Result<DType> {
    let found = WRITABLE.into_iter().find(|dtype| dtype.name().eq_ignore_ascii_case(name));
    found.with_context(|| {
        let names = WRITABLE.map(|dtype| dtype.name().to_ascii_lowercase()).join(", ");
        format!("--type {name}: expected one of {names}")
    })
}
