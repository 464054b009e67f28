//! Causal attention over the rows of each document, and its gradients.
//!
//! Forward goes through the kernels of `Eager`, over the same chunks of keys and values, so its
//! bits are those that serving gives. Backward computes the probabilities of a tile of rows anew
//! and keeps none: with `P = softmax(S)`, `dP = dO V^T`, `dS = P (dP - rowsum(P dP))`, `dQ = dS K`,
//! `dK = dS^T Q`, `dV = P^T dO`. Source: Dao, arXiv:2307.08691, section 3.1.
//!
//! Departures: (1) a tile sees all of its positions at once, so no statistics are kept from
//! forward;
//! (2) `rowsum(P dP)` is summed from what the tile has, not from the output, so that the row of
//! `dS` sums to zero even where stored keys and values were rounded; (3) products are f32 whatever
//! the others are; (4) the gradient passes the rounding of stored keys and values as if there were
//! none.

use std::ops::Range;

use lucid_kernels::{
    self as kernels, AttentionRows, AttentionScratch, AttentionShape, GemmScratch, KV_CHUNK,
    KvDType, Level, Onto, PackedRight, Products, Right,
};

use super::elementwise;
use super::linear::{Machine, Rows, RowsMut};
use crate::aligned::Aligned;
use crate::ops::AttentionSpec;

/// Query heads that are multiplied with a chunk once it is widened.
const FORWARD_TILE_HEADS: usize = 64;

/// Rows of a backward tile. More waste half of a tile's positions, fewer pack keys too often.
const BACKWARD_TILE: usize = PackedRight::PART;

/// Working memory of both directions.
#[derive(Default)]
pub(super) struct Scratch {
    kernel: AttentionScratch,
    /// The keys and values of one head of one document.
    chunks: Aligned<u8>,
    /// `[tile, positions]` each: probabilities, their gradients, capped scores.
    tiles: [Aligned<f32>; 3],
    packed: Packed,
}

/// The keys and values of one head of one document, as the products of all tiles read them.
#[derive(Default)]
struct Packed {
    /// `[positions, head_dim]`, and transposed.
    k: PackedRight,
    k_transposed: PackedRight,
    /// `[value_dim, positions]`.
    v_transposed: PackedRight,
}

impl Packed {
    fn pack(&mut self, level: Level, operands: Operands, document: &Range<usize>, head: usize) {
        let AttentionSpec { head_dim, value_dim, .. } = *operands.spec;
        let [_, k_width, v_width, _] = operands.widths();
        let k = &operands.k[document.start * k_width + head * head_dim..];
        let v = &operands.v[document.start * v_width + head * value_dim..];
        let k = Rows { data: k, count: document.len(), width: head_dim, stride: k_width };
        let v = Rows { data: v, count: document.len(), width: value_dim, stride: v_width };
        self.k.pack(level, Products::F32, k.matrix());
        self.k_transposed.pack(level, Products::F32, k.transposed());
        self.v_transposed.pack(level, Products::F32, v.transposed());
    }
}

/// The operands of a layer's attention, `[rows, heads * dim]` each.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    pub(super) spec: &'a AttentionSpec,
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
}

impl Operands<'_> {
    /// Elements of a row of q, k, v and of what attention makes.
    fn widths(&self) -> [usize; 4] {
        let AttentionSpec { head_count, kv_head_count, head_dim, value_dim, .. } = *self.spec;
        [
            head_count * head_dim,
            kv_head_count * head_dim,
            kv_head_count * value_dim,
            head_count * value_dim,
        ]
    }
}

/// Fills `out`, `[rows, head_count * value_dim]`. Documents are ranges of rows, each from position
/// 0 on.
pub(super) fn forward(
    level: Level,
    kv: KvDType,
    operands: Operands,
    documents: &[Range<usize>],
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    let spec = operands.spec;
    let [q_width, .., out_width] = operands.widths();
    let group = spec.head_count / spec.kv_head_count;
    let shape = AttentionShape {
        kv,
        group,
        head_dim: spec.head_dim,
        value_dim: spec.value_dim,
        scale: spec.scale,
        soft_cap: spec.soft_cap,
        window: spec.window,
    };
    let chunk_bytes = kv.chunk_bytes(spec.head_dim, spec.value_dim);
    let tile = (FORWARD_TILE_HEADS / group).max(1);
    for document in documents {
        for head in 0..spec.kv_head_count {
            store(level, kv, operands, document, head, scratch);
            let Scratch { kernel, chunks, .. } = scratch;
            let chunk = |index: usize| &chunks.as_slice()[index * chunk_bytes..][..chunk_bytes];
            for first in (0..document.len()).step_by(tile) {
                let count = tile.min(document.len() - first);
                let row = document.start + first;
                let q = &operands.q[row * q_width + head * group * spec.head_dim..];
                let rows = AttentionRows { q, stride: q_width, first, count };
                let own = &mut out[row * out_width..(row + count) * out_width];
                let columns = head * group * spec.value_dim..(head + 1) * group * spec.value_dim;
                let mut band = kernels::column_band(own, count, out_width, columns);
                kernels::attend(level, &shape, &rows, chunk, kernel, &mut band);
            }
        }
    }
}

/// Puts the keys and values of one head of a document into chunks.
fn store(
    level: Level,
    kv: KvDType,
    operands: Operands,
    document: &Range<usize>,
    head: usize,
    scratch: &mut Scratch,
) {
    let AttentionSpec { head_dim, value_dim, .. } = *operands.spec;
    let [_, k_width, v_width, _] = operands.widths();
    let chunk_bytes = kv.chunk_bytes(head_dim, value_dim);
    let Scratch { kernel, chunks, .. } = scratch;
    chunks.resize(document.len().div_ceil(KV_CHUNK) * chunk_bytes);
    for (position, row) in document.clone().enumerate() {
        let key = &operands.k[row * k_width + head * head_dim..][..head_dim];
        let value = &operands.v[row * v_width + head * value_dim..][..value_dim];
        let chunk = &mut chunks.as_mut_slice()[position / KV_CHUNK * chunk_bytes..][..chunk_bytes];
        kernels::store_kv(level, kv, key, value, position % KV_CHUNK, chunk, &mut kernel.row);
    }
}

/// The gradients of q, k and v, laid out as they are.
pub(super) struct Gradients<'a> {
    /// Written.
    pub(super) dq: &'a mut [f32],
    /// Added to.
    pub(super) dk: &'a mut [f32],
    /// Added to.
    pub(super) dv: &'a mut [f32],
}

/// Backward, given the gradient of what attention made.
pub(super) fn backward(
    level: Level,
    operands: Operands,
    documents: &[Range<usize>],
    dout: &[f32],
    scratch: &mut Scratch,
    gemm: &mut GemmScratch,
    mut gradients: Gradients,
) {
    let mut machine = Machine { level, products: Products::F32, scratch: gemm };
    let Scratch { tiles, packed, .. } = scratch;
    let AttentionSpec { head_count, kv_head_count, .. } = *operands.spec;
    let group = head_count / kv_head_count;
    for document in documents {
        for kv_head in 0..kv_head_count {
            packed.pack(level, operands, document, kv_head);
            for head in kv_head * group..(kv_head + 1) * group {
                for first in (0..document.len()).step_by(BACKWARD_TILE) {
                    let count = BACKWARD_TILE.min(document.len() - first);
                    let tile = Tile { operands, document: document.start, head, first, count };
                    tile.backward(&mut machine, dout, packed, tiles, &mut gradients);
                }
            }
        }
    }
}

/// Some rows of one head of a document.
struct Tile<'a> {
    operands: Operands<'a>,
    /// The document's first row.
    document: usize,
    head: usize,
    /// The first row's position.
    first: usize,
    count: usize,
}

impl Tile<'_> {
    fn backward(
        &self,
        machine: &mut Machine,
        dout: &[f32],
        packed: &Packed,
        [p, dp, capped]: &mut [Aligned<f32>; 3],
        gradients: &mut Gradients,
    ) {
        let spec = self.operands.spec;
        let AttentionSpec { head_dim, value_dim, .. } = *spec;
        let [q_width, k_width, v_width, out_width] = self.operands.widths();
        let kv_head = self.head / (spec.head_count / spec.kv_head_count);
        let (row, seen) = (self.document + self.first, self.seen());
        let (n, kv_row) = (seen.len(), self.document + seen.start);
        let q_at = row * q_width + self.head * head_dim;
        let k_at = kv_row * k_width + kv_head * head_dim;
        let v_at = kv_row * v_width + kv_head * value_dim;
        let out_at = row * out_width + self.head * value_dim;
        let (q, dout) = (&self.operands.q[q_at..], &dout[out_at..]);
        let q = Rows { data: q, count: self.count, width: head_dim, stride: q_width };
        let dout = Rows { data: dout, count: self.count, width: value_dim, stride: out_width };
        p.resize(self.count * n);
        dp.resize(self.count * n);
        let (p, dp) = (p.as_mut_slice(), dp.as_mut_slice());
        let right = packed.k_transposed.part(0..head_dim, seen.clone());
        machine.multiply(q.matrix(), right, Onto::Replace, RowsMut { data: p, stride: n });
        let right = packed.v_transposed.part(0..value_dim, seen.clone());
        machine.multiply(dout.matrix(), right, Onto::Replace, RowsMut { data: dp, stride: n });
        self.softmax(machine.level, &seen, p, dp, capped);

        let dv = RowsMut { data: &mut gradients.dv[v_at..], stride: v_width };
        let p = Rows::dense(p, n);
        machine.multiply(p.transposed(), Right::Matrix(dout.matrix()), Onto::Add, dv);
        let ds = Rows::dense(dp, n);
        let dq = RowsMut { data: &mut gradients.dq[q_at..], stride: q_width };
        let right = packed.k.part(seen.clone(), 0..head_dim);
        machine.multiply(ds.matrix(), right, Onto::Replace, dq);
        let dk = RowsMut { data: &mut gradients.dk[k_at..], stride: k_width };
        machine.multiply(ds.transposed(), Right::Matrix(q.matrix()), Onto::Add, dk);
    }

    /// Positions that some row of the tile sees, and before them as many as parts of what is packed
    /// begin with.
    fn seen(&self) -> Range<usize> {
        let start = self.seen_by(0).start;
        start - start % PackedRight::PART..self.first + self.count
    }

    /// Positions that a row of the tile sees.
    fn seen_by(&self, row: usize) -> Range<usize> {
        let end = self.first + row + 1;
        self.operands.spec.window.map_or(0, |window| end.saturating_sub(window))..end
    }

    /// From scores and the gradients of probabilities to probabilities and the gradients of scores.
    fn softmax(
        &self,
        level: Level,
        seen: &Range<usize>,
        p: &mut [f32],
        dp: &mut [f32],
        capped: &mut Aligned<f32>,
    ) {
        let AttentionSpec { scale, soft_cap, .. } = *self.operands.spec;
        let n = seen.len();
        if soft_cap.is_some() {
            capped.resize(n);
        }
        let capped = capped.as_mut_slice();
        for (row, (p, dp)) in p.chunks_exact_mut(n).zip(dp.chunks_exact_mut(n)).enumerate() {
            let visible = self.seen_by(row);
            let visible = visible.start - seen.start..visible.end - seen.start;
            for x in [&mut *p, &mut *dp] {
                x[..visible.start].fill(0.0);
                x[visible.end..].fill(0.0);
            }
            let (p, dp) = (&mut p[visible.clone()], &mut dp[visible]);
            let mut factor = scale;
            if let Some(cap) = soft_cap {
                kernels::scale(level, p, scale);
                kernels::soft_cap(level, p, cap);
                capped[..p.len()].copy_from_slice(p);
                factor = 1.0;
            }
            let (_, total) = elementwise::exponentials(level, p, factor);
            let mean = elementwise::scale_and_dot(level, p, 1.0 / total, dp);
            elementwise::softmax(level, p, mean, scale, dp);
            if let Some(cap) = soft_cap {
                elementwise::soft_cap(level, &capped[..dp.len()], cap, dp);
            }
        }
    }
}
