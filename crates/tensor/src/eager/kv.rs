//! Keys and values of past positions, in blocks of `KV_BLOCK_LEN` positions that the engine hands
//! out.
//!
//! Layout of a block: `[layer][kv head]`, each one chunk for the attention kernel (its keys, then
//! its values), so that what a task reads of a block lies together.

use lucid_kernels::{self as kernels, KV_CHUNK, KvDType, Level};
use lucid_sys::ThreadPool;

use super::Scratch;
use crate::aligned::Aligned;
use crate::{KV_BLOCK_LEN, KvBlockId, Pass};

const _: () = assert!(KV_BLOCK_LEN == KV_CHUNK, "a block holds one chunk of each head");

/// Rows of a pass from which on storing them is spread over threads.
const PARALLEL_ROWS: usize = 4;

/// The shape of the KV store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Number format; `head_dim` and `value_dim` are multiples of its `block_len`.
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
    /// Bytes of one head's keys and values in a block.
    fn chunk_bytes(&self) -> usize {
        self.dtype.chunk_bytes(self.head_dim, self.value_dim)
    }

    /// Bytes of one layer in a block.
    fn layer_bytes(&self) -> usize {
        self.kv_heads * self.chunk_bytes()
    }
}

pub(super) struct KvStore {
    shape: KvShape,
    blocks: Vec<Aligned<u8>>,
}

/// Rows of a pass at consecutive positions of one block.
#[derive(Clone, Copy)]
struct Write {
    block: usize,
    /// The first row's position within the block.
    slot: usize,
    row: usize,
    rows: usize,
}

/// What is written of one head to one block.
struct Store<'a> {
    writes: &'a [Write],
    head: usize,
    chunk: &'a mut [u8],
}

impl KvStore {
    pub(super) fn new(shape: KvShape) -> Self {
        Self { shape, blocks: Vec::new() }
    }

    pub(super) fn dtype(&self) -> KvDType {
        self.shape.dtype
    }

    pub(super) fn reserve(&mut self, count: usize) {
        while self.blocks.len() < count {
            self.blocks.push(Aligned::zeroed(self.block_bytes()));
        }
    }

    pub(super) fn block_bytes(&self) -> usize {
        self.shape.layers * self.shape.layer_bytes()
    }

    pub(super) fn copy(&mut self, from: KvBlockId, to: KvBlockId) {
        let mut copy = Aligned::zeroed(self.block_bytes());
        copy.as_mut_slice().copy_from_slice(self.blocks[from.0 as usize].as_slice());
        self.blocks[to.0 as usize] = copy;
    }

    /// The bytes of a block.
    pub(super) fn block(&self, id: KvBlockId) -> &[u8] {
        self.blocks[id.0 as usize].as_slice()
    }

    /// The bytes of several blocks, in the order of `ids`, none of which stands there twice.
    pub(super) fn blocks_mut(&mut self, ids: &[KvBlockId]) -> Vec<&mut [u8]> {
        let mut places: Vec<usize> = (0..ids.len()).collect();
        places.sort_unstable_by_key(|&place| ids[place]);
        let mut found: Vec<_> = ids.iter().map(|_| None).collect();
        let (mut blocks, mut passed) = (&mut self.blocks[..], 0);
        for place in places {
            let index = ids[place].0 as usize;
            let (block, rest) = blocks[index - passed..].split_first_mut().expect("a block");
            (blocks, passed) = (rest, index + 1);
            found[place] = Some(block.as_mut_slice());
        }
        found.into_iter().flatten().collect()
    }

    /// Writes the keys and values of the pass's rows (`[rows, kv_heads * dim]`) to their places. A
    /// task is one head of one block.
    pub(super) fn store(
        &mut self,
        (level, pool, scratch): (Level, &ThreadPool, &mut [Scratch]),
        pass: &Pass,
        layer: usize,
        k: &[f32],
        v: &[f32],
    ) {
        let KvShape { dtype, kv_heads, head_dim, value_dim, .. } = self.shape;
        let layer_bytes = self.shape.layer_bytes();
        let writes = writes(pass);
        let mut tasks = Vec::new();
        let (mut blocks, mut passed) = (&mut self.blocks[..], 0);
        for writes in writes.chunk_by(|a, b| a.block == b.block) {
            let (own, rest) = blocks[writes[0].block - passed..].split_at_mut(1);
            (blocks, passed) = (rest, writes[0].block + 1);
            let layer = &mut own[0].as_mut_slice()[layer * layer_bytes..][..layer_bytes];
            let heads = layer.chunks_exact_mut(layer_bytes / kv_heads).enumerate();
            tasks.extend(heads.map(|(head, chunk)| Store { writes, head, chunk }));
        }
        let store = |scratch: &mut Scratch, Store { writes, head, chunk }: &mut Store| {
            for write in *writes {
                for (step, row) in (write.row..write.row + write.rows).enumerate() {
                    let k = &k[(row * kv_heads + *head) * head_dim..][..head_dim];
                    let v = &v[(row * kv_heads + *head) * value_dim..][..value_dim];
                    let temporary = &mut scratch.attention.row;
                    kernels::store_kv(level, dtype, k, v, write.slot + step, chunk, temporary);
                }
            }
        };
        if pass.rows.len() < PARALLEL_ROWS {
            for task in &mut tasks {
                store(&mut scratch[0], task);
            }
        } else {
            pool.for_each_with(scratch, &mut tasks, |scratch, _, task| store(scratch, task));
        }
    }

    /// The keys and values of one head of one layer in a block.
    pub(super) fn chunk(&self, block: KvBlockId, layer: usize, head: usize) -> &[u8] {
        let bytes = self.shape.chunk_bytes();
        let start = layer * self.shape.layer_bytes() + head * bytes;
        &self.blocks[block.0 as usize].as_slice()[start..start + bytes]
    }
}

/// Where the rows of a pass go, by ascending block.
fn writes(pass: &Pass) -> Vec<Write> {
    let mut writes: Vec<Write> = Vec::new();
    for (index, row) in pass.rows.iter().enumerate() {
        let position = row.position as usize;
        let block = pass.tables[row.sequence as usize][position / KV_BLOCK_LEN].0 as usize;
        let slot = position % KV_BLOCK_LEN;
        match writes.last_mut() {
            Some(last) if last.block == block && last.slot + last.rows == slot => last.rows += 1,
            _ => writes.push(Write { block, slot, row: index, rows: 1 }),
        }
    }
    writes.sort_by_key(|write| write.block);
    writes
}
