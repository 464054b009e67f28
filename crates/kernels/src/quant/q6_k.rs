//! Q6_K: 256 elements in 16 groups; 128 bytes of low nibbles, 64 bytes of upper bit pairs, 16 signed scales, the f16
//! scale of scales; `d * scale * (q - 32)`.
//!
//! Each half of the elements takes 64 bytes of nibbles (the low ones, then the high ones) and 32 bytes of bit pairs (the
//! lowest first).

use super::{array, f16_at};
use crate::simd::Simd;

#[inline(always)]
pub(super) fn dequantize<S: Simd>(s: S, block: &[u8; 210], out: &mut [f32; 256]) {
    let scales: &[u8; 16] = array(block, 192);
    let d = f16_at(s, block, 208);
    for (half, out) in out.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        let high: &[u8; 32] = array(block, 128 + half * 32);
        for (quarter, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let low: &[u8; 32] = array(block, half * 64 + quarter % 2 * 32);
            let (shift, high_shift) = (quarter / 2 * 4, quarter * 2);
            for (part, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
                let scale = d * f32::from(scales[half * 8 + quarter * 2 + part] as i8);
                for (i, out) in out.iter_mut().enumerate() {
                    let i = part * 16 + i;
                    let q = low[i] >> shift & 15 | (high[i] >> high_shift & 3) << 4;
                    *out = scale * (i32::from(q) - 32) as f32;
                }
            }
        }
    }
}
