//! Plain text and markdown: whole files, or pieces of them.

use std::io::{BufRead, Read as _};
use std::mem;

use memchr::memmem;

use super::{Refusal, Refused, Source, Split, decode};

const STEP_BYTES: usize = 1 << 16;

/// The texts of one file.
pub(super) struct Texts {
    reader: Box<dyn BufRead>,
    split: Split,
    limit: usize,
    /// What was read and not yet given out begins at `start`.
    buffer: Vec<u8>,
    start: usize,
    /// From `start` up to here no text ends.
    searched: usize,
    stage: Stage,
    /// Told after what came before it.
    failure: Option<Refused>,
    replaced: u64,
    cut: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Reading,
    Ended,
}

/// Whether a text ends in what waits.
enum Look {
    /// After so many bytes; so many more separate it from the next.
    Ends(usize, usize),
    /// Not in so many bytes.
    Not(usize),
}

impl Texts {
    pub(super) fn new(reader: Box<dyn BufRead>, split: &Split, limit: usize) -> Self {
        Self {
            reader,
            split: split.clone(),
            limit,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            stage: Stage::Reading,
            failure: None,
            replaced: 0,
            cut: 0,
        }
    }

    fn pending(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Reads until so many bytes wait, or the end.
    fn fill(&mut self, bytes: usize) {
        if self.stage != Stage::Reading || self.pending().len() >= bytes {
            return;
        }
        // Moved only when half of it is used up, so that each byte moves about once.
        if self.start > self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        let missing = (bytes - self.pending().len()) as u64;
        match self.reader.by_ref().take(missing).read_to_end(&mut self.buffer) {
            Ok(count) if (count as u64) < missing => self.stage = Stage::Ended,
            Ok(_) => {}
            Err(error) => {
                self.stage = Stage::Ended;
                let refused = Refused::reading(&error);
                if refused.why == Refusal::Bomb {
                    self.start = self.buffer.len();
                }
                self.failure = Some(refused);
            }
        }
    }

    /// Takes `bytes` as a text, and `gap` bytes after them away.
    fn take(&mut self, bytes: usize, gap: usize) -> Vec<u8> {
        self.searched = 0;
        if self.start == 0 && bytes + gap == self.buffer.len() {
            let mut text = mem::take(&mut self.buffer);
            text.truncate(bytes);
            return text;
        }
        let text = self.pending()[..bytes].to_vec();
        self.start += bytes + gap;
        text
    }

    /// The next text as bytes; `None` at the end.
    fn piece(&mut self) -> Result<Option<Vec<u8>>, Refused> {
        let split = self.split.clone();
        let found = match &split {
            Split::Whole => {
                self.fill(self.limit + 1);
                None
            }
            Split::Passages(bytes) => {
                self.fill(bytes + bytes / 4);
                let more = self.pending().len() >= bytes + bytes / 4;
                let bytes = *bytes;
                let end = || break_before(self.pending(), bytes);
                more.then(|| (end().unwrap_or_else(|| boundary(self.pending(), bytes)), 0))
            }
            Split::BlankLines => self.find(blank_line),
            Split::Separator(text) => self.find(|bytes, from, _| {
                match memmem::find(&bytes[from..], text.as_bytes()) {
                    Some(place) => Look::Ends(from + place, text.len()),
                    // It may have begun at the end.
                    None => Look::Not(bytes.len().saturating_sub(text.len() - 1).max(from)),
                }
            }),
        };
        if let Some((end, gap)) = found {
            return Ok(Some(self.take(end, gap)));
        }
        if self.pending().len() > self.limit {
            return self.cut_long().map(Some);
        }
        let rest = self.pending().len();
        Ok((rest > 0).then(|| self.take(rest, 0)))
    }

    /// Looks for the end of a text, reading on as far as a text may go. `look` is given what waits,
    /// from where it was not yet searched, and whether more may follow.
    fn find(&mut self, look: impl Fn(&[u8], usize, Stage) -> Look) -> Option<(usize, usize)> {
        loop {
            match look(self.pending(), self.searched, self.stage) {
                Look::Ends(end, gap) if end <= self.limit => return Some((end, gap)),
                Look::Ends(..) => return None,
                Look::Not(searched) => self.searched = searched,
            }
            let len = self.pending().len();
            if self.stage != Stage::Reading || len > self.limit {
                return None;
            }
            // Twice as much each time, so that what is searched again adds up to little.
            self.fill((2 * len).max(STEP_BYTES));
        }
    }

    /// A text that is longer than the limit: its beginning.
    fn cut_long(&mut self) -> Result<Vec<u8>, Refused> {
        if let Some(end) = break_before(self.pending(), self.limit) {
            self.cut += 1;
            return Ok(self.take(end, 0));
        }
        // White space that stands before the word goes with it, so that there is always progress.
        let blank = self.pending().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.start += blank;
        let mut skipped = 0;
        loop {
            let space = self.pending().iter().position(u8::is_ascii_whitespace);
            let bytes = space.unwrap_or(self.pending().len());
            skipped += bytes as u64;
            self.start += bytes;
            if space.is_some() || self.stage != Stage::Reading {
                break;
            }
            self.fill(STEP_BYTES);
        }
        self.searched = 0;
        let detail = format!("{skipped} bytes without a space or a line break");
        Err(Refused::one(Refusal::EndlessWord, detail))
    }
}

/// A place to cut within the second half of the first `limit` bytes: after a blank line, else after
/// a line, else after a space. Else after the last space before, if a word stands before that.
fn break_before(bytes: &[u8], limit: usize) -> Option<usize> {
    let window = &bytes[limit / 2..limit];
    let place = memmem::rfind(window, b"\n\n")
        .map(|at| at + 2)
        .or_else(|| memchr::memrchr(b'\n', window).map(|at| at + 1))
        .or_else(|| window.iter().rposition(u8::is_ascii_whitespace).map(|at| at + 1));
    if let Some(place) = place {
        return Some(limit / 2 + place);
    }
    let before = &bytes[..limit / 2];
    let space = before.iter().rposition(u8::is_ascii_whitespace)?;
    (!before[..space].trim_ascii().is_empty()).then_some(space + 1)
}

/// The last place up to `at` where a character of UTF-8 begins.
fn boundary(bytes: &[u8], at: usize) -> usize {
    let begins = |at: &usize| bytes[*at] & 0xc0 != 0x80;
    (at.saturating_sub(3).max(1)..=at).rev().find(begins).unwrap_or(at)
}

/// The next line that is blank: where the one before it ends, and what separates.
fn blank_line(bytes: &[u8], from: usize, stage: Stage) -> Look {
    let mut at = from;
    while let Some(found) = memchr::memchr(b'\n', &bytes[at..]) {
        let end = at + found;
        let rest = &bytes[end + 1..];
        let spaces = rest.iter().position(|byte| !byte.is_ascii_whitespace());
        let gap = match spaces {
            Some(spaces) => spaces,
            None if stage == Stage::Reading => return Look::Not(end),
            None => rest.len(),
        };
        if let Some(last) = memchr::memrchr(b'\n', &rest[..gap]) {
            // The indentation of the next line stays with it.
            return Look::Ends(end, last + 2);
        }
        at = end + 1;
    }
    Look::Not(bytes.len())
}

impl Source for Texts {
    fn next_text(&mut self) -> Option<Result<String, Refused>> {
        loop {
            let bytes = match self.piece() {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return self.failure.take().map(Err),
                Err(refused) => return Some(Err(refused)),
            };
            // Between separators there may be nothing, which is no document that was refused.
            if self.split == Split::Whole || !bytes.trim_ascii().is_empty() {
                return Some(decode(bytes, &mut self.replaced));
            }
        }
    }

    fn replaced(&mut self) -> u64 {
        mem::take(&mut self.replaced)
    }

    fn cut(&mut self) -> u64 {
        mem::take(&mut self.cut)
    }
}
