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
    for (index, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (half, quarter, part) = (index / 8, index % 8 / 2, index % 2);
        let low = s.bytes(array(block, half * 64 + quarter % 2 * 32 + part * 16));
        let high = s.bytes(array(block, 128 + half * 32 + part * 16));
        let (low, high) =
            (s.bits(low, quarter as u32 / 2 * 4, 15), s.bits(high, quarter as u32 * 2, 3));
        let q = s.sub(s.unsigned(s.join(low, high, 4)), s.splat(32.0));
        s.store(s.mul(s.splat(d * f32::from(scales[index] as i8)), q), out);
    }
}
