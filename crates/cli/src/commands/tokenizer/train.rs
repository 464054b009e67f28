//! `lucid tokenizer train FILES`: a byte-level BPE vocabulary.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use lucid_checkpoint::GgufWriter;
use lucid_provider::local;
use lucid_sys::{Topology, write_atomic};
use lucid_tensor::MetaValue;
use lucid_tokenizer::train::{SplitPattern, TrainOptions, Trained, Unit, WordCounts, train};
use serde_json::json;

use super::args::TrainArgs;
use super::files::{self, Binary, Documents, Text};
use crate::bar::Bar;
use crate::{interrupt, load, output, style};

pub(super) fn run(args: &TrainArgs) -> Result<i32> {
    for path in [Some(&args.output), args.gguf.as_ref()].into_iter().flatten() {
        load::check_output(path)?;
        if path.exists() && !args.force {
            bail!("{} exists already; --force replaces it", path.display());
        }
    }
    let options = options(args);
    options.check()?;
    let pattern = SplitPattern::parse(&args.pattern).context("--pattern")?;
    // Ctrl-C ends the program; outputs are whole or not there.
    interrupt::install();
    let binary = if args.binary { Binary::Keep } else { Binary::Refuse };
    let texts = files::find(&args.inputs, binary)?;
    let threads = args.threads.map_or_else(|| Topology::detect().default_threads(), usize::from);
    let unit = if args.lines { Unit::Line } else { Unit::Document };
    let started = Instant::now();
    let mut counts = WordCounts::new(pattern, unit, threads, args.memory);
    count(&mut counts, &texts)?;
    let counted = started.elapsed();
    let mut bar = Bar::of_tokens("merging");
    let trained = train(&counts, &options, &mut |tokens| {
        bar.show(tokens as u64, options.vocab_size as u64);
    });
    bar.clear();
    let trained = trained.with_context(|| format!("cannot train on {}", named(args)))?;
    let merged = started.elapsed().saturating_sub(counted);
    write_atomic(&args.output, |out| trained.write_json(out))
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    if let Some(path) = &args.gguf {
        write_gguf(&trained, path)?;
    }
    warn(&counts, &trained, &options);
    if args.json {
        let summary = counts.summary();
        output::json(&json!({
            "output": args.output.to_string_lossy(),
            "gguf": args.gguf.as_ref().map(|path| path.to_string_lossy()),
            "tokens": trained.len(),
            "merges": trained.merges().len(),
            "documents": texts.len(),
            "bytes": summary.bytes,
            "words": summary.words,
            "distinct_words": summary.distinct,
            "dropped_words": summary.dropped,
            "dropped_distinct_words": summary.dropped_distinct,
            "threads": threads,
            "count_seconds": counted.as_secs_f64(),
            "merge_seconds": merged.as_secs_f64(),
        }))?;
    } else {
        output::note(said(args, &counts, &trained, &texts));
    }
    Ok(0)
}

fn options(args: &TrainArgs) -> TrainOptions {
    let usual = TrainOptions::default();
    let special = match (args.no_special, args.special.is_empty()) {
        (true, _) => Vec::new(),
        (false, true) => usual.special,
        (false, false) => args.special.clone(),
    };
    TrainOptions {
        vocab_size: args.vocab_size,
        special,
        frequency_min: args.min_frequency,
        token_bytes_end: args.max_token_bytes.map(|most| most as usize + 1),
        ..usual
    }
}

fn named(args: &TrainArgs) -> String {
    args.inputs.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn count(counts: &mut WordCounts, texts: &[Text]) -> Result<()> {
    let total = texts.iter().map(|text| text.bytes).sum();
    let mut documents = Documents::new(texts);
    let mut bar = Bar::new("counting words");
    let counted = counts.count(documents.by_ref(), &mut |bytes| bar.show(bytes, total));
    bar.clear();
    counted?;
    files::warn_of_broken(&documents.broken);
    Ok(())
}

/// What a person should know before using the vocabulary.
fn warn(counts: &WordCounts, trained: &Trained, options: &TrainOptions) {
    let summary = counts.summary();
    if summary.dropped > 0 {
        output::warn(format_args!(
            "the words took more than --memory: {} rare ones were dropped, {:.2} % of the text's",
            style::count(summary.dropped_distinct),
            100.0 * summary.dropped as f64 / summary.words as f64
        ));
    }
    if summary.cuts > 0 {
        output::warn(format_args!(
            "texts without a place between words were cut in {} places",
            summary.cuts
        ));
    }
    if trained.len() < options.vocab_size {
        output::warn(format_args!(
            "there are {} tokens, not {}: no pair of pieces is left to merge",
            trained.len(),
            options.vocab_size
        ));
    }
}

fn said(args: &TrainArgs, counts: &WordCounts, trained: &Trained, texts: &[Text]) -> String {
    let summary = counts.summary();
    let gguf = args.gguf.as_ref().map(|path| format!(" and {}", path.display()));
    format!(
        "wrote {}{}: {} tokens from {} of text in {} {}, {} words, {} different",
        args.output.display(),
        gguf.unwrap_or_default(),
        trained.len(),
        style::bytes(summary.bytes),
        texts.len(),
        if texts.len() == 1 { "file" } else { "files" },
        style::count(summary.words),
        style::count(summary.distinct)
    )
}

/// A GGUF file with the vocabulary and no tensor, as llama.cpp keeps vocabularies.
fn write_gguf(trained: &Trained, path: &Path) -> Result<()> {
    let tokenizer = trained.tokenizer()?;
    for warning in tokenizer.warnings() {
        output::warn(format_args!("{}: {warning}", path.display()));
    }
    let mut writer = GgufWriter::new();
    // A reader asks for the architecture before anything else; the pieces suit any.
    writer.metadata("general.architecture", MetaValue::Text("llama".to_owned()));
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    writer.metadata("general.name", MetaValue::Text(name));
    for (key, value) in local::to_metadata(tokenizer.vocabulary()).iter() {
        writer.metadata(key, value.clone());
    }
    let file = writer.to_bytes(&[])?;
    write_atomic(path, |out| out.write_all(&file))
        .with_context(|| format!("cannot write {}", path.display()))
}
