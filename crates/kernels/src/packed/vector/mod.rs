//! The packed product of formats whose weights are bytes or less, written once over `ByteVector`:
//! AVX2 and AVX-512, each with VNNI or without. A vector is 8 or 16 rows of the matrix, and a
//! broadcast of four activations serves them all.
//!
//! A few rows of activations are multiplied with the weights as they are unpacked, in registers;
//! more of them with a panel: some groups unpacked once to a byte per weight, for all tiles.

pub(super) mod groups;
mod large;
mod large_formats;
pub(super) mod round;
mod small;
mod small_formats;
mod tiles;

use super::sweep::{Lanes, Shape, Sweep};
use super::{Activations, PackedRows, Sink};
use crate::x86_64::avx2_bytes::Ymm;
use crate::x86_64::avx512_bytes::Zmm;
use crate::x86_64::byte_vector::{ByteVector, In16, In32, Narrow};
use crate::{DType, Level};
use groups::{ByteArray, Column, Job, TilePart, bytes_of, cast_mut, workspace};
use large::Large;
use small::Small;
use std::ops::Range;
use tiles::Tiles;

/// How blocks are multiplied.
trait Kernel<V: Tiles> {
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

/// What the unsigned bytes of a format are offset by. Panels are made for kinds, not for formats.
trait Kind {
    /// Elements that share a scale.
    const LEN: usize;
    /// Whether each scale has a minimum beside it; otherwise all bytes have the same offset.
    const MINIMUM: bool;
}

struct Minimums<const LEN: usize>;

impl<const LEN: usize> Kind for Minimums<LEN> {
    const LEN: usize = LEN;
    const MINIMUM: bool = true;
}

struct Offset<const LEN: usize>;

impl<const LEN: usize> Kind for Offset<LEN> {
    const LEN: usize = LEN;
    const MINIMUM: bool = false;
}

/// Whether there is a kernel for the format, on all levels but the scalar one.
pub(super) fn has_kernel(dtype: DType) -> bool {
    !matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}

/// False if there is no kernel for the level and the format.
pub(super) fn multiply(
    level: Level,
    x: Activations<'_>,
    weights: PackedRows<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
) -> bool {
    if weights.cols == 0 || !has_kernel(weights.dtype) {
        return false;
    }
    match level {
        Level::Scalar => return false,
        Level::Avx2(token) => match Ymm::<In32>::detect(token) {
            Some(v) => compiled(v, x, weights, sink, scratch),
            None => compiled(Ymm::<In16>::new(token), x, weights, sink, scratch),
        },
        Level::Avx512(token) => match Zmm::<In32>::detect(token) {
            Some(v) => compiled(v, x, weights, sink, scratch),
            None => compiled(Zmm::<In16>::new(token), x, weights, sink, scratch),
        },
    }
    true
}

fn compiled<V: Tiles>(
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
fn multiply_bytes<V: Tiles>(
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
fn multiply_groups<V: Tiles, W: Kernel<V>>(
    v: V,
    job: Job<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
) {
    if v.few::<W>(job, sink) {
        return;
    }
    let shape = Shape {
        batch: job.x.batch,
        groups: job.groups(),
        units: job.layout.blocks,
        piece: W::PANEL_BLOCKS,
        width: V::PANEL_GROUPS,
    };
    let blocks = V::PANEL_GROUPS * W::PANEL_BLOCKS;
    let panel_bytes = blocks * size_of::<<W::Panel as Kernel<V>>::Block>();
    let (panel, sums) = workspace(scratch, panel_bytes, shape.sums());
    let panel = cast_mut::<<W::Panel as Kernel<V>>::Block>(panel, blocks);
    shape.run(sink, sums, &mut Panels::<V, W> { v, job, panel });
}

/// A product with panels.
struct Panels<'a, V: Tiles, W: Kernel<V>> {
    v: V,
    job: Job<'a>,
    /// `PANEL_BLOCKS` of each group.
    panel: &'a mut [<W::Panel as Kernel<V>>::Block],
}

impl<V: Tiles, W: Kernel<V>> Sweep for Panels<'_, V, W> {
    #[inline(always)]
    fn start_piece(&mut self, _: Range<usize>, _: Range<usize>) {}

    #[inline(always)]
    fn fill(&mut self, first: usize, width: usize, units: Range<usize>) {
        for (n, panel) in self.panel.chunks_exact_mut(W::PANEL_BLOCKS).enumerate().take(width) {
            let group: Column<'_, W::Block, W::Rest> = self.job.group(first + n);
            let blocks = group.blocks[units.clone()].iter().zip(&group.rests[units.clone()]);
            for ((block, rest), out) in blocks.zip(panel) {
                W::unpack(self.v, block, rest, out);
            }
        }
    }

    #[inline(always)]
    fn multiply(&mut self, tile: usize, width: usize, units: Range<usize>, sums: &mut [Lanes]) {
        let (rests, count, tile_rows) = ([[0u8; 0]; 64], units.len(), sums.len() / width);
        // Those past the width are not looked at.
        let groups: [Column<'_, _, _>; tiles::PANEL_GROUPS_MAX] = std::array::from_fn(|n| Column {
            blocks: &self.panel[n.min(width - 1) * W::PANEL_BLOCKS..][..count],
            rests: &rests[..count],
            next: &[],
        });
        let record = tile_rows * W::X_BYTES;
        let x = &self.job.x.bytes[tile * self.job.tile_bytes..][units.start * record..];
        let rows = TilePart { x: &x[..count * record], tile_rows, start: 0 };
        self.v.cover::<W::Panel>(&groups[..width], rows, sums);
    }

    #[inline(always)]
    fn weights(&self, group: usize, units: Range<usize>) -> &[u8] {
        let group: Column<'_, W::Block, W::Rest> = self.job.group(group);
        bytes_of(&group.blocks[units])
    }
}

/// As f32: `start[m]` and the products of `len` steps of four: `weights(n, i)`, which are as `B`
/// says, with `x(m, i)`. At most 32 products of an unsigned and a signed byte are below 2^22, so
/// that they may start at a bias.
#[inline(always)]
fn products<V: ByteVector, B: Narrow, const M: usize, const N: usize>(
    v: V,
    len: usize,
    mut start: [V::I; M],
    weights: impl Fn(usize, usize) -> V::I,
    x: impl Fn(usize, usize) -> V::I,
) -> [[V::F; N]; M] {
    let zero = v.splat(0);
    let mut sums = [[zero; N]; M];
    for m in 0..M {
        start[m] = v.bias(start[m]);
        if V::DOT_32 {
            sums[m] = [start[m]; N];
        }
    }
    let run = B::RUN.min(len);
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
                    runs[n] = if B::SIGNED {
                        v.dot_signed(runs[n], four[n], x)
                    } else {
                        v.dot(runs[n], four[n], x)
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
                sums[m][n] = v.add(v.left(sums[m][n], B::SHIFT), start[m]);
            }
            floats[m][n] = v.unbias(sums[m][n]);
        }
    }
    floats
}

/// Part `n % PARTS` of group `n / PARTS` of each row.
#[inline(always)]
fn load_sums<V: ByteVector, const M: usize, const N: usize>(
    v: V,
    sums: &[Lanes],
) -> [[V::F; N]; M] {
    let mut loaded = [[v.splat_f32(0.0); N]; M];
    for m in 0..M {
        for n in 0..N {
            loaded[m][n] = v.load_f32(&sums[(m * N + n) / V::PARTS], n % V::PARTS);
        }
    }
    loaded
}

/// The inverse.
#[inline(always)]
fn store_sums<V: ByteVector, const M: usize, const N: usize>(
    v: V,
    loaded: [[V::F; N]; M],
    sums: &mut [Lanes],
) {
    for m in 0..M {
        for n in 0..N {
            v.store_f32(loaded[m][n], &mut sums[(m * N + n) / V::PARTS], n % V::PARTS);
        }
    }
}
