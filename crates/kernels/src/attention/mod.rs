//! Causal attention of a tile of rows of one sequence, for the query heads that share a key-value
//! head. Prompts and single tokens run through the same code.
//!
//! Source: Milakov and Gimelshein, arXiv:1805.02867 (online softmax); Dao, arXiv:2205.14135 and
//! arXiv:2307.08691 (tiles).
//!
//! The order of a row's sums is fixed by its position: chunks of `KV_CHUNK` aligned positions in
//! ascending order make a run of `KV_RUN` chunks, and the runs' results are merged in ascending
//! order. A score is one chain over the head's dimensions, a weighted value one chain over a run's
//! positions. So the bits do not depend on the rows beside it, on how runs are spread over threads,
//! or on the instruction set. Positions that a row does not see are never multiplied: what stands
//! there, be it infinite, cannot reach it.
//!
//! Both halves are products of small matrices, `[row heads, head_dim]` by `[head_dim, 64]` and
//! `[row heads, 64]` by `[64, value_dim]`, of keys and values widened to f32: once per chunk and
//! tile, or on the way where the tile is small.

mod format;
mod product;
mod softmax;
mod store;
mod stored;

use std::ops::{Deref, DerefMut, Range};

use crate::Level;
use crate::band::ColumnBand;
use crate::simd::LANES;
pub use format::{KV_CHUNK, KvDType};
use product::{Matrix, Onto, Size, TILE_ROWS, multiply, multiply_stored};
use softmax::{Part, Running};
pub use store::store_kv;
use stored::{Half, Stored};

/// Chunks of a run: the least part of a context that a thread attends to on its own. A constant,
/// because the order of sums depends on it.
pub const KV_RUN: usize = 8;

/// What all heads of a layer share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Number format of keys and values.
    pub kv: KvDType,
    /// Query heads per key-value head.
    pub group: usize,
    /// Elements of a query or key head.
    pub head_dim: usize,
    /// Elements of a value head.
    pub value_dim: usize,
    /// Factor on `q . k`.
    pub scale: f32,
    /// `score = cap * tanh(score / cap)`, after the scale.
    pub soft_cap: Option<f32>,
    /// A position sees itself and the `window - 1` before it; all before it when absent.
    pub window: Option<usize>,
}

/// Rows of one sequence, at consecutive positions.
#[derive(Clone, Copy, Debug)]
pub struct AttentionRows<'a> {
    /// The query heads of one key-value head: those of row `i` are the `group * head_dim` elements
    /// at `i * stride`.
    pub q: &'a [f32],
    /// Elements from a row to the next.
    pub stride: usize,
    /// The first row's position.
    pub first: usize,
    /// How many rows.
    pub count: usize,
}

/// Working memory, to be kept between calls.
#[derive(Debug, Default)]
pub struct AttentionScratch {
    q: Floats,
    /// The keys or the values of a chunk in f32: one after the other, so that the first cache
    /// holds them.
    widened: Floats,
    scores: Floats,
    factors: Floats,
    /// Sums of weights of the run under way, `[heads][LANES]`.
    lanes: Floats,
    run: State,
    total: State,
    /// For `store_kv`.
    pub row: Vec<u8>,
}

/// Some heads over some positions: `[heads]`, `[heads]` and `[heads][value_stride]`.
#[derive(Debug, Default)]
struct State {
    max: Floats,
    sum: Floats,
    out: Floats,
}

impl AttentionShape {
    /// The positions that a row at `position` sees.
    fn visible(&self, position: usize) -> Range<usize> {
        let start = self.window.map_or(0, |window| (position + 1).saturating_sub(window));
        start..position + 1
    }

    /// The chunks that some of the rows see.
    fn chunks(&self, rows: &AttentionRows) -> Range<usize> {
        let last = rows.first + rows.count - 1;
        self.visible(rows.first).start / KV_CHUNK..last / KV_CHUNK + 1
    }

    /// The runs that some of the rows see.
    pub fn runs(&self, rows: &AttentionRows) -> Range<usize> {
        let chunks = self.chunks(rows);
        chunks.start / KV_RUN..(chunks.end - 1) / KV_RUN + 1
    }

    /// Elements of a run's result, for so many rows.
    pub fn partial_len(&self, rows: usize) -> usize {
        rows * self.group * (self.value_stride() + 2)
    }

    fn value_stride(&self) -> usize {
        self.value_dim.next_multiple_of(LANES)
    }
}

/// Attention over all that the rows see. `chunk` gives the bytes of a chunk by its number; row `i`
/// of `out` becomes `[group, value_dim]`.
pub fn attend<'a>(
    level: Level,
    shape: &AttentionShape,
    rows: &AttentionRows,
    chunk: impl Fn(usize) -> &'a [u8],
    scratch: &mut AttentionScratch,
    out: &mut ColumnBand,
) {
    take_queries(level, shape, rows, &mut scratch.q);
    scratch.total.clear(shape, rows.count);
    let chunks = shape.chunks(rows);
    for run in shape.runs(rows) {
        attend_chunks(level, shape, rows, &chunk, run_of(&chunks, run), chunks.end, scratch);
        let stride = shape.value_stride();
        let run = &scratch.run;
        for (head, (max, sum)) in run.max.iter().zip(run.sum.iter()).enumerate() {
            let out = &run.out[head * stride..][..stride];
            softmax::merge(level, scratch.total.part(head, stride), *max, *sum, out);
        }
    }
    finish(level, shape, &scratch.total, out);
}

/// Attention over one run of chunks, for `merge_runs`: `partial` is `partial_len(rows)` long.
pub fn attend_run<'a>(
    level: Level,
    shape: &AttentionShape,
    rows: &AttentionRows,
    chunk: impl Fn(usize) -> &'a [u8],
    run: usize,
    scratch: &mut AttentionScratch,
    partial: &mut [f32],
) {
    assert_eq!(partial.len(), shape.partial_len(rows.count), "the result of a run");
    take_queries(level, shape, rows, &mut scratch.q);
    let chunks = run_of(&shape.chunks(rows), run);
    let end = chunks.end;
    attend_chunks(level, shape, rows, &chunk, chunks, end, scratch);
    let (stride, run) = (shape.value_stride(), &scratch.run);
    for (head, part) in partial.chunks_exact_mut(stride + 2).enumerate() {
        (part[0], part[1]) = (run.max[head], run.sum[head]);
        part[2..].copy_from_slice(&run.out[head * stride..][..stride]);
    }
}

/// Merges the results of runs, in ascending order, into what `attend` would have given.
pub fn merge_runs<'p>(
    level: Level,
    shape: &AttentionShape,
    partials: impl Iterator<Item = &'p [f32]>,
    scratch: &mut AttentionScratch,
    out: &mut ColumnBand,
) {
    let stride = shape.value_stride();
    scratch.total.clear(shape, out.rows());
    for partial in partials {
        assert_eq!(partial.len(), shape.partial_len(out.rows()), "the result of a run");
        for (head, part) in partial.chunks_exact(stride + 2).enumerate() {
            let into = scratch.total.part(head, stride);
            softmax::merge(level, into, part[0], part[1], &part[2..]);
        }
    }
    finish(level, shape, &scratch.total, out);
}

/// The chunks of a run.
fn run_of(chunks: &Range<usize>, run: usize) -> Range<usize> {
    chunks.start.max(run * KV_RUN)..chunks.end.min((run + 1) * KV_RUN)
}

/// Gathers the queries, `[heads, head_dim]`, with the factor of the scores in them.
fn take_queries(level: Level, shape: &AttentionShape, rows: &AttentionRows, q: &mut Floats) {
    let width = shape.group * shape.head_dim;
    // Without a cap, scores are wanted in units of ln 2.
    let factor = match shape.soft_cap {
        Some(_) => shape.scale,
        None => shape.scale * std::f32::consts::LOG2_E,
    };
    q.resize(rows.count * width);
    for (row, q) in q.chunks_exact_mut(width).enumerate() {
        softmax::scale_to(level, &rows.q[row * rows.stride..][..width], factor, q);
    }
}

/// Fills `scratch.run` from these chunks of one run. Chunks up to `end` will be read soon.
fn attend_chunks<'a>(
    level: Level,
    shape: &AttentionShape,
    rows: &AttentionRows,
    chunk: &impl Fn(usize) -> &'a [u8],
    chunks: Range<usize>,
    end: usize,
    scratch: &mut AttentionScratch,
) {
    let heads = rows.count * shape.group;
    scratch.run.clear(shape, rows.count);
    scratch.lanes.resize(heads * LANES);
    scratch.lanes.fill(0.0);
    for index in chunks {
        let next = if index + 1 < end { chunk(index + 1) } else { &[] };
        let seen = Seen::new(shape, rows, index);
        if !seen.rows.is_empty() {
            attend_chunk(level, shape, rows, &seen, chunk(index), next, scratch);
        }
    }
    let lanes = scratch.lanes.as_chunks().0;
    for (sum, lanes) in scratch.run.sum.iter_mut().zip(lanes) {
        *sum = softmax::sum_lanes(level, lanes);
    }
}

/// What rows see of a chunk.
struct Seen {
    /// The chunk's first position.
    base: usize,
    /// The rows that see some of it.
    rows: Range<usize>,
    /// Whether all of these see all of it.
    whole: bool,
}

impl Seen {
    fn new(shape: &AttentionShape, rows: &AttentionRows, chunk: usize) -> Self {
        let base = chunk * KV_CHUNK;
        let from = base.saturating_sub(rows.first).min(rows.count);
        let to = shape.window.map_or(rows.count, |window| {
            // Row i sees positions from first + i + 1 - window.
            let beyond = (base + KV_CHUNK - 1).saturating_add(window);
            beyond.saturating_sub(rows.first).min(rows.count)
        });
        let mut seen = Self { base, rows: from..to.max(from), whole: false };
        let all = 0..KV_CHUNK;
        seen.whole = !seen.rows.is_empty()
            && seen.by(shape, rows, from) == all
            && seen.by(shape, rows, to - 1) == all;
        seen
    }

    /// The positions within the chunk that a row sees.
    fn by(&self, shape: &AttentionShape, rows: &AttentionRows, row: usize) -> Range<usize> {
        let visible = shape.visible(rows.first + row);
        visible.start.max(self.base) - self.base..visible.end.min(self.base + KV_CHUNK) - self.base
    }
}

/// Takes one chunk into `scratch.run`.
fn attend_chunk(
    level: Level,
    shape: &AttentionShape,
    rows: &AttentionRows,
    seen: &Seen,
    chunk: &[u8],
    next: &[u8],
    scratch: &mut AttentionScratch,
) {
    let AttentionShape { kv, group, head_dim, value_dim, .. } = *shape;
    let AttentionScratch { q, widened, scores, factors, lanes, run, .. } = scratch;
    let split = KV_CHUNK * kv.bytes(head_dim);
    let (keys, values) = chunk.split_at(split);
    let (next_keys, next_values) = next.split_at(split.min(next.len()));
    let keys = Stored { kv, part: Half::Keys, bytes: keys, next: next_keys };
    let values = Stored { kv, part: Half::Values(value_dim), bytes: values, next: next_values };
    let heads = seen.rows.start * group..seen.rows.end * group;
    let few = heads.len() <= TILE_ROWS;

    let size = Size { rows: heads.len(), inner: head_dim, vectors: KV_CHUNK / LANES };
    scores.resize(heads.len() * KV_CHUNK);
    let a = Matrix { data: &q[heads.start * head_dim..], stride: head_dim };
    if few {
        multiply_stored(level, size, a, keys, Onto::Zero, scores, KV_CHUNK);
    } else {
        let b = widened.of(level, keys, KV_CHUNK);
        multiply(level, size, a, b, Onto::Zero, scores, KV_CHUNK);
    }
    if let Some(cap) = shape.soft_cap {
        softmax::cap_scores(level, cap, scores);
    }
    if !seen.whole {
        hide(shape, rows, seen, scores);
    }
    factors.resize(heads.len());
    let sum = &mut lanes[heads.start * LANES..heads.end * LANES];
    let running = Running { max: &mut run.max[heads.clone()], sum, factors };
    softmax::weights(level, scores, running);

    let stride = shape.value_stride();
    let size = Size { rows: heads.len(), inner: KV_CHUNK, vectors: stride / LANES };
    let a = Matrix { data: scores, stride: KV_CHUNK };
    let out = &mut run.out[heads.start * stride..heads.end * stride];
    if !seen.whole {
        let b = widened.of(level, values, stride);
        weigh_seen(level, shape, rows, seen, [scores, b.data, factors], out);
    } else if few && stride == value_dim {
        multiply_stored(level, size, a, values, Onto::Scaled(factors), out, stride);
    } else {
        let b = widened.of(level, values, stride);
        multiply(level, size, a, b, Onto::Scaled(factors), out, stride);
    }
}

/// Scores of positions that a row does not see become minus infinity.
fn hide(shape: &AttentionShape, rows: &AttentionRows, seen: &Seen, scores: &mut [f32]) {
    let row_scores = scores.chunks_exact_mut(shape.group * KV_CHUNK);
    for (row, scores) in seen.rows.clone().zip(row_scores) {
        let visible = seen.by(shape, rows, row);
        for head in scores.chunks_exact_mut(KV_CHUNK) {
            head[..visible.start].fill(f32::NEG_INFINITY);
            head[visible.end..].fill(f32::NEG_INFINITY);
        }
    }
}

/// Weighs the values of a chunk row by row, each only those that it sees.
fn weigh_seen(
    level: Level,
    shape: &AttentionShape,
    rows: &AttentionRows,
    seen: &Seen,
    [weights, values, factors]: [&[f32]; 3],
    out: &mut [f32],
) {
    let (group, stride) = (shape.group, shape.value_stride());
    for (index, row) in seen.rows.clone().enumerate() {
        let visible = seen.by(shape, rows, row);
        let size = Size { rows: group, inner: visible.len(), vectors: stride / LANES };
        let weights = &weights[index * group * KV_CHUNK + visible.start..];
        let a = Matrix { data: weights, stride: KV_CHUNK };
        let b = Matrix { data: &values[visible.start * stride..], stride };
        let onto = Onto::Scaled(&factors[index * group..][..group]);
        multiply(level, size, a, b, onto, &mut out[index * group * stride..], stride);
    }
}

/// Divides by the sums.
fn finish(level: Level, shape: &AttentionShape, total: &State, out: &mut ColumnBand) {
    let stride = shape.value_stride();
    for row in 0..out.rows() {
        let heads = out.row_mut(row).chunks_exact_mut(shape.value_dim);
        for (head, out) in (row * shape.group..).zip(heads) {
            let weighed = &total.out[head * stride..][..shape.value_dim];
            softmax::divide(level, weighed, total.sum[head], out);
        }
    }
}

impl State {
    /// Nothing seen yet.
    fn clear(&mut self, shape: &AttentionShape, rows: usize) {
        let heads = rows * shape.group;
        self.max.resize(heads);
        self.max.fill(f32::NEG_INFINITY);
        self.sum.resize(heads);
        self.sum.fill(0.0);
        self.out.resize(heads * shape.value_stride());
        self.out.fill(0.0);
    }

    fn part(&mut self, head: usize, stride: usize) -> Part<'_> {
        let out = &mut self.out[head * stride..][..stride];
        Part { max: &mut self.max[head], sum: &mut self.sum[head], out }
    }
}

/// Numbers that start at a cache line.
#[derive(Debug, Default)]
struct Floats {
    buffer: Vec<f32>,
    start: usize,
    len: usize,
}

impl Floats {
    /// Changes the length. The contents are arbitrary afterwards.
    fn resize(&mut self, len: usize) {
        if self.buffer.len() < len + LANES {
            self.buffer = vec![0.0; len + LANES];
            self.start = self.buffer.as_ptr().align_offset(size_of::<[f32; LANES]>()).min(LANES);
        }
        self.len = len;
    }

    /// A part of a chunk, widened into this memory.
    fn of(&mut self, level: Level, stored: Stored, stride: usize) -> Matrix<'_> {
        self.resize(stored.rows() * stride);
        stored::widen(level, stored, self, stride);
        Matrix { data: self, stride }
    }
}

impl Deref for Floats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.buffer[self.start..self.start + self.len]
    }
}

impl DerefMut for Floats {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.buffer[self.start..self.start + self.len]
    }
}
