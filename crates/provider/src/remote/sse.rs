//! Server-sent events: lines in, the data of events out. Source: WHATWG HTML, section 9.2.6.

use std::io::{BufRead, ErrorKind};

/// The most bytes of an event: an embedding or a large call comes in many.
const EVENT_BYTES_MAX: usize = 8 << 20;
/// The most bytes of all events of an answer: a hundred thousand tokens with their alternatives.
const STREAM_BYTES_MAX: u64 = 256 << 20;

/// Reads events one after the other.
pub(super) struct Events<R> {
    lines: R,
    line: Vec<u8>,
    bytes_left: u64,
}

/// Why no event could be read.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection.
    Io(std::io::Error),
    /// What came over it.
    Text(&'static str),
}

impl<R: BufRead> Events<R> {
    pub(super) fn new(lines: R) -> Self {
        Self { lines, line: Vec::new(), bytes_left: STREAM_BYTES_MAX }
    }

    /// The data of the next event; none at the end. Comments and other fields are passed over.
    ///
    /// # Errors
    /// The connection broke, an event is too large or not UTF-8.
    pub(super) fn next(&mut self) -> Result<Option<String>, Broken> {
        let mut data: Option<String> = None;
        loop {
            self.line.clear();
            if !self.read_line()? {
                // What was not ended by an empty line is incomplete, and still all there is.
                return Ok(data);
            }
            let line = std::str::from_utf8(&self.line).map_err(|_| Broken::Text("no UTF-8"))?;
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                if data.is_some() {
                    return Ok(data);
                }
                continue;
            }
            let Some(value) = line.strip_prefix("data:") else { continue };
            let value = value.strip_prefix(' ').unwrap_or(value);
            let data = data.get_or_insert_default();
            if data.len() + value.len() > EVENT_BYTES_MAX {
                return Err(Broken::Text("an event of more than 8 MiB"));
            }
            if !data.is_empty() {
                data.push('\n');
            }
            data.push_str(value);
        }
    }

    /// Reads up to and with a line feed. False at the end.
    fn read_line(&mut self) -> Result<bool, Broken> {
        loop {
            let available = match self.lines.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(Broken::Io(error)),
            };
            if available.is_empty() {
                return Ok(!self.line.is_empty());
            }
            let end = available.iter().position(|&byte| byte == b'\n');
            let taken = end.map_or(available.len(), |end| end + 1);
            if self.line.len() + taken > EVENT_BYTES_MAX {
                return Err(Broken::Text("a line of more than 8 MiB"));
            }
            let Some(left) = self.bytes_left.checked_sub(taken as u64) else {
                return Err(Broken::Text("an answer of more than 256 MiB"));
            };
            self.bytes_left = left;
            self.line.extend_from_slice(&available[..taken]);
            self.lines.consume(taken);
            if end.is_some() {
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text = ": hello\n\ndata: a\n\nevent: x\ndata:b\ndata: c\r\n\r\nid: 7\n\ndata: end";
        for size in [1, 2, 7, 100] {
            let mut events = Events::new(std::io::BufReader::with_capacity(size, text.as_bytes()));
            let mut found = Vec::new();
            while let Some(event) = events.next().unwrap() {
                found.push(event);
            }
            assert_eq!(found, ["a", "b\nc", "end"], "{size}");
        }
    }

    #[test]
    fn an_endless_line_is_refused() {
        let endless = std::io::BufReader::new(std::io::repeat(b'x'));
        assert!(matches!(Events::new(endless).next(), Err(Broken::Text(_))));
    }

    #[test]
    fn an_endless_answer_is_refused() {
        let event: Vec<u8> = [b"data: ", &vec![b'x'; 1 << 20][..], b"\n\n"].concat();
        let mut events = Events::new(Endless { event, at: 0 });
        let broken = (0..300).find_map(|_| events.next().err());
        assert!(matches!(broken, Some(Broken::Text("an answer of more than 256 MiB"))));
    }

    /// An event again and again.
    struct Endless {
        event: Vec<u8>,
        at: usize,
    }

    impl std::io::Read for Endless {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            unreachable!("it is read by its buffer")
        }
    }

    impl BufRead for Endless {
        fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
            Ok(&self.event[self.at..])
        }

        fn consume(&mut self, taken: usize) {
            self.at = (self.at + taken) % self.event.len();
        }
    }
}
