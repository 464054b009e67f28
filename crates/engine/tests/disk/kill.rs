//! A process that is killed while it writes: what it acknowledged is there, and whole.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::fixture::{
    PROMPT, Scratch, Setup, answer, engine, files, golden, prompt, reopened, scope,
};

/// Names the folder for the child.
const FOLDER: &str = "LUCID_TEST_DISK_FOLDER";
/// How many processes are killed; a few where it is not said.
const KILLS: &str = "LUCID_TEST_DISK_KILLS";

/// Prompts of which all are on disk before the next one is answered: most kills come between.
const ACKNOWLEDGED_AFTER: u64 = 8;

/// What the killed process does: answers one prompt after the other, and says which are on disk.
#[test]
#[ignore = "runs inside the next test"]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let mut engine = reopened(Path::new(&folder));
    for seed in 0.. {
        answer(&mut engine, &scope(1), &prompt(seed, PROMPT));
        if seed % ACKNOWLEDGED_AFTER == 0 {
            engine.flush_disk();
            println!("\nacknowledged {seed}");
        }
    }
}

/// Runs a child, kills it so long after its first acknowledgement, and returns the last one. The
/// child goes on meanwhile: it is killed at whatever it is about.
fn killed_after(folder: &Path, delay: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--ignored", "--nocapture", "--test-threads", "1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (tell, told) = mpsc::channel::<u64>();
    let reader = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if let Some(seed) = line.strip_prefix("acknowledged ") {
                tell.send(seed.parse().unwrap()).unwrap();
            }
        }
    });
    // What takes how long before that differs much.
    let first = told.recv().expect("the child acknowledges something");
    std::thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    told.try_iter().last().unwrap_or(first)
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let kills = std::env::var(KILLS).ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let mut alone = engine(&golden(), Setup::default());
    let mut unfinished = 0;
    for kill in 0..kills {
        let scratch = Scratch::new("kill");
        let delay = Duration::from_micros(kill * 7919 % 60_000);
        let last = killed_after(&scratch.0, delay);
        let is_whole = |path: &&PathBuf| path.file_name().unwrap().len() == 62;
        let written = files(&scratch.0);
        let whole = written.iter().filter(is_whole).count() as u64;
        let acknowledged = 2 * (last + 1);
        assert!(whole >= acknowledged, "kill {kill}");
        unfinished += written.len() as u64 - acknowledged;
        let mut engine = reopened(&scratch.0);
        for seed in 0..=last {
            let text = prompt(seed, PROMPT);
            let (known, logits) = answer(&mut engine, &scope(1), &text);
            assert_eq!(known, 128, "kill {kill}: prompt {seed} of {last}");
            if seed % 16 == 0 {
                let expected = answer(&mut alone, &scope(1), &text).1;
                assert_eq!(logits, expected, "kill {kill}: prompt {seed}");
                alone.forget_published();
            }
        }
        // What was not acknowledged is whole or not there.
        for seed in last + 1..=last + ACKNOWLEDGED_AFTER + 1 {
            answer(&mut engine, &scope(1), &prompt(seed, PROMPT));
        }
        assert_eq!(engine.disk_stats().damaged, 0, "kill {kill}");
    }
    assert!(unfinished > 0, "every kill came when nothing was being written");
}
