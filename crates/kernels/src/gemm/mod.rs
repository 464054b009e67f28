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

mod blocks;
mod engine;
mod matrix;
mod panel;
mod spec;

pub use matrix::{Elements, Matrix, Order};

use crate::Level;
#[cfg(target_arch = "x86_64")]
use crate::x86_64::{avx2::Avx2, avx512::Avx512, avx512_bf16::Avx512Bf16};
use blocks::{Job, Panels, Source, Window};
use engine::Floats;
use panel::{Pairs, Plain, Widened};

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
    /// A part of what was packed.
    Part(PackedPart<'a>),
    /// Read where it lies if it can be (`reads_in_place`), else packed in passing.
    Matrix(Matrix<'a>),
}

/// A right-hand operand `[k, n]` packed once for many products. Its memory is reused by the next
/// `pack`. Bfloat16 takes two bytes per element, f32 four.
#[derive(Clone, Debug, Default)]
pub struct PackedRight {
    packed_for: Option<(Level, Products)>,
    rows: usize,
    cols: usize,
    /// Of `Level::Scalar`: one row per k, in the order of sums.
    in_order: Vec<f32>,
    /// Of the others; of bfloat16 in pairs.
    panels: Panels,
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
        match (level, products) {
            (Level::Scalar, _) => spec::order_rows(products, right, &mut self.in_order),
            #[cfg(target_arch = "x86_64")]
            (Level::Avx2(s), Products::F32) => self.panels.pack::<_, Plain>(Floats(s), right),
            #[cfg(target_arch = "x86_64")]
            (Level::Avx2(s), Products::Bf16) => self.panels.pack::<_, Pairs>(Floats(s), right),
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512(s), Products::F32) => self.panels.pack::<_, Plain>(Floats(s), right),
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512(s), Products::Bf16) => self.panels.pack::<_, Pairs>(Floats(s), right),
        }
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

/// Some rows and columns of a packed operand.
#[derive(Clone, Debug, Copy)]
pub struct PackedPart<'a> {
    packed: &'a PackedRight,
    first: [usize; 2],
    len: [usize; 2],
}

impl PackedRight {
    /// Where parts may begin, and end but at the operand's own end: at multiples of this.
    pub const PART: usize = 64;

    /// These rows (k) and columns (n) of it.
    ///
    /// # Panics
    /// They begin elsewhere than at a multiple of `PART`, or end outside; or rows end elsewhere.
    pub fn part(&self, rows: std::ops::Range<usize>, cols: std::ops::Range<usize>) -> Right<'_> {
        let starts = rows.start.is_multiple_of(Self::PART) && cols.start.is_multiple_of(Self::PART);
        let ends = rows.end.is_multiple_of(Self::PART) || rows.end == self.rows;
        assert!(starts && ends, "a part from {rows:?} and {cols:?}");
        assert!(rows.end <= self.rows && cols.end <= self.cols, "a part that ends outside");
        let first = [rows.start, cols.start];
        Right::Part(PackedPart { packed: self, first, len: [rows.len(), cols.len()] })
    }

    fn whole(&self) -> PackedPart<'_> {
        PackedPart { packed: self, first: [0; 2], len: [self.rows, self.cols] }
    }
}

impl<'a> PackedPart<'a> {
    /// The panels of the part, whose units are of this form.
    fn panels<T: engine::Tiles, F: panel::Form>(self, _: T) -> Window<'a> {
        let [row, col] = self.first;
        Window {
            panels: &self.packed.panels,
            // Parts begin at pairs.
            unit: row / F::LEN,
            panel: col / (16 * T::LINES),
            len: F::units(self.packed.rows) * T::LINES,
        }
    }
}

impl<'a> Right<'a> {
    /// What was packed before, or else a matrix.
    fn known(self) -> Result<PackedPart<'a>, Matrix<'a>> {
        match self {
            Right::Packed(packed) => Ok(packed.whole()),
            Right::Part(part) => Ok(part),
            Right::Matrix(matrix) => Err(matrix),
        }
    }
}

/// Whether `gemm` reads this right operand where it lies, so that packing it before gains nothing:
/// f32, row-major, from a line of the cache on, rows at whole lines but not at whole pages, columns
/// in whole panels.
pub fn reads_in_place(level: Level, products: Products, right: Matrix<'_>) -> bool {
    match level {
        Level::Scalar => false,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(_) => blocks::lines_in_place::<Floats<Avx2>>(products, right).is_some(),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512(_) => blocks::lines_in_place::<Floats<Avx512>>(products, right).is_some(),
    }
}

/// Working memory of `gemm`, to reuse between calls; its content means nothing. It grows to what
/// the largest product has needed, and then no longer.
#[derive(Debug, Default)]
pub struct GemmScratch {
    row: Vec<f32>,
    in_order: Vec<f32>,
    blocks: blocks::Scratch,
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
    let [rows, cols] = match right.known() {
        Ok(part) => part.len,
        Err(matrix) => [matrix.rows, matrix.cols],
    };
    left.check();
    assert_eq!(left.cols, rows, "k of the left and of the right operand");
    if left.rows == 0 || cols == 0 {
        return;
    }
    assert!(out_stride >= cols, "rows of {cols} at a stride of {out_stride}");
    assert!(out.len() >= (left.rows - 1) * out_stride + cols, "out ends before its last row");
    match right.known() {
        Ok(PackedPart { packed, .. }) => {
            let packed_for = Some((level, products));
            assert_eq!(packed.packed_for, packed_for, "what the right operand was packed for");
        }
        Err(matrix) => matrix.check(),
    }
    let mut out = Out { elements: out, stride: out_stride, cols };
    if left.cols == 0 {
        if onto == Onto::Replace {
            (0..left.rows).for_each(|m| out.row_mut(m).fill(0.0));
        }
        return;
    }
    match level {
        Level::Scalar => plain(products, left, right, onto, &mut out, scratch),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(s) => floats(Floats(s), products, left, right, onto, &mut out, scratch),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512(s) => match bf16_pairs(s).filter(|_| products == Products::Bf16) {
            Some(pairs) => {
                let right = match right.known() {
                    Ok(part) => Source::Panels(part.panels::<_, Pairs>(pairs)),
                    Err(matrix) => Source::Matrix(matrix),
                };
                let job = Job { e: pairs, left, right, cols, onto };
                job.run::<Pairs>(&mut out, &mut scratch.blocks);
            }
            None => floats(Floats(s), products, left, right, onto, &mut out, scratch),
        },
    }
}

/// The instructions for pairs of bfloat16, where they are the faster ones.
#[cfg(target_arch = "x86_64")]
fn bf16_pairs(token: Avx512) -> Option<Avx512Bf16> {
    Avx512Bf16::detect(token).filter(|pairs| pairs.outpaces_f32())
}

/// By the specification.
fn plain(
    products: Products,
    left: Matrix<'_>,
    right: Right<'_>,
    onto: Onto,
    out: &mut Out<'_>,
    scratch: &mut GemmScratch,
) {
    let in_order = match right {
        Right::Packed(packed) => &packed.in_order,
        Right::Part(PackedPart { packed, first, len }) => {
            scratch.in_order.clear();
            let rows = packed.in_order.chunks_exact(packed.cols).skip(first[0]);
            // Bfloat16 has a row more where their number is odd.
            for row in rows.take(len[0].next_multiple_of(2)) {
                scratch.in_order.extend_from_slice(&row[first[1]..][..len[1]]);
            }
            &scratch.in_order
        }
        Right::Matrix(matrix) => {
            spec::order_rows(products, matrix, &mut scratch.in_order);
            &scratch.in_order
        }
    };
    spec::multiply(products, left, in_order, onto, out, &mut scratch.row);
}

/// By f32 multiply-adds.
fn floats<T: engine::Tiles>(
    e: T,
    products: Products,
    left: Matrix<'_>,
    right: Right<'_>,
    onto: Onto,
    out: &mut Out<'_>,
    scratch: &mut GemmScratch,
) {
    let (cols, blocks) = (out.cols, &mut scratch.blocks);
    let right = match (right.known(), products) {
        (Ok(part), Products::F32) => Source::Panels(part.panels::<_, Plain>(e)),
        (Ok(part), Products::Bf16) => Source::Narrow(part.panels::<_, Pairs>(e)),
        (Err(matrix), _) => Source::Matrix(matrix),
    };
    let job = Job { e, left, right, cols, onto };
    match products {
        Products::F32 => job.run::<Plain>(out, blocks),
        Products::Bf16 => job.run::<Widened>(out, blocks),
    }
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

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    /// Numbers around `2^-exponent`, and zeros.
    fn numbers(seed: u32, len: usize, exponent: i32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let unit = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
            if state >> 28 == 0 {
                0.0
            } else {
                unit * 2f32.powi((state >> 24) as i32 % 7 - exponent)
            }
        };
        (0..len).map(|_| next()).collect()
    }

    /// Also on CPUs that would be faster without them.
    #[test]
    fn instructions_for_pairs_give_the_bits_of_the_specification() {
        let Some(pairs) = Avx512::detect().and_then(Avx512Bf16::detect) else { return };
        for (m, n, k) in [(1, 1, 1), (5, 33, 7), (14, 64, 34), (31, 40, 600), (16, 530, 9)] {
            for exponent in [0, 20, 63, 66] {
                let (a, b) = (numbers(1, m * k, exponent), numbers(2, k * n, exponent));
                let start = numbers(3, m * n, 2 * exponent);
                let left = Matrix::row_major(&a, k, m).transposed();
                for right in [Matrix::row_major(&b, k, n), Matrix::row_major(&b, n, k).transposed()]
                {
                    let (mut want, mut got) = (start.clone(), start.clone());
                    let (level, products) = (Level::Scalar, Products::Bf16);
                    let (onto, mut scratch) = (Onto::Add, GemmScratch::new());
                    let whole = Right::Matrix(right);
                    gemm(level, products, left, whole, onto, &mut want, n, &mut scratch);
                    let job = Job { e: pairs, left, right: Source::Matrix(right), cols: n, onto };
                    let mut out = Out { elements: &mut got, stride: n, cols: n };
                    job.run::<Pairs>(&mut out, &mut scratch.blocks);
                    let differs = |(a, b): (&f32, &f32)| a.to_bits() != b.to_bits();
                    let wrong = got.iter().zip(&want).position(differs);
                    assert!(wrong.is_none(), "[{m}, {n}, {k}] 2^-{exponent}: element {wrong:?}");
                }
            }
        }
    }
}
