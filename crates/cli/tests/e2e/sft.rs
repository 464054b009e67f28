//! `lucid sft`: a model that was made here, tuned to conversations; stopped, killed and gone on
//! with; and what is said of files that hold none.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::runs::{home, killed, pretrain, read, refused, stopped};
use crate::support::Home;

/// A home with a base model and conversations.
fn with_base() -> Home {
    let home = home();
    let more = ["--steps=4", "--ctx=128", "--batch-tokens=512"];
    home.ok(&pretrain(&["in.jsonl"], "base", &more));
    let mut lines = String::new();
    for number in 0..60 {
        let value = json!({"messages": [
            {"role": "user", "content": format!("word{number}?")},
            {"role": "assistant", "content": format!("word{}.", number % 7)},
        ]});
        writeln!(lines, "{value}").unwrap();
    }
    home.write("talk.jsonl", lines.as_bytes());
    home
}

const SMALL: &[&str] =
    &["--steps=300", "--batch-tokens=512", "--lr=0.003", "--lanes=2", "--precision=bf16"];

fn sft<'a>(file: &'a str, output: &'a str) -> Vec<&'a str> {
    [&["sft", "-m", "base/model.gguf", file, "-o", output, "--sample-every=0"], SMALL].concat()
}

fn losses(home: &Home, folder: &str) -> Vec<f64> {
    let events = String::from_utf8(read(home, &format!("{folder}/events.jsonl"))).unwrap();
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["event"] == "step").map(|it| it["loss"].as_f64().unwrap()).collect()
}

#[test]
fn a_tuned_run_that_was_killed_and_stopped_ends_as_one_that_was_not() {
    let home = with_base();
    home.ok(&sft("talk.jsonl", "whole"));
    let resume = ["sft", "--resume", "-o", "run"];
    // Before its first checkpoint it begins anew.
    killed(&home, &sft("talk.jsonl", "run"), 3);
    let run = stopped(&home, &resume, 8);
    assert_eq!(run.code, Some(130), "{run:?}");
    assert!(run.err.contains("lucid sft --resume -o run goes on"), "{run:?}");
    assert!(!home.path("run/model.gguf").exists());
    killed(&home, &resume, 40);
    home.ok(&[&resume[..], &["--threads", "1"]].concat());
    assert!(read(&home, "whole/model.gguf") == read(&home, "run/model.gguf"));
    let losses = losses(&home, "run");
    assert_eq!(losses.len(), 300);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    assert!(mean(&losses[290..]) < 0.5 * mean(&losses[..10]), "{losses:?}");
    // It talks, by a template that it now carries.
    let shown = home.ok(&["show", "run/model.gguf"]);
    assert!(!shown.contains("chat template   none"), "{shown}");
    let said = home.ok(&["run", "run/model.gguf", "word3?", "-n", "12", "--temp", "0"]);
    assert!(said.contains("word"), "{said}");
    // Its conversations are not those of another run.
    home.write("talk.jsonl", b"{\"prompt\": \"a\", \"completion\": \"b\"}\n");
    refused(&home.run(&resume), &["others than this run began with"]);
    refused(&home.run(&["pretrain", "--resume", "-o", "run"]), &["run.json"]);
}

#[test]
fn what_is_no_conversation_is_named_by_its_line() {
    let home = with_base();
    let good = "{\"instruction\": \"word1\", \"output\": \"word2\"}";
    let long = json!({"prompt": "word ".repeat(200_000), "completion": "x"});
    let lines = [
        good,
        "not json",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}",
        "{\"prompt\": \"\", \"completion\": \"x\"}",
        &long.to_string(),
        "{\"prompt\": \"<|end|><|assistant|>\", \"completion\": \"word5\"}",
    ];
    home.write("mixed.jsonl", lines.join("\n").as_bytes());
    let dry = ["sft", "-m", "base/model.gguf", "mixed.jsonl", "-o", "tuned", "--dry-run"];
    let run = home.run(&dry);
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.err.contains("2 of 6 conversations"), "{run:?}");
    for (reason, line) in
        [("no JSON", 2), ("no answer", 3), ("an empty message", 4), ("does not fit a row", 5)]
    {
        let told = run.err.lines().find(|told| told.contains(reason)).unwrap();
        assert!(told.contains(&format!("mixed.jsonl:{line}")), "{told}");
    }
    let strict = [&dry[..], &["--strict"]].concat();
    refused(&home.run(&strict), &["4 lines are no conversations"]);
    home.write("none.jsonl", b"\n\n{}\n");
    refused(&home.run(&sft("none.jsonl", "tuned")), &["no conversation to learn from"]);
    refused(&home.run(&sft("absent.jsonl", "tuned")), &["absent.jsonl"]);
    assert!(!home.path("tuned").exists(), "nothing is left of a run that never was");
    // Quantised weights cannot be tuned; that is said before there is a run.
    home.ok(&["convert", "base/model.gguf", "q.gguf", "--type", "q8_0"]);
    let quantised = ["sft", "-m", "q.gguf", "mixed.jsonl", "-o", "tuned"];
    refused(&home.run(&quantised), &["Q8_0"]);
    assert!(!home.path("tuned").exists(), "nothing is left of a run that never was");
}

#[test]
fn what_is_held_out_may_be_the_longest() {
    let home = with_base();
    let mut lines = String::new();
    for number in 0..40 {
        let long = if number % 5 == 0 { 90 } else { 2 };
        let value = json!({"prompt": format!("{number}"), "completion": "w".repeat(long)});
        writeln!(lines, "{value}").unwrap();
    }
    home.write("talk.jsonl", lines.as_bytes());
    for seed in ["--seed=1", "--seed=2"] {
        let folder = &seed[2..];
        let few = ["--steps=3", "--held-out=0.5", "--batch-tokens=256", "--sample-every=1", seed];
        let run =
            [&["sft", "-m", "base/model.gguf", "talk.jsonl", "-o", folder], &few[..]].concat();
        home.ok(&run);
    }
}
