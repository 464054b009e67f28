//! Causal attention over KV blocks: what the kernel is to do in which task. How rows are tiled, and
//! whether a context is shared among threads, does not show in the results: the kernel merges runs
//! of chunks in ascending order.

use std::ops::Range;

use lucid_kernels::{self as kernels, AttentionRows, AttentionShape, ColumnBand, Level};
use lucid_sys::ThreadPool;

use super::Scratch;
use super::kv::KvStore;
use crate::ops::AttentionSpec;
use crate::{KvBlockId, Pass};

/// Query heads that a task multiplies with a chunk once it is widened.
const TILE_HEADS: usize = 64;

/// Tasks per thread below which a context is split: fewer would leave threads idle at the end.
const TASKS_PER_THREAD: usize = 4;

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

/// Rows of one sequence at consecutive positions, the query heads of one KV head.
struct Task<'a> {
    table: &'a [KvBlockId],
    kv_head: usize,
    rows: AttentionRows<'a>,
    out: ColumnBand<'a>,
}

/// A run of a task's chunks.
struct RunTask<'a> {
    /// Its index.
    task: usize,
    table: &'a [KvBlockId],
    kv_head: usize,
    rows: AttentionRows<'a>,
    run: usize,
    partial: &'a mut [f32],
}

impl Job<'_> {
    /// Fills `out`, `[rows, head_count * value_dim]`.
    pub(super) fn run(&self, pool: &ThreadPool, scratch: &mut [Scratch], out: &mut [f32]) {
        let shape = self.shape();
        let mut tasks = self.tasks(&shape, out);
        if tasks.len() >= TASKS_PER_THREAD * pool.threads() {
            pool.for_each_with(scratch, &mut tasks, |scratch, _, task| {
                let chunk = |index: usize| self.chunk(task.table, task.kv_head, index);
                let (rows, scratch) = (&task.rows, &mut scratch.attention);
                kernels::attend(self.level, &shape, rows, chunk, scratch, &mut task.out);
            });
        } else {
            self.run_split(pool, scratch, &shape, &mut tasks);
        }
    }

    /// The same with the runs of each context as tasks of their own.
    fn run_split(
        &self,
        pool: &ThreadPool,
        scratch: &mut [Scratch],
        shape: &AttentionShape,
        tasks: &mut [Task],
    ) {
        let len = |task: &Task| shape.partial_len(task.rows.count);
        let total = tasks.iter().map(|task| shape.runs(&task.rows).len() * len(task)).sum();
        let mut partials = std::mem::take(&mut scratch[0].partials);
        if partials.len() < total {
            partials.resize(total, 0.0);
        }
        let (mut runs, mut rest) = (Vec::new(), &mut partials[..]);
        for (index, task) in tasks.iter().enumerate() {
            for run in shape.runs(&task.rows) {
                let (partial, others) = rest.split_at_mut(len(task));
                rest = others;
                let Task { table, kv_head, rows, .. } = *task;
                runs.push(RunTask { task: index, table, kv_head, rows, run, partial });
            }
        }
        pool.for_each_with(scratch, &mut runs, |scratch, _, run| {
            let chunk = |index: usize| self.chunk(run.table, run.kv_head, index);
            let (rows, scratch) = (&run.rows, &mut scratch.attention);
            kernels::attend_run(self.level, shape, rows, chunk, run.run, scratch, run.partial);
        });
        pool.for_each_with(scratch, tasks, |scratch, index, task| {
            let own = runs.iter().filter(|run| run.task == index).map(|run| &*run.partial);
            kernels::merge_runs(self.level, shape, own, &mut scratch.attention, &mut task.out);
        });
        scratch[0].partials = partials;
    }

    fn shape(&self) -> AttentionShape {
        AttentionShape {
            kv: self.kv.dtype(),
            group: self.spec.head_count / self.spec.kv_head_count,
            head_dim: self.spec.head_dim,
            value_dim: self.spec.value_dim,
            scale: self.spec.scale,
            soft_cap: self.spec.soft_cap,
            window: self.spec.window,
        }
    }

    fn chunk(&self, table: &[KvBlockId], kv_head: usize, index: usize) -> &[u8] {
        self.kv.chunk(table[index], self.layer, kv_head)
    }

    /// The largest tasks, those of late rows, come first.
    fn tasks<'a>(&'a self, shape: &AttentionShape, out: &'a mut [f32]) -> Vec<Task<'a>> {
        let spec = self.spec;
        let (width, group_width) = (spec.head_count * spec.value_dim, shape.group * spec.value_dim);
        let stride = spec.head_count * spec.head_dim;
        let bounds: Vec<usize> = (0..=spec.kv_head_count).map(|head| head * group_width).collect();
        let mut tasks = Vec::new();
        let mut rest = out;
        for rows in self.tiles(shape.group) {
            let (own, others) = rest.split_at_mut(rows.len() * width);
            rest = others;
            let first = &self.pass.rows[rows.start];
            let bands = kernels::column_bands(own, rows.len(), width, &bounds);
            tasks.extend(bands.into_iter().enumerate().map(|(kv_head, out)| Task {
                table: &self.pass.tables[first.sequence as usize],
                kv_head,
                rows: AttentionRows {
                    q: &self.q[rows.start * stride + kv_head * shape.group * spec.head_dim..],
                    stride,
                    first: first.position as usize,
                    count: rows.len(),
                },
                out,
            }));
        }
        tasks.sort_by_key(|task| std::cmp::Reverse((task.rows.first + 1) * task.rows.count));
        tasks
    }

    /// Ranges of the pass's rows, each of one sequence and of consecutive positions.
    fn tiles(&self, group: usize) -> Vec<Range<usize>> {
        let rows = &self.pass.rows;
        let most = (TILE_HEADS / group).max(1);
        let mut tiles: Vec<Range<usize>> = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            match tiles.last_mut() {
                Some(tile)
                    if tile.len() < most
                        && rows[index - 1].sequence == row.sequence
                        && rows[index - 1].position + 1 == row.position =>
                {
                    tile.end += 1;
                }
                _ => tiles.push(index..index + 1),
            }
        }
        tiles
    }
}
