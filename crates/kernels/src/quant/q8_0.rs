//! Q8_0: 32 elements, an f16 scale and 32 signed bytes; `q * d`.

use super::q4_0::store_pair;
use super::{array, f16_at};
use crate::simd::Simd;
use half::f16;

#[inline(always)]
pub(super) fn dequantize<S: Simd>(s: S, block: &[u8; 34], out: &mut [f32; 32]) {
    let d = f16_at(s, block, 0);
    let d = s.splat(d);
    let quants = (s.signed(s.bytes(array(block, 2))), s.signed(s.bytes(array(block, 18))));
    store_pair(s, (s.mul(quants.0, d), s.mul(quants.1, d)), out);
}

/// The largest magnitude maps to 127; halves round away from zero.
pub(super) fn quantize(values: &[f32; 32], block: &mut [u8; 34]) {
    let d = values.iter().fold(0.0f32, |max, x| max.max(x.abs())) / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    block[..2].copy_from_slice(&f16::from_f32_const(d).to_le_bytes());
    for (to, x) in block[2..].iter_mut().zip(values) {
        *to = (x * inverse).round() as i8 as u8;
    }
}
