//! Bound parameters: matrices stay where their file is mapped, vectors become f32.

use lucid_kernels::{self as kernels, DType, Level};
use lucid_sys::Bytes;

use crate::{TensorError, TensorView};

/// A handle on a bound parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightId(usize);

/// A matrix in its file's format.
pub(super) struct Matrix {
    pub(super) dtype: DType,
    pub(super) rows: usize,
    pub(super) cols: usize,
    data: Bytes,
    row_bytes: usize,
}

impl Matrix {
    pub(super) fn row(&self, index: usize) -> &[u8] {
        self.rows_bytes(index..index + 1)
    }

    pub(super) fn rows_bytes(&self, rows: std::ops::Range<usize>) -> &[u8] {
        &self.data[rows.start * self.row_bytes..rows.end * self.row_bytes]
    }
}

enum Parameter {
    Matrix(Matrix),
    Vector(Vec<f32>),
}

/// All bound parameters.
#[derive(Default)]
pub(super) struct WeightTable {
    parameters: Vec<Parameter>,
    /// One handle on each file that matrices lie in.
    files: Vec<Bytes>,
}

impl WeightTable {
    pub(super) fn bind(
        &mut self,
        level: Level,
        view: &TensorView,
    ) -> Result<WeightId, TensorError> {
        let (rows, cols) = match *view.shape.as_slice() {
            [cols] => (1, cols),
            [rows, cols] => (rows, cols),
            _ => {
                let name = view.name.clone();
                return Err(TensorError::Rank {
                    name,
                    offset: view.offset,
                    found: view.shape.len(),
                });
            }
        };
        let row_bytes = view.dtype.row_bytes(cols);
        let expected = row_bytes.and_then(|bytes| bytes.checked_mul(rows)).unwrap_or(usize::MAX);
        if expected != view.data.len() {
            return Err(TensorError::Length {
                name: view.name.clone(),
                offset: view.offset,
                dtype: view.dtype,
                shape: view.shape.clone(),
                expected,
                found: view.data.len(),
            });
        }
        self.parameters.push(if view.shape.len() == 1 {
            let mut vector = vec![0.0; cols];
            kernels::dequantize_row(level, view.dtype, &view.data, &mut vector);
            Parameter::Vector(vector)
        } else {
            let (dtype, data) = (view.dtype, view.data.clone());
            if !self.files.iter().any(|file| file.same_memory(&data)) {
                self.files.push(data.clone());
            }
            Parameter::Matrix(Matrix { dtype, rows, cols, data, row_bytes: expected / rows.max(1) })
        });
        Ok(WeightId(self.parameters.len() - 1))
    }

    pub(super) fn changed_on_disk(&self) -> bool {
        self.files.iter().any(Bytes::changed_on_disk)
    }

    pub(super) fn matrix(&self, id: WeightId) -> &Matrix {
        match &self.parameters[id.0] {
            Parameter::Matrix(matrix) => matrix,
            Parameter::Vector(_) => panic!("a vector stands where a matrix is needed"),
        }
    }

    pub(super) fn vector(&self, id: WeightId) -> &[f32] {
        match &self.parameters[id.0] {
            Parameter::Vector(vector) => vector,
            Parameter::Matrix(_) => panic!("a matrix stands where a vector is needed"),
        }
    }
}
