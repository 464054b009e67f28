//! A row-major matrix split into column bands, so that several threads can write one matrix without
//! locks.

use std::marker::PhantomData;
use std::ops::Range;

/// Some neighbouring columns of a row-major matrix, for writing. Bands of one matrix never overlap.
#[derive(Debug)]
pub struct ColumnBand<'a> {
    /// The first element of the whole matrix.
    base: *mut f32,
    rows: usize,
    /// Columns of the whole matrix.
    stride: usize,
    columns: Range<usize>,
    matrix: PhantomData<&'a mut [f32]>,
}

// SAFETY: a band is an exclusive borrow of its own elements (`column_bands` makes bands disjoint),
// and f32 is Send.
unsafe impl Send for ColumnBand<'_> {}

impl ColumnBand<'_> {
    /// Which columns of the matrix these are.
    pub fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The band's part of one row: `columns().len()` elements.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        let start = row * self.stride + self.columns.start;
        // SAFETY: `column_bands` checked that rows * stride elements are borrowed for 'a and that
        // columns.end <= stride, so the range lies inside; no other band covers these columns, and
        // `&mut self` excludes other rows of this band.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(start), self.columns.len()) }
    }
}

/// Splits `[rows, cols]` at `bounds`: ascending, the first 0, the last `cols`; one band between
/// each two.
pub fn column_bands<'a>(
    matrix: &'a mut [f32],
    rows: usize,
    cols: usize,
    bounds: &[usize],
) -> Vec<ColumnBand<'a>> {
    assert_eq!(Some(matrix.len()), rows.checked_mul(cols), "a matrix of another size");
    assert!(bounds.first() == Some(&0) && bounds.last() == Some(&cols), "bounds {bounds:?}");
    assert!(bounds.is_sorted(), "bounds {bounds:?} do not ascend");
    let base = matrix.as_mut_ptr();
    let band = |w: &[usize]| ColumnBand {
        base,
        rows,
        stride: cols,
        columns: w[0]..w[1],
        matrix: PhantomData,
    };
    bounds.windows(2).map(band).collect()
}

/// Some columns of `[rows, cols]` alone: without the list that `column_bands` makes.
pub fn column_band(
    matrix: &mut [f32],
    rows: usize,
    cols: usize,
    columns: Range<usize>,
) -> ColumnBand<'_> {
    assert_eq!(Some(matrix.len()), rows.checked_mul(cols), "a matrix of another size");
    assert!(columns.start <= columns.end && columns.end <= cols, "columns {columns:?} of {cols}");
    ColumnBand { base: matrix.as_mut_ptr(), rows, stride: cols, columns, matrix: PhantomData }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_cover_the_matrix_once() {
        let (rows, cols) = (5, 7);
        let mut matrix = vec![0.0; rows * cols];
        let bands = column_bands(&mut matrix, rows, cols, &[0, 3, 3, 4, 7]);
        std::thread::scope(|scope| {
            for mut band in bands {
                scope.spawn(move || {
                    for row in 0..band.rows() {
                        let first = band.columns().start;
                        for (i, x) in band.row_mut(row).iter_mut().enumerate() {
                            *x += (row * 10 + first + i) as f32 + 1.0;
                        }
                    }
                });
            }
        });
        for (i, x) in matrix.iter().enumerate() {
            assert_eq!(*x, (i / cols * 10 + i % cols) as f32 + 1.0);
        }
    }

    #[test]
    fn a_band_alone_leaves_the_other_columns() {
        let mut matrix = [0.0; 6];
        let mut band = column_band(&mut matrix, 2, 3, 1..2);
        (band.row_mut(0)[0], band.row_mut(1)[0]) = (1.0, 2.0);
        assert_eq!(matrix, [0.0, 1.0, 0.0, 0.0, 2.0, 0.0]);
    }

    #[test]
    #[should_panic(expected = "columns 2..4 of 3")]
    fn columns_outside_are_refused() {
        column_band(&mut [0.0; 6], 2, 3, 2..4);
    }

    #[test]
    #[should_panic(expected = "do not ascend")]
    fn overlapping_bounds_are_refused() {
        column_bands(&mut [0.0; 8], 2, 4, &[0, 3, 2, 4]);
    }

    #[test]
    #[should_panic(expected = "row 2 of 2")]
    fn a_row_outside_is_refused() {
        column_bands(&mut [0.0; 8], 2, 4, &[0, 4])[0].row_mut(2);
    }
}
