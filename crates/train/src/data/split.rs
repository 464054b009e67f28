//! Which text is held out for validation.
//!
//! A short document goes to one side whole, by its content and the seed alone: duplicates are on
//! the same side, and adding documents moves none. Of a long one (a book, or the only file of a
//! run) a part in one piece is held out, from paragraph to paragraph, so that a run of few
//! documents has something to measure on as well, and what is learned stands beside it at two
//! places only. How much is taken keeps the share over all long documents: what one leaves too
//! little of is owed by the next.

use std::ops::Range;

use crate::random::first_u64;

/// A side of the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Trained on.
    Training,
    /// Measured with.
    Validation,
}

/// Bytes that are enough to measure with: the third digit of bits per byte is then steady.
const ENOUGH: f64 = 262_144.0;

/// The share of so many bytes of text that is held out unless a person says otherwise: 256 KiB,
/// within 1 % and 10 %.
pub fn usual_share(bytes: u64) -> f64 {
    (ENOUGH / bytes.max(1) as f64).clamp(0.01, 0.1)
}

/// The side of a document with this [`content_hash`](super::content_hash); `held_out` is the share
/// of documents for validation.
pub fn side(content: &[u8; 32], seed: u64, held_out: f64) -> Side {
    if place(content, seed) < held_out { Side::Validation } else { Side::Training }
}

/// A number below 1 by content and seed.
fn place(content: &[u8; 32], seed: u64) -> f64 {
    let mut hasher = blake3::Hasher::new_derive_key("lucid held-out split 1");
    hasher.update(&seed.to_le_bytes()).update(content);
    // 53 bits are exact.
    (first_u64(hasher.finalize().as_bytes()) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A document is long from so many bytes, or from a hundredth of all text.
const LONG_MAX: u64 = 16_384;
const LONG_MIN: u64 = 512;
/// A part is not smaller, unless what counts as long is.
const PART_MIN: usize = 4096;

/// Splits documents one after the other.
#[derive(Debug)]
pub(super) struct HoldOut {
    share: f64,
    seed: u64,
    long: usize,
    /// Bytes of long documents that are to be held out and were not yet.
    owed: f64,
}

impl HoldOut {
    /// For so many bytes of text in all, about.
    pub(super) fn new(share: f64, seed: u64, bytes: u64) -> Self {
        let long = (bytes / 100).clamp(LONG_MIN, LONG_MAX) as usize;
        Self { share, seed, long, owed: 0.0 }
    }

    /// The parts of a document in their order, each with its side. None of them is blank.
    pub(super) fn parts(&mut self, content: &[u8; 32], text: &str) -> Vec<(Side, Range<usize>)> {
        if text.len() < self.long {
            return vec![(side(content, self.seed, self.share), 0..text.len())];
        }
        self.owed += text.len() as f64 * self.share;
        let wanted = (self.owed as usize).min(text.len() / 2);
        if self.share <= 0.0 || wanted < PART_MIN.min(self.long / 4) {
            return vec![(Side::Training, 0..text.len())];
        }
        let from = (place(content, self.seed) * (text.len() - wanted) as f64) as usize;
        let mut start = paragraph(text, from);
        if start + wanted > text.len() {
            // The next paragraph leaves too little: from a character on, then.
            start = (from..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(from);
        }
        let end = paragraph(text, (start + wanted).min(text.len()));
        let parts = [
            (Side::Training, 0..start),
            (Side::Validation, start..end),
            (Side::Training, end..text.len()),
        ];
        self.owed -= (end - start) as f64;
        parts.into_iter().filter(|(_, part)| !text[part.clone()].trim().is_empty()).collect()
    }
}

/// How far a paragraph's, a line's or a word's end is looked for.
const REACH: usize = 2048;

/// The first place from `at` where a paragraph begins, else a line, else a word, else a character.
fn paragraph(text: &str, at: usize) -> usize {
    if at == 0 || at >= text.len() {
        return at.min(text.len());
    }
    let bytes = text.as_bytes();
    let near = &bytes[at..(at + REACH).min(bytes.len())];
    let blank = memchr::memmem::find(near, b"\n\n").map(|found| {
        let spaces = near[found..].iter().take_while(|byte| **byte == b'\n');
        found + spaces.count()
    });
    let found = blank
        .or_else(|| memchr::memchr(b'\n', near).map(|found| found + 1))
        .or_else(|| near.iter().position(u8::is_ascii_whitespace).map(|found| found + 1));
    let place = at + found.unwrap_or(0);
    (place..=text.len()).find(|&place| text.is_char_boundary(place)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::content_hash;

    #[test]
    fn a_share_is_held_out_by_content_and_seed() {
        let hash = |number: u32| content_hash(&format!("document {number}"));
        let held = |seed, share| {
            let held = |number: &u32| side(&hash(*number), seed, share) == Side::Validation;
            (0..5000).filter(held).collect::<Vec<u32>>()
        };
        let tenth = held(1, 0.1);
        assert!((400..600).contains(&tenth.len()), "{}", tenth.len());
        assert_eq!(tenth, held(1, 0.1));
        assert_ne!(tenth, held(2, 0.1));
        // A larger share holds out the same ones and more.
        assert!(tenth.iter().all(|number| held(1, 0.2).contains(number)));
        assert_eq!((held(1, 0.0).len(), held(1, 1.0).len()), (0, 5000));
    }

    #[test]
    fn little_text_gives_a_larger_share() {
        assert_eq!(usual_share(0), 0.1);
        assert_eq!(usual_share(1 << 20), 0.1);
        assert_eq!(usual_share(1 << 23), 0.03125);
        assert_eq!(usual_share(1 << 40), 0.01);
    }

    /// Texts of paragraphs, of which each is 100 bytes.
    fn text(paragraphs: usize) -> String {
        (0..paragraphs).map(|number| format!("{number:098}\n\n")).collect::<Vec<_>>().concat()
    }

    /// Bytes of both sides; parts must follow each other and be whole paragraphs.
    fn sides(split: &mut HoldOut, text: &str) -> (usize, usize, usize) {
        let parts = split.parts(&content_hash(text), text);
        let mut at = 0;
        let mut bytes = [0; 2];
        for (side, part) in &parts {
            assert_eq!(part.start, at);
            assert!(part.start.is_multiple_of(100), "{part:?}");
            bytes[usize::from(*side == Side::Validation)] += part.len();
            at = part.end;
        }
        assert_eq!(at, text.len());
        (bytes[0], bytes[1], parts.len())
    }

    #[test]
    fn of_one_long_text_a_piece_between_paragraphs_is_held_out() {
        let text = text(10_000);
        for seed in 0..20 {
            let mut split = HoldOut::new(0.1, seed, text.len() as u64);
            let (learned, held, parts) = sides(&mut split, &text);
            assert!((99_900..=100_200).contains(&held), "{held}");
            assert_eq!(learned + held, 1_000_000);
            assert!((2..=3).contains(&parts));
        }
    }

    #[test]
    fn long_texts_keep_the_share_together() {
        let text = text(300);
        let mut split = HoldOut::new(0.02, 1, 50 * text.len() as u64);
        let held: usize = (0..50).map(|_| sides(&mut split, &text).1).sum();
        assert!((28_000..32_000).contains(&held), "{held}");
        let mut none = HoldOut::new(0.0, 1, 0);
        assert_eq!(sides(&mut none, &text), (30_000, 0, 1));
    }

    #[test]
    fn little_text_in_long_paragraphs_gives_a_piece_wherever_it_falls() {
        let text = format!("{}\n", "word ".repeat(400)).repeat(3);
        for seed in 0..100 {
            let mut split = HoldOut::new(0.1, seed, text.len() as u64);
            let parts = split.parts(&content_hash(&text), &text);
            let held = parts.iter().filter(|(side, _)| *side == Side::Validation);
            assert!(held.map(|(_, part)| part.len()).sum::<usize>() > 0, "seed {seed}");
        }
    }

    #[test]
    fn text_without_paragraphs_is_cut_between_characters() {
        for text in ["é".repeat(50_000), "a line\n".repeat(9000), "word ".repeat(9000)] {
            let mut split = HoldOut::new(0.1, 3, text.len() as u64);
            let parts = split.parts(&content_hash(&text), &text);
            assert!(parts.iter().any(|(side, _)| *side == Side::Validation));
            let whole: String = parts.iter().map(|(_, part)| &text[part.clone()]).collect();
            assert_eq!(whole, text);
        }
    }
}
