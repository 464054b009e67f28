//! Exponential and hyperbolic tangent on sixteen lanes, of our own, so that every level and
//! platform agrees to the bit.
//!
//! Method: `x = n ln 2 + r` with `|r| <= ln 2 / 2` (Cody and Waite, two parts of ln 2), then the
//! Taylor series of e^r, every step a fused multiply-add. Largest errors, tested against f64: `exp`
//! 1.0 ulp, `tanh` 2.5 ulp (NaN in, NaN out).

use crate::simd::Simd;

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts: the first has 9 trailing zero bits, so that `n * HIGH` is exact.
const LN2_HIGH: f32 = 355.0 / 512.0;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// `1/8!` down to `1/1!`.
const INVERSE_FACTORIALS: [f32; 8] =
    [1.0 / 40320.0, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0];

/// `(n, e^r - 1)` where `x = n ln 2 + r`.
#[inline(always)]
fn reduce<S: Simd>(s: S, x: S::F) -> (S::F, S::F) {
    let n = s.round(s.mul(x, s.splat(LOG2_E)));
    let r = s.fma(n, s.splat(-LN2_HIGH), x);
    let r = s.fma(n, s.splat(-LN2_LOW), r);
    let mut p = s.splat(INVERSE_FACTORIALS[0]);
    for c in &INVERSE_FACTORIALS[1..7] {
        p = s.fma(p, r, s.splat(*c));
    }
    // p = 1/2 + r/6 + ...; e^r - 1 = r + r^2 p, which loses nothing for small r.
    (n, s.fma(s.mul(r, r), p, r))
}

/// `e^x`; 0 below -104, infinity above 88.73; gradual underflow.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    // NaN passes: min and max return their second operand.
    let x = s.min(s.splat(89.0), s.max(s.splat(-104.0), x));
    let (n, p) = reduce(s, x);
    // 2^n in two factors: n reaches -150 and 129, beyond one exponent. Only the last product can
    // round.
    let half = s.round(s.mul(n, s.splat(0.5)));
    let p = s.add(p, s.splat(1.0));
    s.mul(s.mul(p, s.pow2(half)), s.pow2(s.sub(n, half)))
}

/// Hyperbolic tangent: with `t = e^(2|x|) - 1`, `tanh |x| = t / (t + 2)`.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::F) -> S::F {
    let magnitude = s.min(s.splat(20.0), s.mul(s.splat(2.0), s.abs(x)));
    let (n, p) = reduce(s, magnitude);
    let scale = s.pow2(n);
    let t = s.fma(p, scale, s.sub(scale, s.splat(1.0)));
    s.copysign(s.div(t, s.add(t, s.splat(2.0))), x)
}

/// `x / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn silu<S: Simd>(s: S, x: S::F) -> S::F {
    let e = exp(s, s.sub(s.splat(-0.0), x));
    s.div(x, s.add(e, s.splat(1.0)))
}

/// The tanh approximation of GELU (Hendrycks and Gimpel, arXiv:1606.08415).
#[inline(always)]
pub(crate) fn gelu_tanh<S: Simd>(s: S, x: S::F) -> S::F {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    let cubic = s.fma(s.mul(s.mul(x, x), x), s.splat(0.044715), x);
    let t = tanh(s, s.mul(s.splat(SQRT_2_OVER_PI), cubic));
    s.mul(s.mul(s.splat(0.5), x), s.add(t, s.splat(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scalar::Scalar;

    /// Largest error of `f` against `exact` over a range, in units of the exact result's last
    /// place.
    fn check(f: fn([f32; 16]) -> [f32; 16], exact: fn(f64) -> f64, bound: f64, range: [f32; 2]) {
        let mut worst = (0.0f64, 0.0f32);
        for i in 0..=800_000 {
            let x = range[0] + (range[1] - range[0]) * (i as f32 / 800_000.0);
            let (got, want) = (f([x; 16])[3], exact(f64::from(x)));
            let ulp =
                f64::from((want.abs() as f32).max(f32::MIN_POSITIVE)) * f64::from(f32::EPSILON);
            let ulp = f64::exp2(ulp.log2().floor()).max(f64::from(f32::from_bits(1)));
            let error = (f64::from(got) - want).abs() / ulp;
            if error > worst.0 {
                worst = (error, x);
            }
        }
        println!("worst {} ulp at {}", worst.0, worst.1);
        assert!(worst.0 <= bound, "{} ulp at {}", worst.0, worst.1);
    }

    #[test]
    fn exp_is_within_one_ulp() {
        check(|x| exp(Scalar, x), f64::exp, 1.0, [-87.3, 88.7]);
        check(|x| exp(Scalar, x), f64::exp, 1.0, [-1.0, 1.0]);
        check(|x| exp(Scalar, x), f64::exp, 1.0, [-104.5, -86.0]);
    }

    #[test]
    fn tanh_is_within_two_and_a_half_ulp() {
        check(|x| tanh(Scalar, x), f64::tanh, 2.5, [-12.0, 12.0]);
        check(|x| tanh(Scalar, x), f64::tanh, 2.5, [-0.01, 0.01]);
        check(|x| tanh(Scalar, x), f64::tanh, 2.5, [0.01, 0.4]);
    }

    #[test]
    fn special_values() {
        let e = |x: f32| exp(Scalar, [x; 16])[0];
        assert_eq!(e(0.0), 1.0);
        assert_eq!(e(f32::NEG_INFINITY), 0.0);
        assert_eq!(e(-1e30), 0.0);
        assert_eq!(e(f32::INFINITY), f32::INFINITY);
        assert!(e(f32::NAN).is_nan());
        let t = |x: f32| tanh(Scalar, [x; 16])[0];
        assert_eq!(t(0.0), 0.0);
        assert_eq!((-0.0f32).to_bits(), t(-0.0).to_bits());
        assert_eq!(t(f32::INFINITY), 1.0);
        assert_eq!(t(-1e30), -1.0);
        assert!(t(f32::NAN).is_nan());
        assert_eq!(silu(Scalar, [-1e30; 16])[0], 0.0);
        assert_eq!(gelu_tanh(Scalar, [1e30; 16])[0], 1e30);
    }
}
