//! `lucid dream MODEL`: documents from the bare model, from begin-of-text alone.

use anyhow::{Context as _, Result};
use lucid_tokenizer::ShowSpecial;

use crate::args::DreamArgs;
use crate::env::Environment;
use crate::generate::{self, Limits, Session, Stop};
use crate::style::Paint;
use crate::{interrupt, load, output, style};

pub(crate) fn run(args: &DreamArgs, environment: &Environment) -> Result<i32> {
    let checkpoint = load::checkpoint(environment, &args.model)?;
    let tokenizer = load::tokenizer(&checkpoint, args.compute.tokenizer.as_deref())?;
    // Models without a begin-of-text token separate documents by end-of-text: a new one begins
    // after it.
    let begin = tokenizer.bos().or(tokenizer.eos()).with_context(|| {
        format!("{} has no token that begins a document", load::name(&checkpoint))
    })?;
    let mut engine = load::engine(&checkpoint, &args.compute)?;
    let sampler = generate::sampler(&args.sampling, &tokenizer)?;
    let paint = Paint::new(environment.colour);
    let aside = Paint::new(environment.colour && environment.stderr_is_terminal);
    let context = engine.options().context;
    let sequence = engine.open();
    let mut session =
        Session { engine: &mut engine, tokenizer: &tokenizer, sequence, sampler, progress: false };
    let limits = Limits { max_tokens: Some(args.max_tokens), stop_at_bos: true };
    let listening = interrupt::listen();
    for document in 0..args.count {
        if document > 0 {
            output::line(paint.dim("─".repeat(environment.width.min(40))))?;
        }
        let decoder = tokenizer.stream_decoder(ShowSpecial::No);
        let dreamt = session.answer(&[begin], decoder, limits, &listening, &mut |_, text| {
            output::show(&style::harmless(text))
        });
        // Also after an error, which begins a line of its own.
        let ended = output::line("");
        let outcome = dreamt?;
        ended?;
        match outcome.stop {
            Stop::Interrupted => return Ok(interrupt::EXIT_INTERRUPTED),
            Stop::Limit => output::aside(aside, format_args!("(cut at -n {})", args.max_tokens)),
            Stop::Context => output::aside(
                aside,
                format_args!("(cut: the context of {context} tokens is full; --ctx)"),
            ),
            Stop::End => {}
        }
    }
    Ok(0)
}
