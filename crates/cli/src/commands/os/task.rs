//! `lucid do`: a task, by a process that has tools, files, notes and a log.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lucid_hub::installed;
use lucid_os::log::SqliteStore;
use lucid_os::{
    Application, Budget, Event, ExitReason, Kernel, Pid, ProcessState, Settings, Signal, State,
    Step, SystemClock, Task, Told, fold,
};
use lucid_policy::{Capability, Integrity, Party, SourceKind};
use lucid_provider::{Provider, Sampling};
use lucid_tools::{Calculator, Clock, Tool};
use serde_json::json;

use super::ask::ask;
use super::ps::living;
use super::show::{line, reason};
use super::thinking::Thinking;
use super::{folder, log_file};
use crate::env::Environment;
use crate::os_args::DoArgs;
use crate::style::{Paint, harmless};
use crate::{generate, input, interrupt, load, output, providers};

/// The application of `lucid do`.
const APPLICATION: &str = "assistant";
/// On whose behalf.
const PERSON: &str = "owner";
/// What stands between a provider and a model in the name that the log keeps.
const REMOTE: char = '|';
/// How long nothing is looked at.
const PATIENCE: Duration = Duration::from_millis(50);

const INSTRUCTIONS: &str = "\
You do what the person asks, in as few steps as it takes. Compute with the calculator, look at the \
clock, read and write files, keep notes when something is to be remembered. When you know the \
answer, say it, and nothing else.";

/// What the model is offered: few, so that small windows and small models can do with them.
const SYSCALLS: [&str; 8] =
    ["read", "write", "note", "notes", "search", "page_in", "ask_human", "exit"];

pub(crate) fn run(args: &DoArgs, environment: &Environment) -> Result<i32> {
    let folder = folder(&args.store, environment)?;
    let file = log_file(&folder);
    if args.dollars.is_some_and(|dollars| !dollars.is_finite() || dollars <= 0.0) {
        bail!("--dollars: an amount above 0 is expected");
    }
    let before = state_of(&file)?;
    let task = if args.go_on { None } else { Some(task(args, environment)?) };
    let mut wanted: Vec<String> = Vec::new();
    if args.go_on {
        wanted.extend(living(&before).map(|process| process.provider.clone()));
        if wanted.is_empty() {
            bail!("nothing was interrupted; `lucid do \"TASK\"` begins something");
        }
    } else {
        wanted.push(model_name(args, environment)?);
    }
    let settings = settings(args, environment, &folder, &wanted)?;
    let mut kernel = Kernel::open(Box::new(SqliteStore::open(&file)?), settings)?;
    let root = match task {
        Some(task) => {
            let root = kernel.spawn(&task)?;
            stop_others(&mut kernel, root)?;
            root
        }
        None => go_on(&mut kernel)?,
    };
    let shown = environment.stderr_is_terminal && !args.quiet && !args.json;
    let thinking = RefCell::new(Thinking::new(shown));
    let watch = Watch { args, paint: Paint::new(environment.colour), root, thinking };
    let code = watch.run(&mut kernel, environment);
    // Whatever happened to whoever watches, the log is whole.
    kernel.close()?;
    code
}

/// What an earlier run left.
fn state_of(file: &Path) -> Result<State> {
    if !file.exists() {
        return Ok(State::default());
    }
    let (_, state, _) = fold(Box::new(SqliteStore::look_at(file)?))?;
    Ok(state)
}

/// Processes of earlier runs stand still: whoever gives a new task did not ask for them.
fn stop_others(kernel: &mut Kernel, root: Pid) -> Result<()> {
    let moving = |process: &&lucid_os::Process| {
        process.pid != root && !matches!(process.state, ProcessState::Stopped(_))
    };
    let others: Vec<Pid> =
        living(kernel.state()).filter(moving).map(|process| process.pid).collect();
    for pid in &others {
        kernel.signal(*pid, Signal::Stop)?;
    }
    if !others.is_empty() {
        output::note(format_args!(
            "{} processes of an earlier run stand still; `lucid do --continue` goes on with them",
            others.len()
        ));
    }
    Ok(())
}

/// Wakes those that stand still; the first of them is the one to watch.
fn go_on(kernel: &mut Kernel) -> Result<Pid> {
    let all: Vec<Pid> = living(kernel.state()).map(|process| process.pid).collect();
    for pid in &all {
        kernel.signal(*pid, Signal::Cont)?;
    }
    let first = all
        .into_iter()
        .find(|pid| kernel.state().process(*pid).is_some_and(|process| process.parent.is_none()));
    first.context("nothing was interrupted")
}

fn task(args: &DoArgs, environment: &Environment) -> Result<Task> {
    let goal = match &args.task {
        Some(task) => task.clone(),
        None if environment.stdin_is_terminal => {
            bail!("what is to be done? `lucid do \"TASK\"`, or the task on standard input")
        }
        None => input::stdin()?,
    };
    if goal.trim().is_empty() {
        bail!("the task is empty");
    }
    let mut texts = Vec::new();
    let kinds =
        [(&args.file, SourceKind::OwnFile), (&args.from_elsewhere, SourceKind::ForeignFile)];
    for (files, kind) in kinds {
        for file in files {
            texts.push((kind, format!("file:{}", file.display()), input::file(file)?));
        }
    }
    let now_ms = lucid_os::Time::now_ms(&SystemClock::default());
    let seconds = |seconds: u64| i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
    Ok(Task {
        texts,
        budget: Budget {
            tokens: args.tokens,
            seconds: args.seconds,
            micro_dollars: args.dollars.map(|dollars| (dollars * 1e6).max(0.0) as u64),
        },
        deadline_ms: args.deadline.map(|wait| now_ms.saturating_add(seconds(wait))),
        ..Task::new(APPLICATION, &Party::new(PERSON), goal.trim())
    })
}

/// The name under which the log keeps what answers.
fn model_name(args: &DoArgs, environment: &Environment) -> Result<String> {
    if let (Some(provider), Some(model)) = (&args.provider, &args.model) {
        return Ok(format!("{provider}{REMOTE}{model}"));
    }
    if args.provider.is_some() {
        bail!("--provider needs --model: the name that the API has for it");
    }
    if let Some(model) = &args.model {
        return Ok(model.clone());
    }
    let here = installed(&environment.hub);
    match here.as_slice() {
        [only] => Ok(only.name.clone()),
        [] => bail!("there is no model on this machine; `lucid pull ORG/REPO` fetches one"),
        many => {
            let names: Vec<_> = many.iter().map(|model| model.name.as_str()).collect();
            bail!("which model? Give one with --model: {}", names.join(", "))
        }
    }
}

fn settings(
    args: &DoArgs,
    environment: &Environment,
    folder: &Path,
    wanted: &[String],
) -> Result<Settings> {
    let mut settings = Settings::new(folder.join("files"));
    let mut sampling = Sampling::default();
    for name in wanted {
        if settings.providers.contains_key(name) {
            continue;
        }
        let provider: Arc<dyn Provider> = if let Some((api, model)) = name.split_once(REMOTE) {
            sampling = generate::sampling_given(&args.sampling)?;
            let provider = providers::open(environment, api, model)?;
            if args.dollars.is_some() && !provider.card().capabilities.prices {
                bail!(
                    "what {model} costs is not known here, so --dollars could not end it; bound it \
                     with --tokens, or give the model's prices in providers.json"
                );
            }
            Arc::new(provider)
        } else {
            if args.dollars.is_some() {
                bail!("a model on this machine costs no dollars; bound it with --tokens");
            }
            sampling = generate::sampling(&args.sampling)?;
            let checkpoint = load::checkpoint(environment, name)?;
            let options = load::options(&checkpoint, &args.compute)?;
            Arc::new(load::provider(name, &checkpoint, &options)?)
        };
        if !provider.card().capabilities.chat {
            bail!("{name} has no chat template; a process is a conversation");
        }
        settings.providers.insert(name.clone(), provider);
    }
    let tools: [Arc<dyn Tool>; 2] = [Arc::new(Calculator::default()), Arc::new(Clock::default())];
    let names: Vec<String> = tools.iter().map(|tool| tool.card().policy.name.clone()).collect();
    for tool in tools {
        settings.add_tool(tool);
    }
    let application = Application {
        instructions: INSTRUCTIONS.to_owned(),
        capabilities: names.iter().map(|name| Capability::plain(name)).collect(),
        syscalls: SYSCALLS.map(str::to_owned).to_vec(),
        tools: names,
        provider: wanted.first().cloned().unwrap_or_default(),
        sampling: Sampling { seed: None, ..sampling },
        window_tokens_max: args.window.map(|tokens| tokens as usize),
        ..Application::default()
    };
    settings.applications = BTreeMap::from([(APPLICATION.to_owned(), application)]);
    settings.time = Arc::new(SystemClock { offset_minutes: offset_minutes() });
    let asks = environment.stdin_is_terminal && !args.no_ask;
    settings.person = asks.then(|| Party::new(PERSON));
    Ok(settings)
}

fn offset_minutes() -> i32 {
    chrono::Local::now().offset().local_minus_utc() / 60
}

fn calls_nothing(page: &lucid_os::Page) -> bool {
    matches!(&page.speaker, lucid_os::Speaker::Process { calls, .. } if calls.is_empty())
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The process has ended.
    Done,
    /// A person wanted it to stop; it can be gone on with.
    Interrupted,
    /// It waits for what nobody will send.
    Stuck,
}

/// Whoever watches one process.
struct Watch<'a> {
    args: &'a DoArgs,
    paint: Paint,
    root: Pid,
    thinking: RefCell<Thinking>,
}

impl Watch<'_> {
    fn run(&self, kernel: &mut Kernel, environment: &Environment) -> Result<i32> {
        let ended = self.to_the_end(kernel, environment);
        self.thinking.borrow_mut().clear();
        let ended = ended?;
        kernel.sync()?;
        let code = self.tell_result(kernel, ended)?;
        if ended == Ended::Done {
            kernel.reap(self.root)?;
        }
        Ok(code)
    }

    fn to_the_end(&self, kernel: &mut Kernel, environment: &Environment) -> Result<Ended> {
        let listening = interrupt::listen();
        loop {
            let step = kernel.step()?;
            self.show(kernel)?;
            let state = kernel.state().process(self.root).map(|process| &process.state);
            if state.is_none_or(|state| *state == ProcessState::Zombie) {
                return Ok(Ended::Done);
            }
            if listening.interrupted() {
                return Ok(Ended::Interrupted);
            }
            if step == Step::Worked {
                continue;
            }
            // Somebody may wait for an answer while others, or timers, are still at work.
            let asked = kernel.asked()?.into_iter().next();
            let answers = environment.stdin_is_terminal && !self.args.no_ask;
            match (asked, step) {
                (Some(asked), _) if answers => {
                    kernel.sync()?;
                    self.thinking.borrow_mut().clear();
                    let Some(wish) = ask(&asked, &Party::new(PERSON), self.paint)? else {
                        return Ok(Ended::Interrupted);
                    };
                    kernel.wish(wish)?;
                }
                (_, Step::Waits) => kernel.wait(PATIENCE)?,
                _ => return Ok(Ended::Stuck),
            }
        }
    }

    /// What happened, dim, beside the result.
    fn show(&self, kernel: &mut Kernel) -> Result<()> {
        let told = kernel.take_told();
        self.thinking.borrow_mut().hear(&told);
        if self.args.quiet || self.args.json || told.is_empty() {
            return Ok(());
        }
        kernel.sync()?;
        let texts = |content| {
            kernel.content(content).map_or_else(|error| format!("({error})"), |text| text.text())
        };
        for told in told {
            let Told::Event(event) = told else { continue };
            let shown = matches!(
                *event,
                Event::Spoke { .. }
                    | Event::Returned { .. }
                    | Event::Paged { .. }
                    | Event::TurnBroken { .. }
                    | Event::Intended { .. }
            );
            // A turn without calls is the result, which comes by itself.
            let last = matches!(&*event, Event::Spoke { page, .. } if calls_nothing(page));
            if let Some(text) = line(&event, &texts).filter(|_| shown && !last) {
                self.thinking.borrow().beside(|| output::aside(self.paint, text));
            }
        }
        Ok(())
    }

    fn tell_result(&self, kernel: &Kernel, ended: Ended) -> Result<i32> {
        let root = self.root;
        match ended {
            Ended::Interrupted => {
                output::note(format_args!(
                    "interrupted; `lucid do --continue` goes on, `lucid kill {root}` ends it"
                ));
                return Ok(interrupt::EXIT_INTERRUPTED);
            }
            Ended::Stuck => bail!(
                "process {root} waits for something that nobody here will send; `lucid ps` shows \
                 it, `lucid kill {root}` ends it"
            ),
            Ended::Done => {}
        }
        let process = kernel.state().process(root).context("the process is gone")?;
        let exit = process.exit.clone().context("the process has not ended")?;
        let text = match &exit.value {
            Some(value) => Some(kernel.content(value.content)?.text()),
            None => None,
        };
        let label = exit.value.as_ref().map_or(&process.label, |value| &value.label);
        let sources = label.sources().filter(|(_, limits)| !limits.integrity.is_trusted());
        let sources: Vec<_> = sources.map(|(name, _)| name.name().to_owned()).collect();
        let done = exit.reason == ExitReason::Done;
        if self.args.json {
            output::json(&json!({
                "pid": root,
                "done": done,
                "reason": reason(&exit.reason),
                "result": text,
                "integrity": label.integrity(),
                "influenced_by": sources,
                "turns": process.turns,
                "tokens": process.used.tokens,
                "recomputed_tokens": process.window.again,
            }))?;
        } else if let Some(text) = text.as_ref().filter(|_| done) {
            output::line(harmless(text))?;
            if label.integrity() == Integrity::Untrusted {
                output::aside(
                    self.paint,
                    format_args!(
                        "influenced by texts that are not to be believed: {}",
                        harmless(&sources.join(", "))
                    ),
                );
            }
        }
        if done {
            return Ok(0);
        }
        let said = text.map_or_else(String::new, |text| format!(": {text}"));
        if !self.args.json {
            output::error(format_args!("{}{said}", reason(&exit.reason)));
        }
        Ok(1)
    }
}
