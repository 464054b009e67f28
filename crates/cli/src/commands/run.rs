//! `lucid run MODEL [PROMPT]`: one answer, or a conversation.

use anyhow::{Context as _, Result, bail};
use lucid_tokenizer::template::{ChatTemplate, Message, Rendered};
use lucid_tokenizer::{AddSpecial, ParseSpecial, ShowSpecial};
use serde_json::json;

use super::chat::{self, Dialogue};
use crate::args::RunArgs;
use crate::env::Environment;
use crate::generate::{self, Limits, Session, Stop};
use crate::{input, interrupt, load, output, style};

pub(crate) fn run(args: &RunArgs, environment: &Environment) -> Result<i32> {
    let prompt = prompt(args, environment)?;
    if args.json && prompt.is_none() {
        bail!("--json needs a prompt: give PROMPT, -f FILE or text on standard input");
    }
    let editor = prompt.is_none().then(|| chat::editor(environment)).transpose()?;
    let checkpoint = load::checkpoint(environment, &args.model)?;
    let tokenizer = load::tokenizer(&checkpoint, args.compute.tokenizer.as_deref())?;
    for warning in tokenizer.warnings_for_use() {
        output::warn(warning);
    }
    let template = if args.raw { None } else { load::chat_template(&checkpoint, &tokenizer) };
    let template = template.map(|source| chat::template(&source, &tokenizer)).transpose();
    let template = template.with_context(|| {
        format!("the chat template of {} (--raw does without it)", load::name(&checkpoint))
    })?;
    if template.is_none() && args.system.is_some() {
        bail!("--system needs a chat template, and this model has none (or --raw was given)");
    }
    let mut engine = load::engine(&checkpoint, &args.compute)?;
    let sampler = generate::sampler(&args.sampling, &tokenizer)?;
    let sequence = engine.open();
    let session = Session {
        engine: &mut engine,
        tokenizer: &tokenizer,
        sequence,
        sampler,
        progress: environment.stderr_is_terminal,
    };
    let limits = Limits { max_tokens: args.max_tokens, stop_at_bos: template.is_none() };
    if let Some(editor) = editor {
        return Dialogue::new(session, template, args, limits, environment).converse(editor);
    }
    once(session, template.as_ref(), &prompt.unwrap_or_default(), args, limits)
}

/// What to ask: PROMPT, then the file, then what is piped; `None` where a person is at the
/// keyboard.
fn prompt(args: &RunArgs, environment: &Environment) -> Result<Option<String>> {
    let mut parts: Vec<String> = args.prompt.iter().cloned().collect();
    if let Some(file) = &args.file {
        parts.push(input::file(file)?);
    } else if !environment.stdin_is_terminal {
        let text = input::stdin()?;
        if !text.is_empty() || parts.is_empty() {
            parts.push(text);
        }
    }
    if parts.is_empty() {
        return Ok(None);
    }
    let prompt = parts.join("\n\n");
    Ok(Some(if args.raw { prompt } else { prompt.trim_end_matches(['\n', '\r']).to_owned() }))
}

/// One prompt, one answer.
fn once(
    mut session: Session<'_>,
    template: Option<&ChatTemplate>,
    prompt: &str,
    args: &RunArgs,
    limits: Limits,
) -> Result<i32> {
    let tokenizer = session.tokenizer;
    let (tokens, decoder) = if let Some(template) = template {
        let mut messages = Vec::new();
        messages.extend(args.system.as_ref().map(|text| Message::text("system", text)));
        messages.push(Message::text("user", prompt));
        let Rendered { text, literal } = chat::render(template, &messages)?;
        let tokens = chat::encode(tokenizer, &text, &literal);
        (tokens, tokenizer.stream_decoder(ShowSpecial::No))
    } else {
        let tokens = tokenizer.encode(prompt.as_bytes(), &[], AddSpecial::Yes, ParseSpecial::No);
        // What continues a text keeps its leading space; what begins one has none.
        let decoder = if prompt.is_empty() {
            tokenizer.stream_decoder(ShowSpecial::No)
        } else {
            tokenizer.stream_decoder_continuing(ShowSpecial::No)
        };
        (tokens, decoder)
    };
    if tokens.is_empty() {
        bail!("the prompt is empty, and this model has no token to begin with: give it some text");
    }
    session.check_room(&tokens)?;
    let raw = template.is_none();
    if raw && !args.json {
        output::show(&style::harmless(prompt))?;
    }
    let listening = interrupt::listen();
    let mut answer = String::new();
    let answered = session.answer(&tokens, decoder, limits, &listening, &mut |_, text| {
        if args.json {
            answer.push_str(text);
            return Ok(());
        }
        output::show(&style::harmless(text))
    });
    // Also after an error, which begins a line of its own.
    let ended = if args.json { Ok(()) } else { output::line("") };
    let outcome = answered?;
    ended?;
    if args.json {
        output::json(&json!({
            "text": answer,
            "stop": outcome.stop.word(),
            "prompt_tokens": outcome.prompt_tokens,
            "answer_tokens": outcome.answer_tokens,
            "prompt_seconds": outcome.prompt_time.as_secs_f64(),
            "answer_seconds": outcome.answer_time.as_secs_f64(),
        }))?;
    }
    if args.stats {
        output::note(outcome.summary());
    }
    if outcome.stop == Stop::Context {
        let context = session.engine.options().context;
        output::error(format_args!(
            "the context of {context} tokens is full; --ctx makes it larger"
        ));
    }
    let interrupted = outcome.stop == Stop::Interrupted;
    Ok(if interrupted { interrupt::EXIT_INTERRUPTED } else { 0 })
}
