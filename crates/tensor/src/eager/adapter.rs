//! Low-rank adapters: what is added to a product, or to an embedding, for the rows of the sequences
//! that want it. Source: Hu et al., arXiv:2106.09685: `y = W x + s B (A x)`.
//!
//! Invariant: what is added to a row depends on that row and its adapter alone, in f32, each sum in
//! the fixed order of `matmul`; rows without an adapter are not touched, so they keep their bits.
//!
//! Departures: `s` multiplies `A x`, which has fewer elements than `B (A x)`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use lucid_kernels::{self as kernels, DType, Level, WeightRows};
use lucid_sys::ThreadPool;

use super::Scratch;
use super::arena::Draft;
use super::weights::WeightId;
use crate::Pass;
use crate::ops::Linear;

/// Rows that a task takes: enough to reuse a factor while it is in cache.
const ROWS_PER_TASK: usize = 32;

/// One factor of a low-rank matrix, `[rows, cols]`, in its file's format.
#[derive(Clone)]
pub struct Factor {
    /// Number format.
    pub dtype: DType,
    /// Rows.
    pub rows: usize,
    /// Elements per row; whole blocks of the format.
    pub cols: usize,
    /// The elements, row-major: `rows * dtype.row_bytes(cols)` bytes.
    pub bytes: Vec<u8>,
}

impl Factor {
    fn row_bytes(&self) -> usize {
        self.bytes.len() / self.rows.max(1)
    }

    fn widen_row(&self, level: Level, row: usize, out: &mut [f32]) {
        let bytes = &self.bytes[row * self.row_bytes()..][..self.row_bytes()];
        kernels::dequantize_row(level, self.dtype, bytes, out);
    }

    /// `out = x self^T`, `x` being `[batch, cols]`.
    fn multiply(&self, level: Level, x: &[f32], out: &mut Vec<f32>, working: &mut Vec<f32>) {
        let batch = x.len() / self.cols;
        out.clear();
        out.resize(batch * self.rows, 0.0);
        let weights = WeightRows { dtype: self.dtype, bytes: &self.bytes, cols: self.cols };
        for mut band in kernels::column_bands(out, batch, self.rows, &[0, self.rows]) {
            kernels::matmul(level, x, batch, weights, None, &mut band, working);
        }
    }
}

impl fmt::Debug for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}, {}]", self.dtype, self.rows, self.cols)
    }
}

/// What an adapter adds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdapterTarget {
    /// The product with a matrix `[out, in]`.
    Product(WeightId),
    /// The rows of the token embedding `[vocab, width]`.
    Embedding,
}

/// A low-rank matrix that is added.
#[derive(Clone, Debug)]
pub struct LowRank {
    /// What it is added to.
    pub target: AdapterTarget,
    /// `[rank, in]`; of an embedding `[vocab, rank]`.
    pub a: Factor,
    /// `[out, rank]`; of an embedding `[width, rank]`.
    pub b: Factor,
    /// `s`.
    pub scale: f32,
}

/// An adapter that sequences of a pass may want. It lives as long as somebody holds it.
#[derive(Debug)]
pub struct Adapter {
    products: BTreeMap<WeightId, LowRank>,
    embedding: Option<Embedding>,
    identity: [u8; 32],
    bytes: usize,
    rank: usize,
}

/// What is added to embeddings; the second factor is needed row by row, so it is held in f32.
#[derive(Debug)]
struct Embedding {
    a: Factor,
    b: Vec<f32>,
    scale: f32,
}

impl Adapter {
    /// Joins parts; of several for one target the last one counts.
    ///
    /// # Panics
    /// Factors that do not fit each other: whoever made them has checked their shapes.
    pub fn new(level: Level, parts: Vec<LowRank>) -> Self {
        let mut hasher = blake3::Hasher::new();
        let (mut products, mut embedding, mut bytes, mut rank) = (BTreeMap::new(), None, 0, 0);
        for part in parts {
            hash(&mut hasher, &part);
            bytes += part.a.bytes.len() + part.b.bytes.len();
            rank = rank.max(part.b.cols);
            match part.target {
                AdapterTarget::Product(weight) => {
                    assert_eq!(part.a.rows, part.b.cols, "the rank of both factors");
                    products.insert(weight, part);
                }
                AdapterTarget::Embedding => {
                    assert_eq!(part.a.cols, part.b.cols, "the rank of both factors");
                    let mut b = vec![0.0; part.b.rows * part.b.cols];
                    for (row, out) in b.chunks_exact_mut(part.b.cols).enumerate() {
                        part.b.widen_row(level, row, out);
                    }
                    embedding = Some(Embedding { a: part.a, b, scale: part.scale });
                }
            }
        }
        Self { products, embedding, identity: *hasher.finalize().as_bytes(), bytes, rank }
    }

    /// A hash of everything that a result can depend on: targets, formats, shapes, elements and
    /// scales.
    pub fn identity(&self) -> &[u8; 32] {
        &self.identity
    }

    /// Bytes of its factors.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The highest rank of its parts.
    pub fn rank(&self) -> usize {
        self.rank
    }
}

fn hash(hasher: &mut blake3::Hasher, part: &LowRank) {
    let target = match part.target {
        AdapterTarget::Product(weight) => weight.index() as u64,
        AdapterTarget::Embedding => u64::MAX,
    };
    hasher.update(&target.to_le_bytes());
    hasher.update(&part.scale.to_le_bytes());
    for factor in [&part.a, &part.b] {
        hasher.update(factor.dtype.name().as_bytes());
        hasher.update(&(factor.rows as u64).to_le_bytes());
        hasher.update(&(factor.cols as u64).to_le_bytes());
        hasher.update(&factor.bytes);
    }
}

impl Embedding {
    /// Adds to a row of the embedding.
    fn add(&self, level: Level, token: usize, out: &mut [f32]) {
        let mut inner = vec![0.0; self.a.cols];
        self.a.widen_row(level, token, &mut inner);
        kernels::scale(level, &mut inner, self.scale);
        for (out, row) in out.iter_mut().zip(self.b.chunks_exact(self.a.cols)) {
            *out += kernels::dot(level, row, &inner);
        }
    }
}

/// Rows of a value that want the same adapter.
#[derive(Debug)]
pub(super) struct Group {
    adapter: Arc<Adapter>,
    rows: Vec<usize>,
}

/// The adapters of a pass by the rows that want them: of values that have all its rows, those that
/// are wanted, and those whose logits are. Empty where no sequence has an adapter.
#[derive(Debug, Default)]
pub(super) struct PassAdapters {
    of: [(usize, Vec<Group>); 3],
}

impl PassAdapters {
    pub(super) fn new(pass: &Pass) -> Self {
        if pass.adapters.iter().all(Option::is_none) {
            return Self::default();
        }
        let all: Vec<u32> = (0..pass.rows.len() as u32).collect();
        let scored: Vec<u32> = pass.scored().collect();
        Self { of: [&all, &pass.outputs, &scored].map(|rows| (rows.len(), groups(pass, rows))) }
    }

    /// The groups of a value with so many rows. (Each kind of rows is a part of the one before, so
    /// kinds of the same number are the same rows.)
    pub(super) fn of(&self, rows: usize) -> &[Group] {
        self.of.iter().find(|(count, _)| *count == rows).map_or(&[], |(_, groups)| groups)
    }

    /// Whether a row wants something added to one of these products.
    pub(super) fn touch(&self, rows: usize, weights: &[Linear<WeightId>]) -> bool {
        self.of(rows).iter().any(|group| {
            weights.iter().any(|linear| group.adapter.products.contains_key(&linear.weight))
        })
    }
}

fn groups(pass: &Pass, rows: &[u32]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (place, &row) in rows.iter().enumerate() {
        let sequence = pass.rows[row as usize].sequence as usize;
        let Some(adapter) = &pass.adapters[sequence] else { continue };
        match groups.iter_mut().find(|group| Arc::ptr_eq(&group.adapter, adapter)) {
            Some(group) => group.rows.push(place),
            None => groups.push(Group { adapter: Arc::clone(adapter), rows: vec![place] }),
        }
    }
    groups
}

/// Adds to the embedding of a row of the pass what its adapter says.
pub(super) fn add_to_embedding(level: Level, pass: &Pass, row: usize, out: &mut [f32]) {
    let row = pass.rows[row];
    let adapter = pass.adapters.get(row.sequence as usize).and_then(Option::as_ref);
    if let Some(embedding) = adapter.and_then(|adapter| adapter.embedding.as_ref()) {
        embedding.add(level, row.token as usize, out);
    }
}

/// Working memory of a thread.
#[derive(Default)]
pub(super) struct Buffers {
    x: Vec<f32>,
    inner: Vec<f32>,
    delta: Vec<f32>,
}

/// Some rows of one product with one adapter.
struct Task<'a> {
    part: &'a LowRank,
    rows: &'a [usize],
    outs: Vec<&'a mut [f32]>,
}

impl Task<'_> {
    fn run(&mut self, level: Level, x: &[f32], scratch: &mut Scratch) {
        let Buffers { x: gathered, inner, delta } = &mut scratch.adapter;
        let LowRank { a, b, scale, .. } = self.part;
        gathered.clear();
        for &row in self.rows {
            gathered.extend_from_slice(&x[row * a.cols..(row + 1) * a.cols]);
        }
        a.multiply(level, gathered, inner, &mut scratch.weights);
        kernels::scale(level, inner, *scale);
        b.multiply(level, inner, delta, &mut scratch.weights);
        for (out, delta) in self.outs.iter_mut().zip(delta.chunks_exact(b.rows)) {
            for (out, delta) in out.iter_mut().zip(delta) {
                *out += delta;
            }
        }
    }
}

/// Adds to `outs[i]`, which is `x weights[i]^T`, what the groups' adapters say.
pub(super) fn add<const N: usize>(
    (level, pool, scratch): (Level, &ThreadPool, &mut [Scratch]),
    groups: &[Group],
    x: &[f32],
    weights: &[Linear<WeightId>; N],
    outs: &mut [Draft; N],
) {
    let mut tasks = Vec::new();
    for (linear, out) in weights.iter().zip(outs) {
        let mut rows: Vec<Option<&mut [f32]>> = out.rows_mut().map(Some).collect();
        for group in groups {
            let Some(part) = group.adapter.products.get(&linear.weight) else { continue };
            let step = group.rows.len().div_ceil(pool.threads()).clamp(1, ROWS_PER_TASK);
            for chunk in group.rows.chunks(step) {
                let outs = chunk.iter().filter_map(|&row| rows[row].take()).collect();
                tasks.push(Task { part, rows: chunk, outs });
            }
        }
    }
    pool.for_each_with(scratch, &mut tasks, |scratch, _, task| task.run(level, x, scratch));
}
