//! Projections in parallel: the rows of all weights are cut into bands of about equal bytes, and
//! each band is computed for every row of `x`. A band's width changes nothing in its numbers.
//!
//! Packed weights are multiplied with rounded activations; an input is rounded once for all weights
//! of a projection that want it so.

use lucid_kernels::{
    self as kernels, ActivationClass, Activations, ColumnBand, Level, PackedRows, WeightRows,
};
use lucid_sys::ThreadPool;

use super::Scratch;
use super::arena::Draft;
use super::weights::{Matrix, Rows, WeightId, WeightTable};
use crate::aligned::Aligned;
use crate::ops::{Activation, Linear};

/// Bands per thread: enough that a thread that was held up does not hold up the others.
const BANDS_PER_THREAD: usize = 8;

/// The narrowest band, and what bands are multiples of: the four groups of sixteen rows that packed
/// kernels multiply together. One group where more than that, regrouped, would not stay in cache.
const BAND_ROWS_MIN: usize = 64;
const BAND_ROWS_IN_PASSING: usize = kernels::PACKED_GROUP;

/// A band of a projection.
struct Product<'a> {
    matrix: &'a Matrix,
    bias: Option<&'a [f32]>,
    band: ColumnBand<'a>,
}

/// What products are made from.
#[derive(Clone, Copy)]
struct Input<'a> {
    level: Level,
    /// `[batch, cols]`.
    x: &'a [f32],
    cols: usize,
    rounded: &'a RoundedInputs,
}

impl Product<'_> {
    fn run(&mut self, input: Input<'_>, scratch: &mut Scratch) {
        let Input { level, x, cols, rounded } = input;
        let columns = self.band.columns();
        let (batch, count) = (self.band.rows(), columns.len());
        let bias = self.bias.map(|bias| &bias[columns.clone()]);
        let (band, working) = (&mut self.band, &mut scratch.weights);
        let rows = match self.matrix.rows(columns) {
            Rows::File(rows) => {
                kernels::matmul(level, x, batch, rows, bias, band, working);
                return;
            }
            Rows::InPassing(WeightRows { dtype, bytes, cols }) => {
                let size = kernels::packed_bytes(dtype, count, cols).expect("a packed format");
                scratch.packed.resize(size);
                kernels::pack_rows(dtype, bytes, count, cols, scratch.packed.as_mut_slice());
                PackedRows { dtype, bytes: scratch.packed.as_slice(), cols }
            }
            Rows::Packed(rows) => rows,
        };
        let class = kernels::activation_class(rows.dtype).expect("a packed format");
        let input = rounded.activations(class, batch, cols);
        kernels::packed_matmul(level, input, rows, bias, band, working);
    }
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

impl Machine<'_> {
    /// Rounds `x` as the matrices want it and does all tasks.
    fn run<T: Send>(
        self,
        x: &[f32],
        matrices: &[&Matrix],
        tasks: &mut [T],
        work: impl Fn(Input<'_>, &mut Scratch, &mut T) + Sync,
    ) {
        let Machine { level, pool, scratch, rounded } = self;
        let cols = matrices[0].cols;
        rounded.round(level, pool, x, cols, matrices.iter().copied());
        let input = Input { level, x, cols, rounded };
        pool.for_each_with(scratch, tasks, |scratch, _, task| work(input, scratch, task));
    }
}

/// `outs[i] = x weights[i]^T + bias[i]`.
pub(super) fn run<const N: usize>(
    machine: Machine<'_>,
    table: &WeightTable,
    x: &[f32],
    weights: &[Linear<WeightId>; N],
    outs: &mut [Draft; N],
) {
    let threads = machine.pool.threads();
    let matrices = weights.map(|linear| table.matrix(linear.weight));
    let mut tasks = Vec::new();
    for ((linear, matrix), out) in weights.iter().zip(matrices).zip(outs) {
        let bounds = bounds(&[matrix], threads);
        let bands = bounds.len() - 1;
        let products = products(table, x, *linear, out, &bounds).enumerate();
        tasks.extend(products.map(|(index, product)| (index * threads / bands, product)));
    }
    // The same share of each matrix for the same thread in each pass, as when it was packed.
    tasks.sort_by_key(|(thread, _)| *thread);
    machine.run(x, &matrices, &mut tasks, |input, scratch, (_, product)| {
        product.run(input, scratch);
    });
}

/// `outs[0] = x gate^T`, `outs[1] = activation(outs[0]) * (x up^T)`, with biases. A thread that has
/// both of a band combines them while they are in its cache.
pub(super) fn run_gated(
    machine: Machine<'_>,
    table: &WeightTable,
    x: &[f32],
    [gate, up]: [Linear<WeightId>; 2],
    activation: Activation,
    [gates, hidden]: &mut [Draft; 2],
) {
    let matrices = [gate, up].map(|linear| table.matrix(linear.weight));
    let bounds = bounds(&matrices, machine.pool.threads());
    let gates = products(table, x, gate, gates, &bounds);
    let mut tasks: Vec<_> = gates.zip(products(table, x, up, hidden, &bounds)).collect();
    machine.run(x, &matrices, &mut tasks, |input, scratch, (gate, up)| {
        gate.run(input, scratch);
        up.run(input, scratch);
        for row in 0..up.band.rows() {
            let (gate, up) = (gate.band.row_mut(row), up.band.row_mut(row));
            activate(input.level, activation, gate, up);
        }
    });
}

/// `up = activation(gate) * up`.
pub(super) fn activate(level: Level, activation: Activation, gate: &[f32], up: &mut [f32]) {
    match activation {
        Activation::Silu => kernels::silu_mul(level, gate, up),
        Activation::GeluTanh => kernels::gelu_tanh_mul(level, gate, up),
    }
}

/// The bands of a projection of `x` into `out`.
fn products<'a>(
    table: &'a WeightTable,
    x: &[f32],
    linear: Linear<WeightId>,
    out: &'a mut Draft,
    bounds: &[usize],
) -> impl Iterator<Item = Product<'a>> {
    let matrix = table.matrix(linear.weight);
    let bias = linear.bias.map(|bias| table.vector(bias));
    let (batch, width) = out.shape();
    assert_eq!((x.len(), width), (batch * matrix.cols, matrix.rows), "shapes of a projection");
    let bands = kernels::column_bands(out.data_mut(), batch, width, bounds);
    bands.into_iter().map(move |band| Product { matrix, bias, band })
}

/// Ascending band borders over the rows of matrices of one shape, from 0 to their number.
fn bounds(matrices: &[&Matrix], threads: usize) -> Vec<usize> {
    let in_passing = matrices.iter().filter_map(|matrix| matrix.rows_in_passing()).min();
    band_bounds(matrices[0].rows, threads, in_passing.unwrap_or(usize::MAX))
}

/// The same, bands having `most` rows where that is not too few.
fn band_bounds(rows: usize, threads: usize, most: usize) -> Vec<usize> {
    let bands = if threads == 1 { 1 } else { threads * BANDS_PER_THREAD };
    let step = rows.div_ceil(bands).next_multiple_of(BAND_ROWS_MIN);
    let most = (most / BAND_ROWS_IN_PASSING).max(1) * BAND_ROWS_IN_PASSING;
    let step = step.max(BAND_ROWS_MIN).min(most);
    let mut bounds: Vec<usize> = (0..rows).step_by(step).collect();
    bounds.push(rows);
    bounds
}

#[cfg(test)]
mod tests {
    use super::band_bounds;

    #[test]
    fn bounds_cover_all_rows_once() {
        for rows in [1, 15, 16, 17, 100, 4096] {
            for (threads, most) in [(1, usize::MAX), (2, 300), (2, 40), (7, 1)] {
                let bounds = band_bounds(rows, threads, most);
                assert_eq!((bounds[0], *bounds.last().unwrap()), (0, rows));
                assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{bounds:?}");
                let widest = bounds.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
                assert!(widest <= most.max(16), "{bounds:?}");
            }
        }
    }
}
