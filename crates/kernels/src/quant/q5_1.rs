//! Q5_1: 32 elements, an f16 scale, an f16 minimum, 32 fifth bits and 16 bytes of nibbles; `d * q +
//! m`.

use super::{array, f16_at, q5_0};
use crate::simd::Simd;

#[inline(always)]
pub(super) fn dequantize<S: Simd>(s: S, block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (f16_at(s, block, 0), f16_at(s, block, 2));
    let q = q5_0::quants(array(block, 4), array(block, 8));
    for (out, q) in out.iter_mut().zip(q) {
        *out = d * q as f32 + m;
    }
}
