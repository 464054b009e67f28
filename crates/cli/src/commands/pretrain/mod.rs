//! `lucid pretrain`: a language model from a folder of text.
//!
//! The run's folder holds all that it needs to go on: `run.json` (what was asked for), the
//! vocabulary, the tokens, checkpoints and events; and at the end `model.gguf` and the report.

pub(crate) mod args;
pub(super) mod live;
mod planned;
mod prepare;
mod ranks;
pub(super) mod report;
mod screen;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lucid_provider::local;
use lucid_tensor::Metadata;
use lucid_tokenizer::{AddSpecial, ParseSpecial, ShowSpecial, Tokenizer};
use lucid_train::data::{
    Check, Leftover, PackOptions, Packing, Prepared, Side, TokenBytes, VocabularyId,
};
use lucid_train::record::events;
use lucid_train::{
    Cadence, Ended, Group, Material, Overrides, Plan, Reason, Run, Saved, Setup, Surroundings,
    TrainError, Trainer, Wish, checkpoints,
};
use serde::{Deserialize, Serialize};

use crate::env::Environment;
use crate::{interrupt, output, style};
use args::PretrainArgs;
use ranks::{Ranks, Start};
use screen::{Facts, Screen};

const ASKED: &str = "run.json";
const ASKED_VERSION: u32 = 3;
const TOKENIZER: &str = "tokenizer.json";
const DATA: &str = "data";
const MODEL: &str = "model.gguf";

/// What was asked for, kept so that a run can go on without being told again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Asked {
    version: u32,
    files: Vec<PathBuf>,
    seed: u64,
    time: Option<f64>,
    prompt: String,
    reasons: Vec<Reason>,
    /// What the run began with: it begins so again where it was killed before its first checkpoint.
    plan: Plan,
}

/// What every version of it has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

pub(crate) fn run(args: &PretrainArgs, environment: &Environment) -> Result<i32> {
    let ranks = Ranks::join(environment.launched)?;
    match make(args, environment, &ranks) {
        Err(error)
            if !ranks.several() && matches!(error.downcast_ref(), Some(TrainError::Stopped)) =>
        {
            Ok(interrupt::EXIT_INTERRUPTED)
        }
        Err(error) if ranks.several() => ranks.fail(&error, &args.output),
        outcome => outcome,
    }
}

fn make(args: &PretrainArgs, environment: &Environment, ranks: &Ranks) -> Result<i32> {
    if args.tui && ranks.leads() {
        Screen::check()?;
    }
    let threads = args.threads.map_or_else(|| ranks.threads(), usize::from);
    let folder = &args.output;
    let mut own = None;
    let start = ranks.agree(folder, || start(args, threads, ranks, &mut own))?;
    let Some(Start { asked, saved }) = start else { return Ok(0) };
    let saved = match own {
        Some(own) => Some(own),
        None => saved.as_deref().map(ranks::saved).transpose()?,
    };
    let tokenizer = prepare::tokenizer(&folder.join(TOKENIZER))?;
    let vocabulary = VocabularyId::of(&tokenizer);
    let data = Prepared::read(&folder.join(DATA))?;
    let group = Rc::clone(&ranks.group);
    let setup = setup(args, &data, &tokenizer, asked.seed, threads, group)?;
    let held_out = Arc::new(data.open(Side::Validation, &vocabulary, Check::All)?);
    let held_out = Material::Text(held_out);
    let trainer = match &saved {
        Some(saved) => saved.resume(setup)?,
        None => Trainer::new(asked.plan.clone(), setup)?,
    };
    let around = Surroundings {
        folder: folder.clone(),
        vocabulary: metadata(&tokenizer),
        held_out,
        prompt: prompt(&tokenizer, &asked.prompt),
        end: tokenizer.bos(),
        decode: Box::new(|tokens| {
            String::from_utf8_lossy(&tokenizer.decode(tokens, ShowSpecial::No)).into_owned()
        }),
    };
    let cadence = Cadence {
        validate_every: args.cadence.validate_every,
        sample_every: args.cadence.sample_every,
        save_every: args.cadence.save_every,
        kept: args.cadence.keep,
        time: args.time.or(asked.time.map(Duration::from_secs_f64)),
        steps_max: trainer.plan().steps_max(planned::tokens(&data)).max(asked.plan.schedule.steps),
    };
    let mut run = Run::new(trainer, saved, around, cadence)?;
    if !ranks.leads() {
        return followed(&mut run);
    }
    let ended = watched(&mut run, args, threads, environment.colour)?;
    finish(&ended, args, &asked, &data)
}

/// A rank that goes along in silence.
fn followed(run: &mut Run<'_>) -> Result<i32> {
    interrupt::listen_to_terminate();
    let listening = interrupt::listen();
    let ended = run.go(&mut |_| if listening.interrupted() { Wish::Stop } else { Wish::GoOn })?;
    Ok(if matches!(ended, Ended::Stopped { .. }) { interrupt::EXIT_INTERRUPTED } else { 0 })
}

/// Runs to the end or to Ctrl-C, with a line that tells where it stands.
fn watched(run: &mut Run<'_>, args: &PretrainArgs, threads: usize, colour: bool) -> Result<Ended> {
    interrupt::listen_to_terminate();
    let goes_on = format!("lucid pretrain --resume -o {}", args.output.display());
    if args.tui {
        let listening = interrupt::listen();
        let or_stop = |wish| if listening.interrupted() { Wish::Stop } else { wish };
        let (plan, step) = (run.trainer().plan(), run.trainer().steps_done());
        let earlier = if step > 0 { events(&args.output)? } else { Vec::new() };
        let screen = Screen::open(facts(plan, step, args, threads), &earlier, colour)?;
        let ended = run.go(&mut |event| or_stop(screen.tell(event)));
        screen.close().iter().for_each(output::note);
        return live::told(ended, run.trainer().steps_done(), &goes_on);
    }
    live::follow(run, threads, args.json, &goes_on)
}

fn facts(plan: &Plan, step: u64, args: &PretrainArgs, threads: usize) -> Facts {
    let network = &plan.network;
    let parameters = style::count(network.parameter_count() as u64);
    Facts {
        folder: args.output.display().to_string(),
        network: format!(
            "{} layers x {}, {parameters} parameters",
            network.layer_count, network.width
        ),
        steps: plan.schedule.steps,
        step,
        flops_per_token: network.flops_per_token(),
        peak: report::peak(threads, plan.precision),
    }
}

fn finish(ended: &Ended, args: &PretrainArgs, asked: &Asked, data: &Prepared) -> Result<i32> {
    let folder = &args.output;
    let saved = match ended {
        Ended::Finished { saved, .. } | Ended::Stopped { saved } => saved,
    };
    report::write(folder, &asked.reasons, report::sides(data), ended)?;
    if let Ended::Stopped { .. } = ended {
        output::note(format_args!(
            "stopped after step {}; lucid pretrain --resume -o {} goes on",
            saved.step(),
            folder.display()
        ));
        return Ok(interrupt::EXIT_INTERRUPTED);
    }
    let model = folder.join(MODEL);
    copy(&saved.model(), &model)?;
    let size = std::fs::metadata(&model).map_or(0, |info| info.len());
    output::note(format_args!("wrote {} ({})", model.display(), style::bytes(size)));
    output::note(format_args!("report: {}", folder.join("report.md").display()));
    Ok(0)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut file =
        std::fs::File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
    lucid_sys::write_atomic(to, |out| std::io::copy(&mut file, out).map(|_| ()))
        .with_context(|| format!("cannot write {}", to.display()))
}

/// Rank 0's part: a run that begins, or goes on from the checkpoint that is put into `own`.
fn start(
    args: &PretrainArgs,
    threads: usize,
    ranks: &Ranks,
    own: &mut Option<Saved>,
) -> Result<Option<Start>> {
    let folder = &args.output;
    if args.resume {
        let Overrides { cores, bf16_outpaces_f32, .. } = args.overrides();
        let unset = Overrides { cores, bf16_outpaces_f32, ..Overrides::default() };
        if args.dry_run || args.overrides() != unset {
            bail!("a run goes on as it began; of its settings --resume takes only --time");
        }
        let (asked, saved) = resumed(folder)?;
        *own = saved;
        let saved = own.as_ref().map(|saved| saved.folder().to_owned());
        return Ok(Some(Start { asked, saved }));
    }
    if let Some(share) = args.held_out
        && !(share > 0.0 && share <= 0.5)
    {
        bail!("--held-out {share}: expected a share above 0 and at most 0.5");
    }
    begin(folder)?;
    let begun = begun(args, threads, ranks.group.ranks())?;
    Ok(begun.map(|asked| Start { asked, saved: None }))
}

/// A folder in which a run may begin.
fn begin(folder: &Path) -> Result<()> {
    if folder.join(ASKED).exists() {
        bail!(
            "{} holds a run already; --resume goes on with it, another --output begins a new one",
            folder.display()
        );
    }
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Prepares the text and plans the run. None where only the plan was wanted.
fn begun(args: &PretrainArgs, threads: usize, ranks: usize) -> Result<Option<Asked>> {
    let folder = &args.output;
    let mut overrides = args.overrides();
    if ranks > 1 {
        overrides.cores = Some(threads * ranks);
    }
    let seed = overrides.seed.unwrap_or(1);
    prepare::vocabulary(args, &folder.join(TOKENIZER), threads)?;
    let tokenizer = prepare::tokenizer(&folder.join(TOKENIZER))?;
    let data = prepare::data(args, &tokenizer, &folder.join(DATA), seed, threads)?;
    let planned =
        |overrides: &Overrides| planned::plan(args, &tokenizer, &data, overrides, threads, ranks);
    let (mut plan, mut reasons) = planned(&overrides)?;
    if plan.lanes < ranks && overrides.lanes.is_none() {
        (plan, reasons) = planned(&Overrides { lanes: Some(ranks), ..overrides })?;
        if let Some(lanes) = reasons.iter_mut().find(|reason| reason.name == "lanes") {
            "one for each rank".clone_into(&mut lanes.from);
        }
    }
    if plan.lanes < ranks {
        bail!(
            "{ranks} ranks, but the run has {} lanes, and each rank needs one; start fewer ranks, \
             or give more with --lanes, and larger steps with --batch-tokens",
            plan.lanes
        );
    }
    live::print_plan(&reasons, args.json)?;
    if args.dry_run {
        return Ok(None);
    }
    let asked = Asked {
        version: ASKED_VERSION,
        files: args.files.clone(),
        seed,
        time: args.time.map(|time| time.as_secs_f64()),
        prompt: args.cadence.prompt.clone(),
        reasons,
        plan,
    };
    let path = folder.join(ASKED);
    let text = serde_json::to_vec_pretty(&asked)?;
    lucid_sys::write_atomic(&path, |out| out.write_all(&text))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Some(asked))
}

/// What was asked for, and the newest checkpoint; none where the run was killed before its first.
fn resumed(folder: &Path) -> Result<(Asked, Option<Saved>)> {
    let path = folder.join(ASKED);
    let text = std::fs::read(&path).with_context(|| {
        format!("{} holds no run to go on with: there is no {ASKED}", folder.display())
    })?;
    let wrong = || format!("{} is not what was written", path.display());
    let Version { version } = serde_json::from_slice(&text).with_context(wrong)?;
    if version != ASKED_VERSION {
        let path = path.display();
        bail!(
            "{path}: version {version}, this program goes on with version {ASKED_VERSION}; begin a \
             new run, or go on with the program that began this one"
        );
    }
    let asked: Asked = serde_json::from_slice(&text).with_context(wrong)?;
    let folder = checkpoints(folder);
    let (saved, wrong) = Saved::newest(&folder)?;
    for error in &wrong {
        output::warn(format_args!("{error}"));
    }
    match &saved {
        Some(saved) if saved.plan().network != asked.plan.network => bail!(
            "{} is of another network than this run's; remove it, and the one before it is taken",
            saved.folder().display()
        ),
        None if !wrong.is_empty() => bail!(
            "{} has no whole checkpoint; remove it, and --resume begins the run anew",
            folder.display()
        ),
        None => output::note("there is no checkpoint yet: the run begins anew"),
        Some(_) => {}
    }
    Ok((asked, saved))
}

/// What a run computes with, and on what.
fn setup(
    args: &PretrainArgs,
    data: &Prepared,
    tokenizer: &Tokenizer,
    seed: u64,
    threads: usize,
    group: Rc<dyn Group>,
) -> Result<Setup> {
    let vocabulary = VocabularyId::of(tokenizer);
    Ok(Setup {
        threads,
        level: crate::load::level(args.simd)?,
        material: Material::Text(Arc::new(data.open(Side::Training, &vocabulary, Check::All)?)),
        packing: packing(tokenizer, seed),
        bytes: TokenBytes::of(tokenizer),
        group,
    })
}

/// The vocabulary as checkpoints carry it. A text ends where the next one would begin; other
/// programs take any token for the end where none is named.
fn metadata(tokenizer: &Tokenizer) -> Metadata {
    let mut vocabulary = tokenizer.vocabulary().clone();
    vocabulary.eos = vocabulary.eos.or(vocabulary.bos);
    local::to_metadata(&vocabulary)
}

/// How documents become rows: as nanochat packs them, with nothing thrown away.
fn packing(tokenizer: &Tokenizer, seed: u64) -> PackOptions {
    let packing = match tokenizer.bos() {
        Some(_) => Packing::BestFit(Leftover::Keep),
        None => Packing::InOrder,
    };
    PackOptions { row_tokens: 2, packing, seed, end: tokenizer.bos() }
}

fn prompt(tokenizer: &Tokenizer, text: &str) -> Vec<lucid_tokenizer::TokenId> {
    let mut tokens = tokenizer.bos().map_or_else(Vec::new, |begin| vec![begin]);
    tokens.extend(tokenizer.encode(text.as_bytes(), &[], AddSpecial::No, ParseSpecial::No));
    tokens
}
