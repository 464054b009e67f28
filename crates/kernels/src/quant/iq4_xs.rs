//! IQ4_XS: 256 elements in 8 groups; an f16 scale of scales, 16 bits of upper scale bits, 4 bytes
//! of lower scale nibbles, 128 bytes of nibbles that index the table of IQ4_NL; `d * (scale - 32) *
//! table[q]`.

use super::iq4_nl::{TABLE, lookup};
use super::{array, f16_at};
use crate::simd::Simd;

#[inline(always)]
pub(super) fn dequantize<S: Simd>(s: S, block: &[u8; 136], out: &mut [f32; 256]) {
    let d = f16_at(s, block, 0);
    let upper = u16::from_le_bytes([block[2], block[3]]);
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let low = block[4 + group / 2] >> (group % 2 * 4) & 15;
        let scale = i32::from(low) | i32::from(upper >> (2 * group) & 3) << 4;
        lookup(s, d * (scale - 32) as f32, &TABLE, array(block, 8 + group * 16), out);
    }
}
