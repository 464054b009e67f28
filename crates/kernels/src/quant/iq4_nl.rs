//! IQ4_NL: 32 elements, an f16 scale and 16 bytes of nibbles that index a table; `d * table[q]`.
//! Low nibbles come first.

use super::q4_0::store_pair;
use super::{array, f16_at};
use crate::simd::Simd;

/// The values of IQ4_NL and IQ4_XS (`kvalues_iq4nl` in `ggml-common.h`).
pub(super) const TABLE: [f32; 16] = [
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0,
    89.0, 113.0,
];

#[inline(always)]
pub(super) fn dequantize<S: Simd>(s: S, block: &[u8; 18], out: &mut [f32; 32]) {
    lookup(s, f16_at(s, block, 0), &TABLE, array(block, 2), out);
}

/// `out = d * table[nibble]`, low nibbles first.
#[inline(always)]
pub(super) fn lookup<S: Simd>(
    s: S,
    d: f32,
    table: &[f32; 16],
    nibbles: &[u8; 16],
    out: &mut [f32; 32],
) {
    // Sixteen products serve all 32 elements: the same multiplication, done once per table entry.
    let scaled = s.mul(s.splat(d), s.load(table));
    let nibbles = s.bytes(nibbles);
    let (low, high) = (s.bits(nibbles, 0, 15), s.bits(nibbles, 4, 15));
    store_pair(s, (s.lookup(scaled, low), s.lookup(scaled, high)), out);
}
