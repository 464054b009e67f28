//! The tokens that are still in the race, and partial selection among them.
//!
//! Invariant: the list is either in ascending order of token ids or wholly in the order of `rank`.
//! Every sum over it runs in the list's present order, so the same logits give the same sums
//! everywhere, and ties go to the lower id.

use std::cmp::Ordering;

use lucid_tensor::TokenId;

use super::math;

/// A token and its logit after the stages so far; the logit is finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) token: TokenId,
    pub(super) logit: f32,
}

/// Most probable first, the lower id among equals. Total, because no logit is NaN.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that sorting asks for")]
pub(super) fn rank(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal).then(a.token.cmp(&b.token))
}

/// The candidates of one call. Memory is kept from call to call.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates {
    pub(super) list: Vec<Candidate>,
    /// Scratch for `typical`: the distance from the typical surprise, beside each candidate.
    pub(super) scored: Vec<(f64, Candidate)>,
    weights: Vec<f64>,
}

impl Candidates {
    /// Starts anew with all tokens that are not masked, in the order of their ids. Room for the
    /// whole vocabulary is made once, so that later calls allocate nothing whatever they mask.
    pub(super) fn fill(&mut self, logits: &[f32]) {
        self.list.clear();
        self.list.reserve(logits.len());
        let unmasked = logits.iter().enumerate().filter(|(_, logit)| **logit > f32::NEG_INFINITY);
        self.list
            .extend(unmasked.map(|(token, &logit)| Candidate { token: token as TokenId, logit }));
    }

    /// The same as `fill`, and `keep_top` if there are more than `count`: of a long row only the
    /// best are ever written down.
    pub(super) fn fill_top(&mut self, logits: &[f32], count: usize) {
        /// Logits that are looked at together, to pass over them if none is large enough.
        const TOGETHER: usize = 32;
        let list = &mut self.list;
        list.clear();
        let room = count.saturating_mul(2).max(64);
        list.reserve(room.min(logits.len()));
        // What is not above it is masked, or comes after `count` others that are as large.
        let mut threshold = f32::NEG_INFINITY;
        for (chunk, logits) in logits.chunks(TOGETHER).enumerate() {
            let larger = |most, &logit| if logit > most { logit } else { most };
            if logits.iter().fold(f32::NEG_INFINITY, larger) <= threshold {
                continue;
            }
            for (place, &logit) in logits.iter().enumerate() {
                if logit > threshold {
                    list.push(Candidate { token: (chunk * TOGETHER + place) as TokenId, logit });
                    if list.len() == room {
                        let (_, last, _) = list.select_nth_unstable_by(count - 1, rank);
                        threshold = last.logit;
                        list.truncate(count);
                    }
                }
            }
        }
        if list.len() > count || threshold > f32::NEG_INFINITY {
            self.keep_top(count);
        }
    }

    /// The largest logit; 0 for an empty list.
    pub(super) fn max_logit(&self) -> f32 {
        self.list.iter().map(|candidate| candidate.logit).reduce(f32::max).unwrap_or(0.0)
    }

    /// e^(logit - max) of each candidate, in the list's order, and their sum.
    pub(super) fn weights(&mut self) -> (&[f64], f64) {
        let max = self.max_logit();
        self.weights.clear();
        self.weights.reserve(self.list.len());
        self.weights.extend(self.list.iter().map(|candidate| weight(candidate.logit, max)));
        let total = self.weights.iter().sum();
        (&self.weights, total)
    }

    /// Keeps the `count` best by `rank`, in that order. One pass with a rising threshold: a
    /// candidate is looked at again only if it may still be among the best.
    pub(super) fn keep_top(&mut self, count: usize) {
        let list = &mut self.list;
        if count == 0 {
            list.clear();
        } else if count < list.len() {
            let room = count.saturating_mul(2).max(64);
            let (mut kept, mut threshold) = (0, None);
            for read in 0..list.len() {
                let candidate = list[read];
                // Not above the threshold: `count` others are as large and come before it.
                if threshold
                    .is_some_and(|threshold: Candidate| rank(&candidate, &threshold).is_ge())
                {
                    continue;
                }
                list[kept] = candidate;
                kept += 1;
                if kept == room {
                    let (_, &mut last, _) = list[..kept].select_nth_unstable_by(count - 1, rank);
                    (kept, threshold) = (count, Some(last));
                }
            }
            if kept > count {
                list[..kept].select_nth_unstable_by(count - 1, rank);
            }
            list.truncate(count);
        }
        list.sort_unstable_by(rank);
    }
}

/// The unnormalised probability of a logit.
pub(super) fn weight(logit: f32, max: f32) -> f64 {
    math::exp(f64::from(logit) - f64::from(max))
}

/// Sorts as long a prefix of `items` by `order` as `enough` asks for and returns its length:
/// `enough` sees each item in turn and says whether the prefix that ends with it suffices. Looks at
/// the rest only by partial selection.
pub(super) fn sorted_prefix<T>(
    items: &mut [T],
    order: impl Fn(&T, &T) -> Ordering,
    mut enough: impl FnMut(&T) -> bool,
) -> usize {
    let (mut done, mut step) = (0, 128);
    while done < items.len() {
        let rest = &mut items[done..];
        let take = rest.len().min(step);
        if take < rest.len() {
            rest.select_nth_unstable_by(take - 1, &order);
        }
        rest[..take].sort_unstable_by(&order);
        if let Some(last) = rest[..take].iter().position(&mut enough) {
            return done + last + 1;
        }
        done += take;
        step = step.saturating_mul(4);
    }
    items.len()
}

#[cfg(test)]
mod tests {
    use super::super::random::Pcg32;
    use super::*;

    #[test]
    fn partial_selection_equals_a_full_sort() {
        let mut random = Pcg32::new(1);
        for len in [1, 2, 63, 64, 65, 500, 5_000] {
            // Coarse values, so that there are many ties.
            let mut logits: Vec<f32> = (0..len).map(|_| (random.next_u32() % 97) as f32).collect();
            logits.sort_by(|a, b| if len % 3 == 0 { a.total_cmp(b) } else { Ordering::Equal });
            let mut full = Candidates::default();
            full.fill(&logits);
            full.list.sort_by(rank);
            for count in [1, 2, 40, 64, 100, 1_000, 9_999] {
                let mut top = Candidates::default();
                top.fill(&logits);
                top.keep_top(count);
                let expected = &full.list[..count.min(len)];
                assert_eq!(top.list, expected, "top {count} of {len}");

                let (mut filled, mut cut) = (Candidates::default(), Candidates::default());
                filled.fill_top(&logits, count);
                cut.fill(&logits);
                if count < len {
                    cut.keep_top(count);
                }
                assert_eq!(filled.list, cut.list, "filled with {count} of {len}");

                let mut prefix = Candidates::default();
                prefix.fill(&logits);
                let mut seen = 0;
                let kept = sorted_prefix(&mut prefix.list, rank, |_| {
                    seen += 1;
                    seen == count
                });
                assert_eq!(prefix.list[..kept], *expected, "prefix {count} of {len}");
            }
        }
    }

    #[test]
    fn masked_tokens_are_no_candidates() {
        let mut candidates = Candidates::default();
        candidates.fill(&[1.0, f32::NEG_INFINITY, 3.0]);
        let tokens: Vec<TokenId> = candidates.list.iter().map(|c| c.token).collect();
        assert_eq!(tokens, [0, 2]);
        let (weights, total) = candidates.weights();
        assert_eq!((weights[1], total), (1.0, 1.0 + math::exp(-2.0)));
    }
}
