//! `lucid dpo`: a tuned model that learns which of two answers is the better one; killed and gone
//! on with; and what is said of files that hold no comparison.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::runs::{home, killed, pretrain, read, refused, stopped};
use crate::support::Home;

/// A home with a base model, pairs, and answers judged alone.
fn with_base() -> Home {
    let home = home();
    let more = ["--steps=4", "--ctx=128", "--batch-tokens=512"];
    home.ok(&pretrain(&["in.jsonl"], "base", &more));
    let (mut pairs, mut alone) = (String::new(), String::new());
    for number in 0..60 {
        let question = format!("word{number}?");
        let (good, bad) = (format!("yes{}.", number % 5), format!("no{}!", number % 7));
        let pair = json!({"prompt": question, "chosen": good, "rejected": bad});
        writeln!(pairs, "{pair}").unwrap();
        let is_good = number % 2 == 0;
        let said = if is_good { good } else { bad };
        let judged = json!({"prompt": question, "completion": said, "label": is_good});
        writeln!(alone, "{judged}").unwrap();
    }
    home.write("pairs.jsonl", pairs.as_bytes());
    home.write("alone.jsonl", alone.as_bytes());
    home
}

const SMALL: &[&str] = &["--batch-tokens=512", "--lr=0.003", "--lanes=2", "--precision=bf16"];

fn dpo<'a>(file: &'a str, output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let command = ["dpo", "-m", "base/model.gguf", file, "-o", output, "--sample-every=0"];
    [&command, SMALL, more].concat()
}

fn finished(home: &Home, folder: &str) -> Value {
    let events = String::from_utf8(read(home, &format!("{folder}/events.jsonl"))).unwrap();
    let last: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "finished");
    last
}

#[test]
fn comparisons_are_learned_by_every_loss() {
    let home = with_base();
    for (loss, file) in [
        ("dpo", "pairs.jsonl"),
        ("ipo", "pairs.jsonl"),
        ("orpo", "pairs.jsonl"),
        ("simpo", "pairs.jsonl"),
        ("kto", "pairs.jsonl"),
        ("kto", "alone.jsonl"),
    ] {
        let folder = format!("{loss}-{file}");
        let run = home.run(&dpo(file, &folder, &["--loss", loss, "--steps=60"]));
        assert_eq!(run.code, Some(0), "{loss} {file}: {run:?}");
        let told = &finished(&home, &folder)["told"];
        // Held-out questions, the same kinds of answers.
        assert!(told["accuracy"].as_f64().unwrap() > 0.9, "{loss} {file}: {told}");
        let report = String::from_utf8(read(&home, &format!("{folder}/report.md"))).unwrap();
        assert!(report.contains("held-out comparisons"), "{report}");
        assert!(run.err.contains("told right"), "{run:?}");
    }
}

#[test]
fn a_run_over_comparisons_that_was_killed_ends_as_one_that_was_not() {
    let home = with_base();
    home.ok(&dpo("pairs.jsonl", "whole", &["--steps=200"]));
    let resume = ["dpo", "--resume", "-o", "run"];
    killed(&home, &dpo("pairs.jsonl", "run", &["--steps=200"]), 3);
    let run = stopped(&home, &resume, 8);
    assert_eq!(run.code, Some(130), "{run:?}");
    assert!(run.err.contains("lucid dpo --resume -o run goes on"), "{run:?}");
    // What it compares with is not what it has become.
    let kept = read(&home, "run/reference.gguf");
    assert!(kept == read(&home, "whole/reference.gguf"));
    std::fs::remove_file(home.path("run/reference.gguf")).unwrap();
    refused(&home.run(&resume), &["reference.gguf"]);
    home.write("run/reference.gguf", &kept[..kept.len() - 8]);
    refused(&home.run(&resume), &["reference.gguf"]);
    let mut other = kept.clone();
    *other.last_mut().unwrap() ^= 1;
    home.write("run/reference.gguf", &other);
    refused(&home.run(&resume), &["reference.gguf", "not what was written"]);
    home.write("run/reference.gguf", &kept);
    killed(&home, &resume, 30);
    home.ok(&[&resume[..], &["--threads", "1"]].concat());
    assert!(read(&home, "whole/model.gguf") == read(&home, "run/model.gguf"));
    // Time that is left is no reason for more passes than were asked for.
    home.ok(&dpo("pairs.jsonl", "timed", &["--epochs=2", "--time=5m"]));
    let asked: Value = serde_json::from_slice(&read(&home, "timed/run.json")).unwrap();
    assert_eq!(finished(&home, "timed")["step"], asked["plan"]["schedule"]["steps"]);
    refused(&home.run(&["sft", "--resume", "-o", "run"]), &["lucid dpo --resume -o run"]);
}

#[test]
fn what_is_no_comparison_is_named_by_its_line() {
    let home = with_base();
    let lines = [
        "{\"prompt\": \"word1\", \"chosen\": \"yes\", \"rejected\": \"no\"}",
        "{\"prompt\": \"word1\", \"chosen\": \"yes\", \"rejected\": \"yes\"}",
        "{\"prompt\": \"word1\", \"completion\": \"yes\"}",
        "{\"prompt\": \"word1\", \"completion\": \"yes\", \"label\": true}",
        "[1",
    ];
    home.write("mixed.jsonl", lines.join("\n").as_bytes());
    let run = home.run(&dpo("mixed.jsonl", "tuned", &["--dry-run"]));
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.err.contains("1 of 5 comparisons"), "{run:?}");
    for (reason, line) in [("same answer", 2), ("no comparison", 3), ("judged alone", 4)] {
        let named = format!("mixed.jsonl:{line}");
        let told = run.err.lines().any(|it| it.contains(reason) && it.contains(&named));
        assert!(told, "{reason} {line}: {run:?}");
    }
    assert!(!home.path("tuned").exists());
    refused(&home.run(&dpo("mixed.jsonl", "tuned", &["--strict"])), &["4 lines"]);
    refused(&home.run(&dpo("pairs.jsonl", "tuned", &["--beta=0"])), &["beta", "range"]);
    let unused = ["--loss=orpo", "--label-smoothing=0.1"];
    refused(&home.run(&dpo("pairs.jsonl", "tuned", &unused)), &["--label-smoothing", "orpo"]);
    assert!(!home.path("tuned").exists());
}
