//! Q3_K: 256 elements in 16 groups; 32 bytes of third bits, 64 bytes of 2-bit numbers, 12 bytes of
//! 6-bit scales, the f16 scale of scales; `d * (scale - 32) * (q - (third bit ? 0 : 4))`. Numbers
//! are laid out as in Q2_K.

use super::{array, f16_at};
use crate::simd::Simd;

#[inline(always)]
pub(super) fn dequantize<S: Simd>(s: S, block: &[u8; 110], out: &mut [f32; 256]) {
    let (high, quants): (&[u8; 32], &[u8; 64]) = (array(block, 0), array(block, 32));
    let scales = scales(array(block, 96));
    let d = f16_at(s, block, 108);
    for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * scales[group] as f32;
        let (half, shift, from) = (group / 8, group as u32 % 8 / 2 * 2, group % 2 * 16);
        let (quants, high): (&[u8; 16], &[u8; 16]) =
            (array(quants, half * 32 + from), array(high, from));
        // With the third bit in place, the missing 4 is an offset of all numbers.
        let low = s.bits(s.bytes(quants), shift, 3);
        let q = s.join(low, s.bits(s.bytes(high), group as u32 / 2, 1), 2);
        s.store(s.mul(s.splat(scale), s.sub(s.unsigned(q), s.splat(4.0))), out);
    }
}

/// Scale i: four bits from nibble i of the first eight bytes (low nibbles first), two from the last
/// four bytes.
#[inline(always)]
fn scales(packed: &[u8; 12]) -> [i32; 16] {
    let mut scales = [0; 16];
    for (i, scale) in scales.iter_mut().enumerate() {
        let low = packed[i % 8] >> (i / 8 * 4) & 15;
        let high = packed[8 + i % 4] >> (i / 4 * 2) & 3;
        *scale = i32::from(low | high << 4) - 32;
    }
    scales
}
