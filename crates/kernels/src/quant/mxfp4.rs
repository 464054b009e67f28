//! MXFP4: 32 elements, a power-of-two scale (E8M0) and 16 bytes of E2M1 numbers; low nibbles come
//! first. Source: OCP Microscaling Formats (MX) 1.0, and `ggml_e8m0_to_fp32_half` for the scale of
//! the doubled table.

use super::array;
use super::iq4_nl::lookup;
use crate::simd::Simd;

/// The values of E2M1, doubled. (-0 reads as 0, as in the reference.)
const TABLE: [f32; 16] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0];

#[inline(always)]
pub(super) fn dequantize<S: Simd>(s: S, block: &[u8; 17], out: &mut [f32; 32]) {
    lookup(s, half_power(block[0]), &TABLE, array(block, 1), out);
}

/// `2^(e - 128)`: half of what E8M0 means, because the table is doubled.
#[inline(always)]
fn half_power(e: u8) -> f32 {
    let e = u32::from(e);
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e - 1) << 23 })
}
