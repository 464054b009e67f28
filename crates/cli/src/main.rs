//! The `lucid` command: the only crate that prints, reads the environment and uses anyhow.

#![forbid(unsafe_code)]
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "these comments are the text of --help, where ORG/REPO[:FILE] means an option"
)]

mod args;
mod bar;
mod clock;
mod commands;
mod data_args;
mod env;
mod generate;
mod input;
mod interrupt;
mod load;
#[cfg(test)]
mod memory;
mod npy;
mod os_args;
mod output;
mod providers;
mod serve_args;
mod style;

use clap::Parser as _;

fn main() {
    let args = args::Args::parse();
    let environment = env::Environment::read();
    std::process::exit(match commands::dispatch(args.command, &environment) {
        Ok(code) => code,
        Err(error) => {
            if output::is_reader_gone(&error) {
                // Whoever read our output has seen enough, like `head`.
                std::process::exit(0);
            }
            output::error(format_args!("{error:#}"));
            1
        }
    });
}
