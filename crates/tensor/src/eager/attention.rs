//! Causal attention over KV blocks. Each block is one aligned chunk with its own (max, sum, out);
//! chunks merge in ascending order, for a prompt's rows and for a decoded one alike, so how a row
//! came to be computed does not show.
//!
//! Source of the merge: Milakov and Gimelshein, arXiv:1805.02867 (online softmax).

use lucid_kernels::{self as kernels, ChunkShape, Level};
use lucid_sys::ThreadPool;

use super::Scratch;
use super::kv::KvStore;
use crate::ops::AttentionSpec;
use crate::{KV_BLOCK_LEN, Pass};

/// Per-thread working memory, for the query heads of one group.
#[derive(Default)]
pub(super) struct Workspace {
    scores: Vec<f32>,
    max: Vec<f32>,
    sum: Vec<f32>,
    chunk_max: Vec<f32>,
    chunk_sum: Vec<f32>,
    chunk_out: Vec<f32>,
}

/// One layer's attention for all rows of a pass.
pub(super) struct Job<'a> {
    pub(super) level: Level,
    pub(super) pass: &'a Pass,
    pub(super) kv: &'a KvStore,
    pub(super) layer: usize,
    pub(super) spec: &'a AttentionSpec,
    /// `[rows, head_count * head_dim]`.
    pub(super) q: &'a [f32],
}

impl Job<'_> {
    /// Fills `out`, `[rows, head_count * value_dim]`. A task is one row's group of query heads that
    /// share a KV head.
    pub(super) fn run(&self, pool: &ThreadPool, scratch: &mut [Scratch], out: &mut [f32]) {
        let spec = self.spec;
        let group = spec.head_count / spec.kv_head_count;
        let mut tasks: Vec<&mut [f32]> = out.chunks_exact_mut(group * spec.value_dim).collect();
        pool.for_each_with(scratch, &mut tasks, |scratch, index, out| {
            let (row, kv_head) = (index / spec.kv_head_count, index % spec.kv_head_count);
            self.attend(row, kv_head, &mut scratch.attention, out);
        });
    }

    /// Attention of the query heads of one row that share `kv_head`; `out` is `[group, value_dim]`.
    fn attend(&self, row: usize, kv_head: usize, work: &mut Workspace, out: &mut [f32]) {
        let spec = self.spec;
        let group = spec.head_count / spec.kv_head_count;
        let pass_row = &self.pass.rows[row];
        let table = &self.pass.tables[pass_row.sequence as usize];
        let q_start = (row * spec.head_count + kv_head * group) * spec.head_dim;
        let q = &self.q[q_start..q_start + group * spec.head_dim];
        let end = pass_row.position as usize + 1;
        let start = spec.window.map_or(0, |window| end.saturating_sub(window));
        let shape = ChunkShape {
            head_dim: spec.head_dim,
            value_dim: spec.value_dim,
            scale: spec.scale,
            soft_cap: spec.soft_cap,
        };
        for list in [&mut work.max, &mut work.sum, &mut work.chunk_max, &mut work.chunk_sum] {
            list.resize(group, 0.0);
        }
        work.chunk_out.resize(out.len(), 0.0);
        let first = start / KV_BLOCK_LEN;
        let blocks = table.iter().enumerate().take(end.div_ceil(KV_BLOCK_LEN)).skip(first);
        for (chunk, &block) in blocks {
            let base = chunk * KV_BLOCK_LEN;
            let visible = start.max(base) - base..end.min(base + KV_BLOCK_LEN) - base;
            let (keys, values) = self.kv.chunk(block, self.layer, kv_head);
            // The first chunk writes the running state itself: there is nothing to merge with.
            let (max, sum, to) = if chunk == first {
                (&mut work.max, &mut work.sum, &mut *out)
            } else {
                (&mut work.chunk_max, &mut work.chunk_sum, &mut work.chunk_out[..])
            };
            kernels::attend_chunk(
                self.level,
                &shape,
                q,
                keys,
                values,
                visible,
                max,
                sum,
                to,
                &mut work.scores,
            );
            if chunk == first {
                continue;
            }
            for head in 0..group {
                let lanes = head * spec.value_dim..(head + 1) * spec.value_dim;
                kernels::merge_chunk(
                    self.level,
                    &mut work.max[head],
                    &mut work.sum[head],
                    &mut out[lanes.clone()],
                    work.chunk_max[head],
                    work.chunk_sum[head],
                    &work.chunk_out[lanes],
                );
            }
        }
        for (head, out) in out.chunks_exact_mut(spec.value_dim).enumerate() {
            kernels::finish_attention(self.level, work.sum[head], out);
        }
    }
}
