//! How much a page has to do with what is being done: the words that they share, rare ones counting
//! more (inverse document frequency over the pages of the window).

use std::collections::{BTreeMap, BTreeSet};

/// Words of a text that are looked at.
const WORDS_MAX: usize = 4096;

/// Words with their weights.
#[derive(Clone, Debug, Default)]
pub struct Relevance {
    wanted: BTreeSet<u64>,
    weights: BTreeMap<u64, f64>,
}

/// Words by their hashes: only whether two are the same matters.
fn words(text: &str) -> BTreeSet<u64> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 1);
    words.take(WORDS_MAX).map(|word| hash(&word.to_lowercase())).collect()
}

/// FNV-1a.
fn hash(word: &str) -> u64 {
    word.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

impl Relevance {
    /// To what is being done (goal, last words), among all texts of the window.
    pub fn new<'a>(
        doing: impl IntoIterator<Item = &'a str>,
        all: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        let mut texts = 0usize;
        for text in all {
            texts += 1;
            for word in words(text) {
                *counts.entry(word).or_default() += 1;
            }
        }
        let weight = |count: usize| ((1.0 + texts as f64) / (1.0 + count as f64)).ln() + 0.01;
        let weights = counts.into_iter().map(|(word, count)| (word, weight(count))).collect();
        let wanted = doing.into_iter().flat_map(words).collect();
        Self { wanted, weights }
    }

    /// From 0 (nothing in common) to 1 (all that is wanted and known stands there).
    pub fn of(&self, text: &str) -> f64 {
        let weight = |word: &u64| self.weights.get(word).copied().unwrap_or_default();
        let all: f64 = self.wanted.iter().map(weight).sum();
        if all <= 0.0 {
            return 0.0;
        }
        let has = words(text);
        self.wanted.iter().filter(|word| has.contains(word)).map(weight).sum::<f64>() / all
    }
}
