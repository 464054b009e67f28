//! Texts named on the command line: files, and what is in folders; read in pieces.
//!
//! A file with a zero byte near its start is no text: named itself it is an error, in a folder it
//! is left out and counted.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use lucid_tokenizer::train::Input;

use crate::output;

/// A piece that is read at once.
const PIECE_BYTES: usize = 1 << 20;
/// A zero byte is looked for in so many.
const HEAD_BYTES: u64 = 8 << 10;

/// What becomes of files that are no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Refuse,
    Keep,
}

/// One text.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) path: PathBuf,
    /// The number of the argument that led to it.
    pub(super) input: usize,
    pub(super) bytes: u64,
}

/// The texts that `inputs` name, in order; those of a folder by name.
pub(super) fn find(inputs: &[PathBuf], binary: Binary) -> Result<Vec<Text>> {
    let (mut texts, mut left_out) = (Vec::new(), Vec::new());
    for (input, path) in inputs.iter().enumerate() {
        let info = std::fs::metadata(path).with_context(|| cannot_read(path))?;
        if info.is_dir() {
            folder(path, input, binary, &mut texts, &mut left_out)?;
            continue;
        }
        // A pipe is read once only, so nobody looks into it beforehand.
        if binary == Binary::Refuse && info.is_file() {
            let zero = zero_byte(path).with_context(|| cannot_read(path))?;
            if let Some(byte) = zero {
                bail!(
                    "{} is no text: byte {byte} is zero. --binary counts its bytes all the same",
                    path.display()
                );
            }
        }
        texts.push(Text { path: path.clone(), input, bytes: info.len() });
    }
    if let Some(first) = left_out.first() {
        output::warn(format_args!(
            "files that are no text were left out: {} ({} for one); --binary counts them",
            left_out.len(),
            first.display()
        ));
    }
    if texts.is_empty() {
        let names: Vec<_> = inputs.iter().map(|path| path.display().to_string()).collect();
        bail!("there is no text in {}", names.join(", "));
    }
    Ok(texts)
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

/// The files of a folder and of the folders in it; names that begin with a dot, links to folders
/// and what is no file stay out.
fn folder(
    path: &Path,
    input: usize,
    binary: Binary,
    texts: &mut Vec<Text>,
    left_out: &mut Vec<PathBuf>,
) -> Result<()> {
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let entries = std::fs::read_dir(&path).with_context(|| cannot_read(&path))?;
        let mut paths = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| cannot_read(&path))?;
            if !entry.file_name().to_string_lossy().starts_with('.') {
                paths.push(entry.path());
            }
        }
        paths.sort();
        let mut folders = Vec::new();
        for path in paths {
            let link = std::fs::symlink_metadata(&path).with_context(|| cannot_read(&path))?;
            if link.is_dir() {
                folders.push(path);
                continue;
            }
            // A link whose target is gone is an error too: the text is missing.
            let info = std::fs::metadata(&path).with_context(|| cannot_read(&path))?;
            if !info.is_file() {
                continue;
            }
            let zero = || zero_byte(&path).with_context(|| cannot_read(&path));
            if binary == Binary::Refuse && zero()?.is_some() {
                left_out.push(path);
            } else {
                texts.push(Text { path, input, bytes: info.len() });
            }
        }
        waiting.extend(folders.into_iter().rev());
    }
    Ok(())
}

/// Where the first zero byte stands, near the start.
fn zero_byte(path: &Path) -> io::Result<Option<usize>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(head.iter().position(|&byte| byte == 0))
}

/// The texts as documents in pieces.
pub(super) struct Documents<'a> {
    texts: std::slice::Iter<'a, Text>,
    open: Option<(&'a Text, File, Utf8)>,
    /// Texts that are not UTF-8.
    pub(super) broken: Vec<&'a Path>,
}

impl<'a> Documents<'a> {
    pub(super) fn new(texts: &'a [Text]) -> Self {
        Self { texts: texts.iter(), open: None, broken: Vec::new() }
    }

    fn piece(&mut self) -> Result<Option<Input>> {
        let Some((text, file, utf8)) = &mut self.open else {
            let Some(text) = self.texts.next() else { return Ok(None) };
            let file = File::open(&text.path).with_context(|| cannot_read(&text.path))?;
            self.open = Some((text, file, Utf8::default()));
            return self.piece();
        };
        let mut bytes = Vec::new();
        file.take(PIECE_BYTES as u64)
            .read_to_end(&mut bytes)
            .with_context(|| cannot_read(&text.path))?;
        utf8.see(&bytes);
        if bytes.is_empty() {
            if utf8.is_broken() {
                self.broken.push(&text.path);
            }
            self.open = None;
            return Ok(Some(Input::End));
        }
        Ok(Some(Input::Bytes(bytes)))
    }
}

impl Iterator for Documents<'_> {
    type Item = Result<Input>;

    fn next(&mut self) -> Option<Self::Item> {
        self.piece().transpose()
    }
}

/// Says which texts are not UTF-8.
pub(super) fn warn_of_broken(broken: &[&Path]) {
    if let Some(first) = broken.first() {
        output::warn(format_args!(
            "texts that are not UTF-8: {} ({} for one); bytes that are no character are taken as \
             they are",
            broken.len(),
            first.display()
        ));
    }
}

/// Whether pieces are UTF-8 together.
#[derive(Default)]
pub(super) struct Utf8 {
    /// The start of a character at the end of a piece.
    start: Vec<u8>,
    broken: bool,
}

impl Utf8 {
    pub(super) fn see(&mut self, bytes: &[u8]) {
        if self.broken {
            return;
        }
        // What began in the piece before ends within three bytes.
        let head = bytes.len().min(if self.start.is_empty() { 0 } else { 3 });
        let mut at = 0;
        while at < head && !self.start.is_empty() {
            self.start.push(bytes[at]);
            at += 1;
            match std::str::from_utf8(&self.start) {
                Ok(_) => self.start.clear(),
                Err(error) => self.broken |= error.error_len().is_some(),
            }
        }
        if let Err(error) = std::str::from_utf8(&bytes[at..]) {
            self.broken |= error.error_len().is_some();
            self.start.extend_from_slice(&bytes[at + error.valid_up_to()..]);
            self.start.truncate(4);
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken || !self.start.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_across_pieces() {
        let check = |bytes: &[u8], expected: bool| {
            for width in 1..6 {
                let mut utf8 = Utf8::default();
                bytes.chunks(width).for_each(|piece| utf8.see(piece));
                assert_eq!(utf8.is_broken(), expected, "{bytes:?} by {width}");
            }
        };
        check("aé中👍b".as_bytes(), false);
        check(b"ab\xE9c", true);
        check(b"abcdef\xC3", true);
        check(b"\xF0\x9F\x91x", true);
    }
}
