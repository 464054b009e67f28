//! Bound parameters: matrices stay where their file is mapped until they are packed, vectors become
//! f32.
//!
//! A matrix that is to be packed is multiplied as a packed one from the first pass on: regrouped in
//! cache, a few rows at a time. So when it is packed for good changes no number, and the first
//! token need not wait for it.

use std::ops::Range;
use std::path::Path;

use lucid_kernels::{self as kernels, ActivationClass, DType, Level, PackedRows, WeightRows};
use lucid_sys::{Bytes, Memory, ThreadPool};

use super::Packing;
use super::packing::{PackedFrom, Pending, pack_all};
use crate::{TensorError, TensorView};

/// What is regrouped for a product at a time: it stays in the second-level cache.
const IN_PASSING_BYTES: usize = 256 << 10;

/// What a pass packs for good: this share of all, but no more than can be waited for (some quarter
/// of a second), and one matrix at least.
const PARTS: usize = 4;
const PART_BYTES_MAX: usize = 256 << 20;

/// A handle on a bound parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WeightId(usize);

impl WeightId {
    /// Its place in the order in which parameters were bound.
    pub(super) fn index(self) -> usize {
        self.0
    }
}

/// Where a matrix's elements lie.
enum Storage {
    /// As the file has them, and multiplied so.
    File(Bytes),
    /// As the file has them; regrouped for each product.
    InPassing(Bytes),
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
    InPassing(WeightRows<'a>),
    Packed(PackedRows<'a>),
}

impl Matrix {
    /// Some rows; of a packed matrix, from a multiple of sixteen on.
    pub(super) fn rows(&self, rows: Range<usize>) -> Rows<'_> {
        let (dtype, cols) = (self.dtype, self.cols);
        match &self.storage {
            Storage::File(data) | Storage::InPassing(data) => {
                let bytes = &data[rows.start * self.row_bytes..rows.end * self.row_bytes];
                let rows = WeightRows { dtype, bytes, cols };
                let as_is = matches!(self.storage, Storage::File(_));
                if as_is { Rows::File(rows) } else { Rows::InPassing(rows) }
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
            Storage::File(data) | Storage::InPassing(data) => {
                let bytes = &data[row * self.row_bytes..(row + 1) * self.row_bytes];
                kernels::dequantize_row(level, self.dtype, bytes, out);
            }
            Storage::Packed(data) => {
                kernels::unpack_row(self.dtype, data, self.rows, self.cols, row, out);
            }
        }
    }

    /// The activations that the matrix is multiplied with, unless they are f32.
    pub(super) fn activation_class(&self) -> Option<ActivationClass> {
        match self.storage {
            Storage::File(_) => None,
            Storage::InPassing(_) | Storage::Packed(_) => kernels::activation_class(self.dtype),
        }
    }

    /// How many rows are best regrouped at a time, if they are for each product.
    pub(super) fn rows_in_passing(&self) -> Option<usize> {
        match self.storage {
            Storage::InPassing(_) => Some((IN_PASSING_BYTES / self.row_bytes.max(1)).max(1)),
            Storage::File(_) | Storage::Packed(_) => None,
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
    /// Matrices that wait to be packed for good.
    pending: Vec<Pending>,
    /// Bytes of all that were bound to be.
    pending_total: usize,
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
            let parameter = self.parameters.len();
            let pending = match packing {
                Packing::Keep => None,
                Packing::InPassing | Packing::Pack => {
                    Pending::new(parameter, level, view, rows, cols)
                }
            };
            let storage = match pending {
                Some(_) => Storage::InPassing(view.data.clone()),
                None => Storage::File(view.data.clone()),
            };
            if let (Some(pending), Packing::Pack) = (pending, packing) {
                self.pending_total += pending.bytes;
                self.pending.push(pending);
            }
            let row_bytes = expected / rows.max(1);
            Parameter::Matrix(Matrix { dtype: view.dtype, rows, cols, storage, row_bytes })
        });
        Ok(WeightId(self.parameters.len() - 1))
    }

    /// Packs all matrices that still wait for it.
    pub(super) fn pack(
        &mut self,
        pool: &ThreadPool,
        cache: Option<&Path>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<PackedFrom, TensorError> {
        let (parts, from) = pack_all(pool, &self.pending, cache, progress)?;
        // A cache that was mapped is a file like the others.
        self.files.extend(parts.first().cloned());
        self.replace(parts);
        Ok(from)
    }

    /// Packs some of the matrices that wait for it. Where there is no memory for that now, what
    /// waits stays as it is.
    pub(super) fn pack_part(&mut self, pool: &ThreadPool) {
        let share = (self.pending_total / PARTS).min(PART_BYTES_MAX);
        let (mut bytes, mut count) = (0, 0);
        while let Some(matrix) = self.pending.get(count)
            && (count == 0 || bytes + matrix.bytes <= share)
        {
            bytes += matrix.bytes;
            count += 1;
        }
        // The system would hand out what it does not have, and end the program later.
        let fits = |memory: Memory| bytes as u64 <= memory.available_bytes;
        if count == 0 || !Memory::detect().is_none_or(fits) {
            return;
        }
        if let Ok((parts, _)) = pack_all(pool, &self.pending[..count], None, &mut |_, _| {}) {
            self.replace(parts);
        }
    }

    /// The first matrices that wait are these.
    fn replace(&mut self, parts: Vec<Bytes>) {
        for (pending, part) in self.pending.drain(..parts.len()).zip(parts) {
            if let Parameter::Matrix(matrix) = &mut self.parameters[pending.parameter] {
                matrix.storage = Storage::Packed(part);
            }
        }
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
