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
    self as kernels, AttentionRows, AttentionScratch, AttentionShape, ColumnBand, GemmScratch,
    KV_CHUNK, KvDType, Level, Onto, PackedRight, Products, Right,
};

use super::elementwise;
use super::linear::{self, Rows, RowsMut};
use super::team::Team;
use crate::aligned::Aligned;
use crate::ops::AttentionSpec;

/// Query heads that are multiplied with a chunk once it is widened.
const FORWARD_TILE_HEADS: usize = 64;

/// Rows of a backward tile. More waste half of a tile's positions, fewer pack keys too often.
const BACKWARD_TILE: usize = PackedRight::PART;

/// Who computes attention, and with what.
pub(super) struct Machine<'a> {
    pub(super) level: Level,
    pub(super) team: &'a Team,
    /// Of each of the team.
    pub(super) scratch: &'a mut [Scratch],
}

/// A thread's working memory of both directions.
#[derive(Default)]
pub(super) struct Scratch {
    gemm: [GemmScratch; 1],
    /// Gradients of heads that threads share out.
    parts: Aligned<f32>,
    kernel: AttentionScratch,
    /// The keys and values of one head of one document.
    chunks: Aligned<u8>,
    /// `[tile, positions]` each: probabilities, their gradients, capped scores.
    tiles: [Aligned<f32>; 3],
    packed: Packed,
}

/// The keys and values of one head of one document, as far as the products of all tiles read them
/// packed.
#[derive(Default)]
struct Packed {
    /// `[positions, head_dim]`, where they are not read where they lie.
    k: PackedRight,
    k_lies: bool,
    /// `[head_dim, positions]`.
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
        self.k_lies = kernels::reads_in_place(level, Products::F32, k.matrix());
        if !self.k_lies {
            self.k.pack(level, Products::F32, k.matrix());
        }
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
/// 0 on, one after the other.
pub(super) fn forward(
    machine: Machine,
    kv: KvDType,
    operands: Operands,
    documents: &[Range<usize>],
    out: &mut [f32],
) {
    let Machine { level, team, scratch } = machine;
    let spec = operands.spec;
    let [.., out_width] = operands.widths();
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
    let forward = Forward { level, shape, operands };
    let tile = (FORWARD_TILE_HEADS / group).max(1);
    let width = group * spec.value_dim;
    if team.threads() == 1 {
        for document in documents {
            let out = &mut out[document.start * out_width..document.end * out_width];
            for head in 0..spec.kv_head_count {
                store(level, kv, operands, document, head, &mut scratch[0]);
                for (index, rows) in out.chunks_mut(tile * out_width).enumerate() {
                    let columns = head * width..(head + 1) * width;
                    let count = rows.len() / out_width;
                    let mut band = kernels::column_band(rows, count, out_width, columns);
                    forward.tile(document, head, index * tile, &mut scratch[0], &mut band);
                }
            }
        }
        return;
    }
    let bounds: Vec<usize> = (0..=spec.kv_head_count).map(|head| head * width).collect();
    let (mut tasks, mut rest) = (Vec::new(), out);
    for document in documents {
        let (own, others) = rest.split_at_mut(document.len() * out_width);
        rest = others;
        let mut heads: Vec<Vec<ColumnBand>> = bounds[1..].iter().map(|_| Vec::new()).collect();
        for rows in own.chunks_mut(tile * out_width) {
            let count = rows.len() / out_width;
            let bands = kernels::column_bands(rows, count, out_width, &bounds);
            heads.iter_mut().zip(bands).for_each(|(head, band)| head.push(band));
        }
        tasks.extend(heads.into_iter().enumerate().map(|(head, bands)| (document, head, bands)));
    }
    team.each(scratch, &mut tasks, |scratch, (document, head, bands)| {
        store(level, kv, operands, document, *head, scratch);
        for (index, band) in bands.iter_mut().enumerate() {
            forward.tile(document, *head, index * tile, scratch, band);
        }
    });
}

/// Attention forward.
struct Forward<'a> {
    level: Level,
    shape: AttentionShape,
    operands: Operands<'a>,
}

impl Forward<'_> {
    /// Some rows of a key-value head of a document, whose keys and values are stored in `scratch`:
    /// those from position `first` on, as many as `out` has.
    fn tile(
        &self,
        document: &Range<usize>,
        head: usize,
        first: usize,
        scratch: &mut Scratch,
        out: &mut ColumnBand,
    ) {
        let AttentionShape { kv, group, head_dim, value_dim, .. } = self.shape;
        let [stride, ..] = self.operands.widths();
        let chunk_bytes = kv.chunk_bytes(head_dim, value_dim);
        let Scratch { kernel, chunks, .. } = scratch;
        let chunk = |index: usize| &chunks.as_slice()[index * chunk_bytes..][..chunk_bytes];
        let at = (document.start + first) * stride + head * group * head_dim;
        let rows = AttentionRows { q: &self.operands.q[at..], stride, first, count: out.rows() };
        kernels::attend(self.level, &self.shape, &rows, chunk, kernel, out);
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
    /// Whether `dk` and `dv` are zero.
    pub(super) fresh: bool,
}

/// Where the gradients of some heads of some rows go.
struct Outs<'a> {
    dq: &'a mut [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
    /// Elements of a row of each.
    widths: [usize; 3],
    /// The first row, and the first query and key-value head, that they hold.
    row: usize,
    head: usize,
    kv_head: usize,
}

/// Backward, given the gradient of what attention made.
pub(super) fn backward(
    machine: Machine,
    operands: Operands,
    documents: &[Range<usize>],
    dout: &[f32],
    gradients: Gradients,
) {
    if machine.team.threads() > 1 && gradients.fresh {
        return backward_shared(machine, operands, documents, dout, gradients);
    }
    let Machine { level, scratch, .. } = machine;
    let [q_width, k_width, v_width, _] = operands.widths();
    let Gradients { dq, dk, dv, .. } = gradients;
    let widths = [q_width, k_width, v_width];
    let mut outs = Outs { dq, dk, dv, widths, row: 0, head: 0, kv_head: 0 };
    for document in documents {
        for kv_head in 0..operands.spec.kv_head_count {
            let part = Part { level, operands, dout, document, kv_head };
            part.backward(&mut scratch[0], &mut outs);
        }
    }
}

/// The same with the heads of documents as tasks, each with memory of its own.
fn backward_shared(
    machine: Machine,
    operands: Operands,
    documents: &[Range<usize>],
    dout: &[f32],
    gradients: Gradients,
) {
    let Machine { level, team, scratch } = machine;
    let AttentionSpec { head_count, kv_head_count, head_dim, value_dim, .. } = *operands.spec;
    let group = head_count / kv_head_count;
    let widths = [group * head_dim, head_dim, value_dim];
    let width: usize = widths.iter().sum();
    let rows: usize = documents.iter().map(Range::len).sum();
    let mut parts = std::mem::take(&mut scratch[0].parts);
    parts.resize(rows * kv_head_count * width);
    let mut rest = parts.as_mut_slice();
    let mut tasks = Vec::new();
    for document in documents {
        for kv_head in 0..kv_head_count {
            let (own, others) = rest.split_at_mut(document.len() * width);
            rest = others;
            tasks.push((document, kv_head, own));
        }
    }
    team.each(scratch, &mut tasks, |scratch, (document, kv_head, own)| {
        let [dq, dk, dv] = split(own, document.len(), widths);
        dk.fill(0.0);
        dv.fill(0.0);
        let (row, head) = (document.start, *kv_head * group);
        let mut outs = Outs { dq, dk, dv, widths, row, head, kv_head: *kv_head };
        let part = Part { level, operands, dout, document, kv_head: *kv_head };
        part.backward(scratch, &mut outs);
    });
    let [q_width, k_width, v_width, _] = operands.widths();
    let wholes = [(gradients.dq, q_width), (gradients.dk, k_width), (gradients.dv, v_width)];
    for (index, (whole, whole_width)) in wholes.into_iter().enumerate() {
        for (document, kv_head, own) in &mut tasks {
            let width = widths[index];
            let part = &*split(own, document.len(), widths)[index];
            let into = whole.chunks_exact_mut(whole_width).skip(document.start);
            for (into, part) in into.zip(part.chunks_exact(width)) {
                into[*kv_head * width..][..width].copy_from_slice(part);
            }
        }
    }
    scratch[0].parts = parts;
}

/// The gradients of q, k and v of one head of so many rows.
fn split(own: &mut [f32], rows: usize, [q, k, _]: [usize; 3]) -> [&mut [f32]; 3] {
    let (dq, rest) = own.split_at_mut(rows * q);
    let (dk, dv) = rest.split_at_mut(rows * k);
    [dq, dk, dv]
}

/// A key-value head of a document, with its query heads.
struct Part<'a> {
    level: Level,
    operands: Operands<'a>,
    dout: &'a [f32],
    document: &'a Range<usize>,
    kv_head: usize,
}

impl Part<'_> {
    fn backward(&self, scratch: &mut Scratch, outs: &mut Outs) {
        let Part { level, operands, dout, document, kv_head } = *self;
        let Scratch { gemm, tiles, packed, .. } = scratch;
        let products = Products::F32;
        let mut machine = linear::Machine { level, products, team: None, scratch: gemm };
        packed.pack(level, operands, document, kv_head);
        let group = operands.spec.head_count / operands.spec.kv_head_count;
        for head in kv_head * group..(kv_head + 1) * group {
            for first in (0..document.len()).step_by(BACKWARD_TILE) {
                let count = BACKWARD_TILE.min(document.len() - first);
                let tile = Tile { operands, document: document.start, head, first, count };
                tile.backward(&mut machine, dout, packed, tiles, outs);
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
        machine: &mut linear::Machine,
        dout: &[f32],
        packed: &Packed,
        [p, dp, capped]: &mut [Aligned<f32>; 3],
        outs: &mut Outs,
    ) {
        let spec = self.operands.spec;
        let AttentionSpec { head_dim, value_dim, .. } = *spec;
        let [q_width, k_width, _, out_width] = self.operands.widths();
        let kv_head = self.head / (spec.head_count / spec.kv_head_count);
        let (row, seen) = (self.document + self.first, self.seen());
        let (n, kv_row) = (seen.len(), self.document + seen.start);
        let q_at = row * q_width + self.head * head_dim;
        let k_at = kv_row * k_width + kv_head * head_dim;
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

        let [dq_width, dk_width, dv_width] = outs.widths;
        let (row, kv_row) = (row - outs.row, kv_row - outs.row);
        let kv_head = kv_head - outs.kv_head;
        let dq_at = row * dq_width + (self.head - outs.head) * head_dim;
        let dk_at = kv_row * dk_width + kv_head * head_dim;
        let dv_at = kv_row * dv_width + kv_head * value_dim;
        let dv = RowsMut { data: &mut outs.dv[dv_at..], stride: dv_width };
        let p = Rows::dense(p, n);
        machine.multiply(p.transposed(), Right::Matrix(dout.matrix()), Onto::Add, dv);
        let ds = Rows::dense(dp, n);
        let dq = RowsMut { data: &mut outs.dq[dq_at..], stride: dq_width };
        let k = Rows { data: &self.operands.k[k_at..], count: n, width: head_dim, stride: k_width };
        let right = if packed.k_lies {
            Right::Matrix(k.matrix())
        } else {
            packed.k.part(seen.clone(), 0..head_dim)
        };
        machine.multiply(ds.matrix(), right, Onto::Replace, dq);
        let dk = RowsMut { data: &mut outs.dk[dk_at..], stride: dk_width };
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
