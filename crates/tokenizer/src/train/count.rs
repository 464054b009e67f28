//! Counting the words of a stream of documents on several threads, in bounded memory. Invariant:
//! the counts depend on the documents alone. Each thread counts into a table of its own; what is
//! dropped is decided for all tables together, at places in the input that do not depend on
//! threads.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};

use super::pattern::{Cut, SplitPattern};
use super::pieces::{Input, Piece, Pieces, Unit};
use super::table::WordTable;
use crate::split::{Splitter, Word};
use crate::unicode::{Classes, escape, unescape};

/// After so many bytes the size of the tables is looked at.
const ROUND_BYTES: usize = 16 << 20;
/// The least bound: less would drop words of the first kilobytes.
const MEMORY_BYTES_MIN: u64 = 1 << 20;
/// The most: words are addressed with 32 bits.
const MEMORY_BYTES_MAX: u64 = 32 << 30;

/// Words and how often they occur, of documents as they come.
pub struct WordCounts {
    pattern: SplitPattern,
    pieces: Pieces,
    unit: Unit,
    memory_bytes: u64,
    threads: usize,
    tables: Vec<WordTable>,
    summary: CountSummary,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountSummary {
    /// Bytes of text.
    pub bytes: u64,
    /// Words, each time they occur.
    pub words: u64,
    /// Different words that are left.
    pub distinct: u64,
    /// Different words that were dropped because all of them did not fit. A word that comes back
    /// counts again.
    pub dropped_distinct: u64,
    /// Their occurrences.
    pub dropped: u64,
    /// No dropped word occurred more often than this between two looks at the table.
    pub dropped_count_max: u64,
    /// Places at which a document without any place to cut was cut.
    pub cuts: u64,
}

impl WordCounts {
    /// Counts on `threads` threads, with about `memory_bytes` (1 MiB to 32 GiB) for words and what
    /// merging takes for them; above it, by what 16 MiB of text bring, rare words are dropped until
    /// the rest takes half.
    pub fn new(pattern: SplitPattern, unit: Unit, threads: usize, memory_bytes: u64) -> Self {
        Self {
            pieces: Pieces::new(&pattern.cut, unit),
            pattern,
            unit,
            memory_bytes: memory_bytes.clamp(MEMORY_BYTES_MIN, MEMORY_BYTES_MAX),
            threads: threads.max(1),
            tables: (0..threads.max(1)).map(|_| WordTable::default()).collect(),
            summary: CountSummary::default(),
        }
    }

    /// Counts documents; may be called again for more. `watch` is told the bytes so far.
    ///
    /// # Errors
    /// What `input` reports; what came before it is counted.
    pub fn count<E>(
        &mut self,
        mut input: impl Iterator<Item = Result<Input, E>>,
        watch: &mut dyn FnMut(u64),
    ) -> Result<(), E> {
        let mut more = Ok(true);
        while let Ok(true) = more {
            more = self.round(&mut input, watch);
            self.bound();
        }
        let mut tables = std::mem::take(&mut self.tables).into_iter();
        let mut whole = tables.next().unwrap_or_default();
        tables.for_each(|table| whole.absorb(&table));
        self.summary.distinct = whole.len() as u64;
        self.summary.cuts = self.pieces.cuts;
        self.tables = vec![whole];
        self.tables.resize_with(self.threads, WordTable::default);
        more.map(|_| ())
    }

    /// What was counted so far.
    pub fn summary(&self) -> CountSummary {
        self.summary
    }

    pub(super) fn pattern(&self) -> &SplitPattern {
        &self.pattern
    }

    pub(super) fn table(&self) -> &WordTable {
        &self.tables[0]
    }

    /// Counts the next `ROUND_BYTES`. Gives whether there is more.
    fn round<E>(
        &mut self,
        input: &mut dyn Iterator<Item = Result<Input, E>>,
        watch: &mut dyn FnMut(u64),
    ) -> Result<bool, E> {
        let (cut, unit, pieces) = (&self.pattern.cut, self.unit, &mut self.pieces);
        let mut left = ROUND_BYTES;
        let total = &mut self.summary.bytes;
        let mut next = || -> Result<Option<Piece>, E> {
            if left == 0 {
                return Ok(None);
            }
            let piece = pieces.next(input)?;
            let len = piece.as_ref().map_or(0, |piece| piece.bytes.len());
            left = left.saturating_sub(len);
            *total += len as u64;
            watch(*total);
            Ok(piece)
        };
        let (mut words, mut outcome) = (0, Ok(()));
        if let [table] = self.tables.as_mut_slice() {
            let mut counter = Counter::new(cut, unit, table);
            loop {
                match next() {
                    Ok(Some(piece)) => counter.piece(&piece),
                    Ok(None) => break,
                    Err(error) => {
                        outcome = Err(error);
                        break;
                    }
                }
            }
            words += counter.words;
        } else {
            let (sender, receiver) = sync_channel(self.tables.len());
            let receiver = Mutex::new(receiver);
            std::thread::scope(|scope| {
                let work = |table| work(Counter::new(cut, unit, table), &receiver);
                let threads: Vec<_> =
                    self.tables.iter_mut().map(|table| scope.spawn(move || work(table))).collect();
                loop {
                    match next() {
                        // The receivers wait until the sender is gone.
                        Ok(Some(piece)) => sender.send(piece).unwrap_or_default(),
                        Ok(None) => break,
                        Err(error) => {
                            outcome = Err(error);
                            break;
                        }
                    }
                }
                drop(sender);
                for thread in threads {
                    match thread.join() {
                        Ok(count) => words += count,
                        Err(panic) => std::panic::resume_unwind(panic),
                    }
                }
            });
        }
        self.summary.words += words;
        outcome.map(|()| left == 0)
    }

    /// Keeps the tables within bounds.
    fn bound(&mut self) {
        if self.tables.iter().map(WordTable::cost).sum::<u64>() <= self.memory_bytes {
            return;
        }
        let Some((whole, others)) = self.tables.split_first_mut() else { return };
        for table in others {
            whole.absorb(&std::mem::take(table));
        }
        if whole.cost() > self.memory_bytes {
            let dropped = whole.drop_rare(self.memory_bytes / 2);
            let summary = &mut self.summary;
            summary.dropped_distinct += dropped.words;
            summary.dropped += dropped.occurrences;
            summary.dropped_count_max = summary.dropped_count_max.max(dropped.count_max);
        }
    }
}

fn work(mut counter: Counter<'_>, pieces: &Mutex<Receiver<Piece>>) -> u64 {
    loop {
        // Locked while it waits; the others then wait for the lock.
        let piece = match pieces.lock() {
            Ok(pieces) => pieces.recv(),
            Err(_) => return counter.words,
        };
        let Ok(piece) = piece else { return counter.words };
        counter.piece(&piece);
    }
}

/// One thread's share.
struct Counter<'a> {
    cut: &'a Cut,
    unit: Unit,
    classes: Classes,
    table: &'a mut WordTable,
    words: u64,
    buffer: Vec<u8>,
}

impl<'a> Counter<'a> {
    fn new(cut: &'a Cut, unit: Unit, table: &'a mut WordTable) -> Self {
        Self { cut, unit, classes: Classes::new(), table, words: 0, buffer: Vec::new() }
    }

    fn piece(&mut self, piece: &Piece) {
        let mut from = 0;
        for &end in &piece.ends {
            let part = &piece.bytes[from..end];
            match self.unit {
                Unit::Document => self.text(part),
                Unit::Line => {
                    for line in part.split_inclusive(|&byte| byte == b'\n') {
                        self.text(line);
                    }
                }
            }
            from = end;
        }
    }

    fn text(&mut self, bytes: &[u8]) {
        let text = escape(bytes);
        let escaped = matches!(text, std::borrow::Cow::Owned(_));
        match self.cut {
            Cut::Scan(scanner) => {
                let mut at = 0;
                while at < text.len() {
                    let end = scanner.next(&text, at, self.classes).max(at + 1);
                    self.add(&text[at..end], escaped);
                    at = end;
                }
            }
            Cut::Steps(steps) => {
                let splitter = Splitter { steps, escaped, classes: self.classes };
                splitter.run(&text, true, &mut |word| match word {
                    Word::Text(word) => self.add(word, escaped),
                    Word::Bytes(_) => {}
                });
            }
        }
    }

    #[inline]
    fn add(&mut self, word: &str, escaped: bool) {
        self.words += 1;
        if escaped {
            self.buffer.clear();
            unescape(word, &mut self.buffer);
            self.table.add(&self.buffer, 1);
        } else {
            self.table.add(word.as_bytes(), 1);
        }
    }
}
