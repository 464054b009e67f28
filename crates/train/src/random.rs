//! Pseudo-random numbers that depend on nothing but what they were seeded with: the same on every
//! machine, for any number of threads. Source: Steele, Lea and Flood, "Fast splittable pseudorandom
//! number generators", OOPSLA 2014 (SplitMix64); Lemire, arXiv:1805.10941 (bounded numbers).

/// A stream of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream of a purpose, a seed and a number within it (an epoch, say).
    pub(crate) fn new(purpose: &str, seed: u64, number: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(purpose);
        hasher.update(&seed.to_le_bytes()).update(&number.to_le_bytes());
        Self(first_u64(hasher.finalize().as_bytes()))
    }

    /// The next 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`, each as likely. `bound` is at least 1.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let mut product = u128::from(self.bits()) * u128::from(bound);
        if (product as u64) < bound {
            let threshold = bound.wrapping_neg() % bound;
            while (product as u64) < threshold {
                product = u128::from(self.bits()) * u128::from(bound);
            }
        }
        (product >> 64) as u64
    }

    /// Nearly normal, mean 0, variance 1, never beyond 6: twelve uniform numbers of 32 bits added
    /// up. Exact, where a logarithm's last bit would be the system's.
    pub(crate) fn normal(&mut self) -> f32 {
        let halves = (0..6).map(|_| self.bits()).map(|bits| (bits & 0xffff_ffff) + (bits >> 32));
        let sum = halves.sum::<u64>() as i64 - 6 * 0xffff_ffff;
        (sum as f64 / 4_294_967_296.0) as f32
    }

    /// Brings items into an order in which each permutation is as likely (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

/// Spreads the bits of a number: a bijection.
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The first eight bytes of a hash as a number.
pub(crate) fn first_u64(hash: &[u8; 32]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_depends_on_all_that_it_was_made_of() {
        let first = |purpose, seed, number| Random::new(purpose, seed, number).bits();
        let base = first("a", 1, 2);
        assert_eq!(base, first("a", 1, 2));
        for other in [first("b", 1, 2), first("a", 2, 2), first("a", 1, 3)] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn normal_numbers_have_mean_nought_and_variance_one() {
        let mut random = Random::new("test", 3, 0);
        let numbers: Vec<f64> = (0..100_000).map(|_| f64::from(random.normal())).collect();
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        assert!(numbers.iter().all(|x| x.abs() <= 6.0));
        let within_one = numbers.iter().filter(|x| x.abs() < 1.0).count();
        assert!((67_000..70_000).contains(&within_one), "{within_one} within one deviation");
    }

    #[test]
    fn bounded_numbers_are_even_and_shuffles_are_permutations() {
        let mut random = Random::new("test", 7, 0);
        let mut counts = [0_u32; 5];
        for _ in 0..50_000 {
            counts[random.below(5) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        let mut items: Vec<u32> = (0..1000).collect();
        random.shuffle(&mut items);
        assert_ne!(items[..10], (0..10).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..1000).collect::<Vec<_>>());
    }
}
