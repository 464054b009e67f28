//! From a checkpoint to a model that answers.

use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lucid_checkpoint::Checkpoint;
use lucid_engine::{DiskOptions, Engine, Scheduler, SchedulerOptions};
use lucid_tokenizer::template::{ChatTemplate, LocalTime};
use lucid_tokenizer::{TokenId, Tokenizer};

use super::engine::{Compute, Watch, When, start};
use super::files::{chat_template, in_full, name, optional_tokenizer, tokenizer, unloadable};
use super::prompt::Infill;
use super::shared::Shared;
use super::tasks::RankPrompt;
use super::worker::{self, Command};
use super::{Language, Local, card, sampling};
use crate::ProviderError;
use crate::dialogue::Format;

/// How a model is served.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// How it computes.
    pub compute: Compute,
    /// Sequences that run at once; others wait.
    pub sequences_max: usize,
    /// How much longer a pass may take answers under way for the sake of somebody's prompt.
    pub stall: Duration,
    /// Turns that may wait beside those that run; who comes then is told to come back.
    pub queue_max: usize,
    /// The vocabulary's file, where it lies apart from the weights.
    pub tokenizer: Option<PathBuf>,
    /// Whether the model's chat template is used.
    pub template: TemplateUse,
    /// Where keys and values are kept over restarts, if they are.
    pub disk: Option<DiskOptions>,
    /// Whether what follows is guessed from the text so far. Answers are the same.
    pub lookup: bool,
    /// A smaller model of the same vocabulary that guesses what follows. Answers are the same.
    pub draft: Option<Checkpoint>,
    /// The time, for templates that print it.
    pub now: fn() -> LocalTime,
}

/// Whether a chat template is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TemplateUse {
    /// Where there is one; one that cannot be used is an error.
    Required,
    /// Where there is one that can be used; else the model continues texts only, and its card
    /// says why.
    #[default]
    IfUsable,
    /// Not at all: the model continues texts only.
    None,
}

impl Default for LocalOptions {
    fn default() -> Self {
        let SchedulerOptions { stall, sequences_max, lookup } = SchedulerOptions::default();
        Self {
            compute: Compute::default(),
            sequences_max,
            stall,
            queue_max: 256,
            tokenizer: None,
            template: TemplateUse::default(),
            disk: None,
            lookup,
            draft: None,
            now: LocalTime::default,
        }
    }
}

impl Local {
    /// Loads a model under a name. What people should know is told to `watch`, and stands in the
    /// card.
    ///
    /// # Errors
    /// The model or its vocabulary cannot be used; the error names the file and the part.
    pub fn load(
        name: &str,
        checkpoint: &Checkpoint,
        options: &LocalOptions,
        watch: &mut Watch<'_>,
    ) -> Result<Self, ProviderError> {
        let mut warnings = Vec::new();
        let Watch { progress, warn } = watch;
        let mut warn = |text: &str| {
            warnings.push(text.to_owned());
            warn(text);
        };
        let tokenizer = Arc::new(tokenizer(checkpoint, options.tokenizer.as_deref())?);
        for warning in tokenizer.warnings_for_use() {
            warn(warning);
        }
        let template = usable_template(checkpoint, &tokenizer, options.template, &mut warn)?;
        let (source, template) = template.unzip();
        let sampling = sampling::recommended(checkpoint, &mut warn);
        let mut watch = Watch { progress: &mut **progress, warn: &mut warn };
        let (engine, draft) = engines(checkpoint, &tokenizer, options, &mut watch)?;
        let language = Language {
            infill: Infill::find(checkpoint, &tokenizer),
            format: source.as_deref().map(Format::of_template).unwrap_or_default(),
            ends: ends(checkpoint, &tokenizer),
            rank_prompt: RankPrompt::find(checkpoint),
            pooling: engine.pooling(),
            ranks: engine.ranks(),
            template,
        };
        let marks = marks(&language.format, &tokenizer);
        let mut card = card::card(name, checkpoint, &engine);
        card.sampling = sampling;
        card.warnings = warnings;
        card.template = source;
        card.capabilities.chat = language.template.is_some();
        card.capabilities.infill = language.infill.is_some();
        card.capabilities.tools = language.format.calls_tools();
        card.capabilities.reasoning = language.format.reasons();
        card.capabilities.snapshot = options.disk.is_some();
        let config = engine.config().clone();
        let sequences_max = options.sequences_max.max(1);
        let name = name.to_owned();
        let shared = Shared::new(name, tokenizer, marks, &engine, sequences_max, options.queue_max);
        let shared = Arc::new(shared);
        let (commands, thread) = employ(&shared, engine, draft, options)?;
        Ok(Self {
            card,
            config,
            shared,
            language,
            grammars: OnceLock::new(),
            names: Mutex::default(),
            now: options.now,
            commands: Some(commands),
            thread: Some(thread),
        })
    }
}

/// The engine, and that of the draft model.
fn engines(
    checkpoint: &Checkpoint,
    tokenizer: &Tokenizer,
    options: &LocalOptions,
    watch: &mut Watch<'_>,
) -> Result<(Engine, Option<Engine>), ProviderError> {
    let mut engine = start(checkpoint, &options.compute, When::Later, watch)?;
    if let Some(disk) = &options.disk {
        engine.open_disk(disk.clone()).map_err(|error| {
            let what = format!("the folder {} for keys and values", disk.folder.display());
            unloadable(what, in_full(&error))
        })?;
    }
    let Some(draft) = &options.draft else { return Ok((engine, None)) };
    let what = || format!("the draft model {}", name(draft));
    if let Some(other) = optional_tokenizer(draft, None)?
        && other.vocabulary().tokens != tokenizer.vocabulary().tokens
    {
        let reason = "its vocabulary is another one, so its guesses would mean nothing";
        return Err(unloadable(what(), reason));
    }
    let context = Some(engine.options().context);
    let compute =
        Compute { context, kv_dtype: None, packed_cache: None, ..options.compute.clone() };
    let draft = start(draft, &compute, When::Later, watch)?;
    Ok((engine, Some(draft)))
}

/// Gives an engine a thread.
fn employ(
    shared: &Arc<Shared>,
    engine: Engine,
    draft: Option<Engine>,
    options: &LocalOptions,
) -> Result<(Sender<Command>, JoinHandle<()>), ProviderError> {
    let started = Instant::now();
    let clock = Box::new(move || started.elapsed());
    let LocalOptions { stall, lookup, .. } = *options;
    let options = SchedulerOptions { stall, sequences_max: shared.sequences_max, lookup };
    let scheduler = Scheduler::new(engine, options, clock).and_then(|scheduler| match draft {
        Some(draft) => scheduler.with_draft(draft),
        None => Ok(scheduler),
    });
    let scheduler = scheduler.map_err(|error| shared.error_of(&error))?;
    let (commands, receiver) = channel();
    let theirs = Arc::clone(shared);
    let thread = std::thread::Builder::new().name("lucid-engine".to_owned());
    let thread = thread.spawn(move || worker::work(&theirs, scheduler, &receiver));
    match thread {
        Ok(thread) => Ok((commands, thread)),
        Err(error) => Err(unloadable("a thread for the model", error.to_string())),
    }
}

/// The chat template that is used, and its source.
fn usable_template(
    checkpoint: &Checkpoint,
    tokenizer: &Tokenizer,
    wanted: TemplateUse,
    warn: &mut dyn FnMut(&str),
) -> Result<Option<(String, ChatTemplate)>, ProviderError> {
    if wanted == TemplateUse::None {
        return Ok(None);
    }
    let Some(source) = chat_template(checkpoint, tokenizer) else { return Ok(None) };
    match ChatTemplate::bind(&source, tokenizer) {
        Ok(template) => Ok(Some((source, template))),
        Err(error) if wanted == TemplateUse::IfUsable => {
            warn(&format!("its chat template cannot be used: {error}"));
            Ok(None)
        }
        Err(error) => {
            let file = name(checkpoint);
            let what = format!("the chat template of {file} (--raw does without it)");
            Err(unloadable(what, error.to_string()))
        }
    }
}

/// The control tokens that answers in a format are written with, ascending.
fn marks(format: &Format, tokenizer: &Tokenizer) -> Vec<TokenId> {
    let written = |id: &TokenId| {
        let text = tokenizer.token_text(*id).and_then(|text| std::str::from_utf8(text).ok());
        text.is_some_and(|text| !text.is_empty() && format.writes(text))
    };
    let all = 0..tokenizer.len() as TokenId;
    let control = all.filter(|&id| tokenizer.is_control(id) && !tokenizer.is_end_of_generation(id));
    control.filter(written).collect()
}

/// The tokens that end an answer: the vocabulary's, and those of `generation_config.json`.
fn ends(checkpoint: &Checkpoint, tokenizer: &Tokenizer) -> Vec<TokenId> {
    let all = 0..tokenizer.len() as TokenId;
    let mut ends: Vec<TokenId> = all.filter(|&id| tokenizer.is_end_of_generation(id)).collect();
    let config = sampling::generation_config(checkpoint);
    let named = match &config["eos_token_id"] {
        serde_json::Value::Array(ids) => ids.as_slice(),
        id => std::slice::from_ref(id),
    };
    let named = named.iter().filter_map(|id| TokenId::try_from(id.as_u64()?).ok());
    ends.extend(named.filter(|&id| (id as usize) < tokenizer.len()));
    ends.sort_unstable();
    ends.dedup();
    ends
}
