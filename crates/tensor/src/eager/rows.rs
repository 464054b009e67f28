//! Operations on rows, on all threads where that pays.

use lucid_sys::ThreadPool;

/// Elements below which the caller works alone: waking the others would cost more.
const ALONE: usize = 1 << 14;

/// Rows that a thread takes at a time, at most; few enough that all threads end together.
const PIECES_PER_THREAD: usize = 8;

/// Calls `work(row, out)` for each row of `out`, `[rows, width]`.
pub(super) fn for_each(
    pool: &ThreadPool,
    out: &mut [f32],
    width: usize,
    work: impl Fn(usize, &mut [f32]) + Sync,
) {
    let pieces = Pieces::new(pool, out.len(), width);
    let mut tasks: Vec<_> = out.chunks_mut(pieces.elements(width)).collect();
    pieces.run(pool, &mut tasks, |first, out| {
        for (i, out) in out.chunks_exact_mut(width).enumerate() {
            work(first + i, out);
        }
    });
}

/// The same with two outputs of one shape.
pub(super) fn for_each_pair(
    pool: &ThreadPool,
    outs: [&mut [f32]; 2],
    width: usize,
    work: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    let [a, b] = outs;
    assert_eq!(a.len(), b.len(), "outputs of one shape");
    let pieces = Pieces::new(pool, a.len(), width);
    let elements = pieces.elements(width);
    let mut tasks: Vec<_> = a.chunks_mut(elements).zip(b.chunks_mut(elements)).collect();
    pieces.run(pool, &mut tasks, |first, (a, b)| {
        let rows = a.chunks_exact_mut(width).zip(b.chunks_exact_mut(width));
        for (i, (a, b)) in rows.enumerate() {
            work(first + i, a, b);
        }
    });
}

/// How rows are cut.
struct Pieces {
    rows: usize,
    alone: bool,
}

impl Pieces {
    fn new(pool: &ThreadPool, elements: usize, width: usize) -> Self {
        let alone = pool.threads() == 1 || elements < ALONE;
        let rows = elements / width.max(1);
        let pieces = if alone { 1 } else { pool.threads() * PIECES_PER_THREAD };
        Self { rows: rows.div_ceil(pieces).max(1), alone }
    }

    fn elements(&self, width: usize) -> usize {
        self.rows * width.max(1)
    }

    fn run<T: Send>(
        &self,
        pool: &ThreadPool,
        tasks: &mut [T],
        work: impl Fn(usize, &mut T) + Sync,
    ) {
        if self.alone {
            tasks.iter_mut().enumerate().for_each(|(i, task)| work(i * self.rows, task));
        } else {
            pool.for_each(tasks, |i, task| work(i * self.rows, task));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(threads: usize, rows: usize, width: usize) {
        let pool = ThreadPool::new(threads);
        let (mut a, mut b) = (vec![0.0; rows * width], vec![0.0; rows * width]);
        for_each_pair(&pool, [&mut a, &mut b], width, |row, a, b| {
            assert_eq!((a.len(), b.len()), (width, width));
            for x in a.iter_mut() {
                *x += row as f32 + 1.0;
            }
            for x in b.iter_mut() {
                *x -= row as f32 + 1.0;
            }
        });
        for_each(&pool, &mut a, width, |row, a| a.iter_mut().for_each(|x| *x += row as f32));
        for (row, (a, b)) in a.chunks(width).zip(b.chunks(width)).enumerate() {
            assert!(a.iter().all(|&x| x == (2 * row + 1) as f32), "{threads} {rows} {width}");
            assert!(b.iter().all(|&x| x == -(row as f32 + 1.0)), "{threads} {rows} {width}");
        }
    }

    #[test]
    fn every_row_is_visited_once() {
        for threads in [1, 2, 3] {
            for (rows, width) in [(0, 5), (1, 1), (1, 40_000), (7, 3000), (300, 64), (33, 1000)] {
                check(threads, rows, width);
            }
        }
    }
}
