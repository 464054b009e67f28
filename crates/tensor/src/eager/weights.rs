//! Bound parameters: matrices stay where their file is mapped until they are packed, vectors become
//! f32.

use std::ops::Range;
use std::path::Path;

use lucid_kernels::{self as kernels, ActivationClass, DType, Level, PackedRows, WeightRows};
use lucid_sys::{Bytes, ThreadPool};

use super::Packing;
use super::packing::{PackedFrom, Pending, pack_all};
use crate::{TensorError, TensorView};

/// A handle on a bound parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightId(usize);

/// Where a matrix's elements lie.
enum Storage {
    /// As the file has them.
    File(Bytes),
    /// Regrouped for the kernels, at the file's own bits.
    Packed(Bytes),
}

/// A matrix in its file's format.
pub(super) struct Matrix {
    pub(super) dtype: DType,
    pub(super) rows: usize,
    pub(super) cols: usize,
    storage: Storage,
    row_bytes: usize,
}

/// What a kernel multiplies with.
pub(super) enum Rows<'a> {
    File(WeightRows<'a>),
    Packed(PackedRows<'a>),
}

impl Matrix {
    /// Some rows; of a packed matrix, from a multiple of sixteen on.
    pub(super) fn rows(&self, rows: Range<usize>) -> Rows<'_> {
        let (dtype, cols) = (self.dtype, self.cols);
        match &self.storage {
            Storage::File(data) => {
                let bytes = &data[rows.start * self.row_bytes..rows.end * self.row_bytes];
                Rows::File(WeightRows { dtype, bytes, cols })
            }
            Storage::Packed(data) => {
                let end = rows.end.next_multiple_of(kernels::PACKED_GROUP);
                let bytes = &data[rows.start * self.row_bytes..end * self.row_bytes];
                Rows::Packed(PackedRows { dtype, bytes, cols })
            }
        }
    }

    /// One row in f32.
    pub(super) fn widen_row(&self, level: Level, row: usize, out: &mut [f32]) {
        match &self.storage {
            Storage::File(data) => {
                let bytes = &data[row * self.row_bytes..(row + 1) * self.row_bytes];
                kernels::dequantize_row(level, self.dtype, bytes, out);
            }
            Storage::Packed(data) => {
                kernels::unpack_row(self.dtype, data, self.rows, self.cols, row, out);
            }
        }
    }

    /// The activations that a packed matrix is multiplied with.
    pub(super) fn activation_class(&self) -> Option<ActivationClass> {
        match self.storage {
            Storage::File(_) => None,
            Storage::Packed(_) => kernels::activation_class(self.dtype),
        }
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
    /// One handle on each file that was bound from: vocabularies lie there too, packed or not.
    files: Vec<Bytes>,
    /// Matrices that wait for `pack`, by index.
    pending: Vec<(usize, Pending)>,
}

impl WeightTable {
    pub(super) fn bind(
        &mut self,
        level: Level,
        packing: Packing,
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
        if !self.files.iter().any(|file| file.same_memory(&view.data)) {
            self.files.push(view.data.clone());
        }
        self.parameters.push(if view.shape.len() == 1 {
            let mut vector = vec![0.0; cols];
            kernels::dequantize_row(level, view.dtype, &view.data, &mut vector);
            Parameter::Vector(vector)
        } else {
            if packing == Packing::Pack
                && let Some(pending) = Pending::new(level, view, rows, cols)
            {
                self.pending.push((self.parameters.len(), pending));
            }
            let storage = Storage::File(view.data.clone());
            let row_bytes = expected / rows.max(1);
            Parameter::Matrix(Matrix { dtype: view.dtype, rows, cols, storage, row_bytes })
        });
        Ok(WeightId(self.parameters.len() - 1))
    }

    /// Packs the matrices that were bound to be packed.
    pub(super) fn pack(
        &mut self,
        pool: &ThreadPool,
        cache: Option<&Path>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<PackedFrom, TensorError> {
        let (indices, pending): (Vec<_>, Vec<_>) = self.pending.drain(..).unzip();
        let (parts, from) = pack_all(pool, &pending, cache, progress)?;
        // A cache that was mapped is a file like the others.
        self.files.extend(parts.first().cloned());
        for (index, part) in indices.into_iter().zip(parts) {
            if let Parameter::Matrix(matrix) = &mut self.parameters[index] {
                matrix.storage = Storage::Packed(part);
            }
        }
        Ok(from)
    }

    /// Whether a file that weights came from, or the packed cache, has changed since it was mapped.
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
