//! Killed at every moment: after another start the run ends as if nothing had happened, and each
//! effect outside happened once or is reported unknown.
//!
//! The run is played by scripts in a process of its own (this test, started again), whose clock
//! kills it with SIGKILL when it is looked at for the n-th time. Every event looks at the clock,
//! and so do the tools, before and after they change the world; so each n is another moment.
//!
//! Twice: with scripts alone, and with a model on this machine that thinks aloud in each turn
//! before the script acts; then the texts that processes leave are the model's as well.

#![cfg(unix)]
#![expect(clippy::print_stdout, reason = "the figures, for whoever asks with --nocapture")]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "kernel/fixture.rs"]
#[allow(dead_code, reason = "shared with the tests of the kernel")]
mod fixture;
#[path = "kernel/mind.rs"]
#[allow(dead_code, reason = "shared with the tests of the kernel")]
mod mind;
#[path = "../../cli/tests/e2e/tiny.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod tiny;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use serde_json::json;

use lucid_os::log::SqliteStore;
use lucid_os::{Event, EventNumber, FILE_BYTES_MAX, Kernel, Pid, Status, Step, Task, Time, fold};
use lucid_policy::Capability;
use lucid_tools::{Arguments, Folder, Grant, Outcome, Setting, Settled, Tool, ToolCard, ToolError};

use fixture::{Say, Seen, World, ann, call, text};
use mind::Mind;

const FOLDER: &str = "LUCID_TEST_KILL_FOLDER";
const MOMENT: &str = "LUCID_TEST_KILL_AT";
/// Every so many moments in the short form; each one in the long form.
const STEP: &str = "LUCID_TEST_KILL_STEP";
/// Whether processes think.
const THINKS: &str = "LUCID_TEST_KILL_THINKS";
/// Tokens of a thought.
const THOUGHT: usize = 12;
/// What main says at the end, in this order.
const WORDS: [&str; 7] =
    ["posted sent", "posted blindly", "paged", "echoed", "<hello>", "timer: tick", "kept one"];

/// Time that passes only when nothing else can be done, and ends the process at a moment.
struct Deadly {
    now_ms: AtomicI64,
    looks: AtomicU64,
    at: u64,
}

impl Deadly {
    fn look(&self) {
        if self.looks.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
            let _ = Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
            // It takes the system a moment; nothing may happen meanwhile.
            loop {
                std::thread::park();
            }
        }
    }
}

impl Time for Deadly {
    fn now_ms(&self) -> i64 {
        self.look();
        self.now_ms.load(Ordering::SeqCst)
    }

    fn idle_until(&self, at_ms: i64) {
        self.now_ms.fetch_max(at_ms, Ordering::SeqCst);
    }
}

/// A tool that adds a line to a file of the world outside. One kind can tell afterwards whether it
/// did, the other cannot.
struct Outside {
    card: ToolCard,
    world: PathBuf,
    time: Arc<Deadly>,
    tells: bool,
}

impl Outside {
    fn new(name: &str, folder: &Path, time: &Arc<Deadly>, tells: bool) -> Self {
        let mut card = fixture::Post::default().card().clone();
        name.clone_into(&mut card.policy.name);
        Self { card, world: folder.join("world"), time: time.clone(), tells }
    }
}

impl Tool for Outside {
    fn card(&self) -> &ToolCard {
        &self.card
    }

    fn call(
        &self,
        _grant: Grant,
        arguments: &Arguments,
        setting: &Setting<'_>,
    ) -> Result<Outcome, ToolError> {
        self.time.look();
        let mut file = fs::File::options().create(true).append(true).open(&self.world).unwrap();
        // In one piece: the end may come from another thread at any time.
        let line = format!("{} {} {}\n", self.card.policy.name, setting.key, arguments["text"]);
        file.write_all(line.as_bytes()).unwrap();
        self.time.look();
        Ok(Outcome::text("sent"))
    }

    fn settle(&self, key: &str) -> Settled {
        if !self.tells {
            return Settled::Unknown;
        }
        let lines = fs::read_to_string(&self.world).unwrap_or_default();
        if lines.contains(key) { Settled::Done(Outcome::text("sent")) } else { Settled::NotDone }
    }
}

const CHILDREN: [&str; 7] = ["poster", "blind", "pager", "echo", "client", "sleeper", "keeper"];

fn main_script(seen: &Seen<'_>) -> Say {
    let count = CHILDREN.len();
    let results = || {
        let tools = seen.messages.iter().filter(|message| message.role == "tool");
        tools.filter_map(|message| message.content.clone()).collect::<Vec<_>>()
    };
    match seen.turn {
        at if at < count => call(
            "spawn",
            json!({
                "application": CHILDREN[at], "goal": "go on", "pages": [3],
            }),
        ),
        at if at == count => {
            let echo = results()[3].replace("process ", "");
            let client = results()[4].replace("process ", "");
            call("send", json!({"pid": client.parse::<u64>().unwrap(), "text": echo}))
        }
        at if at <= 2 * count => {
            let child = results()[at - count - 1].replace("process ", "");
            call("wait", json!({"pid": child.parse::<u64>().unwrap()}))
        }
        _ => text(results()[count + 1..].join(" ")),
    }
}

fn pager_script(seen: &Seen<'_>) -> Say {
    match seen.turn {
        0..12 => call(
            "write",
            json!({
                "path": format!("{}.txt", seen.turn),
                "text": format!("file {}: {}", seen.turn, "words ".repeat(60)),
            }),
        ),
        12..24 => call("read", json!({"path": format!("{}.txt", seen.turn - 12)})),
        24 => call("search", json!({"query": "file 3:", "count": 1})),
        _ => text(if seen.result().contains("file 3:") { "paged" } else { "lost" }),
    }
}

fn scripts(world: World) -> World {
    world
        .play("main", main_script)
        .play("poster", |seen| match seen.turn {
            at @ 0..3 => call("post", json!({"to": "bob@example.org", "text": format!("{at}")})),
            _ => text(format!("posted {}", seen.result())),
        })
        .play("blind", |seen| match seen.turn {
            at @ 0..3 => call("blind", json!({"to": "bob@example.org", "text": format!("{at}")})),
            _ => text("posted blindly"),
        })
        .play("pager", pager_script)
        .play("echo", |seen| match seen.turn {
            0 => call("recv", json!({})),
            1 => {
                let (who, said) = seen.result().split_once(": ").unwrap();
                let who: u64 = who.replace("process ", "").parse().unwrap();
                call("send", json!({"pid": who, "text": format!("<{said}>")}))
            }
            _ => text("echoed"),
        })
        .play("client", |seen| match seen.turn {
            0 | 2 => call("recv", json!({})),
            1 => {
                let echo: u64 = seen.result().rsplit(' ').next().unwrap().parse().unwrap();
                call("send", json!({"pid": echo, "text": "hello"}))
            }
            _ => text(seen.result().split_once(": ").unwrap().1),
        })
        .play("sleeper", |seen| match seen.turn {
            0 => call("sleep", json!({"seconds": 10})),
            1 => call("cron", json!({"seconds": 5, "text": "tick"})),
            2 | 3 => call("recv", json!({})),
            _ => text(seen.result()),
        })
        .play("keeper", |seen| match seen.turn {
            0 => call("write", json!({"path": "a", "text": "one"})),
            1 => call("snapshot", json!({"name": "before"})),
            2 => call("write", json!({"path": "a", "text": "two"})),
            3 => call("rollback", json!({"name": "before"})),
            4 => call("read", json!({"path": "a"})),
            _ => text(format!("kept {}", seen.result())),
        })
}

/// Begins the run, or goes on with it, to its end or to its death.
fn go(folder: &Path, at: u64, thinks: bool) {
    let time = Arc::new(Deadly { now_ms: AtomicI64::new(0), looks: AtomicU64::new(0), at });
    let mut world = scripts(World::new(&format!("kill-{at}")));
    world.window = 4000;
    world.snapshot_events = 60;
    let mut settings = world.settings();
    settings.files = folder.join("files");
    settings.time = time.clone();
    for (name, tells) in [("post", true), ("blind", false)] {
        settings.add_tool(Arc::new(Outside::new(name, folder, &time, tells)));
    }
    for application in settings.applications.values_mut() {
        application.capabilities = ["post", "blind"].map(Capability::plain).to_vec();
        application.tools = vec!["post".to_owned(), "blind".to_owned()];
    }
    if thinks {
        settings.slots = 2;
        Mind::give(&mut settings, |_| THOUGHT, false);
    }
    let store = SqliteStore::open(&folder.join("log")).unwrap();
    let mut kernel = Kernel::open(Box::new(store), settings).unwrap();
    if kernel.state().next_pid() == Pid(1) {
        let goal = "keep bob@example.org informed";
        kernel.spawn(&Task::new("main", &ann(), goal)).unwrap();
    }
    assert_eq!(kernel.run().unwrap(), Step::Over);
    fs::write(folder.join("moments"), time.looks.load(Ordering::SeqCst).to_string()).unwrap();
}

/// Not a test of its own: what the sweep starts.
#[test]
#[ignore = "the sweep starts it in a process of its own"]
fn one_run() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let at = std::env::var(MOMENT).unwrap().parse().unwrap();
    go(Path::new(&folder), at, std::env::var_os(THINKS).is_some());
}

/// How a run ended.
#[derive(Debug, PartialEq)]
struct End {
    /// The texts that processes left, by application.
    texts: BTreeMap<String, String>,
    /// The files of applications.
    files: BTreeMap<String, String>,
}

/// The end of a run, with how often effects outside are reported unknown.
fn end_of(folder: &Path) -> (End, usize) {
    let store = SqliteStore::look_at(&folder.join("log")).unwrap();
    let (log, ..) = fold(Box::new(store)).unwrap();
    let mut applications = BTreeMap::new();
    let mut end = End { texts: BTreeMap::new(), files: BTreeMap::new() };
    let mut unknown = 0;
    for sealed in log.events_from(EventNumber(1)).unwrap() {
        match serde_json::from_slice(&sealed.body).unwrap() {
            Event::Spawned(birth) => {
                applications.insert(birth.pid, birth.application);
            }
            Event::Exited { pid, exit } => {
                let text = match exit.value {
                    Some(value) => log.content(value.content).unwrap().text(),
                    None => format!("{:?}", exit.reason),
                };
                let before = end.texts.insert(applications[&pid].clone(), text);
                assert_eq!(before, None, "it ended twice");
            }
            Event::Returned { status: Status::Unknown, .. } => unknown += 1,
            _ => {}
        }
    }
    for application in ["pager", "keeper"] {
        let files = Folder::new(&folder.join("files").join(application), FILE_BYTES_MAX);
        for path in files.list(100).unwrap() {
            end.files.insert(format!("{application}/{path}"), files.read(&path).unwrap());
        }
    }
    let audit = lucid_os::audit::replay(&log).unwrap();
    assert!(audit.different.is_empty() && audit.same >= 6, "{audit:?}");
    (end, unknown)
}

/// Lines of the world: how often each effect happened.
fn effects(folder: &Path) -> BTreeMap<String, usize> {
    let mut effects = BTreeMap::new();
    for line in fs::read_to_string(folder.join("world")).unwrap_or_default().lines() {
        let mut words = line.split(' ');
        let (tool, _key, text) = (words.next().unwrap(), words.next(), words.next().unwrap());
        *effects.entry(format!("{tool} {text}")).or_default() += 1;
    }
    effects
}

fn run(folder: &Path, at: u64, thinks: bool) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "one_run", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(MOMENT, at.to_string());
    if thinks {
        command.env(THINKS, "1");
    }
    let child = command.output().unwrap();
    let killed = std::os::unix::process::ExitStatusExt::signal(&child.status) == Some(9);
    let said = String::from_utf8_lossy(&child.stdout).into_owned()
        + &String::from_utf8_lossy(&child.stderr);
    assert!(killed || child.status.success(), "moment {at}: {said}");
    killed
}

/// Every so many moments.
fn step(usual: u64) -> u64 {
    std::env::var(STEP).ok().and_then(|it| it.parse().ok()).unwrap_or(usual)
}

#[test]
fn killed_at_every_moment_it_ends_the_same() {
    let texts = sweep(step(11), false);
    assert_eq!(texts["main"], WORDS.join(" "));
}

#[test]
fn killed_while_a_local_model_speaks_it_says_the_same() {
    let texts = sweep(step(61), true);
    says_all(&texts["main"]);
}

/// Each word comes after a thought.
fn says_all(text: &str) {
    let mut rest = text;
    for word in WORDS {
        let at = rest.find(word).unwrap();
        assert!(at >= THOUGHT, "no thought before {word}");
        rest = &rest[at + word.len()..];
    }
}

/// Kills at every so many moments: the texts that the run leaves each time.
fn sweep(step: u64, thinks: bool) -> BTreeMap<String, String> {
    let home = fixture::Home::new("kill-sweep");
    let undisturbed = home.0.join("undisturbed");
    fs::create_dir_all(&undisturbed).unwrap();
    assert!(!run(&undisturbed, 0, thinks));
    let (wanted, unknown) = end_of(&undisturbed);
    assert_eq!(unknown, 0);
    let all = effects(&undisturbed);
    assert_eq!(all.values().copied().collect::<Vec<_>>(), [1; 6], "{all:?}");
    let moments: u64 = fs::read_to_string(undisturbed.join("moments")).unwrap().parse().unwrap();
    assert!(moments > 500, "the run has only {moments} moments");
    let (mut at, mut kills, mut unknowns) = (1, 0, 0);
    loop {
        let folder = home.0.join(at.to_string());
        fs::create_dir_all(&folder).unwrap();
        if !run(&folder, at, thinks) {
            break;
        }
        kills += 1;
        // A second death soon after the first one.
        if at % 2 == 0 {
            run(&folder, 3, thinks);
        }
        assert!(!run(&folder, 0, thinks));
        let (mut end, unknown) = end_of(&folder);
        // Who is told that an outcome is unknown thinks something else of it, and so does who reads
        // that; what others think stays.
        if thinks && unknown > 0 {
            says_all(&end.texts["main"]);
            assert!(end.texts["blind"].ends_with("posted blindly"));
            for application in ["blind", "main"] {
                end.texts.insert(application.to_owned(), wanted.texts[application].clone());
            }
        }
        for (application, text) in &wanted.texts {
            assert_eq!(&end.texts[application], text, "{application}, killed at moment {at}");
        }
        assert_eq!(end, wanted, "killed at moment {at}");
        for (effect, count) in effects(&folder) {
            assert_eq!(count, 1, "{effect}, killed at moment {at}");
        }
        let missing = all.len() - effects(&folder).len();
        assert!(missing <= unknown, "an effect is missing, killed at moment {at}");
        unknowns += unknown;
        fs::remove_dir_all(&folder).unwrap();
        at += step;
    }
    // Waits look at the clock as well, so that runs differ by a few moments.
    assert!(kills >= moments * 9 / 10 / step, "killed {kills} times in {moments} moments");
    println!("killed {kills} times in {moments} moments; {unknowns} outcomes reported unknown");
    wanted.texts
}
