//! Where a text may be cut for models that see it whole. No piece of most SentencePiece
//! vocabularies holds U+2581 behind another character; then no merge and no segmentation crosses
//! from a word to the mark of the next, and cutting there changes nothing but the cost.

use crate::model::is_plain;
use crate::unicode::char_len;
use crate::{TokenId, Vocabulary};

const MARK: &[u8] = "\u{2581}".as_bytes();

/// Characters that some piece holds before a mark.
pub(crate) struct SpaceCut {
    crossing: CharSet,
}

impl SpaceCut {
    /// None where the mark is no piece, or a piece is no text: then nothing can be said.
    pub(crate) fn new(vocabulary: &Vocabulary) -> Option<Self> {
        let mut crossing = CharSet::default();
        let mut has_mark = false;
        for (id, text) in vocabulary.tokens.iter().enumerate() {
            if !is_plain(vocabulary, id as TokenId) {
                continue;
            }
            has_mark |= text == MARK;
            let mut before = '\u{2581}';
            for c in std::str::from_utf8(text).ok()?.chars() {
                if c == '\u{2581}' && before != '\u{2581}' {
                    crossing.insert(before);
                }
                before = c;
            }
        }
        has_mark.then_some(Self { crossing })
    }

    /// Calls `part` for each piece of `text` between cuts.
    pub(crate) fn each(&self, text: &[u8], part: &mut dyn FnMut(&[u8])) {
        let (mut from, mut at) = (0, 0);
        let mut before: &[u8] = MARK;
        while at < text.len() {
            let len = char_len(&text[at..]);
            let here = &text[at..at + len];
            if here == MARK && before != MARK && !self.crossing.contains(before) {
                part(&text[from..at]);
                from = at;
            }
            before = here;
            at += len;
        }
        if from < text.len() {
            part(&text[from..]);
        }
    }
}

/// Characters, a bit each, in at most 136 KiB.
#[derive(Default)]
struct CharSet(Vec<u64>);

impl CharSet {
    fn insert(&mut self, c: char) {
        self.0.resize(1 + char::MAX as usize / 64, 0);
        self.0[c as usize / 64] |= 1 << (c as usize % 64);
    }

    /// Whether these bytes are a character of the set.
    fn contains(&self, bytes: &[u8]) -> bool {
        let c = std::str::from_utf8(bytes).ok().and_then(|text| text.chars().next());
        c.is_some_and(|c| {
            let word = self.0.get(c as usize / 64).copied().unwrap_or(0);
            word >> (c as usize % 64) & 1 == 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_only_where_no_piece_crosses() {
        let tokens = ["▁", "a", "b", "b▁a"].iter().collect();
        let cut = SpaceCut::new(&Vocabulary { tokens, ..Vocabulary::default() }).unwrap();
        let mut parts = Vec::new();
        cut.each("▁▁a▁b▁a▁".as_bytes(), &mut |part| {
            parts.push(String::from_utf8_lossy(part).into_owned());
        });
        assert_eq!(parts, ["▁▁a", "▁b▁a", "▁"]);
    }
}
