//! Chores of the repository: checks of manifests, sources and pages (`tidy`), and weights files to
//! measure with (`synth`).
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the findings are the output of this program")]
#![expect(clippy::print_stderr, reason = "progress is for a person")]

mod synth;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// Chores of the repository.
#[derive(Parser)]
#[command(name = "cargo run -p xtask --")]
struct Arguments {
    /// The repository, if not the one that this program was built in.
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Checks what the compiler does not: layers, sizes, the wall around `unsafe`, licences, pages.
    ///
    /// Prints one line `file:line: what is wrong` for each finding and exits with 1 if there is
    /// any. The rules are in STYLE.md and ARCHITECTURE.md; `xtask/src/tidy/` has one file for each
    /// group of them.
    Tidy,
    /// Prints the command that README.md gives for running the tests.
    ///
    /// It is the one line of the block of code that follows the line `<!-- test-command -->`.
    #[command(name = "test-command")]
    Tests,
    /// Writes a GGUF file of a real model's shape with random weights, to measure with.
    Synth(synth::Arguments),
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let built_in = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let root = arguments.root.as_deref().unwrap_or(built_in);
    let root = root.canonicalize().with_context(|| format!("no folder {}", root.display()))?;
    match arguments.command {
        Command::Tidy => {
            let findings = tidy::run(&root)?;
            for finding in &findings {
                println!("{finding}");
            }
            println!("tidy: {} findings", findings.len());
            Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Tests => {
            let path = root.join("README.md");
            let readme = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            println!("{}", tidy::pages::test_command(&readme).map_err(anyhow::Error::msg)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Synth(arguments) => {
            synth::run(&arguments)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
