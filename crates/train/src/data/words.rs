//! Words of a text as numbers: what deduplication, repetition and the search for poison compare.

use crate::random::mix;

/// Hashes of the words of a text: runs of letters and digits, in lower case; a character of a
/// script without spaces is a word of its own.
pub(super) fn hashes(text: &str) -> impl Iterator<Item = u64> + '_ {
    Words { text, at: 0 }.map(|word| word.hash)
}

/// A word and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) hash: u64,
    pub(super) start: u32,
    pub(super) end: u32,
}

/// The words of a text, with their places.
pub(super) fn places(text: &str) -> impl Iterator<Item = Word> + '_ {
    Words { text, at: 0 }
}

struct Words<'text> {
    text: &'text str,
    at: usize,
}

const START: u64 = 0xcbf2_9ce4_8422_2325;

fn step(hash: u64, c: char) -> u64 {
    (hash ^ u64::from(c)).wrapping_mul(0x0100_0000_01b3)
}

impl Iterator for Words<'_> {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        let mut start = None;
        let mut hash = START;
        let rest = &self.text[self.at..];
        for (offset, c) in rest.char_indices() {
            let at = self.at + offset;
            if c.is_alphanumeric() && !(is_dense(c) && start.is_some()) {
                start.get_or_insert(at);
                if c.is_ascii() {
                    hash = step(hash, c.to_ascii_lowercase());
                } else {
                    hash = c.to_lowercase().fold(hash, step);
                }
                if !is_dense(c) {
                    continue;
                }
                let (start, end) = (at as u32, (at + c.len_utf8()) as u32);
                self.at = end as usize;
                return Some(Word { hash: mix(hash), start, end });
            }
            if let Some(start) = start {
                self.at = at;
                return Some(Word { hash: mix(hash), start: start as u32, end: at as u32 });
            }
        }
        self.at = self.text.len();
        let end = self.text.len() as u32;
        start.map(|start| Word { hash: mix(hash), start: start as u32, end })
    }
}

/// The hash of consecutive words.
pub(super) fn run_hash(run: &[u64]) -> u64 {
    run.iter().fold(run.len() as u64, |hash, word| mix(hash.rotate_left(23) ^ word))
}

/// The hash of bytes.
pub(super) fn hash_of(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(START, |hash, &byte| step(hash, char::from(byte))))
}

/// Whether a character belongs to a script that puts no spaces between words.
pub(super) fn is_dense(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_in_lower_case() {
        let text = "One, two—ÉTÉ 3x 猫だ end";
        let found: Vec<_> = places(text).map(|w| &text[w.start as usize..w.end as usize]).collect();
        assert_eq!(found, ["One", "two", "ÉTÉ", "3x", "猫", "だ", "end"]);
        assert!(hashes("one TWO").eq(hashes("  One... two!")));
        assert!(!hashes("one two").eq(hashes("two one")));
        assert_eq!(hashes(" .,; ").count(), 0);
    }
}
