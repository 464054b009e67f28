//! Q4_K: 256 elements in 8 groups; the f16 scale of scales and of minimums, 12 bytes of 6-bit
//! scales and minimums, 128 bytes of nibbles; `d * scale * q - dmin * minimum`. Each 32 bytes hold
//! two groups: low nibbles, then high ones.

use super::q4_0::nibbles;
use super::{array, f16_at};
use crate::simd::Simd;

#[inline(always)]
pub(super) fn dequantize<S: Simd>(s: S, block: &[u8; 144], out: &mut [f32; 256]) {
    let (scales, minimums) = scales_and_minimums(s, array(block, 0));
    for (pair, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let (parts, _) = out.as_chunks_mut::<16>();
        for part in 0..2 {
            let (low, high) = nibbles(s, array(block, 16 + pair * 32 + part * 16));
            let (d, m) = (s.splat(scales[2 * pair]), s.splat(minimums[2 * pair]));
            s.store(s.sub(s.mul(d, low), m), &mut parts[part]);
            let (d, m) = (s.splat(scales[2 * pair + 1]), s.splat(minimums[2 * pair + 1]));
            s.store(s.sub(s.mul(d, high), m), &mut parts[2 + part]);
        }
    }
}

/// The first 16 bytes of Q4_K and Q5_K: what a group's numbers are multiplied with, and what is
/// taken from them.
///
/// Bytes 4 to 7 hold scales 0 to 3 in their low six bits, bytes 8 to 11 the minimums; bytes 12 to
/// 15 the low nibbles of scales (low) and minimums (high) 4 to 7, whose upper two bits are those of
/// bytes 4 to 11.
#[inline(always)]
pub(super) fn scales_and_minimums<S: Simd>(s: S, head: &[u8; 16]) -> ([f32; 8], [f32; 8]) {
    let (d, dmin) = (f16_at(s, head, 0), f16_at(s, head, 2));
    let (mut scales, mut minimums) = ([0.0; 8], [0.0; 8]);
    for i in 0..4 {
        let (scale, minimum, rest) = (head[4 + i], head[8 + i], head[12 + i]);
        scales[i] = d * f32::from(scale & 63);
        minimums[i] = dmin * f32::from(minimum & 63);
        scales[i + 4] = d * f32::from(rest & 0x0f | scale >> 2 & 0x30);
        minimums[i + 4] = dmin * f32::from(rest >> 4 | minimum >> 2 & 0x30);
    }
    (scales, minimums)
}
