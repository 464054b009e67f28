//! Q4_0: 32 elements, an f16 scale and 16 bytes of nibbles; `d * (q - 8)`. Low nibbles come first.

use super::{array, f16_at};
use crate::simd::Simd;
use half::f16;

#[inline(always)]
pub(super) fn dequantize<S: Simd>(s: S, block: &[u8; 18], out: &mut [f32; 32]) {
    let d = f16_at(s, block, 0);
    let (low, high) = nibbles(s, array(block, 2));
    let (scale, offset) = (s.splat(d), s.splat(8.0));
    let values = (s.mul(scale, s.sub(low, offset)), s.mul(scale, s.sub(high, offset)));
    store_pair(s, values, out);
}

/// The low and the high nibbles of 16 bytes, as numbers.
#[inline(always)]
pub(super) fn nibbles<S: Simd>(s: S, bytes: &[u8; 16]) -> (S::F, S::F) {
    let bytes = s.bytes(bytes);
    (s.unsigned(s.bits(bytes, 0, 15)), s.unsigned(s.bits(bytes, 4, 15)))
}

/// Both halves of a block of 32.
#[inline(always)]
pub(super) fn store_pair<S: Simd>(s: S, values: (S::F, S::F), out: &mut [f32; 32]) {
    let (halves, _) = out.as_chunks_mut::<16>();
    s.store(values.0, &mut halves[0]);
    s.store(values.1, &mut halves[1]);
}

/// The element of largest magnitude (the first such) maps to -8.
pub(super) fn quantize(values: &[f32; 32], block: &mut [u8; 18]) {
    let mut extreme = 0.0f32;
    for x in values {
        if x.abs() > extreme.abs() {
            extreme = *x;
        }
    }
    let d = extreme / -8.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let quant = |x: f32| ((x * inverse + 8.5) as u8).min(15);
    block[..2].copy_from_slice(&f16::from_f32_const(d).to_le_bytes());
    for i in 0..16 {
        block[2 + i] = quant(values[i]) | (quant(values[i + 16]) << 4);
    }
}
