//! Texts from files and from standard input: bounded, and never waited for without a word.

use std::fs::File;
use std::io::{BufRead as _, Read};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::output;

/// More text than any context holds.
const BYTES_MAX: u64 = 1 << 30;

/// A silent standard input is explained after this long.
const PATIENCE: Duration = Duration::from_secs(2);

/// All of a file, as text.
pub(crate) fn file(path: &Path) -> Result<String> {
    let source = path.display().to_string();
    let file = File::open(path).with_context(|| format!("cannot read {source}"))?;
    text(file, &source, BYTES_MAX)
}

/// All of standard input, as text.
pub(crate) fn stdin() -> Result<String> {
    let (arrived, waiting) = channel::<()>();
    std::thread::spawn(move || {
        if waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            output::note("reading standard input; Ctrl-D ends it, < /dev/null skips it");
        }
    });
    let mut stdin = std::io::stdin().lock();
    stdin.fill_buf().context("cannot read standard input")?;
    drop(arrived);
    text(stdin, "standard input", BYTES_MAX)
}

/// Text that is not UTF-8 is still text, with a word of warning.
fn text(input: impl Read, source: &str, bytes_max: u64) -> Result<String> {
    let mut bytes = Vec::new();
    let read = input.take(bytes_max + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("cannot read {source}"))?;
    if bytes.len() as u64 > bytes_max {
        bail!("{source} holds more than {} of text", crate::style::bytes(bytes_max));
    }
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| {
        output::warn(format_args!("{source} is not UTF-8; what cannot be read became U+FFFD"));
        String::from_utf8_lossy(error.as_bytes()).into_owned()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded() {
        assert_eq!(text(&b"abc"[..], "it", 3).unwrap(), "abc");
        assert_eq!(text(&b"a\xff"[..], "it", 3).unwrap(), "a\u{fffd}");
        assert!(text(&b"abcd"[..], "it", 3).unwrap_err().to_string().contains("it holds more"));
    }
}
