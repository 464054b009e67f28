//! One file per command. Each returns the exit status.

mod bench;
mod chat;
mod completions;
mod convert;
mod data;
pub(crate) mod dpo;
mod dream;
mod key;
mod list;
mod logits;
mod next;
mod os;
pub(crate) mod pretrain;
pub(crate) mod pull;
mod rm;
mod run;
mod serve;
mod serve_disk;
pub(crate) mod sft;
pub(crate) mod show;
mod show_json;
mod status;
mod tokenize;
pub(crate) mod tokenizer;
mod tune;

use anyhow::Result;

use crate::args::Command;
use crate::env::Environment;

/// Runs a command.
pub(crate) fn dispatch(command: Command, environment: &Environment) -> Result<i32> {
    match command {
        Command::Run(args) => run::run(&args, environment),
        Command::Do(args) => os::task::run(&args, environment),
        Command::Ps(args) => os::ps::run(&args, environment),
        Command::Kill(args) => os::kill::run(&args, environment),
        Command::Logs(args) => os::logs::run(&args, environment),
        Command::Pages(args) => os::pages::run(&args, environment),
        Command::Why(args) => os::why::run(&args, environment),
        Command::Forget(args) => os::forget::run(&args, environment),
        Command::Serve(args) => serve::run(&args, environment),
        Command::Status(args) => status::run(&args, environment),
        Command::Key(args) => key::run(&args, environment),
        Command::Next(args) => next::run(&args, environment),
        Command::Dream(args) => dream::run(&args, environment),
        Command::Show(args) => show::run(&args, environment),
        Command::Tokenize(args) => tokenize::run(&args, environment),
        Command::Pretrain(args) => pretrain::run(&args, environment),
        Command::Dpo(args) => dpo::run(&args, environment),
        Command::Sft(args) => sft::run(&args, environment),
        Command::Tokenizer(args) => tokenizer::run(&args, environment),
        Command::Bench(args) => bench::run(&args, environment),
        Command::Logits(args) => logits::run(&args, environment),
        Command::Convert(args) => convert::run(&args, environment),
        Command::Data(args) => data::run(&args, environment),
        Command::Pull(args) => pull::run(&args, environment),
        Command::List(args) => list::run(&args, environment),
        Command::Rm(args) => rm::run(&args, environment),
        Command::Completions { shell } => completions::run(shell),
    }
}
