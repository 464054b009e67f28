//! A fast hash for pieces and pairs, keyed at random for each table so that a crafted vocabulary
//! cannot line up collisions. Source of the method: multiply to 128 bits and fold (wyhash,
//! foldhash).

use std::hash::{BuildHasher, Hasher, RandomState};

/// The key of one table.
#[derive(Clone, Copy)]
pub(crate) struct Folded {
    seed: u64,
}

impl Default for Folded {
    fn default() -> Self {
        Self { seed: RandomState::new().hash_one(0u8) }
    }
}

impl BuildHasher for Folded {
    type Hasher = FoldedHasher;

    fn build_hasher(&self) -> FoldedHasher {
        FoldedHasher { state: self.seed }
    }
}

impl Folded {
    /// The hash of a number.
    #[inline]
    pub(crate) fn number(self, value: u64) -> u64 {
        fold(self.seed ^ value, K ^ 0x5851_F42D_4C95_7F2D).wrapping_add(value)
    }

    /// The hash of a word, given what `packed` makes of it. Both numbers meet a secret, so that
    /// none of them can be chosen to make the product zero.
    #[inline]
    pub(crate) fn word(self, word: &[u8], [first, last]: [u64; 2]) -> u64 {
        let other = self.seed.rotate_left(32) ^ K;
        let mut state = fold(first ^ self.seed, last ^ other).wrapping_add(word.len() as u64);
        if word.len() > 16 {
            let mut hasher = FoldedHasher { state };
            hasher.write(word);
            state = hasher.state;
        }
        fold(state ^ other, K)
    }
}

/// A word's first and last eight bytes. With its length they are all of a word of up to sixteen.
#[inline]
pub(crate) fn packed(word: &[u8]) -> [u64; 2] {
    if let (Some(first), Some(last)) = (word.first_chunk(), word.last_chunk()) {
        return [u64::from_le_bytes(*first), u64::from_le_bytes(*last)];
    }
    if let (Some(first), Some(last)) = (word.first_chunk(), word.last_chunk()) {
        return [u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into()];
    }
    match *word {
        [a, b, c] => [u64::from(a) | u64::from(b) << 8, c.into()],
        [a, b] => [a.into(), b.into()],
        [a] => [a.into(), 0],
        _ => [0, 0],
    }
}

/// One hash in the making.
pub(crate) struct FoldedHasher {
    state: u64,
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    (wide as u64) ^ ((wide >> 64) as u64)
}

const K: u64 = 0x9E37_79B9_7F4A_7C15;

impl Hasher for FoldedHasher {
    fn finish(&self) -> u64 {
        fold(self.state, K)
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0u8; 8];
            word.copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
        let rest = chunks.remainder();
        let mut word = [0u8; 8];
        word[..rest.len()].copy_from_slice(rest);
        self.write_u64(u64::from_le_bytes(word) ^ ((bytes.len() as u64) << 56));
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.state = fold(self.state ^ value, K ^ 0x5851_F42D_4C95_7F2D).wrapping_add(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }
}
