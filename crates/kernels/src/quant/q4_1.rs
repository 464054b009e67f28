//! Q4_1: 32 elements, an f16 scale, an f16 minimum and 16 bytes of nibbles; `d * q + m`. Low nibbles come first.

use super::{array, f16_at};
use crate::simd::Simd;

#[inline(always)]
pub(super) fn dequantize<S: Simd>(s: S, block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (f16_at(s, block, 0), f16_at(s, block, 2));
    let quants: &[u8; 16] = array(block, 4);
    for (i, q) in quants.iter().enumerate() {
        out[i] = d * i32::from(q & 15) as f32 + m;
        out[i + 16] = d * i32::from(q >> 4) as f32 + m;
    }
}
