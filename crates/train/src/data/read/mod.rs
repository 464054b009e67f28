//! Documents from files, streamed with bounded memory.
//!
//! What cannot be read never ends the reading: it is counted, and the first of each kind are named
//! ([`ReadTally`]). Invariant: the same files give the same documents in the same order, and no
//! document is longer than the limit.

mod files;
mod html;
mod jsonl;
mod lines;
mod page;
#[cfg(feature = "parquet")]
mod parquet;
mod sniff;
mod tally;
#[cfg(test)]
mod tests;
mod text;
mod unpack;
mod warc;

pub use files::{Files, SourceFile};
pub use html::main_text;
pub use tally::{Count, ReadTally, Refusal};

use std::io::{BufRead, Cursor, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::TrainError;
use sniff::Sniffed;

/// What a document was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Plain text.
    Text,
    /// Markdown, kept as it is.
    Markdown,
    /// A field of a line of JSON.
    Jsonl,
    /// The main text of a page.
    Html,
    /// The main text of a page in a web archive, or a text there.
    Warc,
    /// A row of a table.
    Parquet,
}

/// A document, before any filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Never empty.
    pub text: String,
    /// Its file.
    pub file: Arc<PathBuf>,
    /// Which one in the file, from 0.
    pub number: u64,
    /// What it was read from.
    pub kind: Kind,
}

impl Document {
    /// A name for a person: the file, and the number where a file has several.
    pub fn name(&self) -> String {
        name(&self.file, self.number)
    }
}

pub(super) fn name(file: &Path, number: u64) -> String {
    match number {
        0 => file.display().to_string(),
        _ => format!("{}#{number}", file.display()),
    }
}

/// Where texts and markdown become several documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// A file is a document.
    Whole,
    /// At blank lines.
    BlankLines,
    /// Where this stands.
    Separator(String),
    /// Into passages of about so many bytes, at the end of a paragraph, a line or a word.
    Passages(usize),
}

/// How files are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadOptions {
    /// Of texts and markdown.
    pub split: Split,
    /// The field of a line of JSON, or the column of a table, that holds the text.
    pub field: String,
    /// The longest document. Longer texts are cut; what else is longer is left out.
    pub document_bytes_max: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { split: Split::Whole, field: "text".to_owned(), document_bytes_max: 1 << 24 }
    }
}

impl ReadOptions {
    /// # Errors
    /// A limit or a separator that would leave no documents.
    pub(super) fn check(&self) -> Result<(), TrainError> {
        let wrong =
            |option, found: String, expected| Err(TrainError::Option { option, found, expected });
        if !(1 << 10..=1 << 30).contains(&self.document_bytes_max) {
            let expected = "1024 to 1073741824 bytes";
            return wrong("the longest document", self.document_bytes_max.to_string(), expected);
        }
        match &self.split {
            Split::Separator(text) if text.is_empty() || text.len() > 1 << 10 => {
                wrong("the separator", format!("{} bytes", text.len()), "1 to 1024 bytes")
            }
            Split::Passages(bytes) if !(64..=self.document_bytes_max).contains(bytes) => {
                wrong("passages", bytes.to_string(), "64 bytes to the longest document")
            }
            _ => Ok(()),
        }
    }
}

/// Documents of files, one after the other.
pub struct Documents<'files> {
    files: &'files [SourceFile],
    options: &'files ReadOptions,
    next: usize,
    open: Option<OpenFile>,
    /// Bytes of the files that were taken so far, packed as they are.
    taken: Arc<AtomicU64>,
    tally: ReadTally,
}

struct OpenFile {
    source: Box<dyn Source>,
    file: Arc<PathBuf>,
    kind: Kind,
    number: u64,
    /// Of all files up to the end of this one.
    bytes_at_end: u64,
}

/// Something in a file that yields texts.
trait Source {
    /// The next text, or what stands in its place; `None` at the end.
    fn next_text(&mut self) -> Option<Result<String, Refused>>;

    /// Invalid UTF-8 that was replaced since the last call.
    fn replaced(&mut self) -> u64 {
        0
    }

    /// Pieces that a text was cut into because of its length, since the last call.
    fn cut(&mut self) -> u64 {
        0
    }
}

/// Something that is no document, and why.
#[derive(Debug)]
struct Refused {
    why: Refusal,
    detail: String,
    /// Nothing more can be read from this file.
    fatal: Fatal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fatal {
    Yes,
    No,
}

impl Refused {
    fn one(why: Refusal, detail: impl Into<String>) -> Self {
        Self { why, detail: detail.into(), fatal: Fatal::No }
    }

    fn file(why: Refusal, detail: impl Into<String>) -> Self {
        Self { why, detail: detail.into(), fatal: Fatal::Yes }
    }

    /// What reading the file said.
    fn reading(error: &std::io::Error) -> Self {
        let why = match error.get_ref() {
            Some(inner) if inner.is::<unpack::Bomb>() => Refusal::Bomb,
            Some(inner) if inner.is::<unpack::Damaged>() => Refusal::Damaged,
            _ => Refusal::Unreadable,
        };
        Self::file(why, error.to_string())
    }
}

impl<'files> Documents<'files> {
    /// From the beginning.
    pub(super) fn new(files: &'files [SourceFile], options: &'files ReadOptions) -> Self {
        let taken = Arc::new(AtomicU64::new(0));
        Self { files, options, next: 0, open: None, taken, tally: ReadTally::default() }
    }

    /// Bytes of the files that were read so far.
    pub fn bytes_done(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// What was read and what not, so far.
    pub fn tally(&self) -> &ReadTally {
        &self.tally
    }

    fn advance(&mut self) -> Option<Document> {
        loop {
            let Some(open) = &mut self.open else {
                self.open_next()?;
                continue;
            };
            let found = open.source.next_text();
            self.tally.replaced_bytes += open.source.replaced();
            self.tally.cut += open.source.cut();
            match found {
                Some(Ok(text)) => {
                    let number = open.number;
                    open.number += 1;
                    if text.trim().is_empty() {
                        self.tally.refuse(Refusal::Empty, || name(&open.file, number));
                        continue;
                    }
                    let (file, kind) = (Arc::clone(&open.file), open.kind);
                    self.tally.document(kind, text.len());
                    return Some(Document { text, file, number, kind });
                }
                Some(Err(refused)) => {
                    let number = open.number;
                    open.number += 1;
                    let named = || format!("{}: {}", name(&open.file, number), refused.detail);
                    self.tally.refuse(refused.why, named);
                    if refused.fatal == Fatal::Yes {
                        self.close();
                    }
                }
                None => {
                    if open.number == 0 {
                        let file = Arc::clone(&open.file);
                        self.tally.refuse(Refusal::Empty, || file.display().to_string());
                    }
                    self.close();
                }
            }
        }
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            // Where a reader stopped early, the rest counts as done.
            self.taken.store(open.bytes_at_end, Ordering::Relaxed);
        }
    }

    /// Opens the next file that can be; `None` when there is none left.
    fn open_next(&mut self) -> Option<()> {
        let file = self.files.get(self.next)?;
        self.next += 1;
        self.tally.files += 1;
        let bytes_at_end = self.files[..self.next].iter().map(|file| file.bytes).sum();
        match open(file, self.options, &self.taken) {
            Ok((kind, source)) => {
                self.tally.file_kinds.entry(kind).and_modify(|count| *count += 1).or_insert(1);
                let file = Arc::new(file.path.clone());
                self.open = Some(OpenFile { source, file, kind, number: 0, bytes_at_end });
            }
            Err(refused) => {
                self.taken.store(bytes_at_end, Ordering::Relaxed);
                let named = || format!("{}: {}", file.path.display(), refused.detail);
                self.tally.refuse(refused.why, named);
            }
        }
        Some(())
    }
}

impl Iterator for Documents<'_> {
    type Item = Document;

    fn next(&mut self) -> Option<Document> {
        self.advance()
    }
}

/// How much of a file is looked at to tell what it is.
const HEAD_BYTES: usize = 1 << 13;

fn open(
    file: &SourceFile,
    options: &ReadOptions,
    taken: &Arc<AtomicU64>,
) -> Result<(Kind, Box<dyn Source>), Refused> {
    let failed = |error: std::io::Error| Refused::reading(&error);
    let mut reader = unpack::open(&file.path, taken).map_err(failed)?;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    reader.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(failed)?;
    let sniffed = sniff::sniff(&head, &file.path);
    let reader: Box<dyn BufRead> = Box::new(Cursor::new(head).chain(reader));
    let limit = options.document_bytes_max;
    Ok(match sniffed {
        Sniffed::Refused(why, detail) => return Err(Refused::file(why, detail)),
        Sniffed::Text => (Kind::Text, Box::new(text::Texts::new(reader, &options.split, limit))),
        Sniffed::Markdown => {
            (Kind::Markdown, Box::new(text::Texts::new(reader, &options.split, limit)))
        }
        Sniffed::Jsonl => (Kind::Jsonl, Box::new(jsonl::Jsonl::new(reader, &options.field, limit))),
        Sniffed::Html => (Kind::Html, Box::new(page::Page::new(reader, limit))),
        Sniffed::Warc => (Kind::Warc, Box::new(warc::Warc::new(reader, limit))),
        #[cfg(feature = "parquet")]
        Sniffed::Parquet => {
            (Kind::Parquet, Box::new(parquet::Table::open(&file.path, &options.field, limit)?))
        }
        #[cfg(not(feature = "parquet"))]
        Sniffed::Parquet => {
            let detail = "this program was built without the feature `parquet`";
            return Err(Refused::file(Refusal::NeedsFeature, detail));
        }
    })
}

/// Text from bytes. The rule for what is no UTF-8: up to one byte in a hundred is replaced by
/// U+FFFD and counted; with more of them it is no text.
fn decode(bytes: Vec<u8>, replaced: &mut u64) -> Result<String, Refused> {
    let mut bytes = bytes;
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return Ok(text),
        Err(error) => error.into_bytes(),
    };
    let invalid: usize = bytes.utf8_chunks().map(|chunk| chunk.invalid().len()).sum();
    if invalid * 100 > bytes.len() {
        let detail = format!("{invalid} of {} bytes are no UTF-8", bytes.len());
        return Err(Refused::one(Refusal::NotUtf8, detail));
    }
    *replaced += invalid as u64;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
