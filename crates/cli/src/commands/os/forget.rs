//! `lucid forget`: deletes a text from the log's contents.

use anyhow::{Context as _, Result, bail};
use lucid_os::log::Content;
use lucid_os::{ContentId, PageId, Pid, Wish};

use super::{Granted, look, wish};
use crate::env::Environment;
use crate::os_args::ForgetArgs;
use crate::output;

pub(crate) fn run(args: &ForgetArgs, environment: &Environment) -> Result<i32> {
    let content = match ContentId::from_hex(&args.what) {
        Some(content) => content,
        None => page(args, environment)?,
    };
    let (log, _) = look(&args.store, environment)?;
    if !log.content(content).is_ok_and(|found| found != Content::Forgotten) {
        bail!("there is no such text, or it was deleted already");
    }
    drop(log);
    match wish(&args.store, environment, Wish::Forget { content })? {
        Granted::Now => output::note("it is deleted"),
        Granted::Later => output::note("it will be deleted"),
        Granted::Never => bail!("there is no such text, or it was deleted already"),
    }
    Ok(0)
}

fn page(args: &ForgetArgs, environment: &Environment) -> Result<ContentId> {
    let parts = args.what.split_once(':');
    let parts = parts.and_then(|(pid, page)| Some((pid.parse().ok()?, page.parse().ok()?)));
    let (pid, page) = parts.with_context(|| {
        format!("`{}` is neither PID:PAGE nor the 64 digits of a content", args.what)
    })?;
    let (_, state) = look(&args.store, environment)?;
    let process = state.process(Pid(pid));
    let process = process.with_context(|| {
        format!(
            "there is no process {pid}; of one that has ended name the content: `lucid logs --json`"
        )
    })?;
    let page = process.window.page(PageId(page));
    Ok(page.with_context(|| format!("`lucid pages {pid}` lists the pages there are"))?.content)
}
