//! Manners at a shell: help, completions, exit statuses, pipes, colours, signals.

use std::process::Stdio;

use crate::support::{Home, finish};
use crate::tiny::Tiny;

const COMMANDS: [&str; 11] = [
    "run",
    "next",
    "dream",
    "show",
    "tokenize",
    "logits",
    "convert",
    "pull",
    "list",
    "rm",
    "completions",
];

#[test]
fn help_has_examples() {
    let home = Home::new();
    for help in ["-h", "--help"] {
        assert!(home.ok(&[help]).contains("Examples:\n  lucid "));
        for command in COMMANDS {
            let text = home.ok(&[command, help]);
            assert!(text.contains("Examples:\n  lucid "), "{command} {help}:\n{text}");
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= 100, "{command} {help}: {widest} columns\n{text}");
        }
    }
    assert!(home.ok(&["--version"]).starts_with("lucid 0."));
}

#[test]
fn completions() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = home.ok(&["completions", shell]);
        assert!(script.contains("tokenize") && script.contains("top-n-sigma"), "{shell}");
    }
}

#[test]
fn exit_statuses() {
    let home = Home::new();
    home.write("tiny.gguf", &Tiny::new().bytes());
    let code = |args: &[&str]| home.run(args).code;
    assert_eq!(code(&["run", "tiny.gguf", "x", "-n", "1"]), Some(0));
    for usage in
        [&[][..], &["walk"], &["run"], &["run", "m", "--temp", "hot"], &["run", "m", "-t", "0"]]
    {
        assert_eq!(code(usage), Some(2), "{usage:?}");
    }
    home.fails(&["run", "absent.gguf", "x"], &["absent.gguf", "lucid list"]);
    home.fails(&["run", "tiny.gguf", "-f", "absent.txt"], &["cannot read absent.txt"]);
    home.fails(&["run", "tiny.gguf", "x", "--temp", "-1"], &["temperature", "-1"]);
    home.fails(&["run", "tiny.gguf", "x", "--logit-bias", "1"], &["--logit-bias", "ID=BIAS"]);
    home.fails(&["run", "tiny.gguf", "x", "--logit-bias", "999=1"], &["999"]);
    home.fails(&["logits", "tiny.gguf", "--tokens", "1,x", "--out", "o"], &["--tokens"]);
    std::fs::create_dir(home.path("empty")).unwrap();
    home.fails(&["show", "empty"], &["empty"]);
    home.fails(&["rm", "nothing"], &["--yes"]);
    home.fails(&["rm", "-y", "nothing"], &["nothing"]);
}

#[test]
fn colours_are_asked_for() {
    let home = Home::new();
    home.write("tiny.gguf", &Tiny::new().bytes());
    let painted = |vars: &[(&str, &str)]| {
        let mut command = home.command(&["next", "tiny.gguf", "a"]);
        command.envs(vars.iter().copied());
        finish(command).out.contains('\x1b')
    };
    assert!(!painted(&[]));
    assert!(painted(&[("CLICOLOR_FORCE", "1")]));
    assert!(!painted(&[("CLICOLOR_FORCE", "0")]));
    assert!(!painted(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    for width in ["20", "40", "60", "100"] {
        let mut command = home.command(&["next", "tiny.gguf", "a"]);
        let table = finish({
            command.env("COLUMNS", width);
            command
        });
        let widest = table.out.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= width.parse::<usize>().unwrap().max(30), "{width}:\n{}", table.out);
    }
}

/// Whoever reads has seen enough, like `head`: no message, no panic.
#[test]
fn a_closed_pipe_is_no_error() {
    use std::io::Read as _;
    let home = Home::new();
    home.write("tiny.gguf", &Tiny::new().bytes());
    for args in [
        &["dream", "tiny.gguf", "--count", "1000"][..],
        &["show", "tiny.gguf", "--tensors", "--metadata"],
        &["completions", "bash"],
        &["next", "tiny.gguf", "a", "--top", "260"],
    ] {
        let mut child = home.command(args).spawn().unwrap();
        let mut first = [0; 10];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut first).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(output.stderr.is_empty(), "{args:?}: {:?}", output.stderr);
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_answer() {
    use std::io::Read as _;
    let home = Home::new();
    home.write("tiny.gguf", &Tiny::new().bytes());
    let args = ["dream", "tiny.gguf", "--count", "1000000", "-n", "400", "--temp", "2"];
    let mut child = home.command(&args).stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    crate::support::signal(&child, "-INT");
    std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn empty_texts() {
    let home = Home::new();
    home.write("tiny.gguf", &Tiny::new().bytes());
    assert_eq!(home.ok(&["run", "tiny.gguf", "", "--temp", "0"]), "Hi!\n");
    assert_eq!(home.run_with(&["run", "tiny.gguf", "--temp", "0"], "").out, "Hi!\n");
    home.fails(&["run", "tiny.gguf", "--raw", ""], &["prompt is empty"]);
    home.fails(&["next", "tiny.gguf", ""], &["text is empty"]);
    assert_eq!(home.json(&["tokenize", "tiny.gguf", "", "--json"])["count"], 0);
    let run = home.run_with(&["tokenize", "tiny.gguf", "--json"], "a\nb");
    assert!(run.out.contains("\"count\": 3"), "{run:?}");
}
