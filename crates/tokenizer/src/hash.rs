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
