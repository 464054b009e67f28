//! Q4_1: 32 elements, an f16 scale, an f16 minimum and 16 bytes of nibbles; `d * q + m`. Low
//! nibbles come first.

use super::q4_0::{nibbles, store_pair};
use super::{array, f16_at};
use crate::simd::Simd;

#[inline(always)]
pub(super) fn dequantize<S: Simd>(s: S, block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (f16_at(s, block, 0), f16_at(s, block, 2));
    let (low, high) = nibbles(s, array(block, 4));
    let (d, m) = (s.splat(d), s.splat(m));
    store_pair(s, (s.add(s.mul(d, low), m), s.add(s.mul(d, high), m)), out);
}
