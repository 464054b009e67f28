//! The operands cut to groups of sixteen rows and tiles of activations.

use crate::packed::activations::activation_bytes;
use crate::packed::layout::Layout;
use crate::packed::{ACTIVATION_TILE, Activations, PackedRows};

/// Products of the sixteen rows of a group with one row of activations.
pub(super) type Lanes = [f32; 16];

/// A product to form.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) layout: Layout,
    weights: &'a [u8],
    pub(super) x: Activations<'a>,
    /// Bytes of a whole tile of activations.
    pub(super) tile_bytes: usize,
}

impl<'a> Job<'a> {
    pub(super) fn new(x: Activations<'a>, weights: PackedRows<'a>) -> Self {
        let layout = Layout::new(weights.dtype, weights.cols).expect("a format that is packed");
        let tile_bytes = activation_bytes(x.class, ACTIVATION_TILE, x.cols);
        Job { layout, weights: weights.bytes, x, tile_bytes }
    }

    pub(super) fn groups(self) -> usize {
        self.weights.len() / self.layout.group_bytes()
    }

    /// Group `index`; past the end, the last one.
    #[inline(always)]
    pub(super) fn group<B: ByteArray, R: ByteArray>(self, index: usize) -> Column<'a, B, R> {
        let index = index.min(self.groups() - 1);
        let bytes = &self.weights[index * self.layout.group_bytes()..][..self.layout.group_bytes()];
        let (blocks, rests) = bytes.split_at(self.layout.rests_at());
        let count = self.layout.blocks;
        Column { blocks: cast(blocks, count), rests: cast(rests, count) }
    }
}

/// The group that a vector of rows lies in, or some blocks of it. Column n of a kernel is part
/// `n % PARTS` of its group.
pub(super) struct Column<'a, B, R> {
    pub(super) blocks: &'a [B],
    pub(super) rests: &'a [R],
}

impl<B, R> Clone for Column<'_, B, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B, R> Copy for Column<'_, B, R> {}

/// Bytes from what is multiplied to what is asked for: reading then need not stop at the end of a
/// page, where the processor's own prefetching does.
const AHEAD: usize = 4096;

impl<B: ByteArray, R> Column<'_, B, R> {
    /// Asks for what lies `AHEAD` of a block; past the end of the matrix this asks in vain, which
    /// is no fault.
    #[inline(always)]
    pub(super) fn prefetch(&self, block: usize) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        let ahead = (&raw const self.blocks[block]).cast::<i8>().wrapping_add(AHEAD);
        for line in 0..size_of::<B>() / 64 {
            // SAFETY: a prefetch reads nothing that the program sees and never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(ahead.wrapping_add(64 * line)) };
        }
    }
}

/// Some rows of a tile: the tile's activations, its number of rows, and where these begin.
#[derive(Clone, Copy)]
pub(super) struct TilePart<'a> {
    pub(super) x: &'a [u8],
    pub(super) tile_rows: usize,
    pub(super) start: usize,
}

/// Arrays of bytes.
///
/// # Safety
/// Any bytes are a value, at any address.
pub(super) unsafe trait ByteArray {}

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

/// As `cast`, for writing.
pub(super) fn cast_mut<T: ByteArray>(bytes: &mut [u8], count: usize) -> &mut [T] {
    assert_eq!(bytes.len(), count * size_of::<T>(), "bytes of the blocks");
    // SAFETY: as for `cast`; the borrow is exclusive.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), count) }
}

/// Working memory of two kinds, from a 64-byte boundary.
pub(super) fn workspace(
    scratch: &mut Vec<f32>,
    bytes: usize,
    sums: usize,
) -> (&mut [u8], &mut [Lanes]) {
    let floats = bytes.div_ceil(64) * 16 + sums * 16;
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

/// The four bytes of a record of activations from `at` on.
///
/// # Safety
/// `at + 4 <= record.len()`.
#[inline(always)]
pub(super) unsafe fn word(record: &[u8], at: usize) -> i32 {
    debug_assert!(at + 4 <= record.len());
    // SAFETY: the caller keeps the four bytes inside the record; the read is an unaligned one.
    unsafe { record.as_ptr().add(at).cast::<i32>().read_unaligned() }
}
