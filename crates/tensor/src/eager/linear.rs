//! Projections in parallel: the rows of all weights are cut into bands of about equal bytes, and
//! each band is computed for every row of `x`. A band's width changes nothing in its numbers.
//!
//! Packed weights are multiplied with rounded activations; an input is rounded once for all weights
//! of a projection that want it so.

use lucid_kernels::{self as kernels, ActivationClass, Activations, ColumnBand, Level};
use lucid_sys::ThreadPool;

use super::Scratch;
use super::aligned::Aligned;
use super::arena::Draft;
use super::weights::{Matrix, Rows, WeightId, WeightTable};
use crate::ops::Linear;

/// Bands per thread: enough that a thread that was held up does not hold up the others.
const BANDS_PER_THREAD: usize = 8;

/// The narrowest band, and what bands are multiples of: the four groups of sixteen rows that packed
/// kernels multiply together.
const BAND_ROWS_MIN: usize = 64;

struct Task<'a> {
    matrix: &'a Matrix,
    bias: Option<&'a [f32]>,
    band: ColumnBand<'a>,
}

/// Rounded copies of a projection's input, one per class; the buffers are kept.
#[derive(Default)]
pub(super) struct RoundedInputs {
    buffers: Vec<(ActivationClass, Aligned<u8>)>,
}

impl RoundedInputs {
    /// Rounds `x`, `[batch, cols]`, for every class that `matrices` want.
    fn round<'a>(
        &mut self,
        level: Level,
        pool: &ThreadPool,
        x: &[f32],
        cols: usize,
        matrices: impl Iterator<Item = &'a Matrix>,
    ) {
        let batch = x.len() / cols.max(1);
        let mut done: Vec<ActivationClass> = Vec::new();
        for class in matrices.filter_map(Matrix::activation_class) {
            if done.contains(&class) {
                continue;
            }
            done.push(class);
            let index = self.buffers.iter().position(|entry| entry.0 == class);
            let index = index.unwrap_or_else(|| {
                self.buffers.push((class, Aligned::default()));
                self.buffers.len() - 1
            });
            let buffer = &mut self.buffers[index].1;
            buffer.resize(kernels::activation_bytes(class, batch, cols));
            let tile_bytes = kernels::activation_bytes(class, kernels::ACTIVATION_TILE, cols);
            let tiles = x.chunks(kernels::ACTIVATION_TILE * cols);
            let mut tasks: Vec<_> =
                tiles.zip(buffer.as_mut_slice().chunks_mut(tile_bytes)).collect();
            pool.for_each(&mut tasks, |_, (x, out)| {
                kernels::quantize_activations(level, class, x, x.len() / cols, cols, out);
            });
        }
    }

    fn activations(&self, class: ActivationClass, batch: usize, cols: usize) -> Activations<'_> {
        let buffer = self.buffers.iter().find(|entry| entry.0 == class);
        let (_, bytes) = buffer.expect("the input was rounded for this class");
        Activations { class, bytes: bytes.as_slice(), batch, cols }
    }
}

/// What a projection computes with.
pub(super) struct Machine<'a> {
    pub(super) level: Level,
    pub(super) pool: &'a ThreadPool,
    pub(super) scratch: &'a mut [Scratch],
    pub(super) rounded: &'a mut RoundedInputs,
}

/// `outs[i] = x weights[i]^T + bias[i]`.
pub(super) fn run<const N: usize>(
    machine: Machine<'_>,
    table: &WeightTable,
    x: &[f32],
    weights: &[Linear<WeightId>; N],
    outs: &mut [Draft; N],
) {
    let Machine { level, pool, scratch, rounded } = machine;
    let cols = table.matrix(weights[0].weight).cols;
    let matrices = weights.iter().map(|linear| table.matrix(linear.weight));
    rounded.round(level, pool, x, cols, matrices);
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
    let rounded = &*rounded;
    pool.for_each_with(scratch, &mut tasks, |scratch, _, task| {
        let columns = task.band.columns();
        let batch = task.band.rows();
        let bias = task.bias.map(|bias| &bias[columns.clone()]);
        let (band, scratch) = (&mut task.band, &mut scratch.weights);
        match task.matrix.rows(columns) {
            Rows::File(rows) => kernels::matmul(level, x, batch, rows, bias, band, scratch),
            Rows::Packed(rows) => {
                let class = kernels::activation_class(rows.dtype).expect("a packed format");
                let input = rounded.activations(class, batch, cols);
                kernels::packed_matmul(level, input, rows, bias, band, scratch);
            }
        }
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
