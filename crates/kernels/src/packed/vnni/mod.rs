//! The packed product with AVX-512 VNNI. A vector is sixteen rows of the matrix; a broadcast of four
//! activations serves them all.
//!
//! A few rows of activations are multiplied with the weights as they are unpacked, in registers;
//! more of them with a panel: a group unpacked once to a byte per weight, for all tiles.

mod bf16;
mod large;
mod large_formats;
mod small;
mod small_formats;

use super::layout::Layout;
use super::{
    ACTIVATION_TILE, ActivationClass, Activations, PACKED_GROUP, PackedRows, Sink, activation_bytes,
};
use crate::DType;
use crate::x86_64::avx512_vnni::{Avx512Vnni, I};
use large::multiply_large;
use small::multiply_small;

/// Up to this batch, weights are not unpacked to a panel.
const DIRECT_BATCH_MAX: usize = 4;

/// Bytes of activations that the groups of a band are multiplied with in turn.
const CHUNK_BYTES: usize = 640 << 10;

/// False if this CPU or this format has no kernel here.
pub(super) fn multiply(
    x: Activations<'_>,
    weights: PackedRows<'_>,
    sink: &mut Sink<'_, '_>,
    scratch: &mut Vec<f32>,
) -> bool {
    let Some(v) = Avx512Vnni::detect() else { return false };
    if weights.cols == 0 {
        return false;
    }
    if x.class == ActivationClass::Bf16 {
        return bf16::multiply(x, weights, sink);
    }
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
        DType::Q4_0 => multiply_small::<small::Q4_0>(v, job, sink, scratch),
        DType::Q4_1 => multiply_small::<small::Q4_1>(v, job, sink, scratch),
        DType::Q5_0 => multiply_small::<small::Q5_0>(v, job, sink, scratch),
        DType::Q5_1 => multiply_small::<small::Q5_1>(v, job, sink, scratch),
        DType::Q8_0 => multiply_small::<small::Q8_0>(v, job, sink, scratch),
        DType::IQ4_NL => multiply_small::<small::IQ4_NL>(v, job, sink, scratch),
        DType::MXFP4 => multiply_small::<small::MXFP4>(v, job, sink, scratch),
        DType::Q2_K => multiply_large::<large::Q2_K>(v, job, sink, scratch),
        DType::Q3_K => multiply_large::<large::Q3_K>(v, job, sink, scratch),
        DType::Q4_K => multiply_large::<large::Q4_K>(v, job, sink, scratch),
        DType::Q5_K => multiply_large::<large::Q5_K>(v, job, sink, scratch),
        DType::Q6_K => multiply_large::<large::Q6_K>(v, job, sink, scratch),
        DType::IQ4_XS => multiply_large::<large::IQ4_XS>(v, job, sink, scratch),
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

    fn groups<B: 'a, R: 'a>(self) -> impl Iterator<Item = (usize, Group<'a, B, R>)> {
        let groups = self.weights.chunks_exact(self.layout.group_bytes());
        groups.enumerate().map(move |(i, bytes)| (i, Group::new(bytes, self.layout)))
    }

    /// All rows, when they are one tile.
    fn only_tile(self) -> Rows<'a> {
        Rows { x: self.x.bytes, tile_rows: self.x.batch, start: 0, first: 0 }
    }

    /// Some tiles, which stay in the second-level cache while all groups pass over them: the first
    /// row, and the bytes.
    fn chunks(self) -> impl Iterator<Item = (usize, &'a [u8])> {
        let tiles = (CHUNK_BYTES / self.tile_bytes).max(1);
        let chunks = self.x.bytes.chunks(tiles * self.tile_bytes).enumerate();
        chunks.map(move |(i, chunk)| (i * tiles * ACTIVATION_TILE, chunk))
    }

    fn tiles(self, (first, chunk): (usize, &'a [u8])) -> impl Iterator<Item = Rows<'a>> {
        chunk.chunks(self.tile_bytes).enumerate().map(move |(i, x)| {
            let first = first + i * ACTIVATION_TILE;
            let tile_rows = (self.x.batch - first).min(ACTIVATION_TILE);
            Rows { x, tile_rows, start: 0, first }
        })
    }
}

/// Sixteen rows of a matrix: `B` is the words of a block, `R` its rest; both are arrays of bytes.
struct Group<'a, B, R> {
    blocks: &'a [B],
    rests: &'a [R],
}

impl<'a, B, R> Group<'a, B, R> {
    fn new(bytes: &'a [u8], layout: Layout) -> Self {
        let (blocks, rests) = bytes.split_at(layout.rests_at());
        Group { blocks: cast(blocks, layout.blocks), rests: cast(rests, layout.blocks) }
    }
}

/// `count` arrays of bytes. (`T` is one in every use; its alignment is checked to be that of bytes.)
fn cast<T>(bytes: &[u8], count: usize) -> &[T] {
    const { assert!(align_of::<T>() == 1) };
    assert_eq!(bytes.len(), count * size_of::<T>(), "bytes of the blocks");
    // SAFETY: the length is checked; any bytes are a value of an array of bytes, at any address.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), count) }
}

/// As `cast`, for writing.
fn cast_mut<T>(bytes: &mut [u8], count: usize) -> &mut [T] {
    const { assert!(align_of::<T>() == 1) };
    assert_eq!(bytes.len(), count * size_of::<T>(), "bytes of the blocks");
    // SAFETY: as for `cast`; the borrow is exclusive.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), count) }
}

/// `count` values of scratch, from a 64-byte boundary.
fn panel<T>(scratch: &mut Vec<f32>, count: usize) -> &mut [T] {
    let bytes = count * size_of::<T>();
    if scratch.len() * 4 < bytes + 64 {
        scratch.resize(bytes / 4 + 16, 0.0);
    }
    let offset = scratch.as_ptr().align_offset(64).min(16);
    let floats = &mut scratch[offset..][..bytes / 4];
    // SAFETY: floats without padding seen as bytes, and any bytes are floats; the borrow is
    // exclusive and the length is that of the slice.
    let bytes = unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), bytes) };
    cast_mut(bytes, count)
}

/// Four bytes of a record of activations in all lanes.
///
/// # Safety
/// `at + 4 <= record.len()`.
#[inline(always)]
unsafe fn broadcast(v: Avx512Vnni, record: &[u8], at: usize) -> I {
    debug_assert!(at + 4 <= record.len());
    // SAFETY: the caller keeps the four bytes inside the record; the read is an unaligned one.
    v.splat(unsafe { record.as_ptr().add(at).cast::<i32>().read_unaligned() })
}

/// Some rows of a tile: the tile's activations, its number of rows, and which of them.
#[derive(Clone, Copy)]
struct Rows<'a> {
    x: &'a [u8],
    tile_rows: usize,
    /// The first one's place in the tile, and in the product.
    start: usize,
    first: usize,
}

/// Covers the rows of a tile with kernels for 12, 8, 6, 4, 3, 2 and 1 of them:
/// `$tile::<$w, M>(v, group, rows, index, sink)`.
macro_rules! cover {
    ($tile:ident::<$w:ty>, $v:expr, $group:expr, $rows:expr, $index:expr, $sink:expr) => {
        let mut rows = $rows;
        while rows.start < rows.tile_rows {
            let step = super::step(rows.tile_rows - rows.start);
            match step {
                12 => $tile::<$w, 12>($v, $group, rows, $index, $sink),
                8 => $tile::<$w, 8>($v, $group, rows, $index, $sink),
                6 => $tile::<$w, 6>($v, $group, rows, $index, $sink),
                4 => $tile::<$w, 4>($v, $group, rows, $index, $sink),
                3 => $tile::<$w, 3>($v, $group, rows, $index, $sink),
                2 => $tile::<$w, 2>($v, $group, rows, $index, $sink),
                _ => $tile::<$w, 1>($v, $group, rows, $index, $sink),
            }
            rows.start += step;
            rows.first += step;
        }
    };
}
use cover;

/// How many of `left` rows the next kernel takes.
fn step(left: usize) -> usize {
    [1, 1, 2, 3, 4, 4, 6, 4, 8, 6, 6, 8, 12][left.min(ACTIVATION_TILE)]
}

/// The few rows that need no panel: `$tile::<$w, M>(v, group, rows, index, sink)`.
macro_rules! few {
    ($tile:ident::<$w:ty>, $v:expr, $group:expr, $rows:expr, $index:expr, $sink:expr) => {
        match $rows.tile_rows {
            1 => $tile::<$w, 1>($v, $group, $rows, $index, $sink),
            2 => $tile::<$w, 2>($v, $group, $rows, $index, $sink),
            3 => $tile::<$w, 3>($v, $group, $rows, $index, $sink),
            4 => $tile::<$w, 4>($v, $group, $rows, $index, $sink),
            rows => unreachable!("{rows} rows without a panel"),
        }
    };
}
use few;

/// Writes the products of a tile.
#[inline(always)]
fn write(sink: &mut Sink<'_, '_>, first: usize, group: usize, rows: &[[f32; PACKED_GROUP]]) {
    for (i, products) in rows.iter().enumerate() {
        sink.write(first + i, group, products);
    }
}
