//! An operand where it lies: numbers of a type, a shape, a stride and an order.

use half::bf16;
use std::ops::Range;

/// The numbers of a matrix.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// f32.
    F32(&'a [f32]),
    /// bfloat16.
    Bf16(&'a [bf16]),
}

impl Elements<'_> {
    fn len(self) -> usize {
        match self {
            Elements::F32(elements) => elements.len(),
            Elements::Bf16(elements) => elements.len(),
        }
    }
}

/// A number as it is stored.
pub(super) trait Element: Copy {
    /// The bits of the f32 that it is.
    fn bits(self) -> u32;
}

impl Element for f32 {
    #[inline(always)]
    fn bits(self) -> u32 {
        self.to_bits()
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn bits(self) -> u32 {
        u32::from(self.to_bits()) << 16
    }
}

/// Which elements are neighbours in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Those of a row: element (r, c) is at `r * stride + c`.
    RowMajor,
    /// Those of a column: element (r, c) is at `c * stride + r`.
    Transposed,
}

/// A matrix `[rows, cols]` as it is multiplied, whatever its order in memory.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Its numbers; what no element of the matrix is at is not read.
    pub elements: Elements<'a>,
    /// Rows as multiplied.
    pub rows: usize,
    /// Columns as multiplied.
    pub cols: usize,
    /// Elements from one row in memory to the next.
    pub stride: usize,
    /// How it lies.
    pub order: Order,
}

impl<'a> Matrix<'a> {
    /// All of `elements`, row after row, as `[rows, cols]`.
    pub fn row_major(elements: &'a [f32], rows: usize, cols: usize) -> Matrix<'a> {
        let elements = Elements::F32(elements);
        Matrix { elements, rows, cols, stride: cols, order: Order::RowMajor }
    }

    /// The same numbers as the transposed matrix; nothing moves.
    #[must_use]
    pub fn transposed(self) -> Matrix<'a> {
        let order = match self.order {
            Order::RowMajor => Order::Transposed,
            Order::Transposed => Order::RowMajor,
        };
        Matrix { rows: self.cols, cols: self.rows, order, ..self }
    }

    /// Some of its rows.
    ///
    /// # Panics
    /// It has fewer.
    #[must_use]
    pub fn some_rows(self, rows: Range<usize>) -> Matrix<'a> {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        let first = match self.order {
            Order::RowMajor => rows.start * self.stride,
            Order::Transposed => rows.start,
        };
        let elements = match self.elements {
            Elements::F32(elements) => Elements::F32(&elements[first.min(elements.len())..]),
            Elements::Bf16(elements) => Elements::Bf16(&elements[first.min(elements.len())..]),
        };
        Matrix { elements, rows: rows.len(), ..self }
    }

    /// Panics if an element is not inside.
    pub(super) fn check(self) {
        let (lines, len) = match self.order {
            Order::RowMajor => (self.rows, self.cols),
            Order::Transposed => (self.cols, self.rows),
        };
        if lines == 0 || len == 0 {
            return;
        }
        let end = (lines - 1).checked_mul(self.stride).and_then(|start| start.checked_add(len));
        assert!(
            end.is_some_and(|end| end <= self.elements.len()),
            "[{}, {}] at stride {} does not fit in {} elements",
            self.rows,
            self.cols,
            self.stride,
            self.elements.len()
        );
    }

    /// One element.
    #[inline(always)]
    pub(super) fn at(self, row: usize, col: usize) -> f32 {
        let place = match self.order {
            Order::RowMajor => row * self.stride + col,
            Order::Transposed => col * self.stride + row,
        };
        match self.elements {
            Elements::F32(elements) => elements[place],
            Elements::Bf16(elements) => elements[place].to_f32_const(),
        }
    }
}
