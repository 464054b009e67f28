//! What an answer must conform to, as far as the engine sees it: token ids.
//!
//! It fails closed. A constraint that reports an error, or that leaves no token while the answer
//! may not end, ends the answer with that error; no token is ever chosen without it.

use std::collections::VecDeque;

use lucid_tensor::TokenId;

use crate::EngineError;

/// Says which tokens may come next. One constraint belongs to one answer.
///
/// For each token, in this order: `forced`, until it has nothing more; then `may_end` and `mask`;
/// then `accept` of the token that was chosen. Only tokens that are really part of the answer are
/// accepted; of what speculation proposes `conforming` alone hears.
///
/// It is asked for one token at a time, on any of the engine's threads. A panic ends the pass for
/// everybody and leaves the scheduler unfit for use: whoever wraps code that may panic catches it
/// and returns an error.
pub trait Constraint: Send {
    /// Tokens that must come next, in order, whatever the model says; none where it has a choice.
    /// `accept` follows for each. All of them are computed in one pass with the token before them.
    ///
    /// # Errors
    /// The constraint cannot go on.
    fn forced(&mut self) -> Result<Vec<TokenId>, EngineError> {
        Ok(Vec::new())
    }

    /// Adds the tokens that may come next to `allowed`, which is empty. Stop tokens need not be
    /// told: they are allowed where the answer may end, and nowhere else.
    ///
    /// # Errors
    /// The constraint cannot go on.
    fn mask(&mut self, allowed: &mut TokenMask) -> Result<(), EngineError>;

    /// The answer goes on with `token`.
    ///
    /// # Errors
    /// The token does not conform, or the constraint cannot go on.
    fn accept(&mut self, token: TokenId) -> Result<(), EngineError>;

    /// Whether the answer may end here.
    fn may_end(&self) -> bool;

    /// How many of these tokens could follow, one after the other, the constraint itself staying as
    /// it is. Asked after `forced` has nothing more. The default asks a duplicate; whoever has a
    /// cheaper way should take it. Too many cost time, and too few as well; neither changes the
    /// answer.
    ///
    /// # Errors
    /// The constraint cannot go on.
    fn conforming(&mut self, tokens: &[TokenId], vocab_size: usize) -> Result<usize, EngineError> {
        let mut copy = self.duplicate();
        let (mut mask, mut forced) = (TokenMask::default(), VecDeque::new());
        for (index, &token) in tokens.iter().enumerate() {
            if forced.is_empty() {
                forced.extend(copy.forced()?);
            }
            let fits = if let Some(next) = forced.pop_front() {
                next == token
            } else {
                mask.reset(vocab_size);
                copy.mask(&mut mask)?;
                mask.allows(token)
            };
            if !fits {
                return Ok(index);
            }
            copy.accept(token)?;
        }
        Ok(tokens.len())
    }

    /// The same constraint in the same state, for another answer to the prompt.
    fn duplicate(&self) -> Box<dyn Constraint>;
}

/// A set of tokens of a vocabulary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenMask {
    words: Vec<u32>,
    vocab_size: usize,
}

impl TokenMask {
    /// No token of `vocab_size`.
    pub fn new(vocab_size: usize) -> Self {
        let mut mask = Self::default();
        mask.reset(vocab_size);
        mask
    }

    /// Tokens of the vocabulary.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Adds a token; one that the vocabulary does not have is ignored.
    pub fn allow(&mut self, token: TokenId) {
        if (token as usize) < self.vocab_size {
            self.words[token as usize / 32] |= 1 << (token % 32);
        }
    }

    /// Takes a token away.
    pub fn forbid(&mut self, token: TokenId) {
        if let Some(word) = self.words.get_mut(token as usize / 32) {
            *word &= !(1 << (token % 32));
        }
    }

    /// Whether a token is in the set.
    pub fn allows(&self, token: TokenId) -> bool {
        (token as usize) < self.vocab_size
            && self.words[token as usize / 32] & (1 << (token % 32)) != 0
    }

    /// The set as bits, token `t` being bit `t % 32` of word `t / 32`. Bits beyond the vocabulary
    /// mean nothing.
    pub fn words_mut(&mut self) -> &mut [u32] {
        &mut self.words
    }

    /// Empties the set.
    pub(super) fn reset(&mut self, vocab_size: usize) {
        self.words.clear();
        self.words.resize(vocab_size.div_ceil(32), 0);
        self.vocab_size = vocab_size;
    }

    pub(super) fn is_empty(&self) -> bool {
        let (whole, rest) = (self.vocab_size / 32, self.vocab_size % 32);
        self.words[..whole].iter().all(|&word| word == 0)
            && (rest == 0 || self.words[whole] & ((1 << rest) - 1) == 0)
    }

    /// `logits` with negative infinity for every token that is not in the set, in `out`.
    pub(super) fn apply(&self, logits: &[f32], out: &mut Vec<f32>) {
        out.clear();
        out.resize(logits.len(), f32::NEG_INFINITY);
        let parts = logits.chunks(32).zip(out.chunks_mut(32));
        for (&word, (logits, out)) in self.words.iter().zip(parts) {
            if word == u32::MAX {
                out.copy_from_slice(logits);
                continue;
            }
            let mut left = word;
            while left != 0 {
                let bit = left.trailing_zeros() as usize;
                if bit >= logits.len() {
                    break;
                }
                out[bit] = logits[bit];
                left &= left - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_keeps_what_it_allows() {
        for vocab_size in [1, 31, 32, 33, 70] {
            let mut mask = TokenMask::new(vocab_size);
            assert!(mask.is_empty());
            mask.words_mut().fill(u32::MAX);
            for token in (0..vocab_size as TokenId).filter(|token| token % 3 != 0) {
                mask.forbid(token);
            }
            mask.allow(1_000);
            mask.forbid(1_000);
            let logits: Vec<f32> = (0..vocab_size).map(|token| token as f32).collect();
            let mut out = vec![7.0; 5];
            mask.apply(&logits, &mut out);
            assert_eq!(out.len(), vocab_size);
            for (token, &logit) in out.iter().enumerate() {
                let expected = if token % 3 == 0 { token as f32 } else { f32::NEG_INFINITY };
                assert_eq!(logit, expected, "{token} of {vocab_size}");
                assert_eq!(mask.allows(token as TokenId), token % 3 == 0);
            }
            assert!(!mask.is_empty() && !mask.allows(vocab_size as TokenId));
            (0..vocab_size as TokenId).for_each(|token| mask.forbid(token));
            assert!(mask.is_empty(), "bits beyond the vocabulary count");
        }
    }
}
