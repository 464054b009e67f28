//! Vocabulary and tokens of a run, made or found in its folder.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use lucid_sys::{ThreadPool, write_atomic};
use lucid_tokenizer::Tokenizer;
use lucid_tokenizer::train::{Input, SplitPattern, TrainOptions, Unit, WordCounts, train};
use lucid_train::data::{
    Files, Inputs, Prepared, ReadOptions, Recipe, ShardEntry, Side, Split, prepare,
};

use super::args::PretrainArgs;
use crate::bar::Bar;
use crate::{interrupt, output, style};

/// Tokens of a vocabulary that is made, unless a person says otherwise.
const VOCABULARY: u32 = 4096;

/// How text is split before merging: as GPT-4 does, whose pattern keeps numbers short.
const PATTERN: &str = "cl100k";

/// Memory for words while a vocabulary is made, in bytes.
const WORDS_MEMORY: u64 = 1 << 30;

fn read_options(args: &PretrainArgs) -> ReadOptions {
    let usual = ReadOptions::default();
    let split = args.separator.clone().map_or(usual.split.clone(), Split::Separator);
    ReadOptions { split, ..usual }
}

/// Puts the run's vocabulary into its folder: a copy of the one that was named, or one made of the
/// text.
pub(super) fn vocabulary(args: &PretrainArgs, to: &Path, threads: usize) -> Result<()> {
    if let Some(from) = &args.tokenizer {
        // Read first: what is copied is known to be one.
        tokenizer(from)?;
        let text =
            std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        return write_atomic(to, |out| out.write_all(&text))
            .with_context(|| format!("cannot write {}", to.display()));
    }
    if to.exists() {
        let found = tokenizer(to)?.vocabulary().tokens.len();
        let to = to.display();
        // Of little text fewer are made than were wanted.
        if args.vocab_size.is_some_and(|wanted| found > wanted as usize) {
            bail!(
                "{to} has {found} tokens, more than --vocab-size; remove it and another one is \
                 made, or leave --vocab-size out"
            );
        }
        output::note(format_args!("takes the vocabulary that is there; remove {to} for another"));
        return Ok(());
    }
    interrupt::install();
    let files = Files::find(&args.files, read_options(args))?;
    let pattern = SplitPattern::parse(PATTERN)?;
    let mut counts = WordCounts::new(pattern, Unit::Document, threads, WORDS_MEMORY);
    let mut bar = Bar::new("counting words");
    let total = files.bytes();
    let mut documents = files.documents();
    let texts = documents.by_ref().flat_map(|document| {
        [Input::Bytes(document.text.into_bytes()), Input::End].map(Ok::<_, Infallible>)
    });
    let Ok(()) = counts.count(texts, &mut |bytes| bar.show(bytes, total));
    bar.clear();
    if counts.summary().words == 0 {
        let named: Vec<_> = args.files.iter().map(|file| file.display().to_string()).collect();
        bail!(
            "no text in {} (refused: {}); `lucid data report` shows each reason",
            named.join(", "),
            documents.tally().refusals()
        );
    }
    let size = args.vocab_size.unwrap_or(VOCABULARY) as usize;
    let options = TrainOptions { vocab_size: size, ..TrainOptions::default() };
    let mut bar = Bar::of_tokens("merging");
    let trained = train(&counts, &options, &mut |tokens| bar.show(tokens as u64, size as u64))?;
    bar.clear();
    write_atomic(to, |out| trained.write_json(out))
        .with_context(|| format!("cannot write {}", to.display()))?;
    let made = style::count(trained.len() as u64);
    output::note(format_args!("made a vocabulary of {made} tokens: {}", to.display()));
    Ok(())
}

/// The vocabulary of a file.
pub(super) fn tokenizer(file: &Path) -> Result<Tokenizer> {
    let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Tokenizer::from_tokenizer_json(&text, None)
        .with_context(|| format!("{} is no tokenizer.json", file.display()))
}

/// The run's tokens: made, or found to be there.
pub(super) fn data(
    args: &PretrainArgs,
    tokenizer: &Tokenizer,
    folder: &Path,
    seed: u64,
    threads: usize,
) -> Result<Prepared> {
    let usual = Recipe::default();
    let choose = lucid_train::data::ChooseOptions { read: read_options(args), ..usual.choose };
    let recipe = Recipe { choose, held_out: args.held_out, seed, ..usual };
    let listening = interrupt::listen();
    let mut bar = Bar::new("reading text");
    let pool = ThreadPool::new(threads);
    let inputs = Inputs { training: &args.files, validation: &args.validation };
    let prepared = prepare(&inputs, &recipe, tokenizer, folder, &pool, &mut |progress| {
        bar.show(progress.done, progress.total);
        if listening.interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.clear();
    let preparation = prepared?;
    if let Some(choice) = &preparation.choice {
        let dropped = choice.in_words();
        if !dropped.is_empty() {
            output::note(format_args!("left out: {dropped}"));
        }
    }
    let prepared = preparation.prepared;
    let sides = [Side::Training, Side::Validation].map(|side| {
        let entries = prepared.entries(side);
        let sum = |of: fn(&ShardEntry) -> u64| entries.iter().map(of).sum::<u64>();
        let documents = match sum(|entry| entry.documents) {
            1 => "1 document".to_owned(),
            count => format!("{} documents", style::count(count)),
        };
        format!("{documents}, {}", style::bytes(sum(|entry| entry.text_bytes)))
    });
    output::note(format_args!("text: {} to learn from; {} held out", sides[0], sides[1]));
    Ok(prepared)
}
