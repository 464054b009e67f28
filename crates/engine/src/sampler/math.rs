//! `exp`, `ln` and `pow` in f64 from IEEE-exact operations only (add, multiply, divide, bit
//! patterns), so that a seed draws the same tokens on every platform: the C library's versions
//! differ in the last bit between systems.
//!
//! Source: Cody & Waite, "Software Manual for the Elementary Functions" (1980): argument reduction
//! by a two-part ln 2; here with a table of 2^(j/64) and Taylor polynomials. Relative error is
//! below 1e-14 (tested), far under what a draw of 53 bits resolves between two tokens.

/// High part of ln 2: its low 32 bits are zero, so that it times an integer of 32 bits is exact.
const LN_2_HIGH: f64 = f64::from_bits(0x3FE6_2E42_FEE0_0000);
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// 1.5 * 2^52: adding it and subtracting it again rounds a small f64 to an integer.
const ROUND: f64 = 6_755_399_441_055_744.0;
const TWO_TO_54: f64 = 18_014_398_509_481_984.0;
/// Below this, `exp` is taken as zero; above its opposite, as infinite.
const EXP_LIMIT: f64 = 708.0;
/// `exp` reduces its argument to within half of ln 2 / STEPS.
const STEPS: usize = 64;
/// 2^(j / STEPS).
const POWERS: [f64; STEPS] = powers();

/// e^x. Exactly 0 below -708 and for negative infinity, infinite above 708.
#[inline(always)]
pub(super) fn exp(x: f64) -> f64 {
    if x < -EXP_LIMIT {
        return 0.0;
    }
    if x > EXP_LIMIT {
        return f64::INFINITY;
    }
    let shifted = x * (STEPS as f64 * std::f64::consts::LOG2_E) + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * (LN_2_HIGH / STEPS as f64)) - n * (LN_2_LOW / STEPS as f64);
    // The low bits of `shifted` are n in two's complement: a table index and an exponent.
    let bits = shifted.to_bits();
    let power = POWERS[bits as usize % STEPS];
    let exponent = (bits as i64) << 12 >> 18;
    let scale = f64::from_bits((exponent.wrapping_add(1023) as u64) << 52);
    let square = r * r;
    let high = (1.0 / 6.0 + r * (1.0 / 24.0)) + square * (1.0 / 120.0);
    scale * (power + power * (r + square * (0.5 + r * high)))
}

/// By the Taylor series of e^(j ln 2 / STEPS), smallest terms first.
const fn powers() -> [f64; STEPS] {
    let mut table = [1.0; STEPS];
    let mut j = 1;
    while j < STEPS {
        let x = j as f64 / STEPS as f64 * std::f64::consts::LN_2;
        let (mut value, mut k) = (1.0, 20);
        while k > 0 {
            value = 1.0 + value * x / k as f64;
            k -= 1;
        }
        table[j] = value;
        j += 1;
    }
    table
}

/// Natural logarithm of a value that is not negative; negative infinity at 0.
pub(super) fn ln(x: f64) -> f64 {
    if x <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if x == f64::INFINITY {
        return x;
    }
    // Subnormal numbers first move into the normal range.
    let (x, shift) = if x < f64::MIN_POSITIVE { (x * TWO_TO_54, -54) } else { (x, 0) };
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    // ln m = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.1716.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut series = 0.0;
    for odd in (0..12).rev() {
        series = series * square + 1.0 / f64::from(2 * odd + 1);
    }
    let k = (exponent + shift) as f64;
    k * LN_2_HIGH + (2.0 * s * series + k * LN_2_LOW)
}

/// base^exponent for a base that is not negative.
pub(super) fn pow(base: f64, exponent: f64) -> f64 {
    if exponent == 0.0 {
        return 1.0;
    }
    if base == 0.0 {
        return if exponent > 0.0 { 0.0 } else { f64::INFINITY };
    }
    exp(exponent * ln(base))
}

/// ln of the sum of e^logit over a row, with NaN-free input and at least one finite logit. Sums in
/// eight lanes that are folded in a fixed tree.
pub(super) fn log_sum_exp(logits: &[f32], max: f32) -> f64 {
    let max = f64::from(max);
    let mut lanes = [0.0; 8];
    let (chunks, tail) = logits.as_chunks::<8>();
    for chunk in chunks {
        for (lane, &logit) in lanes.iter_mut().zip(chunk) {
            *lane += exp(f64::from(logit) - max);
        }
    }
    for (lane, &logit) in lanes.iter_mut().zip(tail) {
        *lane += exp(f64::from(logit) - max);
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    max + ln(((a + e) + (c + g)) + ((b + f) + (d + h)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(ours: f64, reference: f64, what: &str) {
        let error = (ours - reference).abs() / reference.abs().max(1e-300);
        assert!(error < 1e-14, "{what}: {ours:e} != {reference:e} ({error:e})");
    }

    #[test]
    fn exp_and_ln_agree_with_the_standard_library() {
        for step in -70_700..70_700 {
            let x = f64::from(step) * 0.01 + 0.001_7;
            close(exp(x), x.exp(), &format!("exp({x})"));
        }
        for step in 1..100_000 {
            let x = f64::from(step) * 0.000_37;
            if (x - 1.0).abs() > 1e-3 {
                close(ln(x), x.ln(), &format!("ln({x})"));
            }
            close(ln(x * 1e-310), (x * 1e-310).ln(), "ln of a tiny number");
        }
        assert_eq!((exp(0.0), ln(1.0)), (1.0, 0.0));
        assert_eq!((exp(f64::NEG_INFINITY), exp(-709.0), exp(800.0)), (0.0, 0.0, f64::INFINITY));
        assert_eq!((ln(0.0), ln(f64::INFINITY)), (f64::NEG_INFINITY, f64::INFINITY));
        assert_eq!((pow(0.0, 1.0), pow(0.0, 0.0), pow(3.0, 0.0)), (0.0, 1.0, 1.0));
        close(pow(1.75, 5.0), 1.75f64.powi(5), "1.75^5");
    }

    #[test]
    fn the_bits_of_exp_and_ln_are_pinned() {
        // Any platform, compiler or refactoring that changes these changes what a seed draws.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for step in 0..4000 {
            let x = f64::from(step) * -0.173;
            for bits in [exp(x).to_bits(), ln(1.0 - x).to_bits()] {
                hash = (hash ^ bits).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        assert_eq!(hash, 0xabc3_d01f_92be_8af1, "0x{hash:016x}");
    }

    #[test]
    fn log_sum_exp_ignores_masked_tokens() {
        let row: Vec<f32> =
            (0..21).map(|i| if i % 4 == 0 { f32::NEG_INFINITY } else { i as f32 }).collect();
        let plain: f64 = row.iter().map(|&l| f64::from(l).exp()).sum();
        close(log_sum_exp(&row, 19.0), plain.ln(), "log_sum_exp");
    }
}
