//! Conversations from files: a JSON value a line, or one JSON list.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value;

use super::check::{self, Refusal};
use super::compared::{self, Comparison};
use super::{Conversation, shapes};
use crate::TrainError;

/// Bytes of a line at most: beyond any context that a model has.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a file that is one JSON list.
const LIST_BYTES_MAX: u64 = 1 << 30;

/// What stands in a line, or at a place of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Line<T = Conversation> {
    /// From 1; in a list the place in it.
    pub number: u64,
    /// A conversation (or a comparison) with the number of messages that were trimmed, or why there
    /// is none.
    pub found: Result<(T, usize), Refusal>,
}

/// Makes something of a line's value.
type Find<T> = fn(&Value) -> Result<(T, usize), Refusal>;

/// Reads a file of conversations and hands on what its lines hold, in order. Empty lines are passed
/// over.
///
/// # Errors
/// The file cannot be read, is a list that is no JSON, or `take` fails.
pub fn read(
    path: &Path,
    take: &mut dyn FnMut(Line) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    read_as(path, found, take)
}

/// The same of a file of comparisons.
///
/// # Errors
/// As `read`.
pub fn read_comparisons(
    path: &Path,
    take: &mut dyn FnMut(Line<Comparison>) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    read_as(path, compared::comparison, take)
}

fn read_as<T>(
    path: &Path,
    found: Find<T>,
    take: &mut dyn FnMut(Line<T>) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    let failed = |source| TrainError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut reader = BufReader::new(file);
    if is_list(&mut reader).map_err(failed)? {
        return read_list(path, reader, found, take);
    }
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        number += 1;
        let taken = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        if taken.map_err(failed)? == 0 {
            return Ok(());
        }
        let cut = line.last() != Some(&b'\n') && line.len() as u64 == LINE_BYTES_MAX;
        if cut {
            skip_line(&mut reader).map_err(failed)?;
            take(Line { number, found: Err(Refusal::Length) })?;
            continue;
        }
        let text = line.trim_ascii();
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        if text.is_empty() {
            continue;
        }
        let value = serde_json::from_slice(text).map_err(|_| Refusal::Json);
        take(Line { number, found: value.and_then(|value| found(&value)) })?;
    }
}

/// Whether the file's first sign opens a list.
fn is_list(reader: &mut BufReader<File>) -> std::io::Result<bool> {
    let begin = reader.fill_buf()?;
    let begin = begin.strip_prefix(b"\xef\xbb\xbf").unwrap_or(begin);
    Ok(begin.trim_ascii_start().first() == Some(&b'['))
}

fn skip_line(reader: &mut BufReader<File>) -> std::io::Result<()> {
    loop {
        let part = reader.fill_buf()?;
        let (len, end) = match part.iter().position(|&byte| byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (part.len(), part.is_empty()),
        };
        reader.consume(len);
        if end {
            return Ok(());
        }
    }
}

fn read_list<T>(
    path: &Path,
    reader: BufReader<File>,
    found: Find<T>,
    take: &mut dyn FnMut(Line<T>) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    let failed = |source| TrainError::Read { path: path.to_owned(), source };
    let mut text = Vec::new();
    reader.take(LIST_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 == LIST_BYTES_MAX {
        let what = "a list of more than 1 GiB; write one conversation a line";
        return Err(failed(std::io::Error::other(what)));
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let values: Vec<Value> =
        serde_json::from_slice(text).map_err(|error| failed(std::io::Error::other(error)))?;
    for (at, value) in values.iter().enumerate() {
        take(Line { number: at as u64 + 1, found: found(value) })?;
    }
    Ok(())
}

fn found(value: &Value) -> Result<(Conversation, usize), Refusal> {
    let mut conversation = shapes::conversation(value)?;
    let trimmed = check::check(&mut conversation)?;
    Ok((conversation, trimmed))
}
