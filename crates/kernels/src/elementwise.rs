//! Kernels that treat each element alone: sums, scaling, activations, soft caps.

use crate::Level;
use crate::dispatch::dispatch;
use crate::math;
use crate::simd::{LANES, Simd, steps};

/// `out = a + b`.
pub fn add(level: Level, a: &[f32], b: &[f32], out: &mut [f32]) {
    dispatch!(level, add_lanes, a, b, out);
}

/// `x *= factor`.
pub fn scale(level: Level, x: &mut [f32], factor: f32) {
    dispatch!(level, scale_lanes, x, factor);
}

/// `up = silu(gate) * up`, the gated activation of Llama (Shazeer, arXiv:2002.05202).
pub fn silu_mul(level: Level, gate: &[f32], up: &mut [f32]) {
    dispatch!(level, silu_mul_lanes, gate, up);
}

/// `up = gelu_tanh(gate) * up`, the gated activation of Gemma.
pub fn gelu_tanh_mul(level: Level, gate: &[f32], up: &mut [f32]) {
    dispatch!(level, gelu_tanh_mul_lanes, gate, up);
}

/// `out = silu(gate) * up`.
pub fn silu_product(level: Level, gate: &[f32], up: &[f32], out: &mut [f32]) {
    dispatch!(level, silu_product_lanes, gate, up, out);
}

/// `out = gelu_tanh(gate) * up`.
pub fn gelu_tanh_product(level: Level, gate: &[f32], up: &[f32], out: &mut [f32]) {
    dispatch!(level, gelu_tanh_product_lanes, gate, up, out);
}

/// `x = cap * tanh(x / cap)`.
pub fn soft_cap(level: Level, x: &mut [f32], cap: f32) {
    dispatch!(level, soft_cap_lanes, x, cap);
}

/// `x = e^x`.
pub fn exp_slice(level: Level, x: &mut [f32]) {
    dispatch!(level, exp_lanes, x);
}

/// `out[i] = f(a[i], b[i])`, a tail in zero-padded lanes.
#[inline(always)]
pub(crate) fn zip<S: Simd>(
    s: S,
    a: &[f32],
    b: &[f32],
    out: &mut [f32],
    f: impl Fn(S::F, S::F) -> S::F,
) {
    assert!(a.len() == out.len() && b.len() == out.len(), "operands of different lengths");
    let (a_body, a_tail) = a.as_chunks::<LANES>();
    let (b_body, b_tail) = b.as_chunks::<LANES>();
    let (out_body, out_tail) = out.as_chunks_mut::<LANES>();
    for ((a, b), out) in a_body.iter().zip(b_body).zip(out_body) {
        s.store(f(s.load(a), s.load(b)), out);
    }
    if !out_tail.is_empty() {
        s.store_partial(f(s.load_partial(a_tail), s.load_partial(b_tail)), out_tail);
    }
}

/// `x[i] = f(a[i], x[i])`, a tail in zero-padded lanes.
#[inline(always)]
fn update<S: Simd>(s: S, a: &[f32], x: &mut [f32], f: impl Fn(S::F, S::F) -> S::F) {
    assert_eq!(a.len(), x.len(), "operands of different lengths");
    let (a_body, a_tail) = a.as_chunks::<LANES>();
    let (x_body, x_tail) = x.as_chunks_mut::<LANES>();
    for (a, x) in a_body.iter().zip(x_body) {
        s.store(f(s.load(a), s.load(x)), x);
    }
    if !x_tail.is_empty() {
        s.store_partial(f(s.load_partial(a_tail), s.load_partial(x_tail)), x_tail);
    }
}

/// `x[i] = f(x[i])`, a tail in zero-padded lanes.
#[inline(always)]
pub(crate) fn map<S: Simd>(s: S, x: &mut [f32], f: impl Fn(S::F) -> S::F) {
    for (start, width) in steps(x.len()) {
        let part = &mut x[start..start + width];
        s.store_partial(f(s.load_partial(part)), part);
    }
}

#[inline(always)]
fn add_lanes<S: Simd>(s: S, a: &[f32], b: &[f32], out: &mut [f32]) {
    zip(
        s,
        a,
        b,
        out,
        #[inline(always)]
        |a, b| s.add(a, b),
    );
}

#[inline(always)]
fn scale_lanes<S: Simd>(s: S, x: &mut [f32], factor: f32) {
    let factor = s.splat(factor);
    map(
        s,
        x,
        #[inline(always)]
        |x| s.mul(x, factor),
    );
}

#[inline(always)]
fn silu_mul_lanes<S: Simd>(s: S, gate: &[f32], up: &mut [f32]) {
    update(
        s,
        gate,
        up,
        #[inline(always)]
        |gate, up| s.mul(math::silu(s, gate), up),
    );
}

#[inline(always)]
fn gelu_tanh_mul_lanes<S: Simd>(s: S, gate: &[f32], up: &mut [f32]) {
    update(
        s,
        gate,
        up,
        #[inline(always)]
        |gate, up| s.mul(math::gelu_tanh(s, gate), up),
    );
}

#[inline(always)]
fn silu_product_lanes<S: Simd>(s: S, gate: &[f32], up: &[f32], out: &mut [f32]) {
    zip(
        s,
        gate,
        up,
        out,
        #[inline(always)]
        |gate, up| s.mul(math::silu(s, gate), up),
    );
}

#[inline(always)]
fn gelu_tanh_product_lanes<S: Simd>(s: S, gate: &[f32], up: &[f32], out: &mut [f32]) {
    zip(
        s,
        gate,
        up,
        out,
        #[inline(always)]
        |gate, up| s.mul(math::gelu_tanh(s, gate), up),
    );
}

#[inline(always)]
fn soft_cap_lanes<S: Simd>(s: S, x: &mut [f32], cap: f32) {
    let cap = s.splat(cap);
    map(
        s,
        x,
        #[inline(always)]
        |x| s.mul(cap, math::tanh(s, s.div(x, cap))),
    );
}

#[inline(always)]
fn exp_lanes<S: Simd>(s: S, x: &mut [f32]) {
    map(
        s,
        x,
        #[inline(always)]
        |x| math::exp(s, x),
    );
}
