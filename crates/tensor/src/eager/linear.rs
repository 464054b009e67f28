//! Projections in parallel: the rows of all weights are cut into bands of about equal bytes, and
//! each band is computed for every row of `x`. A band's width changes nothing in its numbers.

use lucid_kernels::{self as kernels, ColumnBand, Level, WeightRows};
use lucid_sys::ThreadPool;

use super::Scratch;
use super::arena::Draft;
use super::weights::{Matrix, WeightId, WeightTable};
use crate::ops::Linear;

/// Bands per thread: enough that a thread that was held up does not hold up the others.
const BANDS_PER_THREAD: usize = 6;

/// The narrowest band: a few register tiles of the kernels.
const BAND_ROWS_MIN: usize = 16;

struct Task<'a> {
    matrix: &'a Matrix,
    bias: Option<&'a [f32]>,
    band: ColumnBand<'a>,
}

/// `outs[i] = x weights[i]^T + bias[i]`.
pub(super) fn run<const N: usize>(
    level: Level,
    pool: &ThreadPool,
    scratch: &mut [Scratch],
    table: &WeightTable,
    x: &[f32],
    weights: &[Linear<WeightId>; N],
    outs: &mut [Draft; N],
) {
    let mut tasks = Vec::new();
    for (linear, out) in weights.iter().zip(outs) {
        let matrix = table.matrix(linear.weight);
        let bias = linear.bias.map(|bias| table.vector(bias));
        let (batch, width) = out.shape();
        assert_eq!((x.len(), width), (batch * matrix.cols, matrix.rows), "shapes of a projection");
        let bounds = bounds(matrix.rows, pool.threads());
        let bands = kernels::column_bands(out.data_mut(), batch, width, &bounds);
        tasks.extend(bands.into_iter().map(|band| Task { matrix, bias, band }));
    }
    pool.for_each_with(scratch, &mut tasks, |scratch, _, task| {
        let columns = task.band.columns();
        let rows = WeightRows {
            dtype: task.matrix.dtype,
            bytes: task.matrix.rows_bytes(columns.clone()),
            cols: task.matrix.cols,
        };
        let batch = task.band.rows();
        let bias = task.bias.map(|bias| &bias[columns]);
        kernels::matmul(level, x, batch, rows, bias, &mut task.band, &mut scratch.weights);
    });
}

/// Ascending band borders over `rows`, from 0 to `rows`.
fn bounds(rows: usize, threads: usize) -> Vec<usize> {
    let bands = if threads == 1 { 1 } else { threads * BANDS_PER_THREAD };
    let step = rows.div_ceil(bands).next_multiple_of(BAND_ROWS_MIN).max(BAND_ROWS_MIN);
    let mut bounds: Vec<usize> = (0..rows).step_by(step).collect();
    bounds.push(rows);
    bounds
}

#[cfg(test)]
mod tests {
    use super::bounds;

    #[test]
    fn bounds_cover_all_rows_once() {
        for rows in [1, 15, 16, 17, 100, 4096] {
            for threads in [1, 2, 7] {
                let bounds = bounds(rows, threads);
                assert_eq!((bounds[0], *bounds.last().unwrap()), (0, rows));
                assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{bounds:?}");
            }
        }
    }
}
