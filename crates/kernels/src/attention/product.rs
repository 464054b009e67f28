//! The product of small f32 matrices, which both halves of attention are: queries by keys, weights
//! by values.
//!
//! Every element is one chain of fused multiply-adds in ascending order of the inner dimension, so
//! that its bits depend on its row and column alone: not on the tile, nor on how a sum is cut into
//! calls.

use super::format::KvDType;
use super::stored::{
    Ahead, Bf16s, F16s, F32s, Half, Q4Keys, Q4Values, Q8Keys, Q8Values, Rows, Stored, with_rows,
};
use crate::Level;
use crate::dispatch::dispatch;
use crate::simd::{LANES, Simd};

/// A matrix for reading: row `i` starts at `i * stride`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) data: &'a [f32],
    pub(super) stride: usize,
}

/// What a product is added to.
#[derive(Clone, Copy)]
pub(super) enum Onto<'a> {
    /// Nothing.
    Zero,
    /// What stands there, each row times its factor.
    Scaled(&'a [f32]),
}

/// Rows, inner dimension and columns (in vectors) of a product.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) rows: usize,
    pub(super) inner: usize,
    pub(super) vectors: usize,
}

/// `out = onto + a b`, `[rows, inner]` by `[inner, 16 * vectors]`; rows of `out` start at multiples
/// of `stride`.
pub(super) fn multiply(
    level: Level,
    size: Size,
    a: Matrix,
    b: Matrix,
    onto: Onto,
    out: &mut [f32],
    stride: usize,
) {
    if size.rows == 0 || size.vectors == 0 {
        return;
    }
    let operands = Operands::new(size, a, onto, out, stride);
    let end = size.inner.saturating_sub(1) * b.stride + size.vectors * LANES;
    assert!(size.inner == 0 || b.data.len() >= end, "b is too small");
    let b = Floats { at: b.data.as_ptr(), stride: b.stride };
    dispatch!(level, panels, b, operands, Ahead::new(&[], 1));
}

/// The same by a part of a chunk as it is stored, all of its rows, which are widened on the way:
/// faster where no more than a tile of rows is multiplied.
pub(super) fn multiply_stored(
    level: Level,
    size: Size,
    a: Matrix,
    b: Stored,
    onto: Onto,
    out: &mut [f32],
    stride: usize,
) {
    if size.rows == 0 || size.vectors == 0 {
        return;
    }
    let operands = Operands::new(size, a, onto, out, stride);
    assert!(b.rows() >= size.inner && b.vectors() >= size.vectors, "b is too small");
    let ahead = Ahead::new(b.next, size.inner);
    with_rows!(level, b, panels, operands, ahead);
}

/// Rows of the largest tile.
pub(super) const TILE_ROWS: usize = 6;

/// f32 in memory of our own, `stride` elements apart.
#[derive(Clone, Copy)]
struct Floats {
    at: *const f32,
    stride: usize,
}

impl<S: Simd> Rows<S> for Floats {
    #[inline(always)]
    unsafe fn load(self, s: S, row: usize, column: usize, _: S::F) -> S::F {
        // SAFETY: the caller keeps row and vector inside the matrix.
        s.load(unsafe { &*self.at.add(row * self.stride + column * LANES).cast() })
    }
}

/// What is multiplied from the left, and where to, once their bounds are checked.
#[derive(Clone, Copy)]
struct Operands<'a> {
    size: Size,
    a: *const f32,
    a_stride: usize,
    out: *mut f32,
    stride: usize,
    onto: Onto<'a>,
}

impl<'a> Operands<'a> {
    fn new(size: Size, a: Matrix, onto: Onto<'a>, out: &mut [f32], stride: usize) -> Self {
        let last = size.rows - 1;
        let width = size.vectors * LANES;
        assert!(stride >= width && out.len() >= last * stride + width, "out is too small");
        assert!(size.inner == 0 || a.data.len() >= last * a.stride + size.inner, "a is too small");
        if let Onto::Scaled(factors) = onto {
            assert!(factors.len() >= size.rows, "a factor per row");
        }
        let (a, a_stride) = (a.data.as_ptr(), a.stride);
        Self { size, a, a_stride, out: out.as_mut_ptr(), stride, onto }
    }
}

/// Columns by panels that stay in the first cache, rows by tiles that stay in registers.
#[inline(always)]
fn panels<S: Simd, B: Rows<S>>(s: S, b: B, at: Operands, ahead: Ahead) {
    let mut column = 0;
    while column < at.size.vectors {
        let left = at.size.vectors - column;
        let ahead = if column == 0 { ahead } else { Ahead::new(&[], 1) };
        if S::WIDE && left >= 4 {
            tiles::<S, B, 4>(s, b, at, column, ahead);
            column += 4;
        } else if S::WIDE && left >= 2 {
            tiles::<S, B, 2>(s, b, at, column, ahead);
            column += 2;
        } else {
            tiles::<S, B, 1>(s, b, at, column, ahead);
            column += 1;
        }
    }
}

/// All rows of `N` vectors of columns.
#[inline(always)]
fn tiles<S: Simd, B: Rows<S>, const N: usize>(
    s: S,
    b: B,
    at: Operands,
    column: usize,
    mut ahead: Ahead,
) {
    let mut row = 0;
    while row + TILE_ROWS <= at.size.rows {
        tile::<S, B, TILE_ROWS, N>(s, b, at, row, column, ahead);
        ahead = Ahead::new(&[], 1);
        row += TILE_ROWS;
    }
    match at.size.rows - row {
        1 => tile::<S, B, 1, N>(s, b, at, row, column, ahead),
        2 => tile::<S, B, 2, N>(s, b, at, row, column, ahead),
        3 => tile::<S, B, 3, N>(s, b, at, row, column, ahead),
        4 => tile::<S, B, 4, N>(s, b, at, row, column, ahead),
        5 => tile::<S, B, 5, N>(s, b, at, row, column, ahead),
        _ => {}
    }
}

/// `M` rows of `N` vectors.
#[inline(always)]
fn tile<S: Simd, B: Rows<S>, const M: usize, const N: usize>(
    s: S,
    b: B,
    at: Operands,
    row: usize,
    column: usize,
    ahead: Ahead,
) {
    let mut sums = [[s.zero(); N]; M];
    // SAFETY: `multiply` and `multiply_stored` checked that rows and columns of the product, of
    // which these are some, lie inside of all three matrices; `out` is borrowed exclusively.
    unsafe {
        let a = at.a.add(row * at.a_stride);
        let out = at.out.add(row * at.stride + column * LANES);
        if let Onto::Scaled(factors) = at.onto {
            for (m, sums) in sums.iter_mut().enumerate() {
                let factor = s.splat(*factors.get_unchecked(row + m));
                for (n, sum) in sums.iter_mut().enumerate() {
                    *sum = s.mul(s.load(&*out.add(m * at.stride + n * LANES).cast()), factor);
                }
            }
        }
        let mut start = 0;
        while start < at.size.inner {
            let end = at.size.inner.min(start.saturating_add(B::RUN));
            let shared = b.shared::<N>(s, start, column);
            for i in start..end {
                ahead.fetch(i);
                let mut columns = [s.zero(); N];
                for (n, vector) in columns.iter_mut().enumerate() {
                    *vector = b.load(s, i, column + n, shared[n]);
                }
                for (m, sums) in sums.iter_mut().enumerate() {
                    let factor = s.splat(*a.add(m * at.a_stride + i));
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = s.fma(factor, column, *sum);
                    }
                }
            }
            start = end;
        }
        for (m, sums) in sums.iter().enumerate() {
            for (n, sum) in sums.iter().enumerate() {
                s.store(*sum, &mut *out.add(m * at.stride + n * LANES).cast());
            }
        }
    }
}
