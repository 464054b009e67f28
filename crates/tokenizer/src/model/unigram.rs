//! Unigram language model: the most probable segmentation, by Viterbi over the pieces that begin at
//! each character. Source: Kudo, arXiv:1804.10959; google/sentencepiece `unigram_model.cc`.

use super::{NONE, TOKENS, byte_tokens, is_plain};
use crate::budget::Budget;
use crate::trie::Trie;
use crate::unicode::char_len;
use crate::{TokenId, TokenKind, TokenizerError, Vocabulary};

/// The longest piece. At each character all pieces that begin there are tried, so this bounds the
/// time per character; trained vocabularies stay far below.
const PIECE_BYTES_MAX: usize = 1024;

/// An unknown character scores this much less than the worst piece.
const UNKNOWN_PENALTY: f64 = 10.0;

#[derive(Clone, Copy)]
struct Best {
    score: f64,
    start: u32,
    id: u32,
}

/// Working memory.
#[derive(Default)]
pub(crate) struct UnigramScratch {
    best: Vec<Best>,
    path: Vec<(u32, u32, u32)>,
}

/// The model.
pub(crate) struct Unigram {
    trie: Trie,
    scores: Vec<f32>,
    unk: Option<TokenId>,
    unk_score: f64,
    byte_ids: Option<Box<[u32; 256]>>,
}

impl Unigram {
    /// # Errors
    /// A piece is longer than `PIECE_BYTES_MAX`, or more memory than the budget has.
    pub(crate) fn new(
        vocabulary: &Vocabulary,
        byte_fallback: bool,
        budget: &mut Budget,
    ) -> Result<Self, TokenizerError> {
        let plain =
            |id: &TokenId| is_plain(vocabulary, *id) && vocabulary.kind(*id) != TokenKind::Unused;
        let count = vocabulary.tokens.len() as TokenId;
        let lengths = (0..count).filter(plain).map(|id| vocabulary.tokens[id as usize].len());
        if let Some(found) = lengths.max().filter(|&length| length > PIECE_BYTES_MAX) {
            let what = "length of a unigram piece";
            return Err(TokenizerError::Limit { what, found, limit: PIECE_BYTES_MAX });
        }
        budget.charge(TOKENS, count as usize, size_of::<f32>())?;
        let pieces = (0..count).filter(plain).count();
        budget.charge(TOKENS, pieces, Trie::COST)?;
        let mut keys = Vec::with_capacity(pieces);
        keys.extend((0..count).filter(plain));
        let lowest = (0..count).filter(plain).map(|id| vocabulary.score(id)).fold(0.0, f32::min);
        let scores = (0..count).map(|id| vocabulary.score(id)).collect();
        Ok(Self {
            trie: Trie::new(&vocabulary.tokens, 0, keys),
            scores,
            unk: vocabulary.unk,
            unk_score: f64::from(lowest) - UNKNOWN_PENALTY,
            byte_ids: byte_fallback.then(|| byte_tokens(vocabulary)),
        })
    }

    /// Appends the ids of `word`. A run of unknown characters is one unknown token, or their bytes.
    pub(crate) fn encode(&self, word: &[u8], scratch: &mut UnigramScratch, out: &mut Vec<TokenId>) {
        let unset = Best { score: f64::NEG_INFINITY, start: NONE, id: NONE };
        scratch.best.clear();
        scratch.best.resize(word.len() + 1, unset);
        scratch.best[0].score = 0.0;
        let mut at = 0;
        while at < word.len() {
            let here = scratch.best[at].score;
            let width = char_len(&word[at..]);
            let mut whole = false;
            let mut offer = |end: usize, id: u32, score: f64| {
                let slot = &mut scratch.best[end];
                if slot.start == NONE || score > slot.score {
                    *slot = Best { score, start: at as u32, id };
                }
            };
            self.trie.prefixes(&word[at..], |length, id| {
                whole |= length == width;
                offer(at + length, id, here + f64::from(self.scores[id as usize]));
            });
            if !whole {
                offer(at + width, NONE, here + self.unk_score);
            }
            at += width;
        }
        self.backtrack(word, scratch, out);
    }

    fn backtrack(&self, word: &[u8], scratch: &mut UnigramScratch, out: &mut Vec<TokenId>) {
        scratch.path.clear();
        let mut end = word.len() as u32;
        while end > 0 {
            let best = scratch.best[end as usize];
            // Pieces that are no whole characters can leave a gap; it counts as unknown.
            let start = if best.start == NONE { end - 1 } else { best.start };
            match scratch.path.last_mut() {
                Some(last) if last.2 == NONE && best.id == NONE => last.0 = start,
                _ => scratch.path.push((start, end, best.id)),
            }
            end = start;
        }
        for &(start, end, id) in scratch.path.iter().rev() {
            if id != NONE {
                out.push(id);
                continue;
            }
            let bytes = &word[start as usize..end as usize];
            match &self.byte_ids {
                Some(ids) if bytes.iter().all(|&byte| ids[byte as usize] != NONE) => {
                    out.extend(bytes.iter().map(|&byte| ids[byte as usize]));
                }
                _ => out.extend(self.unk),
            }
        }
    }
}
