//! The operands cut to groups of sixteen rows and tiles of activations.

use super::tiles::Tiles;
use crate::packed::activations::activation_bytes;
use crate::packed::layout::Layout;
use crate::packed::sweep::{Lanes, opaque};
use crate::packed::{ACTIVATION_TILE, Activations, PACKED_GROUP, PackedRows};
use std::ops::Range;

/// The operands, cut to groups and tiles.
#[derive(Clone, Copy)]
pub(in crate::packed) struct Job<'a> {
    pub(in crate::packed) layout: Layout,
    pub(in crate::packed) weights: &'a [u8],
    pub(in crate::packed) x: Activations<'a>,
    /// Bytes of a whole tile of activations.
    pub(in crate::packed) tile_bytes: usize,
}

impl<'a> Job<'a> {
    pub(in crate::packed) fn new(x: Activations<'a>, weights: PackedRows<'a>) -> Self {
        let layout = Layout::new(weights.dtype, weights.cols).expect("a format that is packed");
        let tile_bytes = activation_bytes(x.class, ACTIVATION_TILE, x.cols);
        Job { layout, weights: weights.bytes, x, tile_bytes }
    }

    pub(in crate::packed) fn groups(self) -> usize {
        self.weights.len() / self.layout.group_bytes()
    }

    /// Group `index`; past the end, the last one.
    #[inline(always)]
    pub(super) fn group<B: ByteArray, R: ByteArray>(self, index: usize) -> Column<'a, B, R> {
        let index = index.min(self.groups() - 1);
        let bytes = &self.weights[index * self.layout.group_bytes()..][..self.layout.group_bytes()];
        let (blocks, rests) = bytes.split_at(self.layout.rests_at());
        let count = self.layout.blocks;
        Column { blocks: cast(blocks, count), rests: cast(rests, count), next: &[] }
    }
}

/// The group that a vector of rows lies in, or some blocks of it. Column n of a kernel is part
/// `n % PARTS` of its group.
pub(super) struct Column<'a, B, R> {
    pub(super) blocks: &'a [B],
    pub(super) rests: &'a [R],
    /// The blocks that are read after these, so that they can be asked for in time; maybe none.
    pub(super) next: &'a [B],
}

impl<B, R> Clone for Column<'_, B, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B, R> Copy for Column<'_, B, R> {}

impl<'a, B: ByteArray, R> Column<'a, B, R> {
    /// Block `index`, counted on into those that come next; in the end, the last one.
    #[inline(always)]
    pub(super) fn ahead(&self, index: usize) -> &'a B {
        let beyond = index.checked_sub(self.blocks.len());
        match beyond {
            None => &self.blocks[index],
            Some(index) => self.next.get(index).unwrap_or(&self.blocks[self.blocks.len() - 1]),
        }
    }
}

/// Asks for lines that are read soon.
#[inline(always)]
pub(super) fn prefetch<B: ByteArray>(block: &B, lines: Range<usize>) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    for line in lines {
        let line = std::ptr::from_ref(block).cast::<i8>().wrapping_add(64 * line);
        // SAFETY: a prefetch reads nothing that the program sees and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
    }
}

/// Some rows of a tile: the tile's activations, its number of rows, and where these begin.
#[derive(Clone, Copy)]
pub(in crate::packed) struct TilePart<'a> {
    pub(in crate::packed) x: &'a [u8],
    pub(in crate::packed) tile_rows: usize,
    pub(in crate::packed) start: usize,
}

impl TilePart<'_> {
    /// The place in the tile of row `m` of `M`; the last may be one that does not exist, for which
    /// the one before it stands.
    #[inline(always)]
    pub(super) fn row<V: Tiles, const M: usize>(self, m: usize) -> usize {
        let row = self.start + m;
        if M > V::EXACT_ROWS && m + 1 == M { row.min(self.tile_rows - 1) } else { row }
    }

    #[inline(always)]
    pub(super) fn check<V: Tiles, const M: usize>(self) {
        let rows = self.start + M - usize::from(M > V::EXACT_ROWS);
        assert!(rows <= self.tile_rows, "rows {} to {rows} of {}", self.start, self.tile_rows);
    }

    /// Where in a record that begins with `stride` bytes of each row those from `from` on lie.
    #[inline(always)]
    pub(super) fn bytes<V: Tiles, const M: usize>(self, stride: usize, from: usize) -> RowBytes {
        let at = |m: usize| {
            let at = self.x.as_ptr().wrapping_add(stride * self.row::<V, M>(m) + from);
            if V::BROADCASTS { opaque(at) } else { at }
        };
        let first = at(0);
        let last = if M > V::EXACT_ROWS { (M - 1, at(M - 1)) } else { (M, first) };
        RowBytes { first, last, stride }
    }
}

/// Where rows of activations lie, each `stride` from the one before.
#[derive(Clone, Copy)]
pub(super) struct RowBytes {
    first: *const u8,
    /// A row, maybe one past the last, that lies elsewhere.
    last: (usize, *const u8),
    stride: usize,
}

impl RowBytes {
    /// Four bytes of row `m`.
    ///
    /// # Safety
    /// They lie inside the record.
    #[inline(always)]
    pub(super) unsafe fn word(self, m: usize, at: usize) -> i32 {
        let (last, row) = self.last;
        let row = if m == last { row } else { self.first.wrapping_add(self.stride * m) };
        // SAFETY: as the caller promises; the read is an unaligned one.
        unsafe { row.wrapping_add(at).cast::<i32>().read_unaligned() }
    }
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

/// The inverse of `cast`.
pub(super) fn bytes_of<T: ByteArray>(blocks: &[T]) -> &[u8] {
    // SAFETY: such a type is made of bytes, without padding.
    unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), size_of_val(blocks)) }
}

/// As `cast`, for writing.
pub(super) fn cast_mut<T: ByteArray>(bytes: &mut [u8], count: usize) -> &mut [T] {
    assert_eq!(bytes.len(), count * size_of::<T>(), "bytes of the blocks");
    // SAFETY: as for `cast`; the borrow is exclusive.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), count) }
}

/// Working memory of two kinds, from a 64-byte boundary.
pub(in crate::packed) fn workspace(
    scratch: &mut Vec<f32>,
    bytes: usize,
    sums: usize,
) -> (&mut [u8], &mut [Lanes]) {
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
