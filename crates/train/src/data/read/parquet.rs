//! Tables: one column of text. With the feature `parquet`.
//!
//! Departure from the bounds of other readers: a page of a column is unpacked as a whole by the
//! `parquet` crate, whose limit is the 2 GiB of the format.

use std::fs::File;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::file::reader::{FileReader as _, SerializedFileReader};

use super::{Refusal, Refused, Source, decode};

/// Rows that are read at a time.
const ROWS: usize = 64;

/// The texts of one file.
pub(super) struct Table {
    file: SerializedFileReader<File>,
    column: usize,
    limit: usize,
    next_group: usize,
    group: Option<ColumnReader>,
    rows: Vec<ByteArray>,
    replaced: u64,
}

impl Table {
    pub(super) fn open(path: &Path, column: &str, limit: usize) -> Result<Self, Refused> {
        let file = File::open(path).map_err(|error| Refused::reading(&error))?;
        let file = guarded(|| SerializedFileReader::new(file))?;
        let schema = file.metadata().file_metadata().schema_descr();
        let named = |index: &usize| schema.column(*index).path().string() == column;
        let Some(column) = (0..schema.num_columns()).find(named) else {
            let detail = format!("no column `{column}`");
            return Err(Refused::file(Refusal::BadTable, detail));
        };
        let (next_group, group, rows) = (0, None, Vec::new());
        Ok(Self { file, column, limit, next_group, group, rows, replaced: 0 })
    }

    /// Reads rows until some wait; none at the end.
    fn fill(&mut self) -> Result<(), Refused> {
        while self.rows.is_empty() {
            let Some(group) = &mut self.group else {
                if self.next_group == self.file.num_row_groups() {
                    return Ok(());
                }
                let (file, number, column) = (&self.file, self.next_group, self.column);
                let group = guarded(|| file.get_row_group(number)?.get_column_reader(column))?;
                self.group = Some(group);
                self.next_group += 1;
                continue;
            };
            let ColumnReader::ByteArrayColumnReader(column) = group else {
                let detail = "the column holds no text";
                return Err(Refused::file(Refusal::BadTable, detail));
            };
            let (mut definitions, mut repetitions) = (Vec::new(), Vec::new());
            let rows = &mut self.rows;
            let (records, _, _) = guarded(|| {
                let levels = (Some(&mut definitions), Some(&mut repetitions));
                column.read_records(ROWS, levels.0, levels.1, rows)
            })?;
            // In the order of the file, taken from the end.
            self.rows.reverse();
            if records == 0 {
                self.group = None;
            }
        }
        Ok(())
    }
}

/// Runs what may fail or, on hostile bytes, panic.
fn guarded<T>(read: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T, Refused> {
    let bad = |detail: String| Refused::file(Refusal::BadTable, detail);
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(read) => read.map_err(|error| bad(error.to_string())),
        Err(_) => Err(bad("the reader gave up".to_owned())),
    }
}

impl Source for Table {
    fn next_text(&mut self) -> Option<Result<String, Refused>> {
        if let Err(refused) = self.fill() {
            return Some(Err(refused));
        }
        let bytes = self.rows.pop()?.data().to_vec();
        if bytes.len() > self.limit {
            let detail = format!("a text of {} bytes, at most {}", bytes.len(), self.limit);
            return Some(Err(Refused::one(Refusal::TooLong, detail)));
        }
        Some(decode(bytes, &mut self.replaced))
    }

    fn replaced(&mut self) -> u64 {
        mem::take(&mut self.replaced)
    }
}
