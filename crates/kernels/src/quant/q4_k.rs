//! Q4_K: 256 elements in 8 groups; the f16 scale of scales and of minimums, 12 bytes of 6-bit
//! scales and minimums, 128 bytes of nibbles; `d * scale * q - dmin * minimum`. Each 32 bytes hold
//! two groups: low nibbles, then high ones.

use half::f16;

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

/// Groups of a block, and elements of a group.
const GROUPS: usize = 8;
const GROUP_LEN: usize = 32;
/// The largest quant of an element, and of a scale or minimum.
const QUANT_MAX: f32 = 15.0;
const SCALE_MAX: f32 = 63.0;
/// Numbers of steps that a group's range is tried with.
const STEPS_TRIED: [f32; 11] = [14.0, 14.2, 14.4, 14.6, 14.8, 15.0, 15.2, 15.4, 15.6, 15.8, 16.0];

/// Each group gets the scale and the minimum of the least squared error, weighted by magnitude,
/// among a few ways to round it. Source of the method: ggml's `quantize_row_q4_K_ref`.
///
/// Departures: (1) fewer numbers of steps are tried; (2) the last rounding uses the scales as they
/// are read, in f32.
pub(super) fn quantize(values: &[f32; 256], block: &mut [u8; 144]) {
    let (groups, _) = values.as_chunks::<GROUP_LEN>();
    let (mut scales, mut minimums) = ([0.0_f32; GROUPS], [0.0_f32; GROUPS]);
    for (group, (scale, minimum)) in groups.iter().zip(scales.iter_mut().zip(&mut minimums)) {
        (*scale, *minimum) = fit(group);
    }
    let (d, scales) = six_bits(&scales);
    let (dmin, minimums) = six_bits(&minimums);
    block[..2].copy_from_slice(&d.to_le_bytes());
    block[2..4].copy_from_slice(&dmin.to_le_bytes());
    for i in 0..4 {
        block[4 + i] = scales[i] | scales[i + 4] >> 4 << 6;
        block[8 + i] = minimums[i] | minimums[i + 4] >> 4 << 6;
        block[12 + i] = scales[i + 4] & 0x0f | minimums[i + 4] << 4;
    }
    let (d, dmin) = (d.to_f32_const(), dmin.to_f32_const());
    block[16..].fill(0);
    for (number, group) in groups.iter().enumerate() {
        let scale = d * f32::from(scales[number]);
        let minimum = dmin * f32::from(minimums[number]);
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let bytes = &mut block[16 + number / 2 * GROUP_LEN..][..GROUP_LEN];
        for (byte, x) in bytes.iter_mut().zip(group) {
            let quant = ((x + minimum) * inverse).round().clamp(0.0, QUANT_MAX) as u8;
            *byte |= quant << (number % 2 * 4);
        }
    }
}

/// Non-negative numbers as an f16 and multiples of it, at most 63.
fn six_bits(numbers: &[f32; GROUPS]) -> (f16, [u8; GROUPS]) {
    let most = numbers.iter().fold(0.0_f32, |most, x| most.max(*x));
    let inverse = if most > 0.0 { SCALE_MAX / most } else { 0.0 };
    let counts = numbers.map(|x| (x * inverse).round().clamp(0.0, SCALE_MAX) as u8);
    (f16::from_f32_const(most / SCALE_MAX), counts)
}

/// The scale and the minimum (both at least 0; elements are `scale * quant - minimum`) of a group.
fn fit(group: &[f32; GROUP_LEN]) -> (f32, f32) {
    let least = group.iter().fold(0.0_f32, |least, x| least.min(*x));
    let most = group.iter().fold(f32::MIN, |most, x| most.max(*x));
    let range = most - least;
    if !(range > 0.0 && range.is_finite()) {
        // All of one value, not above 0; or no numbers.
        return (0.0, if least.is_finite() { -least } else { 0.0 });
    }
    let mean_square = group.iter().map(|x| x * x).sum::<f32>() / GROUP_LEN as f32;
    let weights = group.map(|x| mean_square.sqrt() + x.abs());
    let mut best = (range / QUANT_MAX, -least);
    let mut least_error = f32::INFINITY;
    for steps in STEPS_TRIED {
        let inverse = steps / range;
        let quants = group.map(|x| ((x - least) * inverse).round().clamp(0.0, QUANT_MAX));
        let (scale, minimum) = regress(group, &weights, &quants);
        let error: f32 = (0..GROUP_LEN)
            .map(|i| {
                let off = scale * quants[i] - minimum - group[i];
                weights[i] * off * off
            })
            .sum();
        if scale > 0.0 && error < least_error {
            (least_error, best) = (error, (scale, minimum));
        }
    }
    best
}

/// The line through the quants that lies nearest to the elements, its minimum at least 0.
fn regress(
    group: &[f32; GROUP_LEN],
    weights: &[f32; GROUP_LEN],
    quants: &[f32; GROUP_LEN],
) -> (f32, f32) {
    let sum = |of: &dyn Fn(usize) -> f32| (0..GROUP_LEN).map(|i| weights[i] * of(i)).sum::<f32>();
    let (w, q) = (sum(&|_| 1.0), sum(&|i| quants[i]));
    let (qq, x) = (sum(&|i| quants[i] * quants[i]), sum(&|i| group[i]));
    let qx = sum(&|i| quants[i] * group[i]);
    let determinant = w * qq - q * q;
    // Quants that are all the same give no line.
    if determinant > 1e-6 * w * qq {
        let scale = (w * qx - q * x) / determinant;
        let minimum = (q * qx - qq * x) / determinant;
        if minimum >= 0.0 {
            return (scale, minimum);
        }
    }
    (if qq > 0.0 { qx / qq } else { 0.0 }, 0.0)
}
