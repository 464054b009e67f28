//! Tuning given weights: what `lucid sft` and `lucid dpo` have in common.
//!
//! The run's folder holds what it needs to go on: `run.json` (what was asked for), checkpoints and
//! events, for comparisons `reference.gguf`; and at the end `model.gguf` and the report. What is
//! learned is read anew from its files, and the place in them tells whether they are the same.

pub(crate) mod args;
mod gather;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lucid_checkpoint::Checkpoint;
use lucid_model::Config;
use lucid_tensor::{MetaValue, Metadata, WeightSource as _};
use lucid_tokenizer::control::ControlToken;
use lucid_tokenizer::template::{ChatTemplate, LUCID_TEMPLATE};
use lucid_tokenizer::{ShowSpecial, TokenId, Tokenizer};
use lucid_train::conversation::{Conversation, Examples, Gathered, Writer};
use lucid_train::data::{PackOptions, Packing, TokenBytes};
use lucid_train::{
    Alone, Cadence, Compared, Ended, Material, Objective, Plan, Preference, Reason, Reference, Run,
    Saved, Setup, Surroundings, Trainer, checkpoints, keep_reference, kept_reference,
};
use serde::{Deserialize, Serialize};

use crate::bar::Bar;
use crate::commands::convert;
use crate::commands::pretrain::live;
use crate::commands::pretrain::report;
use crate::env::Environment;
use crate::{interrupt, load, output, style};
use args::TuneArgs;

const ASKED: &str = "run.json";
const ASKED_VERSION: u32 = 1;
const MODEL: &str = "model.gguf";
/// The metadata key of chat templates.
const TEMPLATE_KEY: &str = "tokenizer.chat_template";
/// Share of conversations that is held out, unless a person says otherwise.
const HELD_OUT: f64 = 0.05;
/// Tokens of a conversation at most, unless a person says otherwise.
const TOKENS_MAX: usize = 2048;

/// A command that tunes.
#[derive(Clone, Copy)]
pub(super) struct Tuning<'a> {
    /// Its name.
    pub(super) kind: &'static str,
    /// What it was given.
    pub(super) args: &'a TuneArgs,
    /// What it makes small; of a run that goes on, the one that it began with is.
    pub(super) objective: Objective,
}

/// What was asked for, kept so that a run can go on without being told again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Asked {
    version: u32,
    kind: String,
    model: PathBuf,
    files: Vec<PathBuf>,
    template: String,
    len_max: usize,
    held_out: f64,
    /// Of all conversations, both sides.
    identity: String,
    time: Option<f64>,
    reasons: Vec<Reason>,
    plan: Plan,
}

/// All that a run is made of.
struct Begun {
    asked: Asked,
    base: Checkpoint,
    tokenizer: Tokenizer,
    gathered: Gathered,
    saved: Option<Saved>,
}

pub(super) fn run(tuning: Tuning<'_>, environment: &Environment) -> Result<i32> {
    interrupt::install();
    let args = tuning.args;
    let threads = match args.threads {
        Some(threads) => usize::from(threads),
        None => lucid_sys::Topology::detect().default_threads(),
    };
    let begun = if args.resume { Some(resumed(tuning)?) } else { begun(tuning, environment)? };
    let Some(Begun { asked, base, tokenizer, gathered, saved }) = begun else { return Ok(0) };
    let data = gather::lines(&gathered);
    let Gathered { training, held_out, sample, .. } = gathered;
    let training = Arc::new(training);
    // Where too little was given to hold anything out, it is measured on what is learned from.
    let held_out = if held_out.is_empty() { Arc::clone(&training) } else { Arc::new(held_out) };
    let [material, held_out] = materials(asked.plan.objective, &training, held_out);
    let setup = Setup {
        threads,
        level: load::level(args.simd)?,
        material: material.clone(),
        packing: PackOptions { row_tokens: 2, packing: Packing::InOrder, seed: 0, end: None },
        bytes: TokenBytes::of(&tokenizer),
        group: Rc::new(Alone),
    };
    let mut trainer = match &saved {
        Some(saved) => saved.resume(setup)?,
        None => Trainer::over(asked.plan.clone(), setup, &base)?,
    };
    let prompt = question(&tokenizer, &asked.template, sample.as_ref())?;
    let vocabulary = metadata(&base, &tokenizer, &asked.template)?;
    if !args.resume {
        // Nothing refuses it any more: from here on there is a run to go on with.
        keep(&asked, &args.output)?;
    }
    let begun = Instant::now();
    compare(&mut trainer, &asked.plan, [&material, &held_out], &args.output, saved.is_some())?;
    let spent = begun.elapsed();
    let around = Surroundings {
        folder: args.output.clone(),
        vocabulary,
        held_out,
        prompt,
        end: end(&training, &tokenizer),
        decode: Box::new(|tokens| {
            String::from_utf8_lossy(&tokenizer.decode(tokens, ShowSpecial::No)).into_owned()
        }),
    };
    drop(base);
    let cadence = Cadence {
        validate_every: args.validate_every,
        sample_every: args.sample_every,
        save_every: args.save_every,
        kept: 1,
        time: args
            .time
            .or(asked.time.map(Duration::from_secs_f64))
            .map(|time| time.saturating_sub(spent)),
        steps_max: asked.plan.schedule.steps,
    };
    let mut run = Run::new(trainer, saved, around, cadence)?;
    interrupt::listen_to_terminate();
    let goes_on = goes_on(tuning);
    let ended = live::follow(&mut run, threads, args.json, &goes_on)?;
    finish(&ended, tuning, &asked, data)
}

/// What is learned from and what is measured on, as the objective takes it.
fn materials(
    objective: Objective,
    training: &Arc<Examples>,
    held_out: Arc<Examples>,
) -> [Material; 2] {
    let training = Arc::clone(training);
    match objective {
        Objective::Likelihood => [training, held_out].map(Material::Conversations),
        Objective::Preference(_) => {
            let same = Arc::ptr_eq(&training, &held_out);
            let compared = Compared::new(training);
            let apart = if same { compared.clone() } else { Compared::new(held_out) };
            [compared, apart].map(Material::Comparisons)
        }
    }
}

/// The command that goes on with a run.
fn goes_on(Tuning { kind, args, .. }: Tuning<'_>) -> String {
    format!("lucid {kind} --resume -o {}", args.output.display())
}

/// Finds out what compared answers are compared with: measures it at the beginning, reads it later.
fn compare(
    trainer: &mut Trainer,
    plan: &Plan,
    sides: [&Material; 2],
    folder: &Path,
    goes_on: bool,
) -> Result<()> {
    let Objective::Preference(Preference { reference: Reference::Base, .. }) = plan.objective
    else {
        return Ok(());
    };
    let [Material::Comparisons(training), Material::Comparisons(held_out)] = sides else {
        return Ok(());
    };
    let sides = [training, held_out];
    if goes_on {
        if !kept_reference(folder, sides)? {
            bail!(
                "{} has lost its reference.gguf, what its answers are compared with; begin a new \
                 run",
                folder.display()
            );
        }
        return Ok(());
    }
    let mut bar = Bar::new("reference");
    let total = sides.iter().map(|side| side.examples.len()).sum::<usize>() as u64;
    let mut before = 0;
    for side in sides {
        // The same answers may be on both sides.
        if !side.reference().is_empty() {
            continue;
        }
        trainer.measure_reference(side, &mut |done, _| bar.show(before + done as u64, total))?;
        before += side.examples.len() as u64;
    }
    bar.clear();
    keep_reference(folder, sides)?;
    Ok(())
}

fn finish(
    ended: &Ended,
    tuning: Tuning<'_>,
    asked: &Asked,
    data: Vec<(String, String)>,
) -> Result<i32> {
    let folder = &tuning.args.output;
    report::write(folder, &asked.reasons, data, ended)?;
    let saved = match ended {
        Ended::Finished { saved, .. } => saved,
        Ended::Stopped { saved } => {
            output::note(format_args!(
                "stopped after step {}; {} goes on",
                saved.step(),
                goes_on(tuning)
            ));
            return Ok(interrupt::EXIT_INTERRUPTED);
        }
    };
    let model = folder.join(MODEL);
    // As other programs have it, whatever order of rows the weights came in.
    let weights = Checkpoint::open(&saved.model())?;
    let mut bar = Bar::new("writing");
    let mut progress = |done: u64, total: u64| bar.show(done, total);
    lucid_checkpoint::convert(&weights, &Metadata::default(), None, &model, &mut progress)
        .with_context(|| format!("cannot write {}", model.display()))?;
    bar.clear();
    let size = std::fs::metadata(&model).map_or(0, |info| info.len());
    output::note(format_args!("wrote {} ({})", model.display(), style::bytes(size)));
    output::note(format_args!("report: {}", folder.join("report.md").display()));
    Ok(0)
}

/// Reads the conversations and plans a run that begins. None where only the plan was wanted.
fn begun(tuning: Tuning<'_>, environment: &Environment) -> Result<Option<Begun>> {
    let Tuning { kind, args, objective } = tuning;
    let folder = &args.output;
    if folder.join(ASKED).exists() && !args.dry_run {
        bail!(
            "{} holds a run already; --resume goes on with it, another --output begins a new one",
            folder.display()
        );
    }
    let held_out = args.held_out.unwrap_or(HELD_OUT);
    if !(0.0..=0.5).contains(&held_out) {
        bail!("--held-out {held_out}: expected a share of at most 0.5");
    }
    let name = args.model.as_deref().context("give a model with --model")?;
    let base = load::checkpoint(environment, name)?;
    let tokenizer = load::tokenizer(&base, None)?;
    let config = Config::read(&base)?;
    let template = match &args.chat_template {
        Some(file) => gather::template_file(file)?,
        None => load::chat_template(&base, &tokenizer)
            .or_else(|| own_template(&tokenizer))
            .with_context(|| {
                format!(
                    "{name} has no chat template, so it is not known how it writes a conversation; \
                 give one with --chat-template FILE"
                )
            })?,
    };
    let usual = config.context_length.min(TOKENS_MAX);
    let len_max = args.ctx.map_or(usual, |tokens| tokens as usize).min(config.context_length);
    let files = gather::absolute(&args.files)?;
    let bound = ChatTemplate::bind(&template, &tokenizer)?;
    let limits = gather::Limits { len_max, held_out, objective };
    let gathered = gather::gather(&files, &tokenizer, &bound, limits)?;
    gather::tell(&gathered, args.strict, limits, args.json)?;
    let Gathered { training, held_out: apart, .. } = &gathered;
    let (plan, reasons) = Plan::tuning(&config, training, apart, objective, &args.overrides())?;
    live::print_plan(&reasons, args.json)?;
    if args.dry_run {
        return Ok(None);
    }
    let model = std::path::absolute(load::find(environment, name)?)?;
    let time = args.time.map(|time| time.as_secs_f64());
    let kind = kind.to_owned();
    let asked = Asked {
        version: ASKED_VERSION,
        kind,
        model,
        files,
        template,
        len_max,
        held_out,
        identity: identity(&gathered),
        time,
        reasons,
        plan,
    };
    Ok(Some(Begun { asked, base, tokenizer, gathered, saved: None }))
}

/// A run that goes on, from its newest checkpoint or, where it was killed before its first, from
/// its beginning.
fn resumed(tuning: Tuning<'_>) -> Result<Begun> {
    let args = tuning.args;
    let folder = &args.output;
    let asked = asked(folder, tuning.kind)?;
    let (saved, wrong) = Saved::newest(&checkpoints(folder))?;
    for error in &wrong {
        output::warn(format_args!("{error}"));
    }
    match &saved {
        None if !wrong.is_empty() => bail!(
            "{} has no whole checkpoint; remove it, and --resume begins the run anew",
            checkpoints(folder).display()
        ),
        None => output::note("there is no checkpoint yet: the run begins anew"),
        Some(_) => {}
    }
    // A checkpoint has all that its model had.
    let model = saved.as_ref().map_or_else(|| asked.model.clone(), Saved::model);
    let base = Checkpoint::open(&model)?;
    let tokenizer = load::tokenizer(&base, None)?;
    let template = ChatTemplate::bind(&asked.template, &tokenizer)?;
    let limits = gather::Limits {
        len_max: asked.len_max,
        held_out: asked.held_out,
        objective: asked.plan.objective,
    };
    let gathered = gather::gather(&asked.files, &tokenizer, &template, limits)?;
    gather::tell(&gathered, args.strict, limits, args.json)?;
    if identity(&gathered) != asked.identity {
        bail!(
            "the {} are others than this run began with; put the files back ({}), or begin a new \
             run",
            limits.what(),
            asked
                .files
                .iter()
                .map(|file| file.display().to_string())
                .collect::<Vec<_>>()
                .join(", ")
        );
    }
    Ok(Begun { asked, base, tokenizer, gathered, saved })
}

/// Tells the conversations of both sides from all others.
fn identity(gathered: &Gathered) -> String {
    let sides = [&gathered.training, &gathered.held_out];
    let hex = |byte: u8| format!("{byte:02x}");
    sides.map(|side| side.identity().map(hex).concat()).join("-")
}

/// Writes down what was asked for: a run begins.
fn keep(asked: &Asked, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let text = serde_json::to_vec_pretty(asked)?;
    let path = folder.join(ASKED);
    lucid_sys::write_atomic(&path, |out| out.write_all(&text))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn asked(folder: &Path, expected: &str) -> Result<Asked> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
        kind: Option<String>,
    }
    let path = folder.join(ASKED);
    let text = std::fs::read(&path).with_context(|| {
        format!("{} holds no run to go on with: there is no {ASKED}", folder.display())
    })?;
    let wrong = || format!("{} is not what was written", path.display());
    let Head { version, kind } = serde_json::from_slice(&text).with_context(wrong)?;
    let kind = kind.as_deref().unwrap_or("pretrain");
    if kind != expected {
        bail!(
            "{0} is no run of `lucid {expected}`; `lucid {1} --resume -o {0}` may go on with it",
            folder.display(),
            style::harmless(kind)
        );
    }
    if version != ASKED_VERSION {
        bail!("{}: version {version}, this program goes on with {ASKED_VERSION}", path.display());
    }
    serde_json::from_slice(&text).with_context(wrong)
}

/// What checkpoints carry beside the weights' own metadata: vocabulary and template.
fn metadata(base: &Checkpoint, tokenizer: &Tokenizer, template: &str) -> Result<Metadata> {
    let mut metadata = Metadata::default();
    if base.metadata().value("tokenizer.ggml.tokens").is_none() {
        metadata = convert::vocabulary(base, tokenizer)?;
    }
    metadata.insert(TEMPLATE_KEY, MetaValue::Text(template.to_owned()), None);
    Ok(metadata)
}

/// The template of models made here, where the vocabulary has its control tokens.
fn own_template(tokenizer: &Tokenizer) -> Option<String> {
    let has = |token: &ControlToken| {
        let id = tokenizer.token_id(token.spelling().as_bytes());
        id.is_some_and(|id| tokenizer.is_control(id))
    };
    ControlToken::ALL.iter().all(has).then(|| LUCID_TEMPLATE.to_owned())
}

/// A question as the model reads it, for samples.
fn question(
    tokenizer: &Tokenizer,
    template: &str,
    sample: Option<&Conversation>,
) -> Result<Vec<TokenId>> {
    let Some(Conversation { messages, tools }) = sample else { return Ok(Vec::new()) };
    let template = ChatTemplate::bind(template, tokenizer)?;
    let question = Writer::new(tokenizer, &template).question(messages, tools);
    question.map_err(|refusal| anyhow::anyhow!("{refusal}"))
}

/// The token that ends answers: the last one that is learned.
fn end(examples: &Examples, tokenizer: &Tokenizer) -> Option<TokenId> {
    let example = examples.get(0);
    let last = example.learned.iter().rposition(|&learned| learned)?;
    let end = example.tokens[last];
    if !tokenizer.is_end_of_generation(end) {
        output::warn(format_args!(
            "answers end with {}, which is no end of an answer in this vocabulary: the model will \
             not know when to stop; look at the chat template",
            style::harmless(&String::from_utf8_lossy(&tokenizer.decode(&[end], ShowSpecial::Yes)))
        ));
    }
    Some(end)
}
