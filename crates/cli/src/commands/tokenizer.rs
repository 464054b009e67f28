//! `lucid tokenizer`: vocabularies, made and looked into.

pub(crate) mod args;
mod files;
mod report;
mod report_print;
mod train;

use anyhow::Result;

use crate::env::Environment;
use args::{TokenizerArgs, TokenizerCommand};

pub(crate) fn run(args: &TokenizerArgs, environment: &Environment) -> Result<i32> {
    match &args.command {
        TokenizerCommand::Train(args) => train::run(args),
        TokenizerCommand::Report(args) => report::run(args, environment),
    }
}
