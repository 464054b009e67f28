//! The inner product. Lane i of one accumulator takes elements i, i+16, i+32, ...; a tail is padded
//! with zeros; the lanes are summed by the fixed tree. Every product that a kernel sums along a row
//! follows this order.

use crate::Level;
use crate::dispatch::dispatch;
use crate::simd::{LANES, Simd};

/// `sum of a[i] * b[i]`.
pub fn dot(level: Level, a: &[f32], b: &[f32]) -> f32 {
    dispatch!(level, dot_lanes, a, b)
}

#[inline(always)]
pub(crate) fn dot_lanes<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "operands of different lengths");
    let (a_body, a_tail) = a.as_chunks::<LANES>();
    let (b_body, b_tail) = b.as_chunks::<LANES>();
    let mut sum = s.zero();
    for (a, b) in a_body.iter().zip(b_body) {
        sum = s.fma(s.load(a), s.load(b), sum);
    }
    if !a_tail.is_empty() {
        sum = s.fma(s.load_partial(a_tail), s.load_partial(b_tail), sum);
    }
    s.sum(sum)
}
