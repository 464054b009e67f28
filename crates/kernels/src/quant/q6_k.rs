//! Q6_K: 256 elements in 16 groups; 128 bytes of low nibbles, 64 bytes of upper bit pairs, 16
//! signed scales, the f16 scale of scales; `d * scale * (q - 32)`.
//!
//! Each half of the elements takes 64 bytes of nibbles (the low ones, then the high ones) and 32
//! bytes of bit pairs (the lowest first).

use super::{array, f16_at};
use crate::simd::Simd;

#[inline(always)]
pub(super) fn dequantize<S: Simd>(s: S, block: &[u8; 210], out: &mut [f32; 256]) {
    let scales: &[u8; 16] = array(block, 192);
    let d = f16_at(s, block, 208);
    let (parts, _) = out.as_chunks_mut::<16>();
    let scale = |index: usize| s.splat(d * f32::from(scales[index] as i8));
    for half in 0..2 {
        for part in 0..2 {
            let low = s.bytes(array(block, half * 64 + part * 16));
            let low2 = s.bytes(array(block, half * 64 + part * 16 + 32));
            let high = s.bytes(array(block, 128 + half * 32 + part * 16));
            let quarters = [
                s.join(s.bits(low, 0, 15), s.bits(high, 0, 3), 4),
                s.join(s.bits(low2, 0, 15), s.bits(high, 2, 3), 4),
                s.join(s.bits(low, 4, 15), s.bits(high, 4, 3), 4),
                s.join(s.bits(low2, 4, 15), s.bits(high, 6, 3), 4),
            ];
            for (quarter, q) in quarters.into_iter().enumerate() {
                let index = half * 8 + quarter * 2 + part;
                let q = s.sub(s.unsigned(q), s.splat(32.0));
                s.store(s.mul(scale(index), q), &mut parts[index]);
            }
        }
    }
}
