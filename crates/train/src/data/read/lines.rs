//! Lines of a bounded length.

use std::io::{self, BufRead};

/// A line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// In the buffer that was given.
    Whole,
    /// So many bytes that were passed over, because it is longer than the limit.
    TooLong(u64),
}

/// Reads a line into `line`, which is emptied first. `None` at the end.
///
/// # Errors
/// What the reader said.
pub(super) fn next_line(
    reader: &mut dyn BufRead,
    limit: usize,
    line: &mut Vec<u8>,
) -> io::Result<Option<Line>> {
    line.clear();
    let mut skipped = 0;
    let mut any = false;
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            break;
        }
        any = true;
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        if skipped > 0 || line.len() + part.len() > limit {
            skipped += (line.len() + part.len()) as u64;
            *line = Vec::new();
        } else {
            line.extend_from_slice(part);
        }
        let taken = end.map_or(chunk.len(), |end| end + 1);
        reader.consume(taken);
        if end.is_some() {
            break;
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(any.then_some(if skipped > 0 { Line::TooLong(skipped) } else { Line::Whole }))
}
