//! A stream of documents in pieces that can be cut into words apart from each other. Invariant: the
//! words of the pieces are the words of the documents, except where a bound cut a document, which
//! is counted.
//!
//! A document is cut behind a letter or number before something that is neither, nor a mark, nor an
//! apostrophe: no word of a known pattern reaches across such a place, and nothing in front of it
//! looks beyond it. A regular expression of one's own may look anywhere, so there documents stay
//! whole.

use super::pattern::Cut;
use crate::unicode::{LETTER, MARK, NUMBER, flags};

/// A piece is handed on once it has so many bytes.
const PIECE_BYTES: usize = 1 << 20;
/// A document without a place to cut is cut here.
const WORD_BYTES_MAX: usize = 4 << 20;
/// The same, where a document has to stay whole.
const WHOLE_BYTES_MAX: usize = 64 << 20;

/// Documents for training, as they come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// More of the document; need not be UTF-8.
    Bytes(Vec<u8>),
    /// The document ends.
    End,
}

/// What is cut into words on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// A document: what an encoder sees.
    #[default]
    Document,
    /// Each line with its end, as the `tokenizers` library reads files.
    Line,
}

/// Whole parts of documents.
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    /// Where a part ends; the last is the end of `bytes`.
    pub(super) ends: Vec<usize>,
}

/// Cuts a stream of documents.
pub(super) struct Pieces {
    unit: Unit,
    /// Documents can be cut between words.
    scan: bool,
    /// What has come and is not yet in `bytes`, from the second number on.
    waiting: (Vec<u8>, usize),
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Documents that a bound cut, once for each cut.
    pub(super) cuts: u64,
}

impl Pieces {
    pub(super) fn new(cut: &Cut, unit: Unit) -> Self {
        let scan = matches!(cut, Cut::Scan(_));
        let (bytes, ends) = (Vec::new(), Vec::new());
        Self { unit, scan, waiting: (Vec::new(), 0), bytes, ends, cuts: 0 }
    }

    /// The next piece; `None` at the end of `input`.
    pub(super) fn next<E>(
        &mut self,
        input: &mut dyn Iterator<Item = Result<Input, E>>,
    ) -> Result<Option<Piece>, E> {
        loop {
            let (waiting, from) = &mut self.waiting;
            if *from < waiting.len() {
                // As much as fills the next step, so that a place is not looked for at each byte.
                let room = PIECE_BYTES - self.bytes.len() % PIECE_BYTES;
                let end = waiting.len().min(*from + room);
                self.bytes.extend_from_slice(&waiting[*from..end]);
                *from = end;
                if self.bytes.len().is_multiple_of(PIECE_BYTES)
                    && let Some(piece) = self.take()
                {
                    return Ok(Some(piece));
                }
                continue;
            }
            match input.next().transpose()? {
                Some(Input::Bytes(bytes)) => self.waiting = (bytes, 0),
                Some(Input::End) => self.end(),
                None => {
                    self.end();
                    return Ok(self.take_to(self.bytes.len()));
                }
            }
        }
    }

    /// The document ends here.
    fn end(&mut self) {
        if self.ends.last().copied().unwrap_or(0) < self.bytes.len() {
            self.ends.push(self.bytes.len());
        }
    }

    /// What can be handed on.
    fn take(&mut self) -> Option<Piece> {
        let ended = self.ends.last().copied().unwrap_or(0);
        if ended >= PIECE_BYTES {
            return self.take_to(ended);
        }
        let open = &self.bytes[ended..];
        if let Some(at) = self.place(open) {
            return self.take_to(ended + at);
        }
        if ended > 0 {
            return self.take_to(ended);
        }
        let most = if self.scan { WORD_BYTES_MAX } else { WHOLE_BYTES_MAX };
        if open.len() < most {
            return None;
        }
        self.cuts += 1;
        let line = open[..most].iter().rposition(|&byte| byte == b'\n').filter(|_| !self.scan);
        let at = line.map_or_else(|| char_start(open, most), |at| at + 1);
        self.take_to(at)
    }

    /// The last place to cut an open document.
    fn place(&self, open: &[u8]) -> Option<usize> {
        let line = || open.iter().rposition(|&byte| byte == b'\n').map(|at| at + 1);
        let line = if self.unit == Unit::Line { line() } else { None };
        let scanned = || ascii_place(open).or_else(|| unicode_place(open));
        line.or_else(|| if self.scan { scanned() } else { None })
    }

    fn take_to(&mut self, at: usize) -> Option<Piece> {
        if at == 0 {
            return None;
        }
        let rest = self.bytes.split_off(at);
        let bytes = std::mem::replace(&mut self.bytes, rest);
        let mut ends = std::mem::take(&mut self.ends);
        // Only an open document may stay behind, so all ends are in front.
        if ends.last() != Some(&at) {
            ends.push(at);
        }
        Some(Piece { bytes, ends })
    }
}

fn ascii_place(text: &[u8]) -> Option<usize> {
    let cut = |two: &[u8]| {
        let behind = two[1];
        two[0].is_ascii_alphanumeric()
            && behind.is_ascii()
            && !behind.is_ascii_alphanumeric()
            && behind != b'\''
    };
    text.windows(2).rposition(cut).map(|at| at + 1)
}

/// The same for text of other scripts, in its last part.
fn unicode_place(text: &[u8]) -> Option<usize> {
    let from = char_start(text, text.len().saturating_sub(PIECE_BYTES / 4));
    let mut place = None;
    let mut at = from;
    let mut before = 0;
    for chunk in text[from..].utf8_chunks() {
        for c in chunk.valid().chars() {
            let here = flags(c);
            if before & (LETTER | NUMBER) != 0 && here & (LETTER | NUMBER | MARK) == 0 && c != '\''
            {
                place = Some(at);
            }
            before = here;
            at += c.len_utf8();
        }
        // What is no character counts as a symbol, but may be the start of one that goes on.
        before = 0;
        at += chunk.invalid().len();
    }
    place
}

/// The start of the character that `at` lies in.
fn char_start(text: &[u8], at: usize) -> usize {
    let continues = |at: usize| text.get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
    (at.saturating_sub(3)..=at).rev().find(|&at| !continues(at)).filter(|&at| at > 0).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Scanner;
    use crate::unicode::Classes;

    fn words(scanner: Scanner, text: &str, into: &mut Vec<String>) {
        let mut at = 0;
        while at < text.len() {
            let end = scanner.next(text, at, Classes::new());
            into.push(text[at..end].to_owned());
            at = end;
        }
    }

    /// Wherever a text may be cut, the parts have its words.
    #[test]
    fn places_change_no_word() {
        let alphabet: Vec<char> =
            "aZ9 \n\r\t'sdlL.,/中文。é\u{301}\u{200d}½_ǅ\u{3000}".chars().collect();
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut cuts = 0;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..24 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                text.push(alphabet[(random >> 20) as usize % alphabet.len()]);
            }
            for place in [ascii_place, unicode_place] {
                let Some(at) = place(text.as_bytes()) else { continue };
                cuts += 1;
                for scanner in Scanner::KNOWN {
                    let (mut whole, mut parts) = (Vec::new(), Vec::new());
                    words(scanner, &text, &mut whole);
                    words(scanner, &text[..at], &mut parts);
                    words(scanner, &text[at..], &mut parts);
                    assert_eq!(whole, parts, "{scanner:?} {text:?} at {at}");
                }
            }
        }
        assert!(cuts > 10_000, "{cuts}");
    }

    fn pieces(unit: Unit, input: &[Input]) -> (Vec<Vec<u8>>, u64) {
        let mut pieces = Pieces::new(&Cut::Scan(Scanner::Gpt2), unit);
        let mut input = input.iter().cloned().map(Ok::<_, ()>);
        let mut parts = Vec::new();
        while let Ok(Some(piece)) = pieces.next(&mut input) {
            let mut from = 0;
            for end in piece.ends {
                parts.push(piece.bytes[from..end].to_vec());
                from = end;
            }
            assert_eq!(from, piece.bytes.len());
        }
        (parts, pieces.cuts)
    }

    #[test]
    fn documents_stay_apart() {
        let bytes = |text: &str| Input::Bytes(text.as_bytes().to_vec());
        let input = [bytes("a"), bytes("b"), Input::End, Input::End, bytes("c")];
        assert_eq!(pieces(Unit::Document, &input), (vec![b"ab".to_vec(), b"c".to_vec()], 0));
        assert_eq!(pieces(Unit::Document, &[Input::End]), (vec![], 0));
    }

    #[test]
    fn long_documents_are_cut() {
        let long = Input::Bytes(b"one two. ".repeat(700_000));
        let (parts, cuts) = pieces(Unit::Document, &[long.clone(), Input::End, long]);
        assert!(parts.len() > 3 && cuts == 0);
        assert_eq!(parts.concat().len(), 2 * 9 * 700_000);
        let (parts, cuts) = pieces(Unit::Document, &[Input::Bytes("é".repeat(5 << 20).into())]);
        assert_eq!((parts.len(), cuts), (3, 2));
        assert!(parts.iter().all(|part| std::str::from_utf8(part).is_ok()));
        let lines = Input::Bytes(b" \n".repeat(1 << 20));
        assert_eq!(pieces(Unit::Line, &[lines]).1, 0);
    }
}
