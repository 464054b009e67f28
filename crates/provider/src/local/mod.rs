//! A model on this machine: engine, vocabulary and template, driven by a thread of its own.
//!
//! Whoever asks renders and tokenises the prompt on his own thread (`prompt`, `sampling`); the
//! model's thread (`worker`) computes, and turns tokens into what is told (`voice`, `stops`).

mod amount;
mod card;
mod engine;
mod files;
mod prompt;
mod sampling;
mod shared;
mod stops;
mod template;
mod vocabulary;
mod voice;
mod worker;

use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lucid_checkpoint::Checkpoint;
use lucid_engine::{
    ALTERNATIVES_MAX, Config, Constraint, DiskOptions, Engine, EngineError, Request, SAMPLES_MAX,
    Scheduler, SchedulerOptions, WantedLogProbs,
};
use lucid_tokenizer::template::{ChatTemplate, LocalTime};
use lucid_tokenizer::{ShowSpecial, TokenId, Tokenizer};

use crate::dialogue::{self, Format};
use crate::grammar::{Demand, Grammars};
use crate::{
    Answers, Card, OutputFormat, Provider, ProviderError, ProviderStats, ToolChoice, Tools, Turn,
    answers,
};

pub use amount::{bytes_in_words, count_in_words};
pub use engine::{Compute, Watch, Weights, When, default_kv, start};
pub use files::{chat_template, name, optional_tokenizer, tokenizer, vocab_size};
pub use template::bind as bind_template;
pub use vocabulary::{fit, to_metadata};

use files::unloadable;
use prompt::{Begins, Infill, Writer, Written};
use shared::Shared;
use stops::Stops;
use worker::{Command, Job, Reading};

/// The most stop tokens of a turn.
const STOP_TOKENS_MAX: usize = 1024;

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
    /// Where prompts' keys and values are kept over restarts, if they are.
    pub disk: Option<DiskOptions>,
    /// Whether the model's chat template is used.
    pub template: TemplateUse,
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
        let SchedulerOptions { stall, sequences_max, .. } = SchedulerOptions::default();
        Self {
            compute: Compute::default(),
            sequences_max,
            stall,
            queue_max: 256,
            tokenizer: None,
            disk: None,
            template: TemplateUse::default(),
            now: LocalTime::default,
        }
    }
}

/// A model on this machine. Dropping it ends its thread, and what it still answers with an error.
pub struct Local {
    card: Card,
    config: Config,
    shared: Arc<Shared>,
    template: Option<ChatTemplate>,
    infill: Option<Infill>,
    /// How the template writes reasoning and calls.
    format: Format,
    /// Made when the first turn needs them.
    grammars: OnceLock<Result<Grammars, ProviderError>>,
    /// Tokens that end an answer.
    ends: Vec<TokenId>,
    now: fn() -> LocalTime,
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
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
        let sampling = sampling::recommended(checkpoint, &mut warn);
        let mut watch = Watch { progress: &mut **progress, warn: &mut warn };
        let mut engine = start(checkpoint, &options.compute, When::Later, &mut watch)?;
        if let Some(disk) = &options.disk {
            let failed =
                |error: EngineError| unloadable(files::name(checkpoint), error.to_string());
            engine.open_disk(disk.clone()).map_err(failed)?;
        }
        let config = engine.config().clone();
        let mut card = card::card(name, checkpoint, &engine);
        let infill = Infill::find(checkpoint, &tokenizer);
        card.sampling = sampling;
        card.capabilities.chat = template.is_some();
        card.capabilities.infill = infill.is_some();
        card.warnings = warnings;
        let (source, template) = template.unzip();
        let format = source.as_deref().map(Format::of_template).unwrap_or_default();
        card.capabilities.formats = true;
        card.capabilities.tools = format.calls_tools();
        card.capabilities.reasoning = format.reasons();
        let marks = marks(source.as_deref().unwrap_or_default(), &tokenizer);
        card.template = source;
        let ends = ends(checkpoint, &tokenizer);
        let sequences_max = options.sequences_max.max(1);
        let name = name.to_owned();
        let shared = Shared::new(name, tokenizer, marks, &engine, sequences_max, options.queue_max);
        let shared = Arc::new(shared);
        let scheduler =
            SchedulerOptions { stall: options.stall, sequences_max, ..SchedulerOptions::default() };
        let (commands, thread) = employ(&shared, engine, scheduler)?;
        let (commands, thread) = (Some(commands), Some(thread));
        let now = options.now;
        let grammars = OnceLock::new();
        Ok(Self {
            card,
            config,
            shared,
            template,
            infill,
            format,
            grammars,
            ends,
            now,
            commands,
            thread,
        })
    }

    /// The model's hyper-parameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn write(&self, turn: &Turn) -> Result<Written, ProviderError> {
        let writer = Writer {
            provider: &self.card.name,
            tokenizer: &self.shared.tokenizer,
            template: self.template.as_ref(),
            infill: self.infill.as_ref(),
            format: self.format,
            now: (self.now)(),
        };
        let written = writer.write(turn)?;
        let vocab_size = self.card.vocab_size;
        if let Some(token) = written.tokens.iter().find(|&&token| token as usize >= vocab_size) {
            let reason =
                format!("there is no token {token}: the vocabulary has {vocab_size} tokens");
            return Err(ProviderError::invalid("prompt", reason));
        }
        Ok(written)
    }

    /// A turn as the engine sees it, without the teller.
    fn request(&self, turn: &Turn, written: &Written) -> Result<Request, ProviderError> {
        let (prompt_tokens, context) = (written.tokens.len(), self.card.context);
        if prompt_tokens >= context {
            return Err(ProviderError::PromptTooLong { prompt_tokens, context });
        }
        let samples = turn.samples.max(1);
        if samples > SAMPLES_MAX {
            let reason = format!("{samples} answers, expected 1 to {SAMPLES_MAX}");
            return Err(ProviderError::invalid("samples", reason));
        }
        let alternatives = turn.log_probs.map_or(0, |wanted| wanted.alternatives);
        if alternatives > ALTERNATIVES_MAX {
            let reason = format!("{alternatives}, expected at most {ALTERNATIVES_MAX}");
            return Err(ProviderError::invalid("log_probs.alternatives", reason));
        }
        if let Some(name) = &turn.adapter {
            let loaded = "none".to_owned();
            return Err(ProviderError::UnknownAdapter { name: name.clone(), loaded });
        }
        let (sampling, tokenizer) = (&self.card.sampling, &self.shared.tokenizer);
        let vocab_size = self.card.vocab_size;
        Ok(Request {
            sampler: sampling::resolve(&turn.sampling, sampling, tokenizer, vocab_size)?,
            new_tokens_max: turn.new_tokens_max.unwrap_or(usize::MAX),
            stop_tokens: self.stop_tokens(turn, written)?,
            client: turn.client,
            scope: turn.scope.clone(),
            log_probs: turn.log_probs.map(|wanted| WantedLogProbs {
                alternatives: wanted.alternatives,
                prompt: wanted.prompt,
            }),
            samples,
            ..Request::default()
        })
    }

    fn stop_tokens(&self, turn: &Turn, written: &Written) -> Result<Vec<TokenId>, ProviderError> {
        let (field, vocab_size) = ("stop_tokens", self.card.vocab_size);
        if turn.stop_tokens.len() > STOP_TOKENS_MAX {
            let found = turn.stop_tokens.len();
            let reason = format!("{found} tokens, expected at most {STOP_TOKENS_MAX}");
            return Err(ProviderError::invalid(field, reason));
        }
        if let Some(token) = turn.stop_tokens.iter().find(|&&it| it as usize >= vocab_size) {
            let reason =
                format!("there is no token {token}: the vocabulary has {vocab_size} tokens");
            return Err(ProviderError::invalid(field, reason));
        }
        let mut tokens = turn.stop_tokens.clone();
        if !turn.ignore_end {
            tokens.extend_from_slice(&self.ends);
            tokens.extend(self.shared.tokenizer.bos().filter(|_| written.ends_at_begin));
        }
        Ok(tokens)
    }

    /// What the answers must conform to, if anything is demanded.
    fn constraint(
        &self,
        turn: &Turn,
        written: &Written,
    ) -> Result<Option<Box<dyn Constraint>>, ProviderError> {
        let none = Tools::default();
        let (tools, dialogue, begins) = match written.message {
            Some(begins) => (&turn.tools, &self.format, begins),
            // Nothing in a text is a call or a reasoning.
            None => (&none, &Format::default(), dialogue::Begins::Outside),
        };
        let calls = !tools.list.is_empty() && tools.choice != ToolChoice::None;
        let must = matches!(tools.choice, ToolChoice::Required | ToolChoice::Named(_));
        if turn.format == OutputFormat::Free && !calls && !must {
            return Ok(None);
        }
        let grammars = self.grammars.get_or_init(|| Grammars::new(&self.shared.tokenizer));
        let grammars = grammars.as_ref().map_err(Clone::clone)?;
        grammars.constraint(&Demand { format: &turn.format, tools, dialogue, begins })
    }

    fn send(&self, command: Command) -> Result<(), ProviderError> {
        let sent = self.commands.as_ref().is_some_and(|commands| commands.send(command).is_ok());
        if sent { Ok(()) } else { Err(self.shared.broken_error("its thread has ended")) }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // The thread ends when nobody can ask any more.
        drop(self.commands.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Provider for Local {
    fn card(&self) -> &Card {
        &self.card
    }

    fn generate(&self, turn: Turn) -> Result<Answers, ProviderError> {
        let stops = Stops::new(&turn.stops)?;
        let mut written = self.write(&turn)?;
        let mut request = self.request(&turn, &written)?;
        request.prompt = std::mem::take(&mut written.tokens);
        request.constraint = self.constraint(&turn, &written)?;
        // A format speaks of the whole text, its first space included.
        let begins = if request.constraint.is_some() { Begins::Within } else { written.begins };
        let tools = match turn.tools.choice {
            ToolChoice::None => Vec::new(),
            _ => turn.tools.list,
        };
        let format = self.format;
        let reading = written.message.map(|begins| Reading { format, begins, tools });
        self.shared.enter()?;
        let (teller, answers) = answers();
        let job = Job { request, begins, stops, stop_tokens: turn.stop_tokens, reading, teller };
        if let Err(error) = self.send(Command::Answer(Box::new(job))) {
            self.shared.leave(None);
            return Err(error);
        }
        Ok(answers)
    }

    fn prompt_tokens(&self, turn: &Turn) -> Result<Vec<TokenId>, ProviderError> {
        self.write(turn).map(|written| written.tokens)
    }

    fn decode(&self, tokens: &[TokenId]) -> Result<Vec<u8>, ProviderError> {
        let tokenizer = &self.shared.tokenizer;
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= tokenizer.len()) {
            let reason =
                format!("there is no token {token}: the vocabulary has {} tokens", tokenizer.len());
            return Err(ProviderError::invalid("tokens", reason));
        }
        Ok(tokenizer.decode(tokens, ShowSpecial::Yes))
    }

    fn forget(&self) {
        // Without a thread there is nothing to forget.
        let _ = self.send(Command::Forget);
    }

    fn stats(&self) -> ProviderStats {
        self.shared.stats()
    }
}

/// Gives an engine a thread.
fn employ(
    shared: &Arc<Shared>,
    engine: Engine,
    options: SchedulerOptions,
) -> Result<(Sender<Command>, JoinHandle<()>), ProviderError> {
    let started = Instant::now();
    let clock = Box::new(move || started.elapsed());
    let scheduler = Scheduler::new(engine, options, clock);
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
    match template::bind(&source, tokenizer) {
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

/// The control tokens that a template writes, but for those that end an answer; ascending.
fn marks(template: &str, tokenizer: &Tokenizer) -> Vec<TokenId> {
    let written = |id: &TokenId| {
        let text = tokenizer.token_text(*id).and_then(|text| std::str::from_utf8(text).ok());
        text.is_some_and(|text| !text.is_empty() && template.contains(text))
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
