//! What is neither read from nor written to, what a limit of nothing means, and vocabularies that
//! do not fit.

use std::process::Command;

use crate::support::{Home, within};
use crate::tiny::{Tiny, VOCABULARY, WIDTH};

#[cfg(unix)]
#[test]
fn pipes_and_folders_are_refused() {
    let home = Home::new();
    home.write("tiny.gguf", &Tiny::new().bytes());
    home.write("folder/file", b"");
    assert!(Command::new("mkfifo").arg(home.path("pipe")).status().unwrap().success());
    for (args, words) in [
        (&["show", "pipe"][..], &["pipe", "neither a file nor a folder"][..]),
        (&["tokenize", "tiny.gguf", "x", "--tokenizer", "pipe"], &["pipe", "not a regular file"]),
        (&["logits", "tiny.gguf", "--tokens", "1", "--out", "pipe"], &["pipe", "not a regular"]),
        (&["logits", "tiny.gguf", "--tokens", "1", "--out", "folder"], &["folder", "a folder"]),
        (&["convert", "tiny.gguf", "pipe", "--force"], &["pipe", "not a regular file"]),
        (&["convert", "tiny.gguf", "folder", "--force"], &["folder", "it is a folder"]),
    ] {
        within(20, home.command(args)).check_refusal(args, words);
    }
    assert!(!std::fs::symlink_metadata(home.path("pipe")).unwrap().is_file());
}

#[test]
fn no_tokens_are_none() {
    let home = Home::new();
    home.write("tiny.gguf", &Tiny::new().bytes());
    assert_eq!(home.ok(&["run", "tiny.gguf", "x", "-n", "0"]), "\n");
    let run = home.json(&["run", "tiny.gguf", "x", "-n", "0", "--json"]);
    assert_eq!((&run["stop"], &run["answer_tokens"]), (&"limit".into(), &0.into()));
}

/// A token without a row could not be computed; a row without a token is padding.
#[test]
fn more_tokens_than_rows() {
    let home = Home::new();
    let few = |rows: usize| {
        let tiny = Tiny::new().reshaped("token_embd.weight", &[rows, WIDTH]);
        tiny.reshaped("output.weight", &[rows, WIDTH])
    };
    home.write("few.gguf", &few(VOCABULARY - 1).bytes());
    let words = ["few.gguf", "tokenizer.ggml.tokens", "byte ", "260", "259"];
    home.fails(&["run", "few.gguf", "x"], &words);

    home.write("many.gguf", &few(VOCABULARY + 4).bytes());
    home.ok(&["run", "many.gguf", "x", "-n", "1"]);
}
