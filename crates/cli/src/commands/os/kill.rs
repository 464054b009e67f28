//! `lucid kill`: a signal to a process.

use anyhow::{Result, bail};
use lucid_os::{Pid, Signal, Wish};

use super::{Granted, wish};
use crate::env::Environment;
use crate::os_args::{KillArgs, SignalChoice};
use crate::output;

pub(crate) fn run(args: &KillArgs, environment: &Environment) -> Result<i32> {
    let signal = match args.signal {
        SignalChoice::Term => Signal::Term,
        SignalChoice::Kill => Signal::Kill,
        SignalChoice::Stop => Signal::Stop,
        SignalChoice::Cont => Signal::Cont,
    };
    let pid = Pid(args.pid);
    match wish(&args.store, environment, Wish::Signal { pid, signal })? {
        Granted::Now => output::note(format_args!("process {pid} was told")),
        Granted::Later => output::note(format_args!("process {pid} will be told")),
        Granted::Never => bail!("there is no process {pid}; `lucid ps` lists those there are"),
    }
    Ok(0)
}
