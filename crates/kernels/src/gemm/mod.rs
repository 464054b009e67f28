//! Products of matrices for training: `out (+)= left * right`, on one thread, in f32.
//!
//! Every element of the product is one chain of fused multiply-adds over k, so neither blocks,
//! tiles, strides nor the instruction set change a bit of it. It starts from zero
//! (`Onto::Replace`) or from what the element holds (`Onto::Add`).
//!
//! `Products::F32`: k ascends. (`matmul` and `dot` sum in sixteen lanes and a tree, which would
//! take sixteen times the registers here: the two agree only up to rounding.)
//!
//! `Products::Bf16`: both operands are rounded to bfloat16, nearest and ties to even. Of each pair
//! of k the second product is added first; an odd k is padded with a zero; numbers below 2^-126
//! (operands, the start, each sum) are read and written as zero of their sign. This is the order
//! of `vdpbf16ps` and of `packed_matmul`, which gives the same bits for bfloat16 weights.
//!
//! The specification is `spec.rs`; every level gives its bits.

mod matrix;
mod spec;

pub use matrix::{Elements, Matrix, Order};

use crate::Level;

/// How operands enter a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Products {
    /// As they are.
    F32,
    /// Both rounded to bfloat16 first; sums are f32.
    Bf16,
}

/// What becomes of what `out` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Onto {
    /// It is not read.
    Replace,
    /// Each sum begins with it.
    Add,
}

/// The right-hand operand of a product.
#[derive(Clone, Copy, Debug)]
pub enum Right<'a> {
    /// Packed before, for the level and the products of the call.
    Packed(&'a PackedRight),
    /// To be packed in passing.
    Matrix(Matrix<'a>),
}

/// A right-hand operand `[k, n]` packed once for many products. Its memory is reused by the next
/// `pack`. Bfloat16 takes two bytes per element, f32 four.
#[derive(Clone, Debug, Default)]
pub struct PackedRight {
    packed_for: Option<(Level, Products)>,
    rows: usize,
    cols: usize,
    /// One row per k, in the order of sums.
    rows_in_order: Vec<f32>,
}

impl PackedRight {
    /// Packs nothing yet: `[0, 0]`.
    pub fn new() -> PackedRight {
        PackedRight::default()
    }

    /// Packs `right`, `[k, n]`, for products of this kind on this level.
    ///
    /// # Panics
    /// The matrix does not lie inside its elements.
    pub fn pack(&mut self, level: Level, products: Products, right: Matrix<'_>) {
        right.check();
        (self.rows, self.cols) = (right.rows, right.cols);
        self.packed_for = Some((level, products));
        spec::order_rows(products, right, &mut self.rows_in_order);
    }

    /// k, the rows of the operand.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// n, its columns.
    pub fn cols(&self) -> usize {
        self.cols
    }
}

/// Working memory of `gemm`, to reuse between calls; its content means nothing. It grows to what
/// the largest product has needed, and then no longer.
#[derive(Debug, Default)]
pub struct GemmScratch {
    left: Vec<f32>,
    right: Vec<f32>,
}

impl GemmScratch {
    /// Holds nothing yet.
    pub fn new() -> GemmScratch {
        GemmScratch::default()
    }
}

/// `out[m][n] (+)= sum over k of left[m][k] * right[k][n]`: `left` is `[m, k]`, `right` `[k, n]`,
/// and row r of `out` begins at `r * out_stride`. What lies between its rows stays as it is.
///
/// # Panics
/// Shapes do not match, an operand does not lie inside its elements, or the right one was packed
/// for another level or other products.
#[expect(clippy::too_many_arguments, reason = "a product: its kind, three matrices, memory")]
pub fn gemm(
    level: Level,
    products: Products,
    left: Matrix<'_>,
    right: Right<'_>,
    onto: Onto,
    out: &mut [f32],
    out_stride: usize,
    scratch: &mut GemmScratch,
) {
    let (rows, cols) = match right {
        Right::Packed(packed) => (packed.rows, packed.cols),
        Right::Matrix(matrix) => (matrix.rows, matrix.cols),
    };
    left.check();
    assert_eq!(left.cols, rows, "k of the left and of the right operand");
    if left.rows == 0 || cols == 0 {
        return;
    }
    assert!(out_stride >= cols, "rows of {cols} at a stride of {out_stride}");
    assert!(out.len() >= (left.rows - 1) * out_stride + cols, "out ends before its last row");
    let right = match right {
        Right::Packed(packed) => {
            let packed_for = Some((level, products));
            assert_eq!(packed.packed_for, packed_for, "what the right operand was packed for");
            &packed.rows_in_order
        }
        Right::Matrix(matrix) => {
            matrix.check();
            spec::order_rows(products, matrix, &mut scratch.right);
            &scratch.right
        }
    };
    let mut out = Out { elements: out, stride: out_stride, cols };
    spec::multiply(products, left, right, onto, &mut out, &mut scratch.left);
}

/// Where products go.
struct Out<'a> {
    elements: &'a mut [f32],
    stride: usize,
    cols: usize,
}

impl Out<'_> {
    fn row_mut(&mut self, m: usize) -> &mut [f32] {
        &mut self.elements[m * self.stride..][..self.cols]
    }
}
