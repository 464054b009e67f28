//! Duplicates: the same text, or nearly the same. The first of several stays.
//!
//! The same: BLAKE3 of the text with runs of white space as one space. Nearly the same: MinHash
//! (Broder 1997) over runs of five words, banded (Leskovec, Rajaraman and Ullman, "Mining of
//! massive datasets", chapter 3): 14 bands of 8 numbers, as FineWeb (Penedo et al.,
//! arXiv:2406.17557). A pair that agrees in a band is compared in all 112 numbers, kept as a byte
//! each (b-bit minwise hashing: Li and König 2010), and is a duplicate from an estimated similarity
//! of [`DedupOptions::similarity_min`].
//!
//! A pair with Jaccard similarity s agrees in a band with probability 1 - (1 - s^8)^14:
//!
//! | s | 0.5 | 0.6 | 0.7 | 0.75 | 0.8 | 0.85 | 0.9 |
//! |---|---|---|---|---|---|---|---|
//! | | 0.05 | 0.21 | 0.56 | 0.77 | 0.92 | 0.99 | 1.00 |
//!
//! Memory: about 0.5 KB for each document that stays. Texts of fewer than five words are compared
//! exactly only.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::words;
use crate::random::{Random, mix};

const BANDS: usize = 14;
const ROWS: usize = 8;
const NUMBERS: usize = BANDS * ROWS;
/// Words of a shingle.
const SHINGLE: usize = 5;

/// Which duplicates are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DedupOptions {
    /// Of the same text.
    pub exact: Duplicates,
    /// Of nearly the same text.
    pub near: Duplicates,
    /// The estimated Jaccard similarity from which on texts count as nearly the same.
    pub similarity_min: f64,
}

/// What happens to all but the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// They go.
    Drop,
    /// They stay.
    Keep,
}

impl Default for DedupOptions {
    fn default() -> Self {
        Self { exact: Duplicates::Drop, near: Duplicates::Drop, similarity_min: 0.75 }
    }
}

/// The identity of a text: BLAKE3, where white space is only that there is some.
pub fn content_hash(text: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    let mut piece = Vec::with_capacity(1 << 12);
    for word in text.split_whitespace() {
        piece.extend_from_slice(word.as_bytes());
        piece.push(b' ');
        if piece.len() > 1 << 12 {
            hasher.update(&piece);
            piece.clear();
        }
    }
    hasher.update(&piece);
    *hasher.finalize().as_bytes()
}

/// What stands for the set of a text's shingles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    bands: [u64; BANDS],
    numbers: [u8; NUMBERS],
}

/// Makes signatures.
#[derive(Clone, Debug)]
pub(super) struct MinHash {
    /// Of hash functions `x -> (a x + b) >> 32`, strongly universal (Dietzfelbinger 1996).
    functions: Vec<(u64, u64)>,
}

impl MinHash {
    pub(super) fn new() -> Self {
        let mut random = Random::new("lucid minhash 1", 0, 0);
        let functions = (0..NUMBERS).map(|_| (random.bits() | 1, random.bits())).collect();
        Self { functions }
    }

    /// `None` for a text without a shingle.
    pub(super) fn signature(&self, text: &str) -> Option<Signature> {
        let mut least = [u32::MAX; NUMBERS];
        let mut run = [0; SHINGLE];
        let mut count = 0;
        for word in words::hashes(text) {
            run.rotate_left(1);
            run[SHINGLE - 1] = word;
            count += 1;
            if count < SHINGLE {
                continue;
            }
            let shingle = words::run_hash(&run);
            for (least, (a, b)) in least.iter_mut().zip(&self.functions) {
                let value = (a.wrapping_mul(shingle).wrapping_add(*b) >> 32) as u32;
                *least = (*least).min(value);
            }
        }
        if count < SHINGLE {
            return None;
        }
        let mut bands = [0; BANDS];
        for (band, numbers) in bands.iter_mut().zip(least.as_chunks::<ROWS>().0) {
            *band = words::run_hash(&numbers.map(u64::from));
        }
        // The low byte of a minimum is as good as random.
        Some(Signature { bands, numbers: least.map(|number| mix(number.into()) as u8) })
    }
}

impl Signature {
    /// The estimated Jaccard similarity: what agrees beyond chance.
    pub(super) fn similarity(&self, other: &[u8; NUMBERS]) -> f64 {
        let same = self.numbers.iter().zip(other).filter(|(one, other)| one == other).count();
        let chance = 1.0 / 256.0;
        ((same as f64 / NUMBERS as f64 - chance) / (1.0 - chance)).max(0.0)
    }
}

/// What an earlier document is to this one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Earlier {
    /// The same as document number so and so of those that stayed.
    Exact(u32),
    /// Nearly the same, with the similarity.
    Near(u32, f64),
}

/// The documents that stayed.
#[derive(Debug, Default)]
pub(super) struct Index {
    exact: HashMap<u128, u32>,
    bands: Vec<HashMap<u64, u32>>,
    numbers: Vec<Option<Box<[u8; NUMBERS]>>>,
}

impl Index {
    /// The earlier document that this one repeats; else it stays and gets the next number.
    pub(super) fn add(
        &mut self,
        content: &[u8; 32],
        signature: Option<&Signature>,
        options: &DedupOptions,
    ) -> Option<Earlier> {
        let key = first_u128(content);
        if let Some(&number) = self.exact.get(&key)
            && options.exact == Duplicates::Drop
        {
            return Some(Earlier::Exact(number));
        }
        let near = options.near == Duplicates::Drop;
        if near
            && let Some(signature) = signature
            && let Some(earlier) = self.near(signature, options.similarity_min)
        {
            return Some(earlier);
        }
        let number = self.numbers.len() as u32;
        self.exact.entry(key).or_insert(number);
        let kept = signature.filter(|_| near);
        self.numbers.push(kept.map(|signature| Box::new(signature.numbers)));
        if let Some(signature) = kept {
            self.bands.resize_with(BANDS, HashMap::new);
            for (band, &value) in self.bands.iter_mut().zip(&signature.bands) {
                band.entry(value).or_insert(number);
            }
        }
        None
    }

    /// The most similar of those that agree in a band; of equals the first.
    fn near(&self, signature: &Signature, similarity_min: f64) -> Option<Earlier> {
        let mut best: Option<(u32, f64)> = None;
        for (band, value) in self.bands.iter().zip(&signature.bands) {
            let Some(&number) = band.get(value) else { continue };
            let Some(numbers) = self.numbers.get(number as usize).and_then(Option::as_ref) else {
                continue;
            };
            let similarity = signature.similarity(numbers);
            let better = best.is_none_or(|(first, most)| {
                similarity > most || (similarity == most && number < first)
            });
            if similarity >= similarity_min && better {
                best = Some((number, similarity));
            }
        }
        best.map(|(number, similarity)| Earlier::Near(number, similarity))
    }
}

/// Half of a hash: two different texts of a corpus do not share it.
fn first_u128(hash: &[u8; 32]) -> u128 {
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    u128::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `len` words; every `change`-th is another one than in the same text without changes.
    fn text(len: usize, change: Option<usize>) -> String {
        let word = |at: usize| match change {
            Some(step) if at % step == step / 2 => format!("other{at} "),
            _ => format!("word{} ", at * 7919 % 100_003),
        };
        (0..len).map(word).collect::<Vec<_>>().concat()
    }

    #[test]
    fn white_space_alone_makes_no_difference() {
        assert_eq!(content_hash("a  b\n\nc "), content_hash("a b c"));
        for other in ["ab c", "a b C", "a b", ""] {
            assert_ne!(content_hash("a b c"), content_hash(other), "{other}");
        }
    }

    #[test]
    fn similarity_is_estimated() {
        let minhash = MinHash::new();
        let signature = |text: &str| minhash.signature(text).unwrap();
        let whole = signature(&text(2000, None));
        for (step, expected) in [(400, 0.975), (100, 0.905), (40, 0.78), (20, 0.6), (8, 0.23)] {
            // A changed word changes five of the shingles on each side.
            let other = signature(&text(2000, Some(step)));
            let found = whole.similarity(&other.numbers);
            assert!((found - expected).abs() < 0.13, "every {step}th: {found}, {expected}");
        }
        assert!(minhash.signature("only four words here").is_none());
    }

    #[test]
    fn the_first_of_duplicates_stays() {
        let minhash = MinHash::new();
        let mut index = Index::default();
        let mut add = |text: &str, options: DedupOptions| {
            index.add(&content_hash(text), minhash.signature(text).as_ref(), &options)
        };
        let all = DedupOptions::default();
        let original = text(3000, None);
        assert_eq!(add(&original, all), None);
        assert_eq!(add("another text of more than five words", all), None);
        assert_eq!(add("short", all), None);
        assert_eq!(add(&format!("  {original}\n"), all), Some(Earlier::Exact(0)));
        assert_eq!(add("short ", all), Some(Earlier::Exact(2)));
        let near = add(&text(3000, Some(500)), all);
        assert!(matches!(near, Some(Earlier::Near(0, s)) if s > 0.9), "{near:?}");
        assert_eq!(add(&text(3000, Some(6)), all), None);
        let keep = DedupOptions { exact: Duplicates::Keep, near: Duplicates::Keep, ..all };
        assert_eq!(add(&original, keep), None);
    }
}
