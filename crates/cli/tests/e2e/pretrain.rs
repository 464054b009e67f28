//! `lucid pretrain`: from one file of text to a model, what it is measured on, and what is refused.

use std::fmt::Write as _;

use serde_json::Value;

use crate::support::Home;

/// So many paragraphs that differ.
fn text(seed: u64, paragraphs: usize) -> String {
    let mut state = seed;
    let mut text = String::new();
    for _ in 0..paragraphs {
        for _ in 0..30 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040);
            let word = ["river", "stone", "cloud", "lamp", "garden", "wolf", "paper", "seven"];
            let _ = write!(text, "{}{} ", word[(state >> 33) as usize % 8], (state >> 40) % 9);
        }
        text.push_str("\n\n");
    }
    text
}

/// The smallest run.
const SMALL: [&str; 12] = [
    "--depth",
    "1",
    "--ctx",
    "32",
    "--vocab-size",
    "300",
    "--batch-tokens",
    "256",
    "--threads",
    "1",
    "-o",
    "run",
];

fn events(home: &Home) -> Vec<Value> {
    let text = std::fs::read_to_string(home.path("run/events.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn one_file_is_enough_and_the_last_look_is_whole() {
    let home = Home::new();
    home.write("book.txt", text(1, 300).as_bytes());
    let run = home.run(&[&["pretrain", "book.txt", "--steps", "4"], &SMALL[..]].concat());
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.err.contains("2 documents") && run.err.contains("1 document, "), "{run:?}");
    let list: Value =
        serde_json::from_slice(&std::fs::read(home.path("run/data/data.json")).unwrap()).unwrap();
    let bytes = |side: &str| -> u64 {
        list[side].as_array().unwrap().iter().map(|e| e["text_bytes"].as_u64().unwrap()).sum()
    };
    let (learned, held) = (bytes("training"), bytes("validation"));
    assert_eq!(learned + held, text(1, 300).len() as u64);
    assert!((learned / 12..learned / 7).contains(&held), "{held} of {learned}");
    let events = events(&home);
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["bytes"]), (&"finished".into(), &held.into()), "{last}");
    assert!(last["bits_per_byte"].as_f64().unwrap() > 0.1, "{last}");
    let report = std::fs::read_to_string(home.path("run/report.md")).unwrap();
    assert!(report.contains(&format!("all of it: {held} bytes")), "{report}");
    assert!(home.path("run/model.gguf").exists() && home.path("run/curves.svg").exists());
}

#[test]
fn files_to_measure_with_are_not_learned_from() {
    let home = Home::new();
    home.write("texts/one.txt", text(1, 40).as_bytes());
    home.write("texts/two.txt", text(2, 40).as_bytes());
    home.write("later.txt", text(3, 20).as_bytes());
    home.write("two.txt", text(2, 40).as_bytes());
    let args = ["pretrain", "texts", "--steps", "2", "--validation", "later.txt", "two.txt"];
    let run = home.run(&[&args[..], &SMALL[..]].concat());
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.err.contains("1 in the text to measure with"), "{run:?}");
    assert!(run.err.contains("1 document, ") && run.err.contains("2 documents"), "{run:?}");
    let held = (text(3, 20).len() + text(2, 40).len()) as u64;
    assert_eq!(events(&home).last().unwrap()["bytes"], held);
}

#[test]
fn time_measures_this_machine_and_chooses_the_rest() {
    let home = Home::new();
    home.write("book.txt", text(1, 300).as_bytes());
    let args = ["pretrain", "book.txt", "-o", "run", "--time", "10s", "--vocab-size", "310"];
    let run = home.run(&[&args[..], &["--dry-run", "--threads", "1"]].concat());
    assert_eq!(run.code, Some(0), "{run:?}");
    for words in ["measured here", "predicted loss"] {
        assert!(run.err.contains(words), "{words}: {run:?}");
    }
    // What a dry run has made stays, and is not taken for another.
    let fewer = ["pretrain", "book.txt", "-o", "run", "--vocab-size", "300", "--dry-run"];
    home.fails(&fewer, &["run/tokenizer.json has 30", "more than --vocab-size"]);
    let run = home.run(&["pretrain", "book.txt", "-o", "run", "--dry-run"]);
    assert!(run.err.contains("takes the vocabulary that is there"), "{run:?}");
}

#[test]
fn what_cannot_be_is_refused_first() {
    let home = Home::new();
    home.write("book.txt", text(1, 300).as_bytes());
    let base = ["pretrain", "book.txt", "-o", "run"];
    let refused = |more: &[&str], words: &[&str]| {
        home.fails(&[&base[..], more].concat(), words);
        assert!(!home.path("run/data").exists());
    };
    refused(&["--tui"], &["--tui draws on a terminal", "--json"]);
    refused(&["--held-out", "0.7"], &["--held-out 0.7", "at most 0.5"]);
    let both = [&base[..], &["--held-out", "0.1", "--validation", "book.txt"]].concat();
    let run = home.run(&both);
    assert!(run.code == Some(2) && run.err.contains("cannot be used with"), "{run:?}");
}
