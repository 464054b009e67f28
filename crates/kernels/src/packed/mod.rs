//! Matrices packed for products: rows in groups of sixteen, one row per 32-bit lane of a vector.
//!
//! Packing moves bits and changes none: a packed matrix has the bytes of its file (the last group
//! is padded with zero rows), serves one row of activations as well as many, and gives back its
//! rows bit for bit (`unpack_row`).
//!
//! Activations are rounded to signed bytes (`quantize_activations`), once for all matrices that
//! share an input. The product of a block is a sum of integers, thus exact in any order; blocks are
//! added with one fused multiply-add each, in ascending order. So an element of the product is one
//! scalar chain, and neither batch, band, tile, threads nor instruction set change a bit of it.
//!
//! The specification is `spec.rs`; every level gives its bits.

mod activations;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod blocks;
mod floats;
mod layout;
mod spec;
pub(crate) mod sweep;
pub(crate) mod transpose;
#[cfg(target_arch = "x86_64")]
mod vector;

pub use activations::{
    ACTIVATION_TILE, ActivationClass, Activations, activation_bytes, activation_class,
    quantize_activations,
};
pub use layout::{PACKED_GROUP, pack_rows, packed_bytes, unpack_row};

use crate::{ColumnBand, DType, Level};

/// Some consecutive rows of a packed matrix.
#[derive(Clone, Copy, Debug)]
pub struct PackedRows<'a> {
    /// The format of the file's rows.
    pub dtype: DType,
    /// Whole groups of sixteen rows, `packed_bytes(dtype, rows, cols)` bytes; fastest if they start
    /// at a 64-byte boundary.
    pub bytes: &'a [u8],
    /// Elements of a row.
    pub cols: usize,
}

/// Whether the level has a kernel for the format; otherwise the specification runs, which is slow:
/// better not to pack then.
pub fn packed_kernel(level: Level, dtype: DType) -> bool {
    match level {
        Level::Scalar => false,
        _ if matches!(dtype, DType::BF16 | DType::F16) => true,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(_) | Level::Avx512(_) => vector::has_kernel(dtype),
    }
}

/// `out[m][n] = x[m] . weight row n + bias[n]`, one band column per weight row. The band begins at
/// a multiple of sixteen rows of the matrix; only the last band may have another number of rows.
/// `scratch` is working memory to reuse between calls; its content means nothing.
pub fn packed_matmul(
    level: Level,
    activations: Activations<'_>,
    weights: PackedRows<'_>,
    bias: Option<&[f32]>,
    out: &mut ColumnBand<'_>,
    scratch: &mut Vec<f32>,
) {
    let PackedRows { dtype, bytes, cols } = weights;
    let (rows, batch) = (out.columns().len(), activations.batch);
    let class = activation_class(dtype).expect("a format that is packed");
    assert_eq!(Some(bytes.len()), packed_bytes(dtype, rows, cols), "bytes of the packed rows");
    assert_eq!((activations.class, activations.cols), (class, cols), "activations of this product");
    assert_eq!(activations.bytes.len(), activation_bytes(class, batch, cols), "bytes of them");
    assert_eq!(out.rows(), batch, "one row of the band per row of activations");
    assert!(bias.is_none_or(|b| b.len() == rows), "one bias per weight row");
    if rows == 0 || batch == 0 {
        return;
    }
    let mut sink = Sink { out, bias };
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512(token)
            if class == ActivationClass::Bf16
                && bf16::multiply(token, activations, weights, &mut sink, scratch) => {}
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(_) | Level::Avx512(_)
            if matches!(class, ActivationClass::Bf16 | ActivationClass::F32)
                && floats::multiply(level, activations, weights, &mut sink, scratch) => {}
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(_) | Level::Avx512(_)
            if vector::multiply(level, activations, weights, &mut sink, scratch) => {}
        _ => {
            scratch.clear();
            spec::multiply(activations, weights, &mut sink);
        }
    }
}

/// Where products go.
struct Sink<'a, 'b> {
    out: &'a mut ColumnBand<'b>,
    bias: Option<&'a [f32]>,
}

impl Sink<'_, '_> {
    /// Columns `16 * group ..` of row `m`, as many of them as exist.
    #[inline(always)]
    fn write(&mut self, m: usize, group: usize, products: &[f32; PACKED_GROUP]) {
        let first = group * PACKED_GROUP;
        let row = self.out.row_mut(m);
        let width = (row.len() - first).min(PACKED_GROUP);
        let row = &mut row[first..first + width];
        row.copy_from_slice(&products[..width]);
        if let Some(bias) = self.bias {
            row.iter_mut().zip(&bias[first..]).for_each(|(y, b)| *y += b);
        }
    }
}
