//! Q5_K: as Q4_K, with 32 bytes of fifth bits (bit g of byte i: group g, element i) between scales
//! and nibbles.

use super::{array, q4_k};
use crate::simd::Simd;

#[inline(always)]
pub(super) fn dequantize<S: Simd>(s: S, block: &[u8; 176], out: &mut [f32; 256]) {
    let (scales, minimums) = q4_k::scales_and_minimums(s, array(block, 0));
    for (index, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (group, part) = (index / 2, index % 2);
        let quants = s.bytes(array(block, 48 + group / 2 * 32 + part * 16));
        let high = s.bits(s.bytes(array(block, 16 + part * 16)), group as u32, 1);
        let q = s.join(s.bits(quants, group as u32 % 2 * 4, 15), high, 4);
        let (d, m) = (s.splat(scales[group]), s.splat(minimums[group]));
        s.store(s.sub(s.mul(d, s.unsigned(q)), m), out);
    }
}
