//! `lucid run MODEL [PROMPT]`: one answer, or a conversation.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use lucid_provider::local::{DiskOptions, LocalOptions, TemplateUse};
use lucid_provider::{Effort, Message, OutputFormat, Prompt, Provider, Turn};
use serde_json::{Value, json};

use super::chat::{self, Dialogue, LineEditor};
use super::serve_disk;
use crate::args::{FormatArgs, RunArgs};
use crate::env::Environment;
use crate::generate::{self, Outcome, Said, Stop};
use crate::style::Paint;
use crate::{input, interrupt, load, output, providers, style};

pub(crate) fn run(args: &RunArgs, environment: &Environment) -> Result<i32> {
    let prompt = prompt(args, environment)?;
    if args.json && prompt.is_none() {
        bail!("--json needs a prompt: give PROMPT, -f FILE or text on standard input");
    }
    let editor = prompt.is_none().then(|| chat::editor(environment)).transpose()?;
    if let Some(provider) = &args.provider {
        let model = providers::open(environment, provider, &args.model)?;
        let about = model.card().description.clone();
        return answer(&model, about, prompt, editor, args, environment);
    }
    let checkpoint = load::checkpoint(environment, &args.model)?;
    let template = if args.raw { TemplateUse::None } else { TemplateUse::Required };
    let folder = environment.kv_cache.as_deref().filter(|_| args.keep);
    let disk = folder.map(|folder| serve_disk::in_folder(folder, DiskOptions::BYTES_MAX));
    let draft = args.draft.as_ref().map(|draft| load::checkpoint(environment, draft));
    let options = LocalOptions {
        template,
        lookup: !args.no_speculation,
        draft: draft.transpose()?,
        disk: disk.transpose()?,
        ..load::options(&checkpoint, &args.compute)?
    };
    let model = load::provider(&args.model, &checkpoint, &options)?;
    if let Some(adapter) = &args.lora {
        let (file, scale) = adapter_file(adapter);
        model.load_adapter(ADAPTER, file, scale)?;
    }
    if !model.card().capabilities.chat && args.system.is_some() {
        bail!("--system needs a chat template, and this model has none (or --raw was given)");
    }
    let config = model.config();
    let about = format!("{} \u{b7} {} layers", config.architecture, config.layer_count);
    answer(&model, about, prompt, editor, args, environment)
}

/// Answers the prompt, or talks with whoever sits at the editor.
fn answer(
    model: &dyn Provider,
    about: String,
    prompt: Option<String>,
    editor: Option<LineEditor>,
    args: &RunArgs,
    environment: &Environment,
) -> Result<i32> {
    match editor {
        Some(editor) => Dialogue::new(model, about, args, environment)?.converse(editor),
        None => once(model, &prompt.unwrap_or_default(), args, environment),
    }
}

/// A turn as the flags have it, without a prompt.
pub(super) fn turn(args: &RunArgs) -> Result<Turn> {
    Ok(Turn {
        sampling: match args.provider {
            Some(_) => generate::sampling_given(&args.sampling)?,
            None => generate::sampling(&args.sampling)?,
        },
        new_tokens_max: args.max_tokens,
        stops: args.stop.clone(),
        format: format(&args.format)?,
        adapter: args.lora.as_ref().map(|_| ADAPTER.to_owned()),
        effort: match (args.think, args.no_think) {
            (true, _) => Effort::On { tokens_max: None },
            (_, true) => Effort::Off,
            _ => Effort::Default,
        },
        ..Turn::default()
    })
}

/// The name of the one adapter.
const ADAPTER: &str = "--lora";

/// A file, and by what its effect is multiplied.
fn adapter_file(given: &str) -> (&Path, f32) {
    let parts = given.rsplit_once('=');
    match parts.and_then(|(file, scale)| Some((file, scale.parse().ok()?))) {
        Some((file, scale)) if !Path::new(given).exists() => (Path::new(file), scale),
        _ => (Path::new(given), 1.0),
    }
}

fn format(args: &FormatArgs) -> Result<OutputFormat> {
    if args.json_object {
        return Ok(OutputFormat::JsonObject);
    }
    if let Some(given) = &args.json_schema {
        let is_schema = given.trim_start().starts_with('{');
        let text = if is_schema { given.clone() } else { input::file(Path::new(given))? };
        let schema = serde_json::from_str(&text).with_context(|| {
            let source = if is_schema { "what was given" } else { given };
            format!("--json-schema: {source} is no JSON")
        })?;
        return Ok(OutputFormat::JsonSchema(schema));
    }
    if let Some(file) = &args.grammar {
        let text = input::file(file)?;
        let is_gbnf = file.extension().is_some_and(|it| it.eq_ignore_ascii_case("gbnf"));
        return Ok(if is_gbnf { OutputFormat::Gbnf(text) } else { OutputFormat::Lark(text) });
    }
    Ok(args.regex.clone().map_or(OutputFormat::Free, OutputFormat::Regex))
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
    model: &dyn Provider,
    prompt: &str,
    args: &RunArgs,
    environment: &Environment,
) -> Result<i32> {
    let raw = !model.card().capabilities.chat;
    let prompt_of_turn = if raw {
        Prompt::text(prompt)
    } else {
        let mut messages = Vec::new();
        messages.extend(args.system.as_ref().map(|text| Message::text("system", text)));
        messages.push(Message::text("user", prompt));
        Prompt::chat(messages)
    };
    let turn = Turn { prompt: prompt_of_turn, ..turn(args)? };
    let format = turn.format.clone();
    let asked = generate::ask(model, turn)?;
    if raw && !args.json {
        output::show(&style::harmless(prompt))?;
    }
    let listening = interrupt::listen();
    let paint = Paint::new(environment.colour);
    let (mut answer, mut reasoning) = (String::new(), String::new());
    let progress = environment.stderr_is_terminal;
    let answered = asked.listen(&listening, progress, &mut |said| {
        if !args.json {
            return chat::show(said, paint);
        }
        match said {
            Said::Text(text, _) => answer.push_str(text),
            Said::Reasoning(text) => reasoning.push_str(text),
        }
        Ok(())
    });
    // Also after an error, which begins a line of its own.
    let ended = if args.json { Ok(()) } else { output::line("") };
    let outcome = answered?;
    ended?;
    if args.json {
        output::json(&told(&answer, &reasoning, &outcome))?;
    }
    if args.stats {
        output::note(outcome.summary());
    }
    if outcome.stop == Stop::Context {
        let context = model.card().context;
        output::error(format_args!(
            "the context of {context} tokens is full; --ctx makes it larger"
        ));
    }
    if outcome.stop == Stop::Interrupted {
        return Ok(interrupt::EXIT_INTERRUPTED);
    }
    if let Some(why) = outcome.lacking(&format) {
        output::error(why);
        return Ok(1);
    }
    Ok(0)
}

/// An answer for `--json`.
fn told(answer: &str, reasoning: &str, outcome: &Outcome) -> Value {
    let mut value = json!({
        "text": answer,
        "stop": outcome.stop.word(),
        "prompt_tokens": outcome.prompt_tokens,
        "answer_tokens": outcome.answer_tokens,
        "prompt_seconds": outcome.prompt_time.as_secs_f64(),
        "answer_seconds": outcome.answer_time.as_secs_f64(),
    });
    if !reasoning.is_empty() {
        value["reasoning"] = json!(reasoning);
    }
    if let Some(cost) = outcome.cost_usd {
        value["cost_usd"] = json!(cost);
    }
    value
}
