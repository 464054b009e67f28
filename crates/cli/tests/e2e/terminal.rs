//! What reaches the terminal, and what happens where nothing can be written to it.

use std::fs::File;
use std::process::Stdio;

use lucid_tensor::{MetaArray, MetaValue};

use crate::support::{Home, Run, finish};
use crate::tiny::Tiny;

const ESCAPE: &str = "\u{1b}[31mred\u{7}\u{9b}2J";

/// No control character but the line break, and the name's harmless part.
fn check_harmless(args: &[&str], run: &Run) {
    for text in [&run.out, &run.err] {
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{args:?}: {run:?}");
    }
    assert!(run.out.contains("red") || run.err.contains("red"), "{args:?}: {run:?}");
}

#[test]
fn names_in_files_and_of_files_cannot_move_the_cursor() {
    let home = Home::new();
    let text = || MetaValue::Text(ESCAPE.to_owned());
    let file = format!("{ESCAPE}.gguf");
    home.write(&file, &Tiny::new().bytes());
    let missing = format!("no{ESCAPE}");
    for args in [
        &["show", &missing][..],
        &["show", &file],
        &["run", &missing, "x"],
        &["rm", "-y", &missing],
        &["pull", &missing],
        &["tokenize", &file, "x", "--tokenizer", &missing],
        &["logits", &file, "--tokens", "1", "--out", &format!("{ESCAPE}.npy")],
        &["convert", &file, &format!("{ESCAPE}-2.gguf")],
    ] {
        check_harmless(args, &home.run(args));
    }
    let array = MetaValue::Array(MetaArray::texts([ESCAPE]));
    for tiny in [
        Tiny::new().with("general.architecture", text()),
        Tiny::new().with(&format!("a.{ESCAPE}"), text()),
        Tiny::new().with("general.name", text()),
        Tiny::new().with("tokenizer.ggml.pre", text()),
        Tiny::new().with("tokenizer.ggml.model", text()),
        Tiny::new().with("tokenizer.ggml.merges", array),
        Tiny::new().with("tokenizer.chat_template", MetaValue::Text(format!("{{% {ESCAPE}"))),
        Tiny::new().with(
            "tokenizer.chat_template",
            MetaValue::Text(format!("{{{{ raise_exception('{ESCAPE}') }}}}")),
        ),
    ] {
        let bad = "red.gguf";
        home.write(bad, &tiny.bytes());
        for args in [&["show", bad, "--metadata", "--template"][..], &["run", bad, "x", "-n", "1"]]
        {
            let run = home.run(args);
            if run.code == Some(0) && args[0] == "run" {
                continue;
            }
            check_harmless(args, &run);
        }
    }
}

/// A standard error that is full or closed is no reason to panic.
#[cfg(target_os = "linux")]
#[test]
fn nowhere_to_complain() {
    let home = Home::new();
    let mut command = home.command(&["show", "nosuch"]);
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    command.stderr(full());
    assert_eq!(finish(command).code, Some(1));
    home.write("tiny.gguf", &Tiny::new().bytes());
    let mut command = home.command(&["show", "tiny.gguf"]);
    command.stdout(full());
    finish(command).check_refusal(&["show"], &["standard output", "No space left"]);
}
