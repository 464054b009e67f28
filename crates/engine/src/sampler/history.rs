//! The last accepted tokens, as far back as any stage looks, and counters over the vocabulary that
//! are zero between uses.

use lucid_tensor::TokenId;

/// A window of accepted tokens. Holds at most twice what the stages look at.
#[derive(Clone, Debug)]
pub(super) struct History {
    tokens: Vec<TokenId>,
    limit: Option<usize>,
}

impl History {
    /// Keeps at least the last `limit` tokens; all of them if `None`.
    pub(super) fn new(limit: Option<usize>) -> Self {
        Self { tokens: Vec::new(), limit }
    }

    pub(super) fn push(&mut self, token: TokenId) {
        if let Some(limit) = self.limit {
            if limit == 0 {
                return;
            }
            if self.tokens.len() >= limit.saturating_mul(2) {
                let start = self.tokens.len() + 1 - limit;
                self.tokens.copy_within(start.., 0);
                self.tokens.truncate(limit - 1);
            }
        }
        self.tokens.push(token);
    }

    /// The last `count` tokens (all if `None`), oldest first.
    pub(super) fn last(&self, count: Option<usize>) -> &[TokenId] {
        let skip = count.map_or(0, |count| self.tokens.len().saturating_sub(count));
        &self.tokens[skip..]
    }
}

/// The longer of two windows.
pub(super) fn longer(a: Option<usize>, b: Option<usize>) -> Option<usize> {
    Some(a?.max(b?))
}

/// One counter per token. Whoever raises a counter puts it back to zero, so that no call pays for
/// the vocabulary.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    counts: Vec<u32>,
}

impl Tally {
    /// Makes room for a vocabulary; costs nothing when it is as before.
    pub(super) fn resize(&mut self, vocab: usize) {
        self.counts.resize(vocab, 0);
    }

    /// The token's counter; `None` outside of the vocabulary.
    pub(super) fn count_mut(&mut self, token: TokenId) -> Option<&mut u32> {
        self.counts.get_mut(token as usize)
    }

    /// Reads a counter and puts it back to zero.
    pub(super) fn take(&mut self, token: TokenId) -> u32 {
        self.count_mut(token).map_or(0, std::mem::take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_what_was_asked_for() {
        for limit in [0, 1, 2, 5] {
            let mut history = History::new(Some(limit));
            for token in 0..50 {
                history.push(token);
                let start = (token + 1).saturating_sub(limit as TokenId);
                let expected: Vec<TokenId> = (start..=token).collect();
                assert_eq!(history.last(Some(limit)), expected);
                assert!(history.tokens.len() <= 2 * limit);
            }
        }
        let mut all = History::new(longer(Some(3), None));
        for token in 0..50 {
            all.push(token);
        }
        assert_eq!(all.last(None).len(), 50);
        assert_eq!(all.last(Some(2)), [48, 49]);
        assert_eq!(longer(Some(3), Some(7)), Some(7));
    }
}
