//! Attention over one chunk of keys and values, and the merging of chunks.
//!
//! Source: Milakov and Gimelshein, arXiv:1805.02867 (online softmax); Dao, arXiv:2205.14135.
//! Departure: the chunks are aligned to positions, each yields its own (max, sum, out) and they are
//! merged in ascending order, in prefill and decode alike, so that the bits depend on the row and
//! its positions only.

use crate::Level;
use crate::dispatch::dispatch;
use crate::elementwise::map;
use crate::math;
use crate::simd::{LANES, Simd, steps};
use crate::tile::{Row, tile};
use std::ops::Range;

/// Stored keys or values, `[positions, head_dim]`.
#[derive(Clone, Copy, Debug)]
pub enum KvSlice<'a> {
    /// As computed.
    F32(&'a [f32]),
    /// As binary16 bits.
    F16(&'a [u16]),
}

/// Where keys or values are stored.
#[derive(Debug)]
pub enum KvSliceMut<'a> {
    /// As computed.
    F32(&'a mut [f32]),
    /// As binary16 bits.
    F16(&'a mut [u16]),
}

/// What all heads of a chunk share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChunkShape {
    /// Elements of a query or key head.
    pub head_dim: usize,
    /// Elements of a value head.
    pub value_dim: usize,
    /// Factor on `q . k`.
    pub scale: f32,
    /// `score = cap * tanh(score / cap)`, after the scale.
    pub soft_cap: Option<f32>,
}

/// Stores `values` as they are or rounded to the nearest binary16, ties to even.
pub fn store_kv(level: Level, values: &[f32], out: KvSliceMut<'_>) {
    match out {
        KvSliceMut::F32(out) => out.copy_from_slice(values),
        KvSliceMut::F16(out) => {
            assert_eq!(values.len(), out.len(), "operands of different lengths");
            dispatch!(level, narrow, values, out);
        }
    }
}

/// Attention of the query heads that share one key head, `q` = `[group, head_dim]`, over the
/// `visible` positions of one chunk. Per query head: the largest score, the sum of `e^(score -
/// max)`, and `out` = `[group, value_dim]`, the values weighted by `e^(score - max)` and not yet
/// divided. With nothing visible: minus infinity, 0, zeros.
#[expect(clippy::too_many_arguments, reason = "three inputs, three outputs, the shape and scratch")]
pub fn attend_chunk(
    level: Level,
    shape: &ChunkShape,
    q: &[f32],
    keys: KvSlice<'_>,
    values: KvSlice<'_>,
    visible: Range<usize>,
    max: &mut [f32],
    sum: &mut [f32],
    out: &mut [f32],
    scratch: &mut Vec<f32>,
) {
    let group = max.len();
    assert_eq!(q.len(), group * shape.head_dim, "q is not [group, head_dim]");
    assert!(sum.len() == group && out.len() == group * shape.value_dim, "outputs of one group");
    assert!(visible.start <= visible.end, "visible {visible:?}");
    let count = visible.len();
    if scratch.len() < group * count {
        scratch.resize(group * count, 0.0);
    }
    let scores = &mut scratch[..group * count];
    let keys_at = visible.start * shape.head_dim..visible.end * shape.head_dim;
    match keys {
        KvSlice::F32(k) => dispatch!(level, scores_of, shape, q, &k[keys_at], count, scores),
        KvSlice::F16(k) => dispatch!(level, scores_of, shape, q, &k[keys_at], count, scores),
    }
    dispatch!(level, exponentials, count, scores, max, sum);
    let dim = shape.value_dim;
    let values_at = visible.start * dim..visible.end * dim;
    match values {
        KvSlice::F32(v) => dispatch!(level, weigh, dim, scores, &v[values_at], count, out),
        KvSlice::F16(v) => dispatch!(level, weigh, dim, scores, &v[values_at], count, out),
    }
}

/// Merges a later chunk's `(max, sum, out)` of one head into the running one.
pub fn merge_chunk(
    level: Level,
    into_max: &mut f32,
    into_sum: &mut f32,
    into: &mut [f32],
    max: f32,
    sum: f32,
    out: &[f32],
) {
    assert_eq!(into.len(), out.len(), "operands of different lengths");
    if max == f32::NEG_INFINITY {
        return;
    }
    if *into_max == f32::NEG_INFINITY {
        (*into_max, *into_sum) = (max, sum);
        into.copy_from_slice(out);
        return;
    }
    dispatch!(level, merge_lanes, into_max, into_sum, into, max, sum, out);
}

/// `out /= sum`, the end of attention for one head.
pub fn finish_attention(level: Level, sum: f32, out: &mut [f32]) {
    dispatch!(level, divide, sum, out);
}

#[inline(always)]
fn narrow<S: Simd>(s: S, values: &[f32], out: &mut [u16]) {
    let mut lanes = [0; LANES];
    for (start, width) in steps(values.len()) {
        s.store_f16(s.load_partial(&values[start..start + width]), &mut lanes);
        out[start..start + width].copy_from_slice(&lanes[..width]);
    }
}

/// `scores[g][j] = soft_cap(scale * q[g] . k[j])`.
#[inline(always)]
fn scores_of<'a, S: Simd, T>(
    s: S,
    shape: &ChunkShape,
    q: &[f32],
    keys: &'a [T],
    count: usize,
    scores: &mut [f32],
) where
    &'a [T]: Row<S>,
{
    let (dim, group) = (shape.head_dim, q.len() / shape.head_dim.max(1));
    let mut g = 0;
    while g + 4 <= group {
        score_heads::<S, T, 4>(s, dim, &q[g * dim..], keys, count, &mut scores[g * count..]);
        g += 4;
    }
    for g in g..group {
        score_heads::<S, T, 1>(s, dim, &q[g * dim..], keys, count, &mut scores[g * count..]);
    }
    let scale = s.splat(shape.scale);
    for (start, width) in steps(scores.len()) {
        let part = &mut scores[start..start + width];
        let mut score = s.mul(s.load_partial(part), scale);
        if let Some(cap) = shape.soft_cap {
            let cap = s.splat(cap);
            score = s.mul(cap, math::tanh(s, s.div(score, cap)));
        }
        s.store_partial(score, part);
    }
}

/// Products of the first `G` heads of `q` with every key, four keys at a time.
#[inline(always)]
fn score_heads<'a, S: Simd, T, const G: usize>(
    s: S,
    dim: usize,
    q: &[f32],
    keys: &'a [T],
    count: usize,
    scores: &mut [f32],
) where
    &'a [T]: Row<S>,
{
    let mut heads: [&[f32]; G] = [&[]; G];
    for (g, head) in heads.iter_mut().enumerate() {
        *head = &q[g * dim..(g + 1) * dim];
    }
    let key = |j: usize| &keys[j * dim..(j + 1) * dim];
    let mut j = 0;
    while j + 4 <= count {
        let products = tile(s, heads, [key(j), key(j + 1), key(j + 2), key(j + 3)]);
        for (g, products) in products.iter().enumerate() {
            scores[g * count + j..][..4].copy_from_slice(products);
        }
        j += 4;
    }
    for j in j..count {
        let products = tile(s, heads, [key(j)]);
        for (g, product) in products.iter().enumerate() {
            scores[g * count + j] = product[0];
        }
    }
}

/// Turns the scores of each head into `e^(score - max)`; their largest and their sum by the fixed
/// tree.
#[inline(always)]
fn exponentials<S: Simd>(s: S, count: usize, scores: &mut [f32], max: &mut [f32], sum: &mut [f32]) {
    if count == 0 {
        max.fill(f32::NEG_INFINITY);
        sum.fill(0.0);
        return;
    }
    for ((row, max), sum) in scores.chunks_exact_mut(count).zip(max).zip(sum) {
        let mut largest = s.splat(f32::NEG_INFINITY);
        for (start, width) in steps(count) {
            largest = s.max(largest, load_padded(s, &row[start..start + width]));
        }
        *max = s.max_lane(largest);
        let (largest, mut total) = (s.splat(*max), s.zero());
        for (start, width) in steps(count) {
            let part = &mut row[start..start + width];
            let e = math::exp(s, s.sub(load_padded(s, part), largest));
            total = s.add(total, e);
            s.store_partial(e, part);
        }
        *sum = s.sum(total);
    }
}

/// Up to sixteen scores; absent lanes weigh nothing.
#[inline(always)]
fn load_padded<S: Simd>(s: S, part: &[f32]) -> S::F {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    lanes[..part.len()].copy_from_slice(part);
    s.load(&lanes)
}

/// `out[g] = sum of weights[g][j] * values[j]`, positions ascending.
#[inline(always)]
fn weigh<'a, S: Simd, T>(
    s: S,
    dim: usize,
    weights: &[f32],
    values: &'a [T],
    count: usize,
    out: &mut [f32],
) where
    &'a [T]: Row<S>,
{
    let group = out.len() / dim.max(1);
    let mut g = 0;
    while g + 4 <= group {
        let weights = &weights[g * count..(g + 4) * count];
        weigh_heads::<S, T, 4>(s, dim, weights, values, count, &mut out[g * dim..]);
        g += 4;
    }
    for g in g..group {
        let weights = &weights[g * count..(g + 1) * count];
        weigh_heads::<S, T, 1>(s, dim, weights, values, count, &mut out[g * dim..]);
    }
}

/// `G` heads, sixty-four elements at a time, then sixteen, then the tail.
#[inline(always)]
fn weigh_heads<'a, S: Simd, T, const G: usize>(
    s: S,
    dim: usize,
    weights: &[f32],
    values: &'a [T],
    count: usize,
    out: &mut [f32],
) where
    &'a [T]: Row<S>,
{
    let row = |j: usize| &values[j * dim..(j + 1) * dim];
    let mut start = 0;
    while start < dim {
        if S::WIDE && start + 4 * LANES <= dim {
            weigh_columns::<S, _, G, 4>(s, weights, row, count, start, out, dim);
            start += 4 * LANES;
        } else {
            weigh_columns::<S, _, G, 1>(s, weights, row, count, start, out, dim);
            start += LANES;
        }
    }
}

/// `G` heads and `D` vectors of columns from `start`; the last may be narrower.
#[inline(always)]
fn weigh_columns<S: Simd, R: Row<S>, const G: usize, const D: usize>(
    s: S,
    weights: &[f32],
    row: impl Fn(usize) -> R,
    count: usize,
    start: usize,
    out: &mut [f32],
    dim: usize,
) {
    assert_eq!(weights.len(), G * count, "one weight per head and position");
    let whole = start + D * LANES <= dim;
    let mut sums = [[s.zero(); D]; G];
    for j in 0..count {
        let row = row(j);
        let mut value = [s.zero(); D];
        for (d, value) in value.iter_mut().enumerate() {
            *value = if whole {
                // SAFETY: the vector ends at start + 16 D <= dim, the length of every row; `start`
                // is a multiple of 16.
                unsafe { row.chunk(s, start / LANES + d) }
            } else {
                row.tail(s, start)
            };
        }
        for g in 0..G {
            let weight = s.splat(weights[g * count + j]);
            for d in 0..D {
                sums[g][d] = s.fma(weight, value[d], sums[g][d]);
            }
        }
    }
    for (g, sums) in sums.iter().enumerate() {
        for (d, sum) in sums.iter().enumerate() {
            let from = start + d * LANES;
            let to = dim.min(from + LANES);
            s.store_partial(*sum, &mut out[g * dim + from..g * dim + to]);
        }
    }
}

#[inline(always)]
fn merge_lanes<S: Simd>(
    s: S,
    into_max: &mut f32,
    into_sum: &mut f32,
    into: &mut [f32],
    max: f32,
    sum: f32,
    out: &[f32],
) {
    let largest = if *into_max > max { *into_max } else { max };
    let mut differences = [0.0; LANES];
    (differences[0], differences[1]) = (*into_max - largest, max - largest);
    let mut factors = [0.0; LANES];
    s.store(math::exp(s, s.load(&differences)), &mut factors);
    *into_sum = sum.mul_add(factors[1], *into_sum * factors[0]);
    *into_max = largest;
    let (old, new) = (s.splat(factors[0]), s.splat(factors[1]));
    for (start, width) in steps(out.len()) {
        let part = &mut into[start..start + width];
        let kept = s.mul(s.load_partial(part), old);
        let merged = s.fma(s.load_partial(&out[start..start + width]), new, kept);
        s.store_partial(merged, part);
    }
}

#[inline(always)]
fn divide<S: Simd>(s: S, sum: f32, out: &mut [f32]) {
    let sum = s.splat(sum);
    map(
        s,
        out,
        #[inline(always)]
        |x| s.div(x, sum),
    );
}
