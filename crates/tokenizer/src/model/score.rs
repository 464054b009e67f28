//! SentencePiece's byte-pair model: two neighbours merge when their text is a piece, the best score
//! first, the leftmost among equals. Source: google/sentencepiece `bpe_model.cc`. Departure: unused
//! pieces are not made at all, there they are made and taken apart again.

use super::merge::{MergeScratch, Symbol};
use super::{NONE, TOKENS, byte_tokens, plain_tokens};
use crate::budget::Budget;
use crate::index::TokenIndex;
use crate::unicode::char_len;
use crate::{TokenId, TokenKind, TokenizerError, Vocabulary};

/// The model.
pub(crate) struct ScoredBpe {
    pieces: TokenIndex,
    ranks: Vec<u32>,
    byte_ids: Box<[u32; 256]>,
    unk: Option<TokenId>,
    longest: usize,
}

impl ScoredBpe {
    /// # Errors
    /// More memory than the budget has.
    pub(crate) fn new(
        vocabulary: &Vocabulary,
        budget: &mut Budget,
    ) -> Result<Self, TokenizerError> {
        let count = vocabulary.tokens.len();
        budget.charge(TOKENS, count, size_of::<u32>())?;
        let pieces = plain_tokens(vocabulary, budget, |id| {
            let text = &vocabulary.tokens[id as usize];
            vocabulary.kind(id) != TokenKind::Unused || char_len(text) >= text.len()
        })?;
        let ranks = (0..count as TokenId).map(|id| rank(vocabulary.score(id))).collect();
        let longest = pieces.longest();
        let unknown = |id: &TokenId| vocabulary.kind(*id) == TokenKind::Unknown;
        let unk = vocabulary.unk.or_else(|| (0..count as TokenId).find(unknown));
        Ok(Self { pieces, ranks, byte_ids: byte_tokens(vocabulary), unk, longest })
    }

    /// Appends the ids of `word`.
    pub(crate) fn encode(&self, word: &[u8], scratch: &mut MergeScratch, out: &mut Vec<TokenId>) {
        scratch.symbols.clear();
        let mut at = 0;
        while at < word.len() {
            let len = char_len(&word[at..]);
            let id = self.pieces.id(&word[at..at + len]).unwrap_or(NONE);
            scratch.symbols.push(Symbol { id, start: at as u32, len: len as u32 });
            at += len;
        }
        scratch.merge(|left, right| {
            let len = (left.len + right.len) as usize;
            if len > self.longest {
                return None;
            }
            let id = self.pieces.id(&word[left.start as usize..left.start as usize + len])?;
            Some((self.ranks[id as usize], id))
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
