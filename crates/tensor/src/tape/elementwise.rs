//! Backward of what is no product: plain loops, compiled for the instructions of the level
//! (`Level::vectorize`). Sums along a row run in sixteen lanes and the fixed tree of `kernels`;
//! sums over rows ascend. So nothing depends on the level.

use lucid_kernels::{self as kernels, Level};

use super::linear::Rows;
use crate::ops::Activation;

const LANES: usize = 16;

/// `y += bias` of each row.
pub(super) fn add_bias(level: Level, bias: &[f32], y: &mut [f32], stride: usize, rows: usize) {
    level.vectorize(
        #[inline(always)]
        || {
            for row in y.chunks_mut(stride).take(rows) {
                for (y, bias) in row.iter_mut().zip(bias) {
                    *y += bias;
                }
            }
        },
    );
}

/// `sums += ` the rows.
pub(super) fn add_rows(level: Level, rows: Rows, sums: &mut [f32]) {
    assert_eq!(rows.width, sums.len(), "a sum per column");
    level.vectorize(
        #[inline(always)]
        || {
            for row in rows.data.chunks(rows.stride).take(rows.count) {
                for (sum, x) in sums.iter_mut().zip(&row[..rows.width]) {
                    *sum += x;
                }
            }
        },
    );
}

/// `into += factor * x`.
pub(super) fn add_scaled(level: Level, x: &[f32], factor: f32, into: &mut [f32]) {
    assert_eq!(x.len(), into.len(), "operands of different lengths");
    level.vectorize(
        #[inline(always)]
        || {
            for (into, x) in into.iter_mut().zip(x) {
                *into = x.mul_add(factor, *into);
            }
        },
    );
}

/// `dy *= 1 - (y / cap)^2`, where `y = cap * tanh(x / cap)`.
pub(super) fn soft_cap(level: Level, y: &[f32], cap: f32, dy: &mut [f32]) {
    assert_eq!(y.len(), dy.len(), "operands of different lengths");
    level.vectorize(
        #[inline(always)]
        || {
            for (dy, y) in dy.iter_mut().zip(y) {
                let t = y / cap;
                *dy *= (-t).mul_add(t, 1.0);
            }
        },
    );
}

/// Rounds to the nearest bfloat16, ties to even, what is not NaN.
pub(super) fn round_to_bf16(level: Level, x: &mut [f32]) {
    level.vectorize(
        #[inline(always)]
        || {
            for x in x {
                let bits = x.to_bits();
                let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000;
                *x = if x.is_nan() { *x } else { f32::from_bits(rounded) };
            }
        },
    );
}

/// What rows of a norm are made of.
#[derive(Clone, Copy)]
pub(super) struct NormRows<'a> {
    /// `[rows, width]`.
    pub(super) x: &'a [f32],
    /// The gradient of what the norm made, `[rows, width]`.
    pub(super) dy: &'a [f32],
    /// `[width]`.
    pub(super) weight: &'a [f32],
    pub(super) epsilon: f32,
}

/// Backward of `kernels::rms_norm`: with `r = 1 / sqrt(mean(x^2) + epsilon)`,
/// `dx = r w dy - x r^3 mean(w dy x)` and `dw = sum of x r dy`. `dx` is added to if `add`.
pub(super) fn rms_norm<const ADD: bool>(
    level: Level,
    rows: NormRows,
    dx: &mut [f32],
    dweight: &mut [f32],
) {
    let width = rows.weight.len();
    let NormRows { x, dy, weight, epsilon } = rows;
    assert!(x.len() == dx.len() && dy.len() == dx.len(), "operands of different lengths");
    level.vectorize(
        #[inline(always)]
        || {
            let each = x.chunks_exact(width).zip(dy.chunks_exact(width));
            for ((x, dy), dx) in each.zip(dx.chunks_exact_mut(width)) {
                let square = sum(
                    [x, x, x],
                    #[inline(always)]
                    |[x, _, _]| x * x,
                );
                let inner = sum(
                    [x, dy, weight],
                    #[inline(always)]
                    |[x, dy, weight]| x * dy * weight,
                );
                let r = 1.0 / (square / width as f32 + epsilon).sqrt();
                let back = inner / width as f32 * r * r * r;
                let each = x.iter().zip(dy).zip(weight).zip(dx).zip(&mut *dweight);
                for ((((x, dy), weight), dx), dweight) in each {
                    let d = (weight * dy).mul_add(r, -(x * back));
                    *dx = if ADD { *dx + d } else { d };
                    *dweight = (x * r).mul_add(*dy, *dweight);
                }
            }
        },
    );
}

/// Backward of `kernels::layer_norm`: with `h = (x - mean) r` and `g = w dy`,
/// `dx = r (g - mean(g) - h mean(g h))`, `dw = sum of h dy`, `db = sum of dy`.
pub(super) fn layer_norm<const ADD: bool>(
    level: Level,
    rows: NormRows,
    dx: &mut [f32],
    dweight: &mut [f32],
    mut dbias: Option<&mut [f32]>,
) {
    let width = rows.weight.len();
    let NormRows { x, dy, weight, epsilon } = rows;
    assert!(x.len() == dx.len() && dy.len() == dx.len(), "operands of different lengths");
    let n = width as f32;
    level.vectorize(
        #[inline(always)]
        || {
            let each = x.chunks_exact(width).zip(dy.chunks_exact(width));
            for ((x, dy), dx) in each.zip(dx.chunks_exact_mut(width)) {
                let mean = sum(
                    [x, x, x],
                    #[inline(always)]
                    |[x, _, _]| x,
                ) / n;
                let variance = sum(
                    [x, x, x],
                    #[inline(always)]
                    |[x, _, _]| (x - mean) * (x - mean),
                ) / n;
                let r = 1.0 / (variance + epsilon).sqrt();
                let plain = sum(
                    [dy, dy, weight],
                    #[inline(always)]
                    |[_, dy, weight]| dy * weight,
                ) / n;
                let along = sum(
                    [x, dy, weight],
                    #[inline(always)]
                    |[x, dy, weight]| (x - mean) * r * dy * weight,
                ) / n;
                let each = x.iter().zip(dy).zip(weight).zip(dx).zip(&mut *dweight);
                for ((((x, dy), weight), dx), dweight) in each {
                    let h = (x - mean) * r;
                    let d = (weight * dy - plain - h * along) * r;
                    *dx = if ADD { *dx + d } else { d };
                    *dweight = h.mul_add(*dy, *dweight);
                }
                if let Some(dbias) = &mut dbias {
                    for (dbias, dy) in dbias.iter_mut().zip(dy) {
                        *dbias += dy;
                    }
                }
            }
        },
    );
}

/// Backward of `hidden = activation(gate) * up` of one row. `inner` holds gate and up and becomes
/// their gradients; `dh` holds the gradient of `hidden` and becomes `hidden` itself, which the
/// gradient of the next projection needs.
pub(super) fn gated(level: Level, activation: Activation, inner: &mut [f32], dh: &mut [f32]) {
    const PART: usize = 256;
    let (gate, up) = inner.split_at_mut(dh.len());
    let mut working = [0.0; PART];
    let parts = gate.chunks_mut(PART).zip(up.chunks_mut(PART)).zip(dh.chunks_mut(PART));
    for ((gate, up), dh) in parts {
        let working = &mut working[..gate.len()];
        gated_part(level, activation, [gate, up, dh, working]);
    }
}

fn gated_part(level: Level, activation: Activation, [gate, up, dh, working]: [&mut [f32]; 4]) {
    match activation {
        Activation::Silu => {
            level.vectorize(
                #[inline(always)]
                || working.iter_mut().zip(&*gate).for_each(|(w, gate)| *w = -gate),
            );
            kernels::exp_slice(level, working);
            level.vectorize(
                #[inline(always)]
                || silu_row(gate, up, dh, working),
            );
        }
        Activation::GeluTanh => {
            level.vectorize(
                #[inline(always)]
                || gelu_argument(gate, working),
            );
            kernels::soft_cap(level, working, 1.0);
            level.vectorize(
                #[inline(always)]
                || gelu_row(gate, up, dh, working),
            );
        }
    }
}

/// `exponential` is `e^-gate`.
#[inline(always)]
fn silu_row(gate: &mut [f32], up: &mut [f32], dh: &mut [f32], exponential: &[f32]) {
    for (((gate, up), dh), e) in gate.iter_mut().zip(up).zip(dh).zip(exponential) {
        let sigmoid = 1.0 / (1.0 + e);
        let active = *gate * sigmoid;
        let slope = sigmoid * (*gate).mul_add(1.0 - sigmoid, 1.0);
        let (d, u) = (*dh, *up);
        *dh = active * u;
        *gate = d * u * slope;
        *up = d * active;
    }
}

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

#[inline(always)]
fn gelu_argument(gate: &[f32], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(gate) {
        *out = SQRT_2_OVER_PI * (x * x * x).mul_add(CUBIC, *x);
    }
}

/// `tanh` is that of `gelu_argument`.
#[inline(always)]
fn gelu_row(gate: &mut [f32], up: &mut [f32], dh: &mut [f32], tanh: &[f32]) {
    for (((gate, up), dh), t) in gate.iter_mut().zip(up).zip(dh).zip(tanh) {
        let x = *gate;
        let half = 0.5 * (1.0 + t);
        let inner = SQRT_2_OVER_PI * (x * x).mul_add(3.0 * CUBIC, 1.0);
        let slope = (0.5 * x * (-t).mul_add(*t, 1.0)).mul_add(inner, half);
        let (d, u) = (*dh, *up);
        *dh = x * half * u;
        *gate = d * u * slope;
        *up = d * x * half;
    }
}

/// The largest of a row; minus infinity if there is none.
#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    let (body, tail) = x.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for x in body {
        for (lane, x) in lanes.iter_mut().zip(x) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    for (lane, x) in lanes.iter_mut().zip(tail) {
        *lane = if *x > *lane { *x } else { *lane };
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// `x = e^(factor * x - max)`, and `(max, sum)` of them, `max` being the largest `factor * x`.
/// A row with a NaN has a NaN for its sum.
pub(super) fn exponentials(level: Level, x: &mut [f32], factor: f32) -> (f32, f32) {
    let max = level.vectorize(
        #[inline(always)]
        || {
            let max = largest(x) * factor;
            for x in &mut *x {
                *x = x.mul_add(factor, -max);
            }
            max
        },
    );
    kernels::exp_slice(level, x);
    let total = level.vectorize(
        #[inline(always)]
        || {
            sum(
                [x, x, x],
                #[inline(always)]
                |[x, _, _]| x,
            )
        },
    );
    (max, total)
}

/// `x *= factor`, and what is then smaller than `least` becomes 0.
pub(super) fn scale_and_clear(level: Level, x: &mut [f32], factor: f32, least: f32) {
    level.vectorize(
        #[inline(always)]
        || {
            for x in x {
                let y = *x * factor;
                // NaN stays.
                *x = if y.abs() < least { 0.0 } else { y };
            }
        },
    );
}

/// `x *= factor`, and the sum of `x * y` afterwards.
pub(super) fn scale_and_dot(level: Level, x: &mut [f32], factor: f32, y: &[f32]) -> f32 {
    level.vectorize(
        #[inline(always)]
        || {
            for x in &mut *x {
                *x *= factor;
            }
            sum(
                [x, y, y],
                #[inline(always)]
                |[x, y, _]| x * y,
            )
        },
    )
}

/// `dp = factor * p * (dp - mean)`: backward of a softmax.
pub(super) fn softmax(level: Level, p: &[f32], mean: f32, factor: f32, dp: &mut [f32]) {
    level.vectorize(
        #[inline(always)]
        || {
            for (dp, p) in dp.iter_mut().zip(p) {
                *dp = factor * p * (*dp - mean);
            }
        },
    );
}

/// Sum of `f(x[0][i], x[1][i], x[2][i])` in the order of `kernels::dot`.
#[inline(always)]
fn sum(x: [&[f32]; 3], f: impl Fn([f32; 3]) -> f32) -> f32 {
    let [(a, a_tail), (b, b_tail), (c, c_tail)] = x.map(<[f32]>::as_chunks::<LANES>);
    let mut lanes = [0.0; LANES];
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane += f([a[i], b[i], c[i]]);
        }
    }
    for (lane, ((a, b), c)) in lanes.iter_mut().zip(a_tail.iter().zip(b_tail).zip(c_tail)) {
        *lane += f([*a, *b, *c]);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What must not depend on the level: everything.
    #[test]
    fn levels_agree_to_the_bit() {
        let numbers = |seed: u32, len: usize| -> Vec<f32> {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            };
            (0..len).map(|_| next()).collect()
        };
        let of = |level: Level| {
            let mut all = Vec::new();
            for width in [1, 15, 16, 33, 100, 300] {
                let (x, dy) = (numbers(1, 3 * width), numbers(2, 3 * width));
                let weight = numbers(3, width);
                let rows = NormRows { x: &x, dy: &dy, weight: &weight, epsilon: 1e-5 };
                let (mut dx, mut dw, mut db) = (dy.clone(), weight.clone(), weight.clone());
                rms_norm::<true>(level, rows, &mut dx, &mut dw);
                layer_norm::<true>(level, rows, &mut dx, &mut dw, Some(&mut db));
                all.extend([dx, dw, db].concat());
                for activation in [Activation::Silu, Activation::GeluTanh] {
                    let (mut inner, mut dh) = (numbers(4, 2 * width), numbers(5, width));
                    gated(level, activation, &mut inner, &mut dh);
                    all.extend([inner, dh].concat());
                }
                let (mut p, mut dp) = (numbers(6, width), numbers(7, width));
                let (max, total) = exponentials(level, &mut p, 0.7);
                let mean = scale_and_dot(level, &mut p, 1.0 / total, &dp);
                soft_cap(level, &x[..width], 2.0, &mut dp);
                softmax(level, &p, mean, 0.7, &mut dp);
                round_to_bf16(level, &mut p);
                all.extend([vec![max, total, mean], p, dp].concat());
            }
            all.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        };
        let want = of(Level::Scalar);
        for level in Level::available() {
            assert!(of(level) == want, "{level:?}");
        }
    }
}
