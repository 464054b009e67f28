//! End-to-end runs of the binary: what a person types, what comes back, what is left on the disk.
//! Nothing here reaches beyond loopback or a folder of its own.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod chat;
mod convert;
mod data;
mod dpo;
#[cfg(unix)]
mod export;
mod formats;
mod golden;
mod hostile;
mod hub;
mod large;
#[cfg(not(feature = "mpi"))]
mod one_rank;
mod os;
mod pretrain;
mod providers;
#[cfg(feature = "mpi")]
mod ranks;
#[cfg(unix)]
mod runs;
mod serve;
mod sft;
mod shell;
mod support;
mod targets;
mod terminal;
mod tiny;
mod tokenizer;
