//! Keys and values of past positions, in blocks of `KV_BLOCK_LEN` positions that the engine hands
//! out.
//!
//! Layout of a block: `[layer][key|value][kv head][position][dim]`, so that one head of one layer
//! is one aligned chunk for the attention kernel.

use std::ops::Range;

use lucid_kernels::{self as kernels, KvSlice, KvSliceMut, Level};

use crate::{KV_BLOCK_LEN, KvBlockId, Pass};

/// The number format of cached keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvDType {
    /// 4 bytes an element; exact.
    F32,
    /// 2 bytes an element.
    F16,
}

impl KvDType {
    /// Bytes per element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// The shape of the KV store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Number format.
    pub dtype: KvDType,
    /// Layers that attend.
    pub layers: usize,
    /// Key-value heads per layer.
    pub kv_heads: usize,
    /// Width of a key head.
    pub head_dim: usize,
    /// Width of a value head.
    pub value_dim: usize,
}

impl KvShape {
    /// Elements that one position takes over all layers.
    pub fn elements_per_position(&self) -> usize {
        self.layers * self.kv_heads * (self.head_dim + self.value_dim)
    }
}

enum BlockData {
    F32(Box<[f32]>),
    F16(Box<[u16]>),
}

pub(super) struct KvStore {
    shape: KvShape,
    blocks: Vec<BlockData>,
}

impl KvStore {
    pub(super) fn new(shape: KvShape) -> Self {
        Self { shape, blocks: Vec::new() }
    }

    pub(super) fn reserve(&mut self, count: usize) {
        let elements = self.shape.elements_per_position() * KV_BLOCK_LEN;
        while self.blocks.len() < count {
            self.blocks.push(match self.shape.dtype {
                KvDType::F32 => BlockData::F32(vec![0.0; elements].into()),
                KvDType::F16 => BlockData::F16(vec![0; elements].into()),
            });
        }
    }

    pub(super) fn block_bytes(&self) -> usize {
        self.shape.elements_per_position() * KV_BLOCK_LEN * self.shape.dtype.bytes()
    }

    pub(super) fn copy(&mut self, from: KvBlockId, to: KvBlockId) {
        let copy = match &self.blocks[from.0 as usize] {
            BlockData::F32(data) => BlockData::F32(data.clone()),
            BlockData::F16(data) => BlockData::F16(data.clone()),
        };
        self.blocks[to.0 as usize] = copy;
    }

    /// Writes the keys and values of the pass's rows (`[rows, kv_heads * dim]`) to their places.
    pub(super) fn store(&mut self, level: Level, pass: &Pass, layer: usize, k: &[f32], v: &[f32]) {
        let KvShape { kv_heads, head_dim, value_dim, .. } = self.shape;
        let k = k.chunks_exact(kv_heads * head_dim);
        let v = v.chunks_exact(kv_heads * value_dim);
        for ((row, k), v) in pass.rows.iter().zip(k).zip(v) {
            let position = row.position as usize;
            let block = pass.tables[row.sequence as usize][position / KV_BLOCK_LEN].0 as usize;
            let slot = position % KV_BLOCK_LEN;
            let heads = k.chunks_exact(head_dim).zip(v.chunks_exact(value_dim)).enumerate();
            for (head, (k, v)) in heads {
                let (keys, values) = self.ranges(layer, head);
                let keys = keys.start + slot * head_dim..keys.start + (slot + 1) * head_dim;
                let values = values.start + slot * value_dim..values.start + (slot + 1) * value_dim;
                match &mut self.blocks[block] {
                    BlockData::F32(data) => {
                        kernels::store_kv(level, k, KvSliceMut::F32(&mut data[keys]));
                        kernels::store_kv(level, v, KvSliceMut::F32(&mut data[values]));
                    }
                    BlockData::F16(data) => {
                        kernels::store_kv(level, k, KvSliceMut::F16(&mut data[keys]));
                        kernels::store_kv(level, v, KvSliceMut::F16(&mut data[values]));
                    }
                }
            }
        }
    }

    /// The keys and values of one head of one layer in a block: `[KV_BLOCK_LEN, dim]` each.
    pub(super) fn chunk(
        &self,
        block: KvBlockId,
        layer: usize,
        head: usize,
    ) -> (KvSlice<'_>, KvSlice<'_>) {
        let (keys, values) = self.ranges(layer, head);
        match &self.blocks[block.0 as usize] {
            BlockData::F32(data) => (KvSlice::F32(&data[keys]), KvSlice::F32(&data[values])),
            BlockData::F16(data) => (KvSlice::F16(&data[keys]), KvSlice::F16(&data[values])),
        }
    }

    /// Where keys and values of a head lie within a block.
    fn ranges(&self, layer: usize, head: usize) -> (Range<usize>, Range<usize>) {
        let KvShape { kv_heads, head_dim, value_dim, .. } = self.shape;
        let layer_start = layer * kv_heads * (head_dim + value_dim) * KV_BLOCK_LEN;
        let keys = layer_start + head * head_dim * KV_BLOCK_LEN;
        let values_start = layer_start + kv_heads * head_dim * KV_BLOCK_LEN;
        let values = values_start + head * value_dim * KV_BLOCK_LEN;
        (keys..keys + head_dim * KV_BLOCK_LEN, values..values + value_dim * KV_BLOCK_LEN)
    }
}
