//! The packed product with AVX-512 VNNI. A vector is sixteen rows of the matrix; a broadcast of
//! four activations serves them all.
//!
//! A few rows of activations are multiplied with the weights as they are unpacked, in registers;
//! more of them with a panel: a group unpacked once to a byte per weight, for all tiles.

mod bf16;
mod large;
mod large_formats;
mod round;
mod small;
mod small_formats;

use super::layout::Layout;
use super::sweep::{Lanes, Shape, Sweep};
use super::{
    ACTIVATION_TILE, ActivationClass, Activations, PACKED_GROUP, PackedRows, Sink, activation_bytes,
};
use crate::DType;
use crate::x86_64::avx512_vnni::{Avx512Vnni, I};
use large::Large;
pub(super) use round::round;
use small::Small;
use std::ops::Range;

/// Groups that share the broadcasts of activations. Three rows by four groups did 51 to 54 % of the
/// int8 peak on Q8_0 and Q4_K, where six by two did 36 to 43 % and twelve by one 31 to 41 %: one
/// thread, 512 rows.
const PANEL_GROUPS: usize = 4;

/// How blocks are multiplied.
trait Kernel {
    /// The words of a block, and its rest: arrays of bytes.
    type Block: ByteArray;
    type Rest: ByteArray;
    /// A block unpacked.
    type Panel: Kernel<Rest = [u8; 0]>;
    /// Blocks of a panel: as many as stay in the first-level cache; at most 64.
    const PANEL_BLOCKS: usize;
    /// Bytes of a block of activations for one row.
    const X_BYTES: usize;

    fn unpack(
        v: Avx512Vnni,
        block: &Self::Block,
        rest: &Self::Rest,
        out: &mut <Self::Panel as Kernel>::Block,
    );

    /// Adds the products of `M` rows of activations with `N` groups to `sums`, `[M, N]`.
    fn multiply<const M: usize, const N: usize>(
        v: Avx512Vnni,
        groups: [Group<'_, Self::Block, Self::Rest>; N],
        rows: TilePart<'_>,
        sums: &mut [Lanes],
    );
}

/// Whether this CPU and this format have a kernel here.
pub(super) fn has_kernel(dtype: DType) -> bool {
    !matches!(dtype, DType::F32 | DType::F16 | DType::BF16) && Avx512Vnni::detect().is_some()
}

/// False if this CPU or this format has no kernel here.
pub(super) fn multiply(
    x: Activations<'_>,
    weights: PackedRows<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
) -> bool {
    if weights.cols == 0 {
        return false;
    }
    match x.class {
        ActivationClass::Bf16 => return bf16::multiply(x, weights, sink, scratch),
        ActivationClass::F32 => return false,
        ActivationClass::Blocks32 | ActivationClass::Blocks256 => {}
    }
    let Some(v) = Avx512Vnni::detect() else { return false };
    v.vectorize(
        #[inline(always)]
        || multiply_bytes(v, x, weights, sink, scratch),
    );
    true
}

#[inline(always)]
fn multiply_bytes(
    v: Avx512Vnni,
    x: Activations<'_>,
    weights: PackedRows<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
) {
    use large_formats as large;
    use small_formats as small;
    let job = Job::new(x, weights);
    match weights.dtype {
        DType::Q4_0 => multiply_groups::<Small<small::Q4_0>>(v, job, sink, scratch),
        DType::Q4_1 => multiply_groups::<Small<small::Q4_1>>(v, job, sink, scratch),
        DType::Q5_0 => multiply_groups::<Small<small::Q5_0>>(v, job, sink, scratch),
        DType::Q5_1 => multiply_groups::<Small<small::Q5_1>>(v, job, sink, scratch),
        DType::Q8_0 => multiply_groups::<Small<small::Q8_0>>(v, job, sink, scratch),
        DType::IQ4_NL => multiply_groups::<Small<small::IQ4_NL>>(v, job, sink, scratch),
        DType::MXFP4 => multiply_groups::<Small<small::MXFP4>>(v, job, sink, scratch),
        DType::Q2_K => multiply_groups::<Large<large::Q2_K>>(v, job, sink, scratch),
        DType::Q3_K => multiply_groups::<Large<large::Q3_K>>(v, job, sink, scratch),
        DType::Q4_K => multiply_groups::<Large<large::Q4_K>>(v, job, sink, scratch),
        DType::Q5_K => multiply_groups::<Large<large::Q5_K>>(v, job, sink, scratch),
        DType::Q6_K => multiply_groups::<Large<large::Q6_K>>(v, job, sink, scratch),
        DType::IQ4_XS => multiply_groups::<Large<large::IQ4_XS>>(v, job, sink, scratch),
        DType::F32 | DType::F16 | DType::BF16 => unreachable!("{} has no bytes", weights.dtype),
    }
}

/// The operands, cut to groups and tiles.
#[derive(Clone, Copy)]
struct Job<'a> {
    layout: Layout,
    weights: &'a [u8],
    x: Activations<'a>,
    tile_bytes: usize,
}

impl<'a> Job<'a> {
    fn new(x: Activations<'a>, weights: PackedRows<'a>) -> Self {
        let layout = Layout::new(weights.dtype, weights.cols).expect("a format that is packed");
        let tile_bytes = activation_bytes(x.class, ACTIVATION_TILE, x.cols);
        Job { layout, weights: weights.bytes, x, tile_bytes }
    }

    fn groups(self) -> usize {
        self.weights.len() / self.layout.group_bytes()
    }

    /// Group `index`; past the end, the last one.
    #[inline(always)]
    fn group<B: ByteArray, R: ByteArray>(self, index: usize) -> Group<'a, B, R> {
        let index = index.min(self.groups() - 1);
        let bytes = &self.weights[index * self.layout.group_bytes()..][..self.layout.group_bytes()];
        let (blocks, rests) = bytes.split_at(self.layout.rests_at());
        let count = self.layout.blocks;
        Group { blocks: cast(blocks, count), rests: cast(rests, count), next: &[] }
    }
}

/// Sixteen rows of a matrix, or some blocks of them.
struct Group<'a, B, R> {
    blocks: &'a [B],
    rests: &'a [R],
    /// The blocks that are read after these, so that they can be asked for in time; maybe none.
    next: &'a [B],
}

impl<'a, B, R> Group<'a, B, R> {
    /// Block `index`, counted on into those that come next; in the end, the last one.
    #[inline(always)]
    fn ahead(&self, index: usize) -> &'a B {
        let beyond = index.checked_sub(self.blocks.len());
        match beyond {
            None => &self.blocks[index],
            Some(index) => self.next.get(index).unwrap_or(&self.blocks[self.blocks.len() - 1]),
        }
    }
}

impl<B, R> Clone for Group<'_, B, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B, R> Copy for Group<'_, B, R> {}

/// Arrays of bytes.
///
/// # Safety
/// Any bytes are a value, at any address.
unsafe trait ByteArray {}

// SAFETY: an array of bytes has no padding, no invalid values and the alignment of bytes.
unsafe impl<const N: usize> ByteArray for [u8; N] {}
// SAFETY: the same.
unsafe impl<const N: usize> ByteArray for [[u8; 64]; N] {}

/// `count` arrays of bytes.
fn cast<T: ByteArray>(bytes: &[u8], count: usize) -> &[T] {
    assert_eq!(bytes.len(), count * size_of::<T>(), "bytes of the blocks");
    // SAFETY: the length is checked; any bytes are a value of such a type, at any address.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), count) }
}

/// The inverse of `cast`.
fn bytes_of<T: ByteArray>(blocks: &[T]) -> &[u8] {
    // SAFETY: such a type is made of bytes, without padding.
    unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), size_of_val(blocks)) }
}

/// As `cast`, for writing.
fn cast_mut<T: ByteArray>(bytes: &mut [u8], count: usize) -> &mut [T] {
    assert_eq!(bytes.len(), count * size_of::<T>(), "bytes of the blocks");
    // SAFETY: as for `cast`; the borrow is exclusive.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), count) }
}

/// Working memory of two kinds, from a 64-byte boundary.
fn workspace(scratch: &mut Vec<f32>, bytes: usize, sums: usize) -> (&mut [u8], &mut [Lanes]) {
    let floats = bytes.div_ceil(64) * 16 + sums * PACKED_GROUP;
    if scratch.len() < floats + 16 {
        scratch.resize(floats + 16, 0.0);
    }
    let offset = scratch.as_ptr().align_offset(64).min(16);
    let (panel, sums) = scratch[offset..][..floats].split_at_mut(bytes.div_ceil(64) * 16);
    // SAFETY: f32 has no padding and any bytes are one; the borrow is exclusive and the slice has
    // at least `bytes` bytes.
    let panel = unsafe { std::slice::from_raw_parts_mut(panel.as_mut_ptr().cast(), bytes) };
    (panel, sums.as_chunks_mut().0)
}

/// Four bytes of a record of activations in all lanes.
///
/// # Safety
/// `at + 4 <= record.len()`.
#[inline(always)]
unsafe fn broadcast(v: Avx512Vnni, record: &[u8], at: usize) -> I {
    debug_assert!(at + 4 <= record.len());
    // SAFETY: the caller keeps the four bytes inside the record.
    unsafe { broadcast_from(v, record.as_ptr().add(at)) }
}

/// Four bytes in all lanes.
///
/// # Safety
/// They can be read.
#[inline(always)]
unsafe fn broadcast_from(v: Avx512Vnni, at: *const u8) -> I {
    // SAFETY: as the caller promises; the read is an unaligned one.
    v.splat(unsafe { at.cast::<i32>().read_unaligned() })
}

/// Some rows of a tile: the tile's activations, its number of rows, and where these begin.
#[derive(Clone, Copy)]
struct TilePart<'a> {
    x: &'a [u8],
    tile_rows: usize,
    start: usize,
}

impl TilePart<'_> {
    /// The place in the tile of row `m` of `M`; the last may be one that does not exist, for which
    /// the one before it stands.
    #[inline(always)]
    fn row<const M: usize>(self, m: usize) -> usize {
        let row = self.start + m;
        if M > 4 && m + 1 == M { row.min(self.tile_rows - 1) } else { row }
    }

    #[inline(always)]
    fn check<const M: usize>(self) {
        let rows = self.start + M - usize::from(M > 4);
        assert!(rows <= self.tile_rows, "rows {} to {rows} of {}", self.start, self.tile_rows);
    }
}

/// Asks for lines that are read soon.
#[inline(always)]
fn prefetch<B: ByteArray>(block: &B, lines: Range<usize>) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for line in lines {
        let line = std::ptr::from_ref(block).cast::<i8>().wrapping_add(64 * line);
        // SAFETY: a prefetch reads nothing that the program sees and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
    }
}

#[inline(always)]
fn multiply_groups<W: Kernel>(
    v: Avx512Vnni,
    job: Job<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
) {
    match job.x.batch {
        1 => few::<W, 1, 4>(v, job, sink),
        2 => few::<W, 2, 2>(v, job, sink),
        3 => few::<W, 3, 2>(v, job, sink),
        4 => few::<W, 4, 2>(v, job, sink),
        5 | 6 => few::<W, 6, 1>(v, job, sink),
        7 | 8 => few::<W, 8, 1>(v, job, sink),
        9 | 10 => few::<W, 10, 1>(v, job, sink),
        11 | 12 => few::<W, 12, 1>(v, job, sink),
        _ => many::<W>(v, job, sink, scratch),
    }
}

/// The whole batch at once, without a panel: `M` rows, or one less, of which the last stands twice
/// then.
#[inline(never)]
fn few<W: Kernel, const M: usize, const N: usize>(
    v: Avx512Vnni,
    job: Job<'_>,
    sink: &mut Sink<'_, '_>,
) {
    let groups = job.groups();
    for first in (0..groups).step_by(N) {
        let mut sums = [[[0.0; PACKED_GROUP]; N]; M];
        let rows = TilePart { x: job.x.bytes, tile_rows: job.x.batch, start: 0 };
        let group = std::array::from_fn(|n| Group {
            next: job.group::<W::Block, W::Rest>(first + N + n).blocks,
            ..job.group(first + n)
        });
        tile::<W, M, N>(v, group, rows, sums.as_flattened_mut());
        for (m, sums) in sums.iter().enumerate().take(job.x.batch) {
            for (n, sums) in sums.iter().enumerate().take(groups - first) {
                sink.write(m, first + n, sums);
            }
        }
    }
}

/// Some groups at a time, with panels.
#[inline(always)]
fn many<W: Kernel>(v: Avx512Vnni, job: Job<'_>, sink: &mut Sink<'_, '_>, scratch: &mut Vec<f32>) {
    let shape = Shape {
        batch: job.x.batch,
        groups: job.groups(),
        units: job.layout.blocks,
        piece: W::PANEL_BLOCKS,
        width: PANEL_GROUPS,
    };
    let blocks = PANEL_GROUPS * W::PANEL_BLOCKS;
    let panel_bytes = blocks * size_of::<<W::Panel as Kernel>::Block>();
    let (panel, sums) = workspace(scratch, panel_bytes, shape.sums());
    let panel = cast_mut::<<W::Panel as Kernel>::Block>(panel, blocks);
    shape.run(sink, sums, &mut Panels::<W> { v, job, panel });
}

/// A product with panels.
struct Panels<'a, W: Kernel> {
    v: Avx512Vnni,
    job: Job<'a>,
    /// `PANEL_BLOCKS` of each group.
    panel: &'a mut [<W::Panel as Kernel>::Block],
}

impl<W: Kernel> Sweep for Panels<'_, W> {
    #[inline(always)]
    fn start_piece(&mut self, _: Range<usize>, _: Range<usize>) {}

    #[inline(always)]
    fn fill(&mut self, first: usize, width: usize, units: Range<usize>) {
        for (n, panel) in self.panel.chunks_exact_mut(W::PANEL_BLOCKS).enumerate().take(width) {
            let group: Group<'_, W::Block, W::Rest> = self.job.group(first + n);
            let blocks = group.blocks[units.clone()].iter().zip(&group.rests[units.clone()]);
            for ((block, rest), out) in blocks.zip(panel) {
                W::unpack(self.v, block, rest, out);
            }
        }
    }

    #[inline(always)]
    fn multiply(&mut self, tile: usize, width: usize, units: Range<usize>, sums: &mut [Lanes]) {
        match width {
            4 => self.multiply_groups::<4>(tile, units, sums),
            3 => self.multiply_groups::<3>(tile, units, sums),
            2 => self.multiply_groups::<2>(tile, units, sums),
            _ => self.multiply_groups::<1>(tile, units, sums),
        }
    }

    #[inline(always)]
    fn weights(&self, group: usize, units: Range<usize>) -> &[u8] {
        let group: Group<'_, W::Block, W::Rest> = self.job.group(group);
        bytes_of(&group.blocks[units])
    }
}

impl<W: Kernel> Panels<'_, W> {
    #[inline(always)]
    fn multiply_groups<const N: usize>(
        &self,
        tile: usize,
        units: Range<usize>,
        sums: &mut [Lanes],
    ) {
        let rests = [[0u8; 0]; 64];
        let count = units.len();
        let group: [Group<'_, _, _>; N] = std::array::from_fn(|n| Group {
            blocks: &self.panel[n * W::PANEL_BLOCKS..][..count],
            rests: &rests[..count],
            next: &[],
        });
        let tile_rows = sums.len() / N;
        let record = tile_rows * W::X_BYTES;
        let x = &self.job.x.bytes[tile * self.job.tile_bytes..][units.start * record..];
        let x = &x[..count * record];
        cover::<W::Panel, N>(self.v, group, TilePart { x, tile_rows, start: 0 }, sums);
    }
}

/// All rows of a tile, some at a time.
#[inline(always)]
fn cover<W: Kernel, const N: usize>(
    v: Avx512Vnni,
    groups: [Group<'_, W::Block, W::Rest>; N],
    mut rows: TilePart<'_>,
    sums: &mut [Lanes],
) {
    while rows.start < rows.tile_rows {
        let sums = &mut sums[rows.start * N..];
        let step = [0, 1, 2, 3, 2, 3, 3, 3, 3, 3, 3, 3, 3][rows.tile_rows - rows.start];
        match step {
            3 => tile::<W, 3, N>(v, groups, rows, sums),
            2 => tile::<W, 2, N>(v, groups, rows, sums),
            _ => tile::<W, 1, N>(v, groups, rows, sums),
        }
        rows.start += step;
    }
}

/// `M` rows of activations with `N` groups.
#[inline(never)]
fn tile<W: Kernel, const M: usize, const N: usize>(
    v: Avx512Vnni,
    groups: [Group<'_, W::Block, W::Rest>; N],
    rows: TilePart<'_>,
    sums: &mut [Lanes],
) {
    v.vectorize(
        #[inline(always)]
        || W::multiply::<M, N>(v, groups, rows, sums),
    );
}
