//! Q5_K: as Q4_K, with 32 bytes of fifth bits (bit g of byte i: group g, element i) between scales and nibbles.

use super::{array, q4_k};
use crate::simd::Simd;

#[inline(always)]
pub(super) fn dequantize<S: Simd>(s: S, block: &[u8; 176], out: &mut [f32; 256]) {
    let (scales, minimums) = q4_k::scales_and_minimums(s, array(block, 0));
    let high: &[u8; 32] = array(block, 16);
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let quants: &[u8; 32] = array(block, 48 + group / 2 * 32);
        let (d, m, shift) = (scales[group], minimums[group], group % 2 * 4);
        for ((out, q), high) in out.iter_mut().zip(quants).zip(high) {
            let q = q >> shift & 15 | (high >> group & 1) << 4;
            *out = d * i32::from(q) as f32 - m;
        }
    }
}
