//! Rounding of activations to bytes, 32 at a time. (Left to itself the compiler makes scalar code
//! of so short a block.)

use crate::x86_64::avx512_vnni::Avx512Vnni;

/// The bytes, what their numbers are multiples of, and the sum of the bytes: as `round` in
/// `activations.rs`.
#[inline(always)]
pub(in crate::packed) fn round(v: Avx512Vnni, x: &[f32; 32]) -> ([i8; 32], f32, i32) {
    let (halves, _) = x.as_chunks::<16>();
    let (a, b) = (v.load_f32(&halves[0]), v.load_f32(&halves[1]));
    let max = f32::from_bits(v.max_magnitude(a, b));
    let (scale, inverse) = crate::packed::activations::scales(max);
    let inverse = v.splat_f32(inverse);
    let (a, b) = (v.round_to_i32(v.mul(a, inverse)), v.round_to_i32(v.mul(b, inverse)));
    let mut q = [0; 32];
    let (halves, _) = q.as_chunks_mut::<16>();
    v.store_low_bytes(a, &mut halves[0]);
    v.store_low_bytes(b, &mut halves[1]);
    (q, scale, v.sum_i32(a, b))
}
