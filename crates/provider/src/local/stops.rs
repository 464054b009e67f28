//! Stop texts in a stream of text.
//!
//! The first text to be complete ends the answer; of several that end at the same byte, the
//! longest. This depends on the text alone, not on the pieces in which it comes. What may be the
//! beginning of a stop text is held back until it is one or cannot become one. Each byte is looked
//! at once per stop text. Source of the failure function: Knuth, Morris, Pratt, "Fast pattern
//! matching in strings" (1977).

use std::sync::Arc;

use crate::ProviderError;

/// The most stop texts of a turn, and the most bytes of one.
pub(super) const STOPS_MAX: usize = 64;
const STOP_BYTES_MAX: usize = 1024;

/// The stop texts of a turn, ready to be looked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Stops(Arc<[Stop]>);

#[derive(Debug)]
struct Stop {
    text: String,
    /// For each prefix, the length of its longest proper suffix that is a prefix too.
    failure: Vec<usize>,
}

/// What is looked for in one answer.
#[derive(Clone, Debug)]
pub(super) struct Watcher {
    stops: Stops,
    /// For each stop text, how much of it the text so far ends with.
    matched: Vec<usize>,
    /// The end of the text so far, which may belong to a stop text.
    held: String,
}

/// A stop text that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The stop text.
    pub(super) stop: String,
}

impl Stops {
    /// Checks stop texts.
    ///
    /// # Errors
    /// There are too many, or one is empty or too long.
    pub(super) fn new(texts: &[String]) -> Result<Self, ProviderError> {
        if texts.len() > STOPS_MAX {
            let reason = format!("{} texts, expected at most {STOPS_MAX}", texts.len());
            return Err(ProviderError::invalid("stops", reason));
        }
        for (index, text) in texts.iter().enumerate() {
            let reason = match text.len() {
                0 => format!("text number {index} is empty"),
                1..=STOP_BYTES_MAX => continue,
                len => format!(
                    "text number {index} has {len} bytes, expected at most {STOP_BYTES_MAX}"
                ),
            };
            return Err(ProviderError::invalid("stops", reason));
        }
        Ok(Self(texts.iter().map(|text| Stop::new(text)).collect()))
    }

    /// Begins to look at an answer.
    pub(super) fn watcher(&self) -> Watcher {
        let matched = vec![0; self.0.len()];
        Watcher { stops: self.clone(), matched, held: String::new() }
    }
}

impl Stop {
    fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut failure = vec![0; bytes.len()];
        let mut len = 0;
        for index in 1..bytes.len() {
            while len > 0 && bytes[index] != bytes[len] {
                len = failure[len - 1];
            }
            len += usize::from(bytes[index] == bytes[len]);
            failure[index] = len;
        }
        Self { text: text.to_owned(), failure }
    }

    /// How much of the text is matched after `byte`, given how much was before. A whole text is
    /// never followed by another byte: the answer is over.
    fn advance(&self, mut matched: usize, byte: u8) -> usize {
        let bytes = self.text.as_bytes();
        while matched > 0 && bytes[matched] != byte {
            matched = self.failure[matched - 1];
        }
        matched + usize::from(bytes[matched] == byte)
    }
}

impl Watcher {
    /// Takes in the next piece; appends to `out` what is released. After a stop text was found
    /// nothing more may come.
    pub(super) fn push(&mut self, piece: &str, out: &mut String) -> Option<Found> {
        if self.matched.is_empty() {
            out.push_str(piece);
            return None;
        }
        let before = self.held.len();
        self.held.push_str(piece);
        for (index, byte) in piece.bytes().enumerate() {
            let mut found: Option<&Stop> = None;
            for (stop, matched) in self.stops.0.iter().zip(&mut self.matched) {
                *matched = stop.advance(*matched, byte);
                if *matched == stop.text.len()
                    && found.is_none_or(|found| found.text.len() < stop.text.len())
                {
                    found = Some(stop);
                }
            }
            if let Some(found) = found {
                let end = before + index + 1;
                // A stop text lies within what was held and what came.
                self.held.truncate(end - found.text.len());
                let stop = found.text.clone();
                out.push_str(&std::mem::take(&mut self.held));
                return Some(Found { stop });
            }
        }
        // A stop text begins with a whole character, and so does what may become one.
        let keep = self.matched.iter().copied().max().unwrap_or(0);
        out.extend(self.held.drain(..self.held.len() - keep));
        None
    }

    /// The answer is over: hands out what was held back.
    pub(super) fn finish(&mut self) -> String {
        self.matched.fill(0);
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Byte by byte, with nothing remembered: what is left of `text`, and the stop.
    fn slowly(text: &str, stops: &[&str]) -> (String, Option<String>) {
        for end in 1..=text.len() {
            let ends = |stop: &&&str| text.as_bytes()[..end].ends_with(stop.as_bytes());
            if let Some(stop) = stops.iter().filter(ends).max_by_key(|stop| stop.len()) {
                return (text[..end - stop.len()].to_owned(), Some((*stop).to_owned()));
            }
        }
        (text.to_owned(), None)
    }

    fn check(pieces: &[&str], stops: &[&str]) {
        let texts: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut watcher = Stops::new(&texts).unwrap().watcher();
        let (mut out, mut found, mut came) = (String::new(), None, String::new());
        for piece in pieces {
            came.push_str(piece);
            found = watcher.push(piece, &mut out);
            if found.is_some() {
                break;
            }
            assert_eq!(format!("{out}{}", watcher.held), came, "{pieces:?} {stops:?}");
            // What is held can still become a stop text, and nothing that can is released.
            let held = watcher.held.as_str();
            let longest = (0..=came.len()).find(|&from| {
                came.is_char_boundary(from)
                    && stops.iter().any(|stop| stop.starts_with(&came[from..]))
            });
            let longest = longest.unwrap_or(came.len());
            assert_eq!(held, &came[longest..], "{pieces:?} {stops:?}");
        }
        if found.is_none() {
            out.push_str(&watcher.finish());
        }
        let found = found.map(|found| found.stop);
        assert_eq!((out, found), slowly(&pieces.concat(), stops), "{pieces:?} {stops:?}");
    }

    #[test]
    fn stops_are_found_across_pieces() {
        check(&["ab", "c", "d"], &["bcd"]);
        check(&["abc"], &["b", "abc"]);
        check(&["xab", "c"], &["c", "bc", "abc"]);
        check(&["aa", "b"], &["aab"]);
        check(&["a", "aa", "ab"], &["aab"]);
        check(&["gr\u{fc}n", "\u{fc}"], &["n\u{fc}"]);
        check(&["never"], &["nevermore", "z"]);
        check(&["ab", "ab", "ac"], &["ababac"]);
    }

    const LETTERS: [&str; 4] = ["a", "b", "\u{e9}", "\u{1f600}"];

    #[test]
    fn random_texts_are_cut_as_the_slow_way_cuts_them() {
        let mut state = 7u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let word = |len: u64, random: &mut dyn FnMut(u64) -> u64| -> String {
            (0..len).map(|_| LETTERS[random(4) as usize % 4]).collect()
        };
        for _ in 0..5_000 {
            let stops: Vec<String> = (0..random(4))
                .map(|_| {
                    let len = 1 + random(4);
                    word(len, &mut random)
                })
                .collect();
            let pieces: Vec<String> = (0..random(8))
                .map(|_| {
                    let len = random(4);
                    word(len, &mut random)
                })
                .collect();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            check(&pieces.iter().map(String::as_str).collect::<Vec<_>>(), &stops);
        }
    }

    #[test]
    fn limits_are_named() {
        let refused = |texts: &[String]| Stops::new(texts).unwrap_err().to_string();
        assert!(refused(&[String::new()]).contains("stops: text number 0 is empty"));
        assert!(refused(&["x".repeat(1025)]).contains("1025 bytes"));
        assert!(refused(&vec!["x".to_owned(); 65]).contains("65 texts"));
    }
}
