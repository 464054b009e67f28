//! `lucid pages`: the pages of a process, and where they are.

use anyhow::{Context as _, Result, bail};
use lucid_os::{PageId, PageLine, Pid, Place, Wish, page_lines};
use serde_json::json;

use super::{Granted, look, wish};
use crate::env::Environment;
use crate::os_args::PagesArgs;
use crate::style::Paint;
use crate::{output, style};

pub(crate) fn run(args: &PagesArgs, environment: &Environment) -> Result<i32> {
    let pid = Pid(args.pid);
    if let Some(wanted) = wanted(args, pid) {
        match wish(&args.store, environment, wanted)? {
            Granted::Now => output::note("it is done"),
            Granted::Later => output::note("it will be done"),
            Granted::Never => bail!(
                "there is no such page, it is there already, or it must stay; `lucid pages {pid}` \
                 lists the pages there are"
            ),
        }
        return Ok(0);
    }
    let (log, state) = look(&args.store, environment)?;
    let process = state.process(pid);
    let process = process
        .with_context(|| format!("there is no process {pid}; `lucid ps` lists those there are"))?;
    if let Some(page) = args.show {
        let page = process.window.page(PageId(page));
        let page = page.with_context(|| format!("process {pid} has no such page"))?;
        output::line(style::harmless(&log.content(page.content)?.text()))?;
        return Ok(0);
    }
    let lines = page_lines(process, &|content| log.content(content).map(|text| text.text()))?;
    if args.json {
        output::json(&lines.iter().map(row).collect::<Vec<_>>())?;
    } else {
        table(&lines, environment)?;
    }
    Ok(0)
}

/// What is to become of a page, if something is.
fn wanted(args: &PagesArgs, pid: Pid) -> Option<Wish> {
    let moved = |page: u64, place| Wish::Move { pid, page: PageId(page), place };
    let pinned = |page: u64, stays| Wish::Pin { pid, page: PageId(page), stays };
    args.pin
        .map(|page| pinned(page, true))
        .or_else(|| args.unpin.map(|page| pinned(page, false)))
        .or_else(|| args.out.map(|page| moved(page, Place::Out)))
        .or_else(|| args.back.map(|page| moved(page, Place::In)))
}

fn row(line: &PageLine) -> serde_json::Value {
    json!({
        "page": line.id,
        "kind": line.kind,
        "source": line.source,
        "tokens": line.tokens,
        "integrity": line.integrity,
        "place": line.place,
        "pinned": line.pinned,
        "gist": line.gist,
    })
}

fn table(lines: &[PageLine], environment: &Environment) -> Result<()> {
    let paint = Paint::new(environment.colour);
    let header = format!(
        "{:>5}  {:<4} {:<8} {:>7}  {:<9}  {:<18}  {}",
        "PAGE", "", "KIND", "TOKENS", "BELIEVED", "SOURCE", "BEGINS"
    );
    output::line(paint.bold(header))?;
    for line in lines {
        let place = match (line.place, line.pinned) {
            (Some(Place::In), true) => "pin",
            (Some(Place::In), false) => "in",
            (Some(Place::Out), _) => "out",
            (None, _) => "held",
        };
        let believed = format!("{:?}", line.integrity).to_lowercase();
        // What is held was read by nobody.
        let gist = if line.place.is_some() { line.gist.as_str() } else { "" };
        let source: String = line.source.chars().take(18).collect();
        let mut text = format!(
            "{:>5}  {place:<4} {:<8} {:>7}  {believed:<9}  {source:<18}  ",
            line.id,
            line.kind.name(),
            line.tokens,
        );
        let room = environment.width.saturating_sub(text.chars().count()).max(16);
        text.extend(style::harmless(gist).chars().take(room));
        output::line(if place == "out" { paint.dim(text) } else { text })?;
    }
    Ok(())
}
