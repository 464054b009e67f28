//! Steps of AdamW: every level gives the bits of the scalar one, and these are near to the
//! formulas in f64.

use lucid_kernels::*;

/// -1 to 1.
fn numbers(seed: u32, len: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn settings(step: u32) -> AdamW {
    AdamW {
        learning_rate: 3e-3,
        betas: [0.9, 0.95],
        epsilon: 1e-8,
        weight_decay: 0.1,
        gradient_scale: 0.25,
        step,
    }
}

/// Weights and both means after some steps.
fn run(level: Level, len: usize, steps: u32) -> [Vec<f32>; 3] {
    let mut state = [numbers(1, len), vec![0.0; len], vec![0.0; len]];
    for step in 1..=steps {
        let [weights, first, second] = &mut state;
        adamw(level, settings(step), &numbers(step + 7, len), weights, first, second);
    }
    state
}

#[test]
fn levels_agree_to_the_bit() {
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for len in [0, 1, 15, 16, 33, 100] {
        let want = run(Level::Scalar, len, 3).map(|x| bits(&x));
        for level in Level::available() {
            assert_eq!(run(level, len, 3).map(|x| bits(&x)), want, "{} {len}", level.name());
        }
    }
    let x = numbers(5, 10_000);
    let want = sum_of_squares(Level::Scalar, &x);
    for level in Level::available() {
        assert_eq!(sum_of_squares(level, &x).to_bits(), want.to_bits(), "{}", level.name());
    }
    let parts =
        sum_of_squares(Level::Scalar, &x[..8192]) + sum_of_squares(Level::Scalar, &x[8192..]);
    assert_eq!(parts.to_bits(), want.to_bits(), "parts at multiples of 4096");
    let exact: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
    assert!((want / exact - 1.0).abs() < 1e-6, "{want} for {exact}");
}

#[test]
fn steps_follow_the_formulas() {
    let (len, steps) = (50, 5);
    let [got, ..] = run(Level::detect(), len, steps);
    let start = numbers(1, len);
    for i in 0..len {
        let (mut w, mut first, mut second) = (f64::from(start[i]), 0.0, 0.0);
        for step in 1..=steps {
            let with = settings(step);
            let [beta1, beta2] = with.betas.map(f64::from);
            let g = f64::from(numbers(step + 7, len)[i]) * f64::from(with.gradient_scale);
            first = beta1 * first + (1.0 - beta1) * g;
            second = beta2 * second + (1.0 - beta2) * g * g;
            let rate = f64::from(with.learning_rate);
            w -= rate * f64::from(with.weight_decay) * w;
            let mean = first / (1.0 - beta1.powi(step as i32));
            let root = (second / (1.0 - beta2.powi(step as i32))).sqrt();
            w -= rate * mean / (root + f64::from(with.epsilon));
        }
        assert!((f64::from(got[i]) - w).abs() < 1e-6, "element {i}: {} for {w}", got[i]);
    }
}
