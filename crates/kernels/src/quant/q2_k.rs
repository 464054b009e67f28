//! Q2_K: 256 elements in 16 groups; 16 bytes of 4-bit scales and minimums, 64 bytes of 2-bit
//! numbers, then the f16 scale of scales and of minimums; `d * scale * q - dmin * minimum`.
//!
//! Each 32 bytes of numbers hold 128 elements: their lowest bit pairs first, then the next, ...

use super::{array, f16_at};
use crate::simd::Simd;

#[inline(always)]
pub(super) fn dequantize<S: Simd>(s: S, block: &[u8; 84], out: &mut [f32; 256]) {
    let (scales, quants): (&[u8; 16], &[u8; 64]) = (array(block, 0), array(block, 16));
    let (d, dmin) = (f16_at(s, block, 80), f16_at(s, block, 82));
    for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(scales[group] & 15);
        let minimum = dmin * f32::from(scales[group] >> 4);
        let (half, shift, from) = (group / 8, group as u32 % 8 / 2 * 2, group % 2 * 16);
        let quants: &[u8; 16] = array(quants, half * 32 + from);
        let q = s.unsigned(s.bits(s.bytes(quants), shift, 3));
        s.store(s.sub(s.mul(s.splat(scale), q), s.splat(minimum)), out);
    }
}
