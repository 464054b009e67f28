//! The packed product on CPUs without AVX-512 VNNI: AVX2 with AVX-VNNI or without, and plain
//! AVX-512. Written once over `ByteVector`; a vector is 8 or 16 rows of the matrix, and a broadcast
//! of four activations serves them all.
//!
//! A few rows of activations are multiplied with the weights as they are unpacked, in registers;
//! more of them with a panel: a group unpacked once to a byte per weight, for all tiles. With 16
//! registers a panel is one group (two columns of 8 rows) and meets six rows of activations at
//! once: twelve sums, two vectors of weights, one broadcast. The sums of floats wait in the
//! first-level cache meanwhile.

mod groups;
mod large;
mod large_formats;
pub(super) mod round;
mod small;
mod small_formats;

use super::{ACTIVATION_TILE, Activations, PackedRows, Sink};
use crate::x86_64::avx2_bytes::Ymm;
use crate::x86_64::avx512_bytes::Zmm;
use crate::x86_64::byte_vector::{BIAS, ByteVector};
use crate::{DType, Level};
use groups::{ByteArray, Column, Job, Lanes, TilePart, cast_mut, workspace};
use large::Large;
use small::Small;

/// Bytes of activations that the groups of a band are multiplied with in turn: they stay in the
/// second-level cache.
const CHUNK_BYTES: usize = 768 << 10;

/// Vectors that share the broadcasts of activations.
const COLUMNS: usize = 2;

/// How blocks are multiplied.
trait Kernel<V: ByteVector> {
    /// The words of a block, and its rest: arrays of bytes.
    type Block: ByteArray;
    type Rest: ByteArray;
    /// A block unpacked.
    type Panel: Kernel<V, Rest = [u8; 0]>;
    /// Blocks of a panel: as many as stay in the first-level cache; at most 64.
    const PANEL_BLOCKS: usize;
    /// Bytes of a block of activations for one row.
    const X_BYTES: usize;

    fn unpack(
        v: V,
        block: &Self::Block,
        rest: &Self::Rest,
        out: &mut <Self::Panel as Kernel<V>>::Block,
    );

    /// Adds the products of `M` rows of activations with `N` columns to `sums`, `[M, groups]`.
    fn multiply<const M: usize, const N: usize>(
        v: V,
        columns: [Column<'_, Self::Block, Self::Rest>; N],
        rows: TilePart<'_>,
        sums: &mut [Lanes],
    );
}

/// What a format's bytes are where sums of their products are 16 bits wide.
#[derive(Clone, Copy)]
struct Narrow {
    /// So many steps of four products cannot overflow.
    run: usize,
    /// The unsigned bytes of the specification are these times a power of two.
    shift: u32,
    /// These are signed; the bytes of the specification are 128 more.
    signed: bool,
}

impl Narrow {
    /// Unsigned bytes up to `max`, which the specification has times `2^shift`.
    const fn unsigned(max: usize, shift: u32) -> Narrow {
        // A pair of products is at most 2 * 127 * max.
        let run = 32767 / (254 * max);
        // A power of two, since sub-blocks are.
        let run = if run >= 8 { 8 } else { 1 << run.ilog2() };
        Narrow { run, shift, signed: false }
    }

    /// |-128| * 127 * 2 is just below 2^15.
    const SIGNED: Narrow = Narrow { run: 1, shift: 0, signed: true };
}

/// Whether the level has a kernel for the format.
pub(super) fn has_kernel(level: Level, dtype: DType) -> bool {
    level != Level::Scalar && !matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}

/// False if there is no kernel for the level and the format.
pub(super) fn multiply(
    level: Level,
    x: Activations<'_>,
    weights: PackedRows<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
) -> bool {
    if weights.cols == 0 || !has_kernel(level, weights.dtype) {
        return false;
    }
    match level {
        Level::Scalar => return false,
        Level::Avx2(token) => match Ymm::<true>::detect(token) {
            Some(v) => compiled(v, x, weights, sink, scratch),
            None => compiled(Ymm::<false>::new(token), x, weights, sink, scratch),
        },
        Level::Avx512(token) => compiled(Zmm::new(token), x, weights, sink, scratch),
    }
    true
}

fn compiled<V: ByteVector>(
    v: V,
    x: Activations<'_>,
    weights: PackedRows<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
) {
    v.vectorize(
        #[inline(always)]
        || multiply_bytes(v, x, weights, sink, scratch),
    );
}

#[inline(always)]
fn multiply_bytes<V: ByteVector>(
    v: V,
    x: Activations<'_>,
    weights: PackedRows<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
) {
    use large_formats as large;
    use small_formats as small;
    let job = Job::new(x, weights);
    match weights.dtype {
        DType::Q4_0 => multiply_groups::<V, Small<small::Q4_0>>(v, job, sink, scratch),
        DType::Q4_1 => multiply_groups::<V, Small<small::Q4_1>>(v, job, sink, scratch),
        DType::Q5_0 => multiply_groups::<V, Small<small::Q5_0>>(v, job, sink, scratch),
        DType::Q5_1 => multiply_groups::<V, Small<small::Q5_1>>(v, job, sink, scratch),
        DType::Q8_0 => multiply_groups::<V, Small<small::Q8_0>>(v, job, sink, scratch),
        DType::IQ4_NL => multiply_groups::<V, Small<small::IQ4_NL>>(v, job, sink, scratch),
        DType::MXFP4 => multiply_groups::<V, Small<small::MXFP4>>(v, job, sink, scratch),
        DType::Q2_K => multiply_groups::<V, Large<large::Q2_K>>(v, job, sink, scratch),
        DType::Q3_K => multiply_groups::<V, Large<large::Q3_K>>(v, job, sink, scratch),
        DType::Q4_K => multiply_groups::<V, Large<large::Q4_K>>(v, job, sink, scratch),
        DType::Q5_K => multiply_groups::<V, Large<large::Q5_K>>(v, job, sink, scratch),
        DType::Q6_K => multiply_groups::<V, Large<large::Q6_K>>(v, job, sink, scratch),
        DType::IQ4_XS => multiply_groups::<V, Large<large::IQ4_XS>>(v, job, sink, scratch),
        DType::F32 | DType::F16 | DType::BF16 => unreachable!("{} has no bytes", weights.dtype),
    }
}

#[inline(always)]
fn multiply_groups<V: ByteVector, W: Kernel<V>>(
    v: V,
    job: Job<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
) {
    match job.x.batch {
        1 => few::<V, W, 1>(v, job, sink),
        2 if V::DOT_32 => few::<V, W, 2>(v, job, sink),
        _ => many::<V, W>(v, job, sink, scratch),
    }
}

/// The whole batch of one row or two at once, without a panel.
#[inline(never)]
fn few<V: ByteVector, W: Kernel<V>, const M: usize>(v: V, job: Job<'_>, sink: &mut Sink<'_, '_>) {
    const N: usize = COLUMNS;
    let (groups, step) = (job.groups(), N / V::PARTS);
    for first in (0..groups).step_by(step) {
        let mut sums = [[0.0; 16]; 2 * COLUMNS];
        let sums = &mut sums[..M * step];
        let rows = TilePart { x: job.x.bytes, tile_rows: M, start: 0 };
        let columns = std::array::from_fn(|n| job.group(first + n / V::PARTS));
        tile::<V, W, M, N>(v, columns, rows, sums);
        for (m, sums) in sums.chunks_exact(step).enumerate() {
            for (n, sums) in sums.iter().enumerate().take(groups - first) {
                sink.write(m, first + n, sums);
            }
        }
    }
}

/// A panel of groups at a time; a piece of their blocks is unpacked for all tiles of a chunk.
#[inline(always)]
fn many<V: ByteVector, W: Kernel<V>>(
    v: V,
    job: Job<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
) {
    let step = COLUMNS / V::PARTS;
    let (groups, batch) = (job.groups(), job.x.batch);
    let chunk_tiles = (CHUNK_BYTES / job.tile_bytes).max(1);
    let panel_bytes = step * W::PANEL_BLOCKS * size_of::<<W::Panel as Kernel<V>>::Block>();
    let sums_len = step * batch.min(chunk_tiles * ACTIVATION_TILE);
    let (panel, sums) = workspace(scratch, panel_bytes, sums_len);
    let panel = cast_mut::<<W::Panel as Kernel<V>>::Block>(panel, step * W::PANEL_BLOCKS);
    for (index, x) in job.x.bytes.chunks(chunk_tiles * job.tile_bytes).enumerate() {
        let chunk_first = index * chunk_tiles * ACTIVATION_TILE;
        let sums = &mut sums[..step * (batch - chunk_first).min(chunk_tiles * ACTIVATION_TILE)];
        for first in (0..groups).step_by(step) {
            sums.fill([0.0; 16]);
            add_chunk::<V, W>(v, job, first, x, panel, sums);
            for (m, sums) in sums.chunks_exact(step).enumerate() {
                for (n, sums) in sums.iter().enumerate().take(groups - first) {
                    sink.write(chunk_first + m, first + n, sums);
                }
            }
        }
    }
}

/// Adds the products of the groups of a panel from `first` with the tiles `x`.
#[inline(always)]
fn add_chunk<V: ByteVector, W: Kernel<V>>(
    v: V,
    job: Job<'_>,
    first: usize,
    x: &[u8],
    panel: &mut [<W::Panel as Kernel<V>>::Block],
    sums: &mut [Lanes],
) {
    let step = COLUMNS / V::PARTS;
    let rests = [[0u8; 0]; 64];
    for from in (0..job.layout.blocks).step_by(W::PANEL_BLOCKS) {
        let count = W::PANEL_BLOCKS.min(job.layout.blocks - from);
        for (n, panel) in panel.chunks_exact_mut(W::PANEL_BLOCKS).enumerate() {
            let group: Column<'_, W::Block, W::Rest> = job.group(first + n);
            let blocks = group.blocks[from..].iter().zip(&group.rests[from..]);
            for ((block, rest), out) in blocks.zip(panel) {
                W::unpack(v, block, rest, out);
            }
        }
        let columns: [Column<'_, _, _>; COLUMNS] = std::array::from_fn(|n| Column {
            blocks: &panel[n / V::PARTS * W::PANEL_BLOCKS..][..count],
            rests: &rests[..count],
        });
        let tiles = x.chunks(job.tile_bytes).zip(sums.chunks_mut(step * ACTIVATION_TILE));
        for (tile, sums) in tiles {
            let tile_rows = sums.len() / step;
            let record = tile_rows * W::X_BYTES;
            let x = &tile[from * record..][..count * record];
            cover::<V, W::Panel>(v, columns, TilePart { x, tile_rows, start: 0 }, sums);
        }
    }
}

/// All rows of a tile, some at a time: sums of 16 bits need registers beside the wider ones. (Few
/// sizes, since each is compiled for each format.)
#[inline(always)]
fn cover<V: ByteVector, W: Kernel<V>>(
    v: V,
    columns: [Column<'_, W::Block, W::Rest>; COLUMNS],
    mut rows: TilePart<'_>,
    sums: &mut [Lanes],
) {
    const N: usize = COLUMNS;
    while rows.start < rows.tile_rows {
        let sums = &mut sums[rows.start * (N / V::PARTS)..];
        let step = match rows.tile_rows - rows.start {
            6.. if V::DOT_32 => {
                tile::<V, W, 6, N>(v, columns, rows, sums);
                6
            }
            2.. if V::DOT_32 => {
                tile::<V, W, 2, N>(v, columns, rows, sums);
                2
            }
            4.. if !V::DOT_32 => {
                tile::<V, W, 4, N>(v, columns, rows, sums);
                4
            }
            _ => {
                tile::<V, W, 1, N>(v, columns, rows, sums);
                1
            }
        };
        rows.start += step;
    }
}

/// `M` rows of activations with `N` columns.
#[inline(never)]
fn tile<V: ByteVector, W: Kernel<V>, const M: usize, const N: usize>(
    v: V,
    columns: [Column<'_, W::Block, W::Rest>; N],
    rows: TilePart<'_>,
    sums: &mut [Lanes],
) {
    v.vectorize(
        #[inline(always)]
        || W::multiply::<M, N>(v, columns, rows, sums),
    );
}

/// As f32: `start[m]` and the products of `len` steps of four: `weights(n, i)`, which are `narrow`
/// unless `V::DOT_32`, with `x(m, i)`. At most 32 products of an unsigned and a signed byte are
/// below 2^22, so that they may start at `BIAS`.
#[inline(always)]
fn products<V: ByteVector, const M: usize, const N: usize>(
    v: V,
    narrow: Narrow,
    len: usize,
    mut start: [V::I; M],
    weights: impl Fn(usize, usize) -> V::I,
    x: impl Fn(usize, usize) -> V::I,
) -> [[V::F; N]; M] {
    let zero = v.splat(0);
    for start in &mut start {
        *start = v.add(*start, v.splat(BIAS));
    }
    let mut sums = [[zero; N]; M];
    if V::DOT_32 {
        for m in 0..M {
            sums[m] = [start[m]; N];
        }
    }
    let run = if V::DOT_32 { len } else { narrow.run.min(len) };
    for from in 0..len / run {
        let mut runs = sums;
        for m in 0..M {
            for n in 0..N {
                runs[m][n] = v.begin_run(sums[m][n]);
            }
        }
        for i in run * from..run * (from + 1) {
            let mut four = [zero; N];
            for (n, four) in four.iter_mut().enumerate() {
                *four = weights(n, i);
            }
            for (m, runs) in runs.iter_mut().enumerate() {
                let x = x(m, i);
                for n in 0..N {
                    runs[n] = if V::DOT_32 || !narrow.signed {
                        v.dot(runs[n], four[n], x)
                    } else {
                        v.dot_signed(runs[n], four[n], x)
                    };
                }
            }
        }
        for m in 0..M {
            for n in 0..N {
                sums[m][n] = v.end_run(runs[m][n], sums[m][n]);
            }
        }
    }
    let mut floats = [[v.splat_f32(0.0); N]; M];
    for m in 0..M {
        for n in 0..N {
            if !V::DOT_32 {
                sums[m][n] = v.add(v.left(sums[m][n], narrow.shift), start[m]);
            }
            floats[m][n] = v.unbias(sums[m][n]);
        }
    }
    floats
}
