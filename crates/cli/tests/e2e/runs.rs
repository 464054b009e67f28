//! `lucid pretrain`: small runs from text to model, stopped, killed and gone on with; and what is
//! said where there is nothing to train on.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::support::{Home, Run, finish, signal};

/// Steps of a run: enough that a signal arrives before the last one.
const STEPS: &str = "400";

/// Documents of words that follow one another by chance, some of several bytes a letter.
pub(crate) fn documents(count: u64) -> String {
    let mut state = 88_172_645_463_325_252_u64;
    let mut word = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match (state >> 20) % 300 {
            number @ 0..20 => format!("caf\u{e9}{number}"),
            number => format!("word{number}"),
        }
    };
    let line = |number| {
        let words: Vec<_> = (0..60).map(|_| word()).collect();
        format!("{{\"text\": \"Document {number}: {}.\"}}\n", words.join(" "))
    };
    (0..count).map(line).collect()
}

/// What makes a run small, without its files and its folder.
pub(crate) const SMALL: &[&str] = &[
    "--depth=1",
    "--precision=bf16",
    "--width=32",
    "--heads=2",
    "--ff=64",
    "--ctx=64",
    "--vocab-size=320",
    "--batch-tokens=1024",
    "--held-out=0.1",
    "--lanes=2",
    "--sample-every=0",
];

pub(crate) fn pretrain<'a>(inputs: &[&'a str], output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let flag = |option: &str| option.split('=').next().map(str::to_owned);
    let vocabulary = |option: &str| option.starts_with("--tokenizer=");
    let given = |option: &&&str| {
        let own = option.starts_with("--vocab-size=");
        more.iter().any(|other| flag(other) == flag(option) || own && vocabulary(other))
    };
    let small: Vec<_> = SMALL.iter().filter(|option| !given(option)).copied().collect();
    [&["pretrain"], inputs, &["-o", output], &small, more].concat()
}

pub(crate) fn home() -> Home {
    let home = Home::new();
    home.write("in.jsonl", documents(80).as_bytes());
    home
}

/// Starts a run with `--json` and reads its events until so many steps are done.
#[expect(clippy::zombie_processes, reason = "the caller waits")]
pub(crate) fn until_step(home: &Home, args: &[&str], step: u64) -> (Child, BufReader<ChildStdout>) {
    let mut child = home.command(args).arg("--json").stderr(Stdio::piped()).spawn().unwrap();
    let mut events = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    loop {
        line.clear();
        if events.read_line(&mut line).unwrap() == 0 {
            let mut told = String::new();
            child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
            panic!("{args:?} ended before step {step}: {told}");
        }
        let event: Value = serde_json::from_str(&line).unwrap();
        if event["event"] == "step" && event["step"].as_u64() >= Some(step) {
            return (child, events);
        }
    }
}

/// Kills a run, as `kill -9` does, after so many steps.
pub(crate) fn killed(home: &Home, args: &[&str], step: u64) {
    let (mut child, _events) = until_step(home, args, step);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(9), "the run was over too soon for this test");
}

/// Stops a run, as Ctrl-C does, after so many steps.
pub(crate) fn stopped(home: &Home, args: &[&str], step: u64) -> Run {
    let (mut child, mut events) = until_step(home, args, step);
    signal(&child, "-INT");
    let mut out = String::new();
    events.read_to_string(&mut out).unwrap();
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    Run { code: child.wait().unwrap().code(), out, err }
}

/// Exit status 1, and a last line that names the cause.
pub(crate) fn refused(run: &Run, words: &[&str]) {
    assert_eq!(run.code, Some(1), "{run:?}");
    let last = run.err.lines().last().unwrap();
    assert!(last.starts_with("lucid: ") && !run.err.contains("panicked"), "{run:?}");
    for word in words {
        assert!(last.contains(word), "expected `{word}` in: {}", run.err);
    }
}

pub(crate) fn read(home: &Home, name: &str) -> Vec<u8> {
    std::fs::read(home.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn a_run_that_was_killed_and_stopped_ends_as_one_that_was_not() {
    let home = home();
    let args = |output| pretrain(&["in.jsonl"], output, &["--steps", STEPS]);
    home.ok(&args("whole"));
    let resume = ["pretrain", "--resume", "-o", "run"];
    // Before its first checkpoint, which then is all that there is to go on from.
    killed(&home, &args("run"), 3);
    assert!(!home.path("run/checkpoints").exists());
    let run = stopped(&home, &resume, 8);
    assert_eq!(run.code, Some(130), "{run:?}");
    assert!(run.err.contains("the run begins anew"), "{run:?}");
    assert!(run.err.contains("lucid pretrain --resume -o run goes on"), "{run:?}");
    assert!(!home.path("run/model.gguf").exists());
    // After it: what came since is done again.
    killed(&home, &resume, 40);
    home.ok(&[&resume[..], &["--threads", "1"]].concat());
    assert!(read(&home, "whole/model.gguf") == read(&home, "run/model.gguf"));
    // Each step is recorded once.
    let events = String::from_utf8(read(&home, "run/events.jsonl")).unwrap();
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let steps = events.filter(|event| event["event"] == "step");
    let steps: Vec<u64> = steps.map(|event| event["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, (1..=STEPS.parse().unwrap()).collect::<Vec<_>>());
    // A run that is over stays what it is.
    let before = read(&home, "run/model.gguf");
    home.ok(&resume);
    assert!(read(&home, "run/model.gguf") == before);
}

#[test]
fn events_are_lines_of_json_and_the_result_runs() {
    let home = home();
    let more = ["--steps=30", "--validate-every=10", "--sample-every=20", "--json"];
    let out = home.ok(&pretrain(&["in.jsonl"], "run", &more));
    let events: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let plan = events[0]["plan"].as_array().unwrap();
    let value = |name: &str| {
        let entry = plan.iter().find(|entry| entry["name"] == name);
        entry.unwrap_or_else(|| panic!("{name}: {plan:?}"))["value"].clone()
    };
    assert_eq!(
        (value("width"), value("steps"), value("lanes")),
        ("32".into(), "30".into(), "2".into())
    );
    let count = |kind: &str| events.iter().filter(|event| event["event"] == kind).count();
    assert_eq!((count("step"), count("validation"), count("sample")), (30, 3, 2));
    assert_eq!(count("checkpoint"), 1);
    let bits = |event: &&Value| event["event"] == "validation";
    let bits: Vec<f64> =
        events.iter().filter(bits).map(|event| event["bits_per_byte"].as_f64().unwrap()).collect();
    assert!(bits[2] < bits[0], "nothing was learnt: {bits:?}");
    for name in ["report.md", "curves.svg", "tokenizer.json", "data/data.json"] {
        assert!(home.path("run").join(name).is_file(), "{name}");
    }
    let text = home.ok(&["run", "run/model.gguf", "Document", "--raw", "-n", "8", "--temp", "0"]);
    assert!(!text.trim().is_empty());
}

#[test]
fn a_dry_run_ends_after_the_plan() {
    let home = home();
    let run = home.run(&pretrain(&["in.jsonl"], "run", &["--dry-run", "--lr=0.02"]));
    assert_eq!((run.code, run.out.as_str()), (Some(0), ""), "{run:?}");
    for words in ["width", "learning rate", "0.02", "parameters"] {
        assert!(run.err.contains(words), "{words}: {}", run.err);
    }
    assert!(!home.path("run/run.json").exists() && !home.path("run/checkpoints").exists());
    let resumed = home.run(&["pretrain", "--resume", "-o", "run"]);
    refused(&resumed, &["run holds no run to go on with"]);
    home.write("old/run.json", b"{\"version\": 1}");
    refused(
        &home.run(&["pretrain", "--resume", "-o", "old"]),
        &["version 1", "version 3", "new run"],
    );
    let other = home.run(&["pretrain", "--resume", "-o", "old", "--steps", "9"]);
    refused(&other, &["a run goes on as it began"]);
    // The plan may then be carried out.
    home.ok(&pretrain(&["in.jsonl"], "run", &["--steps=2"]));
    let again = pretrain(&["in.jsonl"], "run", &["--steps=2"]);
    refused(&home.run(&again), &["run holds a run already", "--resume"]);
}

#[test]
fn what_cannot_be_trained_on_is_refused() {
    let home = home();
    home.write("empty.txt", b"");
    home.write("binary.txt", b"\x7fELF\0\0\0\x01".repeat(100).as_slice());
    let fails = |inputs: &[&str], more: &[&str], words: &[&str]| {
        refused(&home.run(&pretrain(inputs, "run", more)), words);
        assert!(!home.path("run/run.json").exists() && !home.path("run/model.gguf").exists());
    };
    fails(&["absent.txt"], &[], &["cannot read absent.txt"]);
    fails(&["empty.txt"], &[], &["no text in empty.txt", "1 empty"]);
    fails(&["binary.txt"], &[], &["no text in binary.txt", "1 binary"]);
    fails(&["in.jsonl"], &["--held-out=1.5"], &["--held-out 1.5", "above 0 and at most 0.5"]);
    fails(&["in.jsonl"], &["--heads=3", "--head-dim=7"], &["head width", "7"]);
    fails(&["in.jsonl"], &["--lr=nan"], &["learning rate"]);
    fails(&["in.jsonl"], &["--tokenizer=in.jsonl"], &["in.jsonl is no tokenizer.json"]);
}

/// A run in which no file can grow beyond so many kilobytes, as on a full disk.
fn limited(home: &Home, kilobytes: u32, args: &[&str]) -> Run {
    let lucid = home.command(args);
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", kilobytes * 2);
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).arg(lucid.get_program()).args(lucid.get_args()).env_clear();
    shell.envs(lucid.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(home.path("")).stdin(Stdio::null());
    finish(shell)
}

#[test]
fn a_full_disk_is_told_and_the_last_good_checkpoint_stays() {
    let home = home();
    home.write("much.jsonl", documents(2000).as_bytes());
    // Shards of some 400 kB; the vocabulary takes less.
    let args = pretrain(&["much.jsonl"], "short", &["--steps=2"]);
    let run = limited(&home, 100, &args);
    refused(&run, &["cannot write", "training-00000.tokens", "no half-written file is left"]);
    assert!(!home.path("short/data/data.json").exists() && !home.path("short/run.json").exists());
    // With room the same command goes through.
    home.ok(&args);

    let args = pretrain(&["in.jsonl"], "run", &["--steps", STEPS]);
    assert_eq!(stopped(&home, &args, 3).code, Some(130));
    let checkpoints = || {
        let entries = std::fs::read_dir(home.path("run/checkpoints")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    let before = checkpoints();
    let resume = ["pretrain", "--resume", "-o", "run"];
    // A checkpoint takes some 130 kB, and so many events as well.
    let run = limited(&home, 60, &resume);
    refused(&run, &["cannot write", "lucid pretrain --resume -o run goes on"]);
    assert_eq!(checkpoints(), before);
    home.ok(&resume);
    home.ok(&pretrain(&["in.jsonl"], "whole", &["--steps", STEPS]));
    assert!(read(&home, "whole/model.gguf") == read(&home, "run/model.gguf"));
}

#[test]
fn what_is_missing_or_foreign_in_a_run_is_named() {
    let home = home();
    let args = pretrain(&["in.jsonl"], "run", &["--steps", STEPS]);
    let other = ["pretrain", "in.jsonl", "-o", "other", "--depth=1", "--steps=3"];
    let other = [&other[..], &["--vocab-size=320", "--held-out=0.1"]].concat();
    assert_eq!(stopped(&home, &args, 3).code, Some(130));
    home.ok(&other);
    let resume = ["pretrain", "--resume", "-o", "run"];
    let shard = home.path("run/data/training-00000.tokens");
    let away = home.path("away");
    std::fs::rename(&shard, &away).unwrap();
    refused(&home.run(&resume), &["training-00000.tokens is gone", "put it back"]);
    let mut bytes = std::fs::read(&away).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&shard, &bytes).unwrap();
    refused(&home.run(&resume), &["training-00000.tokens is damaged"]);
    std::fs::rename(&away, &shard).unwrap();
    // A checkpoint of another network, newer than the run's own.
    let foreign = home.path("run/checkpoints/step-00000999");
    std::fs::rename(home.path("other/checkpoints/step-00000003"), &foreign).unwrap();
    refused(&home.run(&resume), &["step-00000999", "another network"]);
    std::fs::remove_dir_all(&foreign).unwrap();
    // Only a damaged checkpoint is left.
    let own = std::fs::read_dir(home.path("run/checkpoints")).unwrap().next().unwrap().unwrap();
    std::fs::write(own.path().join("optimiser.gguf"), b"short").unwrap();
    let run = home.run(&resume);
    refused(&run, &["has no whole checkpoint"]);
    assert!(run.err.contains("optimiser.gguf: it has 5 bytes"), "{run:?}");
    std::fs::remove_dir_all(own.path()).unwrap();
    home.ok(&resume);
    home.ok(&pretrain(&["in.jsonl"], "whole", &["--steps", STEPS]));
    assert!(read(&home, "whole/model.gguf") == read(&home, "run/model.gguf"));
}
