//! Q5_0: 32 elements, an f16 scale, 32 fifth bits and 16 bytes of nibbles; `d * (q - 16)`. Low
//! nibbles come first.

use super::{array, f16_at};
use crate::simd::Simd;

#[inline(always)]
pub(super) fn dequantize<S: Simd>(s: S, block: &[u8; 22], out: &mut [f32; 32]) {
    let d = f16_at(s, block, 0);
    let q = quants(array(block, 2), array(block, 6));
    for (out, q) in out.iter_mut().zip(q) {
        *out = d * (q - 16) as f32;
    }
}

/// The 32 five-bit numbers of Q5_0 and Q5_1.
#[inline(always)]
pub(super) fn quants(high: &[u8; 4], low: &[u8; 16]) -> [i32; 32] {
    let high = u32::from_le_bytes(*high);
    let mut q = [0; 32];
    for i in 0..16 {
        q[i] = i32::from(low[i] & 15) | ((high >> i & 1) << 4) as i32;
        q[i + 16] = i32::from(low[i] >> 4) | ((high >> (i + 16) & 1) << 4) as i32;
    }
    q
}
