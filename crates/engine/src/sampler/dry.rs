//! DRY ("don't repeat yourself"): a token that would continue a sequence which already occurred in
//! the window is penalised by `multiplier * base^(length - allowed_length)`, where `length` is how
//! many of the latest tokens that earlier occurrence shares. Sequence breakers end the comparison.
//!
//! Source: p-e-w, oobabooga/text-generation-webui pull request 5677; in linear time by the Z
//! function as in llama.cpp's pull request 9702 (Gusfield, "Algorithms on Strings, Trees, and
//! Sequences", section 1.4).
//! Departure: the latest tokens end at the nearest *end* of a breaker; llama.cpp looks for the
//! nearest beginning, which differs only where breakers of several tokens overlap.

use lucid_tensor::TokenId;

use super::config::DryConfig;
use super::history::{History, Tally};
use super::math;

/// The stage's memory: breakers in order of their last token, and scratch for the Z function.
#[derive(Clone, Debug)]
pub(super) struct Dry {
    breakers: Vec<Vec<TokenId>>,
    shared: Vec<usize>,
}

/// Whether the stage changes anything.
pub(super) fn is_on(config: &DryConfig) -> bool {
    config.multiplier > 0.0 && config.last_n != Some(0)
}

impl Dry {
    pub(super) fn new(config: &DryConfig) -> Self {
        let mut breakers = config.breakers.clone();
        breakers.sort_by_key(|breaker| breaker.last().copied());
        Self { breakers, shared: Vec::new() }
    }

    pub(super) fn apply(
        &mut self,
        logits: &mut [f32],
        config: &DryConfig,
        history: &History,
        tally: &mut Tally,
    ) {
        if !is_on(config) {
            return;
        }
        let window = history.last(config.last_n);
        let longest = self.unbroken(window);
        // The last token alone is shared by nothing when the window has no other.
        if longest < config.allowed_length.max(1) || window.len() < 2 {
            return;
        }
        self.shared_suffixes(window);
        let last = window.len() - 1;
        for (end, &shared) in self.shared[..last].iter().enumerate() {
            let length = shared.min(longest);
            if length >= config.allowed_length.max(1)
                && let Some(most) = tally.count_mut(window[end + 1])
            {
                *most = (*most).max(length as u32);
            }
        }
        for &token in window {
            let length = tally.take(token) as usize;
            if length > 0 {
                let excess = (length - config.allowed_length) as f64;
                let growth = math::pow(f64::from(config.base), excess);
                let penalty = f64::from(config.multiplier) * growth;
                let logit = &mut logits[token as usize];
                super::store(logit, f64::from(*logit) - penalty);
            }
        }
    }

    /// How many of the latest tokens come after the nearest end of a breaker.
    fn unbroken(&self, window: &[TokenId]) -> usize {
        if self.breakers.is_empty() {
            return window.len();
        }
        (0..window.len())
            .find(|&count| self.breaks(&window[..window.len() - count]))
            .unwrap_or(window.len())
    }

    /// Whether the tokens end with a breaker.
    fn breaks(&self, tokens: &[TokenId]) -> bool {
        let last = tokens.last().copied();
        let start = self.breakers.partition_point(|breaker| breaker.last().copied() < last);
        self.breakers[start..]
            .iter()
            .take_while(|breaker| breaker.last().copied() == last)
            .any(|breaker| tokens.ends_with(breaker))
    }

    /// Fills `shared[end]` with the length of the longest common suffix of the window and its
    /// prefix that ends with the token at `end`: the Z function of the window read backwards.
    fn shared_suffixes(&mut self, window: &[TokenId]) {
        let len = window.len();
        let backwards = |index: usize| window[len - 1 - index];
        self.shared.clear();
        self.shared.resize(len, 0);
        self.shared[len - 1] = len;
        let (mut left, mut right) = (0, 0);
        for index in 1..len {
            let mut shared = 0;
            if index < right {
                shared = self.shared[len - 1 - (index - left)].min(right - index);
            }
            while index + shared < len && backwards(shared) == backwards(index + shared) {
                shared += 1;
            }
            if index + shared > right {
                (left, right) = (index, index + shared);
            }
            self.shared[len - 1 - index] = shared;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Pcg32;
    use super::*;

    /// Penalties by the definition, in cubic time.
    fn oracle(window: &[TokenId], config: &DryConfig, vocab: usize) -> Vec<f64> {
        let mut penalties = vec![0.0_f64; vocab];
        let ends_with_breaker =
            |end: usize| config.breakers.iter().any(|b| window[..end].ends_with(b));
        let mut limit = 0;
        while limit < window.len() && !ends_with_breaker(window.len() - limit) {
            limit += 1;
        }
        for next in 1..window.len() {
            let shared = (1..=next.min(limit))
                .take_while(|&n| window[..next].ends_with(&window[window.len() - n..]))
                .count();
            if shared >= config.allowed_length.max(1) {
                let growth = f64::from(config.base).powi((shared - config.allowed_length) as i32);
                let penalty = f64::from(config.multiplier) * growth;
                let slot = &mut penalties[window[next] as usize];
                *slot = slot.max(penalty);
            }
        }
        penalties
    }

    fn check(tokens: &[TokenId], config: &DryConfig, vocab: usize) -> Vec<f32> {
        let mut history = History::new(config.last_n);
        for &token in tokens {
            history.push(token);
        }
        let mut tally = Tally::default();
        tally.resize(vocab);
        let mut logits = vec![0.0; vocab];
        Dry::new(config).apply(&mut logits, config, &history, &mut tally);
        let expected = oracle(history.last(config.last_n), config, vocab);
        for (token, (&logit, penalty)) in logits.iter().zip(expected).enumerate() {
            let error = (f64::from(logit) + penalty).abs();
            assert!(error <= penalty * 1e-6, "token {token}: {logit} for {penalty} in {tokens:?}");
            assert_eq!(tally.take(token as TokenId), 0, "the tally was left dirty");
        }
        logits
    }

    fn config() -> DryConfig {
        DryConfig { multiplier: 0.8, base: 1.75, allowed_length: 2, last_n: None, breakers: vec![] }
    }

    #[test]
    fn by_hand() {
        // "1 2 3 9 1 2 3": after 1 2 3 came 9; three tokens are shared, one more than allowed.
        let logits = check(&[1, 2, 3, 9, 1, 2, 3], &config(), 10);
        assert!((logits[9] + 0.8 * 1.75).abs() < 1e-6);
        assert_eq!(logits.iter().filter(|&&l| l != 0.0).count(), 1);
        // A breaker 2 leaves only the 3: below the allowed length.
        let broken = DryConfig { breakers: vec![vec![2]], ..config() };
        assert!(check(&[1, 2, 3, 9, 1, 2, 3], &broken, 10).iter().all(|&l| l == 0.0));
        // A breaker 1 leaves two tokens: the penalty is the multiplier alone.
        let broken = DryConfig { breakers: vec![vec![5, 5], vec![9, 1]], ..config() };
        assert_eq!(check(&[1, 2, 3, 9, 1, 2, 3], &broken, 10)[9], -0.8);
    }

    #[test]
    fn equals_the_definition_on_random_windows() {
        let mut random = Pcg32::new(5);
        for round in 0..3_000 {
            let vocab = 2 + round % 4;
            let len = (random.next_u32() % 24) as usize;
            let mut draw = || random.next_u32() % vocab as u32;
            let tokens: Vec<TokenId> = (0..len).map(|_| draw()).collect();
            let breakers = (0..round % 3).map(|i| (0..=i).map(|_| draw()).collect()).collect();
            let last_n = [None, Some(7), Some(2), Some(0)][round % 7 % 4];
            let allowed_length = round % 5;
            check(&tokens, &DryConfig { allowed_length, last_n, breakers, ..config() }, vocab);
        }
    }

    #[test]
    fn long_repeats_stay_finite() {
        let logits = check_finite(&vec![1; 5_000]);
        assert_eq!(logits[1], f32::MIN);
    }

    fn check_finite(tokens: &[TokenId]) -> Vec<f32> {
        let config = config();
        let mut history = History::new(None);
        for &token in tokens {
            history.push(token);
        }
        let mut tally = Tally::default();
        tally.resize(4);
        let mut logits = vec![0.0; 4];
        Dry::new(&config).apply(&mut logits, &config, &history, &mut tally);
        assert!(logits.iter().all(|logit| logit.is_finite()));
        logits
    }
}
