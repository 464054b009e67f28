//! Standard output and standard error without surprises: a closed pipe is an error to handle, not
//! a panic, and nothing that stands in a file reaches the terminal as a command.
//!
//! Invariant: all that goes to standard error goes through here, and so through `harmless`.

use std::fmt::{self, Display};
use std::io::{self, Write};

use anyhow::{Context as _, Result};

use crate::style;

/// Whoever read standard output has closed it.
#[derive(Debug)]
struct ReaderGone;

impl Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output was closed")
    }
}

impl std::error::Error for ReaderGone {}

/// Whether an error is that of a standard output which nobody reads any more.
pub(crate) fn is_reader_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ReaderGone>().is_some()
}

/// Writes text and shows it at once.
pub(crate) fn show(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    sent(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Writes a line.
pub(crate) fn line(text: impl AsRef<str>) -> Result<()> {
    let mut out = io::stdout().lock();
    sent(out.write_all(text.as_ref().as_bytes()).and_then(|()| out.write_all(b"\n")))
}

/// Writes a value as indented JSON, as it comes.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<()> {
    write(|out| json_to(out, value))
}

/// Writes much, a piece at a time.
pub(crate) fn write(writing: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    sent(writing(&mut out).and_then(|()| out.flush()))
}

/// A value as indented JSON.
pub(crate) fn json_to(mut out: &mut dyn Write, value: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

fn sent(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        written => written.context("cannot write to standard output"),
    }
}

/// A line on standard error that is neither a warning nor an error.
pub(crate) fn note(text: impl Display) {
    to_stderr(&style::harmless(&format!("{text}\n")));
}

/// The same, dim where standard error is a screen.
pub(crate) fn aside(paint: style::Paint, text: impl Display) {
    to_stderr(&format!("{}\n", paint.dim(style::harmless(&text.to_string()))));
}

/// A line on standard error that the next one is written over. For a screen only.
pub(crate) fn replace_line(text: &str) {
    to_stderr(&format!("\r\x1b[K{}", style::harmless(text)));
}

/// A warning on standard error.
pub(crate) fn warn(text: impl Display) {
    note(format_args!("lucid: warning: {text}"));
}

/// What went wrong, on standard error.
pub(crate) fn error(text: impl Display) {
    note(format_args!("lucid: {text}"));
}

/// The beginning of a line on standard error, whose rest a person types.
pub(crate) fn question(text: impl Display) {
    to_stderr(&style::harmless(&text.to_string()));
}

/// A standard error that is full or closed changes nothing about the work, and there is nowhere
/// left to say so.
fn to_stderr(text: &str) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_output_ends_quietly() {
        let broken = || Err(io::Error::from(io::ErrorKind::BrokenPipe));
        let ours = sent(broken()).context("while answering").unwrap_err();
        assert!(is_reader_gone(&ours));
        let other = broken().context("the hub").unwrap_err();
        assert!(!is_reader_gone(&other));
        let full = sent(Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert!(!is_reader_gone(&full) && full.to_string().contains("standard output"));
    }
}
