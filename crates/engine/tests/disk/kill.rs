//! A process that is killed while it writes: what it acknowledged is there, and whole.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::fixture::{
    PROMPT, Scratch, Setup, answer, engine, files, golden, prompt, reopened, scope,
};

/// Names the folder for the child.
const FOLDER: &str = "LUCID_TEST_DISK_FOLDER";
/// How many processes are killed; a few where it is not said.
const KILLS: &str = "LUCID_TEST_DISK_KILLS";

/// What the killed process does: answers one prompt after the other, and says which are on disk.
#[test]
#[ignore = "runs inside the next test"]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let mut engine = reopened(Path::new(&folder));
    for seed in 0.. {
        answer(&mut engine, &scope(1), &prompt(seed, PROMPT));
        if seed % 3 == 0 {
            engine.flush_disk();
            println!("\nacknowledged {seed}");
        }
    }
}

/// Runs a child for a while, kills it, and returns what it acknowledged last.
fn killed_after(folder: &Path, delay: Duration) -> Option<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child", "--ignored", "--nocapture", "--test-threads", "1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The time runs from the first acknowledgement on: what takes how long differs much.
    let (mut last, mut until) = (None, None);
    for line in lines.map_while(Result::ok) {
        if let Some(seed) = line.strip_prefix("acknowledged ") {
            last = Some(seed.parse().unwrap());
            until.get_or_insert_with(|| Instant::now() + delay);
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    last
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let kills = std::env::var(KILLS).ok().and_then(|text| text.parse().ok()).unwrap_or(4);
    let mut alone = engine(&golden(), Setup::default());
    for kill in 0..kills {
        let scratch = Scratch::new("kill");
        let delay = Duration::from_micros(kill * 7919 % 60_000);
        let last = killed_after(&scratch.0, delay).expect("the child acknowledges something");
        let whole = |path: &&std::path::PathBuf| path.file_name().unwrap().len() == 62;
        let written = files(&scratch.0);
        assert!(written.iter().filter(whole).count() as u64 >= 2 * (last + 1), "kill {kill}");
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
        for seed in last + 1..last + 5 {
            answer(&mut engine, &scope(1), &prompt(seed, PROMPT));
        }
        assert_eq!(engine.disk_stats().damaged, 0, "kill {kill}");
    }
}
