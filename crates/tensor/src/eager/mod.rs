//! The serving executor: computes each operation at once, on weights at their file's own bits.
//!
//! Invariant: every element of a result depends on its own row (and its sequence's past) alone,
//! summed in an order that the shape fixes. Batch, chunking of a prompt and number of threads do
//! not change a bit of it.
//!
//! Memory: values live in recycled buffers; what a scope made is free again at its end, so a pass
//! holds a layer's worth of activations however deep the network is.

mod adapter;
mod arena;
mod attention;
mod kv;
mod linear;
mod packed_cache;
mod packing;
mod rows;
mod weights;

use std::path::Path;
use std::sync::Arc;

use lucid_kernels::{self as kernels, Level};
use lucid_sys::ThreadPool;

use crate::aligned::Aligned;
use crate::ops::{Activation, AttentionSpec, Linear, Norm, Ops, RotarySpec, Site};
use crate::{KvBlockId, Pass, TensorError, TensorView};

pub use adapter::{Adapter, AdapterTarget, Factor, LowRank};
use arena::Arena;
pub use arena::EagerValue;
pub use kv::KvShape;
use kv::KvStore;
pub use lucid_kernels::KvDType;
pub use packing::PackedFrom;
pub use weights::WeightId;
use weights::WeightTable;

/// A handle on a bound rotary embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotaryId(usize);

/// What happens to matrices when they are bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// They stay where their file is mapped: nothing to wait for, and nothing to hold when they are
    /// larger than memory. Arithmetic is f32 on widened weights.
    Keep,
    /// Formats with packed kernels are regrouped for each product, at their own bits, a few rows at
    /// a time, and multiplied with activations rounded to bytes (bfloat16 for BF16). The memory is
    /// the file's alone.
    InPassing,
    /// The same, and what was regrouped is kept, to the same numbers: a part of the matrices in
    /// each pass after the first one, so that the first token comes soon, or all of them by
    /// `Eager::pack`. A part that does not fit into the memory that is free waits.
    Pack,
}

/// What an executor needs to know beforehand.
#[derive(Clone, Copy, Debug)]
pub struct EagerOptions {
    /// Which instruction set to use.
    pub level: Level,
    /// The store of keys and values.
    pub kv: KvShape,
    /// What happens to matrices.
    pub packing: Packing,
}

/// What a hook sees: the rows of the pass at one site.
#[derive(Debug)]
pub struct HookRows<'a> {
    /// Where in the network.
    pub site: Site,
    /// The pass; row `i` of `values` is `pass.rows[i]`, except at `Site::Head` (`pass.outputs[i]`).
    pub pass: &'a Pass,
    /// `[rows, width]`; changes take effect.
    pub values: &'a mut [f32],
    /// Elements per row.
    pub width: usize,
}

/// An inspection hook: reads and may change what flows past a site.
pub type Hook = Box<dyn FnMut(HookRows<'_>) + Send>;

struct Rotary {
    spec: RotarySpec,
    /// Cosine and sine per row of the current pass, each `[rows, pairs]`; empty until first used in
    /// a pass.
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Per-thread working memory.
#[derive(Default)]
struct Scratch {
    weights: Vec<f32>,
    /// Rows regrouped in passing.
    packed: Aligned<u8>,
    attention: kernels::AttentionScratch,
    /// Results of runs of a context, while they wait to be merged; the first thread's only.
    partials: Vec<f32>,
    adapter: adapter::Buffers,
}

/// The serving executor. See the module's text.
pub struct Eager {
    level: Level,
    packing: Packing,
    pool: Arc<ThreadPool>,
    weights: WeightTable,
    rotaries: Vec<Rotary>,
    arena: Arena,
    kv: KvStore,
    pass: Pass,
    adapters: adapter::PassAdapters,
    scratch: Vec<Scratch>,
    rounded: linear::RoundedInputs,
    hook: Option<Hook>,
    /// Whether a pass has begun before.
    begun: bool,
}

impl Eager {
    /// An executor with no weights bound and no KV block allocated.
    pub fn new(pool: Arc<ThreadPool>, options: EagerOptions) -> Self {
        let scratch = (0..pool.threads()).map(|_| Scratch::default()).collect();
        Self {
            level: options.level,
            packing: options.packing,
            pool,
            weights: WeightTable::default(),
            rotaries: Vec::new(),
            arena: Arena::default(),
            kv: KvStore::new(options.kv),
            pass: Pass::default(),
            adapters: adapter::PassAdapters::default(),
            scratch,
            rounded: linear::RoundedInputs::default(),
            hook: None,
            begun: false,
        }
    }

    /// Packs the bound matrices on all threads (with `Packing::Pack`; else there is nothing to do).
    /// Nothing but speed depends on whether it is called. A cache at `cache` is mapped if it was
    /// made of the same weights, and written if not; it holds all weights, so it plays no part once
    /// a pass has begun. `progress` is told how many bytes are done, and of how many.
    ///
    /// # Errors
    /// The system has no memory for them.
    pub fn pack(
        &mut self,
        cache: Option<&Path>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<PackedFrom, TensorError> {
        let cache = cache.filter(|_| !self.begun);
        self.weights.pack(&self.pool, cache, progress)
    }

    /// Starts a pass: what `embed`, `rotary`, `attention` and `select_outputs` refer to until the
    /// next one.
    ///
    /// Values of earlier passes are dead from here on.
    ///
    /// # Panics
    /// A row names a sequence without a table, or a position beyond its table; outputs are not in
    /// the order of the rows: the engine's bug.
    pub fn begin(&mut self, pass: &Pass) {
        assert!(pass.outputs.is_sorted_by(|a, b| a < b), "outputs {:?}", pass.outputs);
        let adapters = pass.adapters.len();
        assert!(adapters == 0 || adapters == pass.tables.len(), "an adapter for each sequence");
        for row in &pass.rows {
            let table = &pass.tables[row.sequence as usize];
            assert!(
                (row.position as usize) < table.len() * crate::KV_BLOCK_LEN,
                "row beyond its table"
            );
        }
        if std::mem::replace(&mut self.begun, true) {
            self.weights.pack_part(&self.pool);
        }
        self.pass.clone_from(pass);
        self.adapters = adapter::PassAdapters::new(pass);
        self.arena.clear();
        for rotary in &mut self.rotaries {
            rotary.cos.clear();
            rotary.sin.clear();
        }
    }

    /// Ends a pass: its values live on until the next one begins, its adapters are let go of.
    pub fn end(&mut self) {
        self.pass.adapters.clear();
        self.adapters = adapter::PassAdapters::default();
    }

    /// A value's elements, `[rows, width]` row-major.
    pub fn read(&self, value: EagerValue) -> &[f32] {
        self.arena.read(value)
    }

    /// Elements per row of a value.
    pub fn width(&self, value: EagerValue) -> usize {
        value.width()
    }

    /// Installs or removes the inspection hook.
    pub fn set_hook(&mut self, hook: Option<Hook>) {
        self.hook = hook;
    }

    /// Makes sure that blocks `0..count` of the KV store exist.
    pub fn reserve_kv(&mut self, count: usize) {
        self.kv.reserve(count);
    }

    /// Copies a KV block, for a sequence that diverges from another within it.
    pub fn copy_kv(&mut self, from: KvBlockId, to: KvBlockId) {
        self.kv.copy(from, to);
    }

    /// The bytes of a KV block. What its positions hold beyond those that were computed is
    /// arbitrary.
    pub fn kv_block(&self, id: KvBlockId) -> &[u8] {
        self.kv.block(id)
    }

    /// The bytes of several KV blocks, in the order of `ids`: to put there what `kv_block` showed
    /// of an executor of the same weights, level, packing and `ARITHMETIC_VERSION`.
    ///
    /// # Panics
    /// A block stands there twice, or is not reserved: the engine's bug.
    pub fn kv_blocks_mut(&mut self, ids: &[KvBlockId]) -> Vec<&mut [u8]> {
        self.kv.blocks_mut(ids)
    }

    /// Bytes that one KV block takes.
    pub fn kv_block_bytes(&self) -> usize {
        self.kv.block_bytes()
    }

    /// Whether a weights file was truncated or rewritten since it was mapped: its numbers mean
    /// nothing any more, and reading them may end the process.
    pub fn weights_changed(&self) -> bool {
        self.weights.changed_on_disk()
    }

    /// The instruction set in use.
    pub fn level(&self) -> Level {
        self.level
    }

    fn show(&mut self, site: Site, value: EagerValue) {
        if let Some(hook) = &mut self.hook {
            let values = self.arena.write(value);
            hook(HookRows { site, pass: &self.pass, values, width: value.width() });
        }
    }

    /// `gate(x)`, and `activation(gate(x)) * up(x)`.
    fn gated_at_once(
        &mut self,
        x: EagerValue,
        weights: [Linear<WeightId>; 2],
        activation: Activation,
    ) -> [EagerValue; 2] {
        let width = self.weights.matrix(weights[0].weight).rows;
        let mut outs = [self.arena.take(x.rows(), width), self.arena.take(x.rows(), width)];
        let x = self.arena.read(x);
        let machine = linear::Machine {
            level: self.level,
            pool: &self.pool,
            scratch: &mut self.scratch,
            rounded: &mut self.rounded,
        };
        linear::run_gated(machine, &self.weights, x, weights, activation, &mut outs);
        outs.map(|out| self.arena.put(out))
    }

    /// The same to the same bits, with room for adapters between product and activation.
    fn gated_apart(
        &mut self,
        x: EagerValue,
        weights: [Linear<WeightId>; 2],
        activation: Activation,
    ) -> [EagerValue; 2] {
        let [gate, up] = self.linear(x, weights);
        let mut hidden = self.arena.consume(up);
        let (level, width, gates) = (self.level, gate.width(), self.arena.read(gate));
        rows::for_each(&self.pool, hidden.data_mut(), width, |row, up| {
            linear::activate(level, activation, &gates[row * width..][..width], up);
        });
        [gate, self.arena.put(hidden)]
    }

    /// A copy of some rows of a value.
    fn select(&mut self, x: EagerValue, rows: &[usize]) -> EagerValue {
        let mut out = self.arena.take(rows.len(), x.width());
        let source = self.arena.read(x);
        for (&row, out) in rows.iter().zip(out.rows_mut()) {
            out.copy_from_slice(&source[row * x.width()..][..x.width()]);
        }
        self.arena.put(out)
    }

    /// `linear(x)` of one row, beside any pass: for what is computed of its results.
    pub fn project(&self, x: &[f32], linear: Linear<WeightId>) -> Vec<f32> {
        let matrix = self.weights.matrix(linear.weight);
        let bias = linear.bias.map(|bias| self.weights.vector(bias));
        let mut weights = vec![0.0; matrix.cols];
        let mut product = |row: usize| {
            matrix.widen_row(self.level, row, &mut weights);
            kernels::dot(self.level, x, &weights) + bias.map_or(0.0, |bias| bias[row])
        };
        (0..matrix.rows).map(&mut product).collect()
    }

    /// Fills the table of sines and cosines of this pass.
    fn prepare_rotary(&mut self, RotaryId(index): RotaryId) {
        let rotary = &mut self.rotaries[index];
        let pairs = rotary.spec.inverse_frequencies.len();
        if rotary.cos.len() == self.pass.rows.len() * pairs {
            return;
        }
        rotary.cos.resize(self.pass.rows.len() * pairs, 0.0);
        rotary.sin.resize(self.pass.rows.len() * pairs, 0.0);
        let tables = rotary.cos.chunks_exact_mut(pairs).zip(rotary.sin.chunks_exact_mut(pairs));
        for (row, (cos, sin)) in self.pass.rows.iter().zip(tables) {
            let frequencies = &rotary.spec.inverse_frequencies;
            kernels::rotary_table(row.position, frequencies, rotary.spec.magnitude, cos, sin);
        }
    }
}

impl Ops for Eager {
    type Value = EagerValue;
    type Weight = WeightId;
    type Rotary = RotaryId;

    fn bind(&mut self, view: &TensorView) -> Result<WeightId, TensorError> {
        self.weights.bind(self.level, self.packing, view)
    }

    fn bind_rotary(&mut self, spec: RotarySpec) -> RotaryId {
        self.rotaries.push(Rotary { spec, cos: Vec::new(), sin: Vec::new() });
        RotaryId(self.rotaries.len() - 1)
    }

    fn embed(&mut self, table: WeightId, scale: f32) -> EagerValue {
        let matrix = self.weights.matrix(table);
        let mut out = self.arena.take(self.pass.rows.len(), matrix.cols);
        rows::for_each(&self.pool, out.data_mut(), matrix.cols, |row, out| {
            matrix.widen_row(self.level, self.pass.rows[row].token as usize, out);
            adapter::add_to_embedding(self.level, &self.pass, row, out);
            if scale != 1.0 {
                kernels::scale(self.level, out, scale);
            }
        });
        self.arena.put(out)
    }

    fn linear<const N: usize>(
        &mut self,
        x: EagerValue,
        weights: [Linear<WeightId>; N],
    ) -> [EagerValue; N] {
        let mut outs = weights.map(|linear| {
            let rows = self.weights.matrix(linear.weight).rows;
            self.arena.take(x.rows(), rows)
        });
        let groups = self.adapters.of(x.rows());
        let x = self.arena.read(x);
        let machine = linear::Machine {
            level: self.level,
            pool: &self.pool,
            scratch: &mut self.scratch,
            rounded: &mut self.rounded,
        };
        linear::run(machine, &self.weights, x, &weights, &mut outs);
        if !groups.is_empty() {
            let machine = (self.level, &*self.pool, &mut self.scratch[..]);
            adapter::add(machine, groups, x, &weights, &mut outs);
        }
        outs.map(|out| self.arena.put(out))
    }

    fn norm(&mut self, x: EagerValue, norm: Norm<WeightId>) -> EagerValue {
        let mut out = self.arena.take(x.rows(), x.width());
        let (width, source) = (x.width(), self.arena.read(x));
        let (level, weights) = (self.level, &self.weights);
        rows::for_each(&self.pool, out.data_mut(), width, |row, out| {
            norm_row(level, weights, norm, &source[row * width..][..width], out);
        });
        self.arena.put(out)
    }

    fn add_norm(
        &mut self,
        site: Site,
        residual: EagerValue,
        x: EagerValue,
        norm: Norm<WeightId>,
    ) -> (EagerValue, EagerValue) {
        let width = residual.width();
        let mut sum = self.arena.take(residual.rows(), width);
        let normed = self.hook.is_none().then(|| self.arena.take(residual.rows(), width));
        let (level, weights) = (self.level, &self.weights);
        let (a, b) = (self.arena.read(residual), self.arena.read(x));
        let add = |row: usize, sum: &mut [f32]| {
            let part = row * width..(row + 1) * width;
            kernels::add(level, &a[part.clone()], &b[part], sum);
        };
        if let Some(mut normed) = normed {
            let outs = [sum.data_mut(), normed.data_mut()];
            rows::for_each_pair(&self.pool, outs, width, |row, sum, normed| {
                add(row, sum);
                norm_row(level, weights, norm, sum, normed);
            });
            return (self.arena.put(sum), self.arena.put(normed));
        }
        // A hook stands between the sum and the norm, so they run one after the other.
        rows::for_each(&self.pool, sum.data_mut(), width, add);
        let sum = self.arena.put(sum);
        self.show(site, sum);
        (sum, self.norm(sum, norm))
    }

    fn head_norm(&mut self, x: EagerValue, head_dim: usize, norm: Norm<WeightId>) -> EagerValue {
        let mut out = self.arena.take(x.rows(), x.width());
        let (level, weights, source) = (self.level, &self.weights, self.arena.read(x));
        rows::for_each(&self.pool, out.data_mut(), head_dim, |head, out| {
            norm_row(level, weights, norm, &source[head * head_dim..][..head_dim], out);
        });
        self.arena.free(x);
        self.arena.put(out)
    }

    fn rotary(&mut self, x: EagerValue, head_dim: usize, rotary: RotaryId) -> EagerValue {
        self.prepare_rotary(rotary);
        let mut taken = self.arena.consume(x);
        let Rotary { spec, cos, sin } = &self.rotaries[rotary.0];
        let pairs = spec.inverse_frequencies.len();
        let width = x.width();
        rows::for_each(&self.pool, taken.data_mut(), width, |row, heads| {
            let table = row * pairs..(row + 1) * pairs;
            let (cos, sin) = (&cos[table.clone()], &sin[table]);
            for head in heads.chunks_exact_mut(head_dim) {
                kernels::rotate(self.level, head, cos, sin, spec.pairing);
            }
        });
        self.arena.put(taken)
    }

    fn attention(
        &mut self,
        layer: usize,
        q: EagerValue,
        k: EagerValue,
        v: EagerValue,
        spec: &AttentionSpec,
    ) -> EagerValue {
        let (k, v) = (self.arena.read(k), self.arena.read(v));
        let machine = (self.level, &*self.pool, &mut self.scratch[..]);
        self.kv.store(machine, &self.pass, layer, k, v);
        let mut out = self.arena.take(q.rows(), spec.head_count * spec.value_dim);
        let job = attention::Job {
            level: self.level,
            pass: &self.pass,
            kv: &self.kv,
            layer,
            spec,
            q: self.arena.read(q),
        };
        job.run(&self.pool, &mut self.scratch, out.data_mut());
        self.arena.put(out)
    }

    fn gated_mlp(
        &mut self,
        x: EagerValue,
        gate: Linear<WeightId>,
        up: Linear<WeightId>,
        down: Linear<WeightId>,
        activation: Activation,
    ) -> EagerValue {
        let [gate, hidden] = if self.adapters.touch(x.rows(), &[gate, up]) {
            self.gated_apart(x, [gate, up], activation)
        } else {
            self.gated_at_once(x, [gate, up], activation)
        };
        let [out] = self.linear(hidden, [down]);
        self.arena.free(gate);
        self.arena.free(hidden);
        out
    }

    fn soft_cap(&mut self, x: EagerValue, cap: f32) -> EagerValue {
        let mut taken = self.arena.consume(x);
        kernels::soft_cap(self.level, taken.data_mut(), cap);
        self.arena.put(taken)
    }

    fn narrow_to_outputs(&mut self, x: EagerValue) -> EagerValue {
        // A hook is promised all rows.
        if self.hook.is_some() { x } else { self.select_outputs(x) }
    }

    fn select_outputs(&mut self, x: EagerValue) -> EagerValue {
        if x.rows() == self.pass.outputs.len() {
            // All rows are wanted, or the others are gone already.
            return x;
        }
        let rows: Vec<usize> = self.pass.outputs.iter().map(|&row| row as usize).collect();
        self.select(x, &rows)
    }

    fn select_scored(&mut self, x: EagerValue) -> EagerValue {
        if self.pass.unscored.is_empty() {
            return x;
        }
        let Pass { outputs, unscored, .. } = &self.pass;
        let scored = |&place: &usize| unscored.binary_search(&outputs[place]).is_err();
        let places: Vec<usize> = (0..outputs.len()).filter(scored).collect();
        self.select(x, &places)
    }

    fn probe(&mut self, site: Site, x: EagerValue) -> EagerValue {
        let taken = self.arena.consume(x);
        let shown = self.arena.put(taken);
        self.show(site, shown);
        shown
    }

    fn scope<const N: usize>(
        &mut self,
        body: impl FnOnce(&mut Self) -> [EagerValue; N],
    ) -> [EagerValue; N] {
        let mark = self.arena.mark();
        let kept = body(self);
        self.arena.release(mark, &kept);
        kept
    }
}

fn norm_row(level: Level, weights: &WeightTable, norm: Norm<WeightId>, x: &[f32], out: &mut [f32]) {
    match norm {
        Norm::Rms { weight, epsilon } => {
            kernels::rms_norm(level, x, Some(weights.vector(weight)), epsilon, out);
        }
        Norm::Layer { weight, bias, epsilon } => {
            let bias = bias.map(|bias| weights.vector(bias));
            kernels::layer_norm(level, x, weights.vector(weight), bias, epsilon, out);
        }
    }
}
