//! `lucid completions SHELL`: the script that completes commands and flags.

use anyhow::Result;
use clap::CommandFactory as _;

use crate::args::Args;

pub(crate) fn run(shell: clap_complete::Shell) -> Result<i32> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "lucid", &mut script);
    crate::output::show(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
