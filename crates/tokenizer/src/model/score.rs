//! SentencePiece's byte-pair model: two neighbours merge when their text is a piece, the best score
//! first, the leftmost among equals. Source: google/sentencepiece `bpe_model.cc`. Departure: unused
//! pieces are not made at all, there they are made and taken apart again.

use super::merge::{MergeScratch, Symbol};
use super::{NONE, byte_tokens, plain_tokens};
use crate::hash::FastMap;
use crate::unicode::char_len;
use crate::{TokenId, TokenKind, Vocabulary};

/// The model.
pub(crate) struct ScoredBpe {
    /// Text to rank and id.
    pieces: FastMap<Box<[u8]>, (u32, TokenId)>,
    byte_ids: Box<[u32; 256]>,
    unk: Option<TokenId>,
    longest: usize,
}

impl ScoredBpe {
    pub(crate) fn new(vocabulary: &Vocabulary) -> Self {
        let pieces: FastMap<Box<[u8]>, (u32, TokenId)> = plain_tokens(vocabulary)
            .into_iter()
            .filter(|(text, id)| {
                vocabulary.kind(*id) != TokenKind::Unused || char_len(text) >= text.len()
            })
            .map(|(text, id)| (text, (rank(vocabulary.score(id)), id)))
            .collect();
        let longest = pieces.keys().map(|text| text.len()).max().unwrap_or(0);
        let unknown = |id: &TokenId| vocabulary.kind(*id) == TokenKind::Unknown;
        let unk = vocabulary.unk.or_else(|| (0..vocabulary.tokens.len() as TokenId).find(unknown));
        Self { pieces, byte_ids: byte_tokens(vocabulary), unk, longest }
    }

    /// Appends the ids of `word`.
    pub(crate) fn encode(&self, word: &[u8], scratch: &mut MergeScratch, out: &mut Vec<TokenId>) {
        scratch.symbols.clear();
        let mut at = 0;
        while at < word.len() {
            let len = char_len(&word[at..]);
            let id = self.pieces.get(&word[at..at + len]).map_or(NONE, |(_, id)| *id);
            scratch.symbols.push(Symbol { id, start: at as u32, len: len as u32 });
            at += len;
        }
        scratch.merge(|left, right| {
            let len = (left.len + right.len) as usize;
            if len > self.longest {
                return None;
            }
            self.pieces.get(&word[left.start as usize..left.start as usize + len]).copied()
        });
        for symbol in &scratch.symbols {
            if symbol.id != NONE {
                out.push(symbol.id);
                continue;
            }
            let bytes = &word[symbol.start as usize..(symbol.start + symbol.len) as usize];
            if bytes.iter().all(|&byte| self.byte_ids[byte as usize] != NONE) {
                out.extend(bytes.iter().map(|&byte| self.byte_ids[byte as usize]));
            } else {
                out.extend(self.unk);
            }
        }
    }
}

/// Higher scores come first: an order-reversing map of floats to integers, below `NONE`.
fn rank(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    (!ascending).min(NONE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_reverse_scores() {
        let scores = [f32::INFINITY, 1e9, 1.0, 0.0, -0.5, -1.0, -1e9, f32::NEG_INFINITY];
        assert!(scores.windows(2).all(|two| rank(two[0]) < rank(two[1])));
        assert_eq!(rank(0.0), rank(-0.0));
    }
}
