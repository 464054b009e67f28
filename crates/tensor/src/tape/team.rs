//! The threads of one tape. Products and loops over rows are cut into parts of rows. Each number is
//! one chain of operations on what belongs to its row, so where they are cut changes no bit.

use std::ops::Range;

use lucid_sys::ThreadPool;

/// Some threads that work on one micro-batch, the caller among them.
#[derive(Debug)]
pub(super) struct Team {
    pool: ThreadPool,
}

impl Team {
    pub(super) fn new(threads: usize) -> Self {
        Self { pool: ThreadPool::new(threads) }
    }

    pub(super) fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Into how many rows parts of so many are cut; `None` if they are not cut.
    pub(super) fn step(&self, rows: usize) -> Option<usize> {
        let threads = self.threads();
        (threads > 1 && rows >= threads).then(|| rows.div_ceil(threads))
    }

    /// Calls `f` on parts of so many rows with the rows' parts of buffers, each given with the
    /// elements of a row.
    pub(super) fn rows<const N: usize>(
        &self,
        rows: usize,
        buffers: [(&mut [f32], usize); N],
        f: impl Fn(Range<usize>, [&mut [f32]; N]) + Sync,
    ) {
        let Some(step) = self.step(rows) else {
            return f(0..rows, buffers.map(|(data, _)| data));
        };
        let mut rest = buffers;
        let part = |start: usize| {
            let range = start..rows.min(start + step);
            let own = rest.each_mut().map(|(data, width)| {
                let (own, others) = std::mem::take(data).split_at_mut(range.len() * *width);
                *data = others;
                own
            });
            (range, own)
        };
        let mut parts: Vec<_> = (0..rows).step_by(step).map(part).collect();
        self.pool.for_each(&mut parts, |_, (range, own)| {
            f(range.clone(), own.each_mut().map(|part| &mut **part));
        });
    }

    /// Calls `f(scratch, task)` once for each task; each thread has one element of `scratch`.
    pub(super) fn each<S: Send, T: Send>(
        &self,
        scratch: &mut [S],
        tasks: &mut [T],
        f: impl Fn(&mut S, &mut T) + Sync,
    ) {
        self.pool.for_each_with(scratch, tasks, |scratch, _, task| f(scratch, task));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_where_there_is_one_for_each_thread() {
        let steps = |threads: usize| [1, 2, 3, 7, 9].map(|rows| Team::new(threads).step(rows));
        assert_eq!(steps(1), [None; 5]);
        assert_eq!(steps(3), [None, None, Some(1), Some(3), Some(3)]);
    }

    #[test]
    fn every_row_is_in_one_part() {
        for threads in [1, 2, 3, 5] {
            let team = Team::new(threads);
            for rows in [0, 1, 4, 5, 6, 64] {
                let (mut a, mut b) = (vec![0.0; 3 * rows], vec![0.0; rows]);
                team.rows(rows, [(&mut a, 3), (&mut b, 1)], |range, [a, b]| {
                    for ((row, a), b) in range.zip(a.chunks_exact_mut(3)).zip(b) {
                        a.fill(row as f32);
                        *b += row as f32 + 1.0;
                    }
                });
                for row in 0..rows {
                    assert_eq!(a[3 * row..][..3], [row as f32; 3]);
                    assert_eq!(b[row], row as f32 + 1.0);
                }
            }
        }
    }
}
