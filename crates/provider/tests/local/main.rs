//! A local model as others see it: what is asked of `Provider`, with models of a few kilobytes.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod fixture;
mod formats;
mod limits;
mod prompts;
mod tasks;
mod texts;
#[path = "../../../cli/tests/e2e/tiny.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the model of the command line's tests")]
mod tiny;
mod turns;
