//! `lucid data`: text that is to be trained on.

mod choose;
mod curriculum;
mod report;

use anyhow::Result;

use crate::data_args::{DataArgs, DataCommand};
use crate::env::Environment;

pub(crate) fn run(args: &DataArgs, environment: &Environment) -> Result<i32> {
    match &args.command {
        DataCommand::Report(args) => report::run(args, environment),
        DataCommand::Curriculum(args) => curriculum::run(args),
    }
}
