//! Rotary position embedding (Su et al., arXiv:2104.09864). Angles, sines and cosines are computed
//! in f64 with our own series, so that a table is accurate to the last bit of f32 at positions up
//! to 2^32 and the same on every platform.

use crate::Level;
use crate::dispatch::dispatch;
use crate::simd::{Simd, steps};

/// Which two elements of a head form a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotaryPairing {
    /// `(2i, 2i + 1)`: the original layout, GGUF's `llama`.
    Neighbours,
    /// `(i, i + n/2)`: the layout of GPT-NeoX and transformers.
    Halves,
}

/// Cosines and sines of one position: `cos[i] = magnitude * cos(position * inv_freq[i])`.
pub fn rotary_table(
    position: u32,
    inv_freq: &[f32],
    magnitude: f32,
    cos: &mut [f32],
    sin: &mut [f32],
) {
    assert!(cos.len() == inv_freq.len() && sin.len() == inv_freq.len(), "tables of other lengths");
    for ((freq, cos), sin) in inv_freq.iter().zip(cos).zip(sin) {
        let (s, c) = sin_cos(f64::from(position) * f64::from(*freq));
        *cos = (c * f64::from(magnitude)) as f32;
        *sin = (s * f64::from(magnitude)) as f32;
    }
}

/// Rotates the first `2 * cos.len()` elements of one head; the rest stays.
pub fn rotate(level: Level, head: &mut [f32], cos: &[f32], sin: &[f32], pairing: RotaryPairing) {
    assert_eq!(cos.len(), sin.len(), "tables of different lengths");
    assert!(2 * cos.len() <= head.len(), "a head shorter than its rotation");
    let head = &mut head[..2 * cos.len()];
    match pairing {
        RotaryPairing::Halves => {
            let (first, second) = head.split_at_mut(cos.len());
            dispatch!(level, rotate_halves, first, second, cos, sin);
        }
        RotaryPairing::Neighbours => dispatch!(level, rotate_neighbours, head, cos, sin),
    }
}

/// `(a cos - b sin, a sin + b cos)`, one product of each rounded before the fused step.
#[inline(always)]
fn rotate_pair<S: Simd>(s: S, a: S::F, b: S::F, cos: S::F, sin: S::F) -> (S::F, S::F) {
    let negative = s.sub(s.splat(-0.0), s.mul(b, sin));
    (s.fma(a, cos, negative), s.fma(a, sin, s.mul(b, cos)))
}

#[inline(always)]
fn rotate_halves<S: Simd>(s: S, first: &mut [f32], second: &mut [f32], cos: &[f32], sin: &[f32]) {
    for (start, width) in steps(cos.len()) {
        let range = start..start + width;
        let a = s.load_partial(&first[range.clone()]);
        let b = s.load_partial(&second[range.clone()]);
        let c = s.load_partial(&cos[range.clone()]);
        let (a, b) = rotate_pair(s, a, b, c, s.load_partial(&sin[range.clone()]));
        s.store_partial(a, &mut first[range.clone()]);
        s.store_partial(b, &mut second[range]);
    }
}

/// The same numbers as `rotate_pair` gives, in a form that the compiler takes apart and puts
/// together again in registers.
#[inline(always)]
fn rotate_neighbours<S: Simd>(_: S, head: &mut [f32], cos: &[f32], sin: &[f32]) {
    for ((pair, cos), sin) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
        let [a, b] = *pair;
        *pair = [a.mul_add(*cos, -(b * sin)), a.mul_add(*sin, b * cos)];
    }
}

/// Sine and cosine of an angle in `[0, 2^40)`: `x = k pi/2 + r` with pi/2 in three parts (Cody and
/// Waite), then the Taylor series to r^17 and r^16. Error under 1e-15.
fn sin_cos(x: f64) -> (f64, f64) {
    // pi/2 rounded to f64, what that leaves, and what that leaves again.
    const PI_2: [f64; 3] =
        [std::f64::consts::FRAC_PI_2, 6.123_233_995_736_766e-17, -1.497_384_904_859_169_6e-33];
    let k = (x * std::f64::consts::FRAC_2_PI).round_ties_even();
    let r = PI_2.iter().fold(x, |r, part| k.mul_add(-part, r));
    let square = r * r;
    let (mut sin, mut cos) = (0.0f64, 0.0f64);
    for n in (1..=8).rev() {
        let n = f64::from(n);
        sin = square.mul_add(sin, 1.0) * (-1.0 / ((2.0 * n) * (2.0 * n + 1.0)));
        cos = square.mul_add(cos, 1.0) * (-1.0 / ((2.0 * n - 1.0) * (2.0 * n)));
    }
    let sin = (square * sin).mul_add(r, r);
    let cos = square.mul_add(cos, 1.0);
    match (k as i64).rem_euclid(4) {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sines_are_accurate() {
        let mut x = 0.0f64;
        while x < 4.0e9 {
            let (s, c) = sin_cos(x);
            assert!((s - x.sin()).abs() < 1e-15, "sin {x}: {s} {}", x.sin());
            assert!((c - x.cos()).abs() < 1e-15, "cos {x}: {c} {}", x.cos());
            x = x * 1.000_37 + 0.001_3;
        }
    }

    #[test]
    fn pairings_are_permutations_of_each_other() {
        for level in Level::available() {
            for half in [1, 2, 15, 16, 17, 48] {
                let head: Vec<f32> = (0..2 * half + 3).map(|i| (i as f32 * 0.7).sin()).collect();
                let freq: Vec<f32> = (0..half).map(|i| 10000f32.powf(-(i as f32) / 48.0)).collect();
                let (mut cos, mut sin) = (vec![0.0; half], vec![0.0; half]);
                rotary_table(1234, &freq, 1.0, &mut cos, &mut sin);
                let mut halves = head.clone();
                rotate(level, &mut halves, &cos, &sin, RotaryPairing::Halves);
                let mut pairs = head.clone();
                for i in 0..half {
                    (pairs[2 * i], pairs[2 * i + 1]) = (head[i], head[half + i]);
                }
                rotate(level, &mut pairs, &cos, &sin, RotaryPairing::Neighbours);
                for i in 0..half {
                    assert_eq!((pairs[2 * i], pairs[2 * i + 1]), (halves[i], halves[half + i]));
                    let angle = f64::from(freq[i]) * 1234.0;
                    let want =
                        f64::from(head[i]) * angle.cos() - f64::from(head[half + i]) * angle.sin();
                    assert!((f64::from(halves[i]) - want).abs() < 1e-6);
                }
                assert_eq!(halves[2 * half..], head[2 * half..]);
            }
        }
    }
}
