//! PCG32 (XSH RR 64/32), a small generator whose output is defined by the algorithm alone, so that
//! a seed means the same text on every platform. Source: O'Neill, "PCG: A Family of Simple Fast
//! Space-Efficient Statistically Good Algorithms for Random Number Generation" (2014), and the test
//! vector of its demonstration program (pcg-random.org).

/// The generator's stream. One is enough; 54 is the one of the published test vector.
const STREAM: u64 = 54;
const MULTIPLIER: u64 = 6_364_136_223_846_793_005;
const INCREMENT: u64 = (STREAM << 1) | 1;

/// A reproducible source of random numbers. A clone continues identically.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pcg32 {
    state: u64,
}

impl Pcg32 {
    pub(super) fn new(seed: u64) -> Self {
        let mut generator = Self { state: INCREMENT.wrapping_add(seed) };
        generator.advance();
        generator
    }

    /// The next 32 bits.
    pub(super) fn next_u32(&mut self) -> u32 {
        let state = self.state;
        self.advance();
        let xorshifted = (((state >> 18) ^ state) >> 27) as u32;
        xorshifted.rotate_right((state >> 59) as u32)
    }

    /// Uniform in [0, 1) with 53 bits: two draws, the high half first.
    pub(super) fn next_unit(&mut self) -> f64 {
        let high = u64::from(self.next_u32());
        let low = u64::from(self.next_u32());
        (((high << 32) | low) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn advance(&mut self) {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_test_vector() {
        let mut generator = Pcg32::new(42);
        let drawn: Vec<u32> = (0..6).map(|_| generator.next_u32()).collect();
        let published =
            [0xa15c_02b7, 0x7b47_f409, 0xba1d_3330, 0x83d2_f293, 0xbfa4_784b, 0xcbed_606e];
        assert_eq!(drawn, published);
    }

    #[test]
    fn units_are_uniform_and_below_one() {
        let mut generator = Pcg32::new(7);
        let mut buckets = [0_u32; 10];
        for _ in 0..100_000 {
            let unit = generator.next_unit();
            assert!((0.0..1.0).contains(&unit));
            buckets[(unit * 10.0) as usize] += 1;
        }
        for count in buckets {
            assert!((9_500..10_500).contains(&count), "{buckets:?}");
        }
    }
}
