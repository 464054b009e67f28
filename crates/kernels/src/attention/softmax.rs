//! The steps of the online softmax, on the scores of one chunk: `[heads][KV_CHUNK]`.
//!
//! Scores are in units of ln 2, so that weights are powers of two: `2^(score - max)`. Per head
//! there is a running maximum, sixteen partial sums, one per lane of positions, and the weighted
//! values; a new maximum rescales the latter two.

use super::format::KV_CHUNK;
use crate::Level;
use crate::dispatch::dispatch;
use crate::math;
use crate::simd::{LANES, Simd, steps};

/// `2^f - 1` over f on [-1/2, 1/2] as a polynomial, the highest power first. Fitted by reweighted
/// least squares; relative error of 2^f: 1.6e-8.
const POWERS: [f32; 6] = [
    1.535_336_2e-4,
    1.339_887_4e-3,
    9.618_437e-3,
    5.550_332_4e-2,
    2.402_264_8e-1,
    std::f32::consts::LN_2,
];

/// Weights below 2^-125 count as 2^-125, which is nothing beside the largest weight, 1.
const LOWEST: f32 = -125.0;

/// 1.5 * 2^23: the sum with a small number is rounded to an integer.
const ROUNDER: f32 = 12_582_912.0;

/// The running state of some heads.
pub(super) struct Running<'a> {
    /// Largest score so far.
    pub(super) max: &'a mut [f32],
    /// Sums of weights, `[heads][LANES]`.
    pub(super) sum: &'a mut [f32],
    /// Factors that the new maxima put on what was summed before.
    pub(super) factors: &'a mut [f32],
}

/// `cap * tanh(score / cap)`, and from natural units to those of ln 2.
pub(super) fn cap_scores(level: Level, cap: f32, scores: &mut [f32]) {
    dispatch!(level, cap_lanes, cap, scores);
}

/// Turns the scores of a chunk into weights and takes them into the running maxima and sums. Every
/// head sees at least one position; scores of positions that it does not see are minus infinity.
pub(super) fn weights(level: Level, scores: &mut [f32], running: Running) {
    let heads = scores.len() / KV_CHUNK;
    assert!(scores.len() == heads * KV_CHUNK && running.sum.len() == heads * LANES);
    assert!(running.max.len() == heads && running.factors.len() == heads);
    dispatch!(level, weights_of, scores, running);
}

/// One head over some positions.
pub(super) struct Part<'a> {
    /// Its largest score.
    pub(super) max: &'a mut f32,
    /// The sum of its weights.
    pub(super) sum: &'a mut f32,
    /// The values weighed, whole vectors of them.
    pub(super) out: &'a mut [f32],
}

/// Merges a later part's `(max, sum, out)` of one head into an earlier one's.
pub(super) fn merge(level: Level, into: Part, max: f32, sum: f32, out: &[f32]) {
    assert_eq!(into.out.len(), out.len(), "operands of different lengths");
    if max == f32::NEG_INFINITY {
        return;
    }
    if *into.max == f32::NEG_INFINITY {
        (*into.max, *into.sum) = (max, sum);
        into.out.copy_from_slice(out);
        return;
    }
    dispatch!(level, merge_lanes, into, max, sum, out);
}

/// The sum of a head's lanes.
pub(super) fn sum_lanes(level: Level, lanes: &[f32; LANES]) -> f32 {
    dispatch!(level, sum_of, lanes)
}

/// `out = x / sum`.
pub(super) fn divide(level: Level, x: &[f32], sum: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "operands of different lengths");
    dispatch!(level, divide_lanes, x, sum, out);
}

/// `out = x * factor`.
pub(super) fn scale_to(level: Level, x: &[f32], factor: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "operands of different lengths");
    dispatch!(level, scale_lanes, x, factor, out);
}

/// `2^x` of x <= 0. NaN stays NaN.
#[inline(always)]
fn exp2<S: Simd>(s: S, x: S::F) -> S::F {
    // The second operand passes when it is NaN.
    let x = s.max(s.splat(LOWEST), x);
    let rounder = s.splat(ROUNDER);
    let n = s.sub(s.add(x, rounder), rounder);
    let f = s.sub(x, n);
    let mut p = s.splat(POWERS[0]);
    for power in &POWERS[1..] {
        p = s.fma(p, f, s.splat(*power));
    }
    s.mul(s.fma(p, f, s.splat(1.0)), s.pow2(n))
}

#[inline(always)]
fn cap_lanes<S: Simd>(s: S, cap: f32, scores: &mut [f32]) {
    let (by, to) = (s.splat(cap), s.splat(cap * std::f32::consts::LOG2_E));
    for lanes in scores.as_chunks_mut::<LANES>().0 {
        let score = math::tanh(s, s.div(s.load(lanes), by));
        s.store(s.mul(to, score), lanes);
    }
}

#[inline(always)]
fn weights_of<S: Simd>(s: S, scores: &mut [f32], running: Running) {
    let Running { max, sum, factors } = running;
    let rows = scores.as_chunks_mut::<KV_CHUNK>().0;
    for (row, largest) in rows.iter().zip(&mut *factors) {
        let lanes = row.as_chunks::<LANES>().0;
        let (a, b) = (s.max(s.load(&lanes[0]), s.load(&lanes[1])), s.load(&lanes[2]));
        *largest = s.max_lane(s.max(a, s.max(b, s.load(&lanes[3]))));
    }
    for (start, width) in steps(factors.len()) {
        let (max, factors) = (&mut max[start..start + width], &mut factors[start..start + width]);
        let old = s.load_partial(max);
        let new = s.max(old, s.load_partial(factors));
        s.store_partial(exp2(s, s.sub(old, new)), factors);
        s.store_partial(new, max);
    }
    let sums = sum.as_chunks_mut::<LANES>().0;
    for (((row, max), factor), sum) in rows.iter_mut().zip(&*max).zip(&*factors).zip(sums) {
        let lanes = row.as_chunks_mut::<LANES>().0;
        let max = s.splat(*max);
        let mut weights = [s.zero(); KV_CHUNK / LANES];
        for (weight, lanes) in weights.iter_mut().zip(lanes) {
            *weight = exp2(s, s.sub(s.load(lanes), max));
            s.store(*weight, lanes);
        }
        let pairs = (s.add(weights[0], weights[1]), s.add(weights[2], weights[3]));
        let total = s.fma(s.load(sum), s.splat(*factor), s.add(pairs.0, pairs.1));
        s.store(total, sum);
    }
}

#[inline(always)]
fn merge_lanes<S: Simd>(s: S, into: Part, max: f32, sum: f32, out: &[f32]) {
    let Part { max: into_max, sum: into_sum, out: into } = into;
    let largest = if *into_max > max { *into_max } else { max };
    let mut differences = [0.0; LANES];
    (differences[0], differences[1]) = (*into_max - largest, max - largest);
    let mut factors = [0.0; LANES];
    s.store(exp2(s, s.load(&differences)), &mut factors);
    *into_sum = sum.mul_add(factors[1], *into_sum * factors[0]);
    *into_max = largest;
    let (old, new) = (s.splat(factors[0]), s.splat(factors[1]));
    let lanes = into.as_chunks_mut::<LANES>().0.iter_mut();
    for (into, later) in lanes.zip(out.as_chunks::<LANES>().0) {
        s.store(s.fma(s.load(later), new, s.mul(s.load(into), old)), into);
    }
}

#[inline(always)]
fn sum_of<S: Simd>(s: S, lanes: &[f32; LANES]) -> f32 {
    s.sum(s.load(lanes))
}

#[inline(always)]
fn divide_lanes<S: Simd>(s: S, x: &[f32], sum: f32, out: &mut [f32]) {
    let sum = s.splat(sum);
    for (start, width) in steps(x.len()) {
        let quotient = s.div(s.load_partial(&x[start..start + width]), sum);
        s.store_partial(quotient, &mut out[start..start + width]);
    }
}

#[inline(always)]
fn scale_lanes<S: Simd>(s: S, x: &[f32], factor: f32, out: &mut [f32]) {
    let factor = s.splat(factor);
    for (start, width) in steps(x.len()) {
        let product = s.mul(s.load_partial(&x[start..start + width]), factor);
        s.store_partial(product, &mut out[start..start + width]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::Scalar;

    #[test]
    fn powers_of_two_are_accurate() {
        let power = |x: f32| exp2(Scalar, [x; LANES])[5];
        let mut worst = 0.0f64;
        for i in 0..=500_000 {
            let x = -124.9 * (i as f32 / 500_000.0);
            let want = f64::from(x).exp2();
            worst = worst.max((f64::from(power(x)) - want).abs() / want);
        }
        assert!(worst < 1.2e-7, "{worst:e}");
        assert_eq!(power(0.0), 1.0);
        assert_eq!(power(-3.0), 0.125);
        assert_eq!(power(f32::NEG_INFINITY), 2.0f32.powi(-125));
        assert!(power(f32::NAN).is_nan());
    }
}
