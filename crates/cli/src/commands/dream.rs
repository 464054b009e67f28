//! `lucid dream MODEL`: documents from the bare model, from begin-of-text alone.

use anyhow::{Context as _, Result};
use lucid_provider::local::{LocalOptions, TemplateUse};
use lucid_provider::{Prompt, Provider as _, Turn};

use crate::args::DreamArgs;
use crate::env::Environment;
use crate::generate::{self, Said, Stop};
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
    drop(tokenizer);
    let options =
        LocalOptions { template: TemplateUse::None, ..load::options(&checkpoint, &args.compute)? };
    let model = load::provider(&args.model, &checkpoint, &options)?;
    let mut turn = Turn {
        prompt: Prompt::Tokens(vec![begin]),
        sampling: generate::sampling(&args.sampling)?,
        new_tokens_max: Some(args.max_tokens),
        ..Turn::default()
    };
    let paint = Paint::new(environment.colour);
    let aside = Paint::new(environment.colour && environment.stderr_is_terminal);
    let listening = interrupt::listen();
    for document in 0..args.count {
        if document > 0 {
            output::line(paint.dim("─".repeat(environment.width.min(40))))?;
        }
        let asked = generate::ask(&model, turn.clone())?;
        let dreamt = asked.listen(&listening, false, &mut |said| match said {
            Said::Text(text, _) | Said::Reasoning(text) => output::show(&style::harmless(text)),
        });
        // Also after an error, which begins a line of its own.
        let ended = output::line("");
        let outcome = dreamt?;
        ended?;
        let context = model.card().context;
        match outcome.stop {
            Stop::Interrupted => return Ok(interrupt::EXIT_INTERRUPTED),
            Stop::Limit => output::aside(aside, format_args!("(cut at -n {})", args.max_tokens)),
            Stop::Context => output::aside(
                aside,
                format_args!("(cut: the context of {context} tokens is full; --ctx)"),
            ),
            Stop::End | Stop::Text | Stop::Refused => {}
        }
        // Each document has random numbers of its own, which the first seed decides.
        turn.sampling.seed = turn.sampling.seed.map(|seed| seed.wrapping_add(1));
    }
    Ok(0)
}
