//! `lucid show MODEL`: the two files, and what they need.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context as _, Result};
use lucid_checkpoint::Checkpoint;
use lucid_model::Config;
use lucid_sys::Memory;
use lucid_tensor::{MetaValue, WeightSource as _};
use lucid_tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::show_json::Report;
use crate::args::ShowArgs;
use crate::env::Environment;
use crate::style::Paint;
use crate::{load, output, style};

/// Contexts whose memory is listed, as far as the model was trained for them.
const CONTEXTS: [usize; 4] = [2048, 8192, 32_768, 131_072];

/// Bytes of activations that a pass holds per byte of the residual stream; measured on the 260 K
/// model and kept high.
const ACTIVATION_FACTOR: usize = 16;

/// A model's name that is longer is cut, and so is what an error says.
const NAME_LENGTH_MAX: usize = 200;
const ERROR_LENGTH_MAX: usize = 2000;

/// Rows of the largest pass.
const PASS_ROWS: usize = 256;

pub(crate) struct Facts {
    checkpoint: Checkpoint,
    program_bytes: u64,
    parameters: u64,
    types: BTreeMap<&'static str, (u64, u64)>,
    /// What the network would be, or why it cannot run.
    config: Result<Config, String>,
    tokenizer: Option<Tokenizer>,
    tokenizer_error: Option<String>,
}

pub(crate) fn run(args: &ShowArgs, environment: &Environment) -> Result<i32> {
    let checkpoint = load::checkpoint(environment, &args.model)?;
    let facts = gather(checkpoint)?;
    output::write(|out| write(&facts, args, Paint::new(environment.colour), out))?;
    Ok(0)
}

/// What `args` asks for. Lists are as long as their file, and go out an entry at a time.
pub(crate) fn write(
    facts: &Facts,
    args: &ShowArgs,
    paint: Paint,
    out: &mut dyn Write,
) -> io::Result<()> {
    let checkpoint = &facts.checkpoint;
    if args.json {
        let value = facts.to_json(args);
        let metadata = args.metadata.then(|| checkpoint.metadata());
        let tensors = args.tensors.then_some(checkpoint);
        return output::json_to(out, &Report { value: &value, metadata, tensors });
    }
    for (label, value) in facts.rows(args) {
        // Values come from the file: its names, and errors that repeat them.
        let value = style::harmless(&value);
        writeln!(out, "{}  {value}", paint.cyan(format!("{label:<14}")))?;
    }
    if args.metadata {
        writeln!(out, "{}", paint.bold("\nmetadata"))?;
        for (key, value) in checkpoint.metadata().iter() {
            writeln!(out, "{} = {}", short_text(key), short(value))?;
        }
    }
    if args.tensors {
        writeln!(out, "{}", paint.bold("\ntensors"))?;
        for name in checkpoint.tensor_names() {
            let Some(view) = checkpoint.tensor(&name) else { continue };
            let size = style::bytes(view.data.len() as u64);
            let (name, kind) = (style::visible(name.as_bytes()), view.dtype.name());
            writeln!(out, "{name:<40} {kind:<7} {size:>8}  {:?}", view.shape)?;
        }
    }
    if args.template {
        writeln!(out, "{}", paint.bold("\nchat template"))?;
        let template = facts.template();
        let shown = template.map_or("(none)".to_owned(), |source| style::harmless(&source));
        writeln!(out, "{shown}")?;
    }
    Ok(())
}

pub(crate) fn gather(checkpoint: Checkpoint) -> Result<Facts> {
    let program = std::env::current_exe().and_then(std::fs::metadata);
    let program_bytes = program.context("cannot find this program's own size")?.len();
    let mut types: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
    let mut parameters = 0u64;
    for name in checkpoint.tensor_names() {
        let Some(view) = checkpoint.tensor(&name) else { continue };
        let elements = view.element_count() as u64;
        parameters += elements;
        let entry = types.entry(view.dtype.name()).or_default();
        *entry = (entry.0 + elements, entry.1 + view.data.len() as u64);
    }
    // An error may repeat what the file holds.
    let short = |error: String| error.chars().take(ERROR_LENGTH_MAX).collect::<String>();
    // So would its name, in every key that is made of it.
    let name = checkpoint.metadata().text("general.architecture").ok().flatten();
    let config = match name.map_or(0, str::len) {
        0..=NAME_LENGTH_MAX => Config::read(&checkpoint).map_err(|error| short(error.to_string())),
        len => Err(format!("the metadata key `general.architecture` is a text of {len} bytes")),
    };
    let (tokenizer, tokenizer_error) = match load::optional_tokenizer(&checkpoint, None) {
        Ok(tokenizer) => (tokenizer, None),
        Err(error) => (None, Some(short(format!("{error:#}")))),
    };
    Ok(Facts { checkpoint, program_bytes, parameters, types, config, tokenizer, tokenizer_error })
}

impl Facts {
    fn template(&self) -> Option<String> {
        self.tokenizer.as_ref().and_then(|it| load::chat_template(&self.checkpoint, it))
    }

    /// Memory for weights, keys and values (in the default format), and activations.
    fn memory(&self, config: &Config, context: usize) -> u64 {
        let kv_dtype = load::default_kv(&self.checkpoint);
        let kv = (kv_dtype.bytes(config.kv_elements_per_position()) as u64)
            .saturating_mul(context as u64);
        let wide = config.width.max(config.feed_forward_width);
        let activations = (wide * PASS_ROWS * ACTIVATION_FACTOR + config.vocab_size * 4) as u64;
        self.checkpoint.file_bytes().saturating_add(kv).saturating_add(activations)
    }

    fn contexts(&self, args: &ShowArgs) -> Vec<usize> {
        let trained = self.config.as_ref().map_or(0, |config| config.context_length);
        let mut contexts: Vec<_> = CONTEXTS.into_iter().filter(|&size| size <= trained).collect();
        if contexts.is_empty() && trained > 0 {
            contexts.push(trained);
        }
        contexts.extend(args.ctx.map(|ctx| ctx as usize));
        contexts.sort_unstable();
        contexts.dedup();
        contexts
    }

    pub(crate) fn rows(&self, args: &ShowArgs) -> Vec<(&'static str, String)> {
        let files = self.checkpoint.files();
        let weights = style::bytes(self.checkpoint.file_bytes());
        let count =
            if files.len() > 1 { format!(", {} files", files.len()) } else { String::new() };
        let mut rows = vec![
            ("program", format!("{} (lucid {})", style::bytes(self.program_bytes), version())),
            ("weights", format!("{weights}{count}  {}", load::name(&self.checkpoint))),
            ("format", self.checkpoint.format().to_string()),
        ];
        if let Ok(Some(name)) = self.checkpoint.metadata().text("general.name") {
            let name: String = name.chars().take(NAME_LENGTH_MAX).collect();
            rows.push(("name", style::visible(name.as_bytes()).replace('·', " ")));
        }
        match &self.config {
            Ok(config) => rows.extend(self.config_rows(config, args)),
            Err(error) => rows.push(("does not run", error.clone())),
        }
        rows.push(("types", self.types_line()));
        let template = if self.template().is_some() { "yes" } else { "none" };
        match (&self.tokenizer, &self.tokenizer_error) {
            (Some(tokenizer), _) => {
                let vocabulary = tokenizer.vocabulary();
                let pre = vocabulary.pre.as_ref().map_or(String::new(), |pre| format!(" ({pre})"));
                rows.push((
                    "vocabulary",
                    format!("{} tokens, {}{pre}", tokenizer.len(), vocabulary.model),
                ));
                rows.push(("chat template", template.to_owned()));
            }
            (None, Some(error)) => rows.push(("vocabulary", error.clone())),
            (None, None) => rows.push(("vocabulary", "none; --tokenizer names one".to_owned())),
        }
        rows
    }

    fn config_rows(&self, config: &Config, args: &ShowArgs) -> Vec<(&'static str, String)> {
        let attention = format!(
            "{} query heads, {} key-value heads, {} wide{}",
            config.head_count,
            config.kv_head_count,
            config.head_dim,
            config.window.as_ref().map_or(String::new(), |it| format!(", window {}", it.size)),
        );
        let mut rows = vec![
            ("architecture", config.architecture.clone()),
            ("parameters", style::count(self.parameters)),
            (
                "shape",
                format!(
                    "{} layers, width {}, feed-forward {}, vocabulary {}",
                    config.layer_count, config.width, config.feed_forward_width, config.vocab_size
                ),
            ),
            ("attention", attention),
            ("context", format!("{} tokens", config.context_length)),
        ];
        for context in self.contexts(args) {
            let needed = style::bytes(self.memory(config, context));
            rows.push(("memory", format!("{needed} at a context of {context}")));
        }
        if let Some(memory) = Memory::detect() {
            let (available, total) = (memory.available_bytes, memory.total_bytes);
            let (available, total) = (style::bytes(available), style::bytes(total));
            rows.push(("this machine", format!("{available} free of {total}")));
        }
        rows
    }

    /// `Q4_K 87 %, F32 13 %`, by bytes.
    fn types_line(&self) -> String {
        let total: u64 = self.types.values().map(|entry| entry.1).sum();
        let mut types: Vec<_> = self.types.iter().collect();
        types.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.1));
        let share = |bytes: u64| 100.0 * bytes as f64 / total.max(1) as f64;
        let parts = types.iter().map(|(name, entry)| format!("{name} {:.1} %", share(entry.1)));
        parts.collect::<Vec<_>>().join(", ")
    }

    fn to_json(&self, args: &ShowArgs) -> Value {
        let types: serde_json::Map<_, _> = self
            .types
            .iter()
            .map(|(name, (elements, bytes))| {
                ((*name).to_owned(), json!({ "elements": elements, "bytes": bytes }))
            })
            .collect();
        let files = self.checkpoint.files().iter();
        let files: Vec<_> = files.map(|file| file.to_string_lossy()).collect();
        let mut value = json!({
            "program": { "version": version(), "bytes": self.program_bytes },
            "weights": {
                "files": files,
                "bytes": self.checkpoint.file_bytes(),
                "format": self.checkpoint.format().to_string(),
            },
            "parameters": self.parameters,
            "types": types,
            "chat_template": self.template().is_some(),
            "vocabulary": self.tokenizer.as_ref().map(|it| json!({
                "tokens": it.len(), "model": it.vocabulary().model, "pre": it.vocabulary().pre,
            })),
        });
        match &self.config {
            Ok(config) => value["config"] = config_json(config),
            Err(error) => value["error"] = json!(error),
        }
        if let Ok(config) = &self.config {
            let memory = self.contexts(args).into_iter().map(
                |context| json!({ "context": context, "bytes": self.memory(config, context) }),
            );
            value["memory"] = memory.collect();
        }
        if args.template {
            value["template"] = json!(self.template());
        }
        value
    }
}

fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

fn config_json(config: &Config) -> Value {
    json!({
        "architecture": config.architecture,
        "layers": config.layer_count,
        "width": config.width,
        "feed_forward_width": config.feed_forward_width,
        "heads": config.head_count,
        "kv_heads": config.kv_head_count,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab_size,
        "context_length": config.context_length,
        "rope_theta": config.rotary.theta,
        "window": config.window.as_ref().map(|window| window.size),
        "tied_head": config.tied_head,
    })
}

/// A value on one line; long ones are cut.
fn short(value: &MetaValue) -> String {
    match value {
        MetaValue::Text(text) => short_text(text),
        MetaValue::Array(array) => format!("[{}, {} of them]", value.kind(), array.len()),
        MetaValue::Unsigned(value) => value.to_string(),
        MetaValue::Signed(value) => value.to_string(),
        MetaValue::Float(value) => value.to_string(),
        MetaValue::Bool(value) => value.to_string(),
    }
}

fn short_text(text: &str) -> String {
    const LENGTH_MAX: usize = 70;
    let count = text.chars().count();
    let cut: String = text.chars().take(LENGTH_MAX).collect();
    let shown = style::visible(cut.as_bytes()).replace('·', " ");
    if count > LENGTH_MAX { format!("{shown}… ({count} characters)") } else { shown }
}
