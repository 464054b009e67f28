//! `lucid do` and the commands beside it: processes of the operating system, and its log.

pub(super) mod ask;
pub(super) mod forget;
pub(super) mod kill;
pub(super) mod logs;
pub(super) mod pages;
pub(super) mod ps;
pub(super) mod show;
pub(super) mod task;
mod thinking;
pub(super) mod why;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use lucid_os::log::{Log, SqliteStore};
use lucid_os::{Kernel, Settings, State, Wish, fold};

use crate::env::Environment;
use crate::os_args::StoreArgs;

/// The folder of the log and of files.
fn folder(args: &StoreArgs, environment: &Environment) -> Result<PathBuf> {
    match args.store.clone().or_else(|| environment.os.clone()) {
        Some(folder) => Ok(folder),
        None => bail!("there is no home folder to keep the log in; name a folder with --store"),
    }
}

fn log_file(folder: &Path) -> PathBuf {
    folder.join("log.sqlite")
}

/// The log and what it amounts to, to look at.
fn look(args: &StoreArgs, environment: &Environment) -> Result<(Log, State)> {
    let file = log_file(&folder(args, environment)?);
    if !file.exists() {
        bail!("{}: there is no log yet; `lucid do` begins one", file.display());
    }
    let (log, state, _) = fold(Box::new(SqliteStore::look_at(&file)?))?;
    Ok((log, state))
}

/// Has a wish granted: by the program that runs the log, or else here and now.
fn wish(args: &StoreArgs, environment: &Environment, wish: Wish) -> Result<Granted> {
    let folder = folder(args, environment)?;
    let file = log_file(&folder);
    if !file.exists() {
        bail!("{}: there is no log yet; `lucid do` begins one", file.display());
    }
    if SqliteStore::is_run(&file) {
        // Whoever runs it answers nobody; what can be seen not to fit is said at once.
        let (_, state, _) = fold(Box::new(SqliteStore::look_at(&file)?))?;
        if !wish.fits(&state) {
            return Ok(Granted::Never);
        }
        let body = serde_json::to_vec(&wish).context("writing what is wished")?;
        SqliteStore::ask(&file, &body)?;
        return Ok(Granted::Later);
    }
    let store = SqliteStore::open(&file)?;
    let mut kernel = Kernel::open(Box::new(store), Settings::new(folder.join("files")))?;
    let granted = kernel.wish(wish)?;
    kernel.close()?;
    Ok(if granted { Granted::Now } else { Granted::Never })
}

/// What became of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Granted {
    /// It is done.
    Now,
    /// The program that runs the log was told.
    Later,
    /// It does not fit.
    Never,
}
