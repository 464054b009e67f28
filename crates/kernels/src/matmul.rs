//! Rows times weights: `out[m][n] = dot(x[m], weight row n) + bias[n]`.
//!
//! Invariant: each element equals `dot` of `x[m]` and the dequantised weight row, bit for bit,
//! whatever the batch, the band and the tile. Weight rows that are not plain floats are dequantised
//! a panel at a time into scratch that stays in the second-level cache while all rows of `x` pass
//! over it.

use crate::dispatch::dispatch;
use crate::quant::dequantize_lanes;
use crate::simd::{LANES, Simd};
use crate::tile::{Bf16Row, F16Row, F32Row, Row, tile};
use crate::{ColumnBand, DType, Level};

/// Some consecutive rows of a weight matrix, as its file holds them.
#[derive(Clone, Copy, Debug)]
pub struct WeightRows<'a> {
    /// How the elements are stored.
    pub dtype: DType,
    /// The rows, one after the other, `dtype.row_bytes(cols)` bytes each; any alignment.
    pub bytes: &'a [u8],
    /// Elements of a row.
    pub cols: usize,
}

/// Bytes of weights, as f32, kept in the second-level cache while the batch passes over them.
const PANEL_BYTES: usize = 512 << 10;
/// Up to this batch, floats are widened as they are read; above it, once per panel.
const DIRECT_BATCH_MAX: usize = 16;

/// `out[m][n] = dot(x[m], weight row n) + bias[n]`; `x` is `[batch, cols]`, `out` is `[batch, rows
/// of weights]`, one band column per weight row. `scratch` is working memory to reuse between
/// calls; its content means nothing. Large batches run a third faster when the rows of `x` start at
/// 64-byte boundaries.
pub fn matmul(
    level: Level,
    x: &[f32],
    batch: usize,
    weights: WeightRows<'_>,
    bias: Option<&[f32]>,
    out: &mut ColumnBand<'_>,
    scratch: &mut Vec<f32>,
) {
    let rows = out.columns().len();
    let row_bytes = weights.dtype.row_bytes(weights.cols).expect("weight rows of whole blocks");
    assert_eq!(x.len(), batch * weights.cols, "x is not [batch, cols]");
    assert_eq!(weights.bytes.len(), rows * row_bytes, "one weight row per column of the band");
    assert_eq!(out.rows(), batch, "one row of the band per row of x");
    assert!(bias.is_none_or(|b| b.len() == rows), "one bias per weight row");
    if rows == 0 || batch == 0 {
        return;
    }
    if weights.cols == 0 {
        for m in 0..batch {
            out.row_mut(m).fill(0.0);
        }
    } else {
        dispatch!(level, matmul_lanes, x, batch, weights, row_bytes, out, scratch);
    }
    if let Some(bias) = bias {
        for m in 0..batch {
            out.row_mut(m).iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
    }
}

#[inline(always)]
fn matmul_lanes<S: Simd>(
    s: S,
    x: &[f32],
    batch: usize,
    weights: WeightRows<'_>,
    row_bytes: usize,
    out: &mut ColumnBand<'_>,
    scratch: &mut Vec<f32>,
) {
    let WeightRows { dtype, bytes, cols } = weights;
    let x = Rows { data: x, cols, count: batch };
    let rows = out.columns().len();
    // Rows of scratch start at 64-byte boundaries.
    let stride = cols.next_multiple_of(LANES);
    let panel_rows = (PANEL_BYTES / 4 / stride).next_multiple_of(8).clamp(8, rows.max(8));
    let direct =
        batch <= DIRECT_BATCH_MAX && matches!(dtype, DType::F32 | DType::F16 | DType::BF16);
    if !direct && scratch.len() < panel_rows * stride + LANES {
        scratch.resize(panel_rows * stride + LANES, 0.0);
    }
    let offset = scratch.as_ptr().align_offset(64).min(LANES).min(scratch.len());
    let scratch = &mut scratch[offset..];
    for first in (0..rows).step_by(panel_rows) {
        let at = Panel { first, count: panel_rows.min(rows - first) };
        let row = |n: usize| &bytes[(first + n) * row_bytes..(first + n + 1) * row_bytes];
        match dtype {
            DType::F32 if direct => panel(s, x, |n| F32Row(row(n)), at, out),
            DType::F16 if direct => panel(s, x, |n| F16Row(row(n)), at, out),
            DType::BF16 if direct => panel(s, x, |n| Bf16Row(row(n)), at, out),
            _ => {
                for n in 0..at.count {
                    dequantize_lanes(s, dtype, row(n), &mut scratch[n * stride..][..cols]);
                }
                let scratch = &*scratch;
                panel(s, x, |n| &scratch[n * stride..][..cols], at, out);
            }
        }
    }
}

/// A row-major matrix of `count` rows.
#[derive(Clone, Copy)]
struct Rows<'a> {
    data: &'a [f32],
    cols: usize,
    count: usize,
}

impl<'a> Rows<'a> {
    #[inline(always)]
    fn row(self, m: usize) -> &'a [f32] {
        &self.data[m * self.cols..][..self.cols]
    }
}

/// `count` columns of the band from `first`.
#[derive(Clone, Copy)]
struct Panel {
    first: usize,
    count: usize,
}

/// All rows of `x` with the panel's weight rows; `weight(n)` is the panel's n-th.
#[inline(always)]
fn panel<S: Simd, W: Row<S>>(
    s: S,
    x: Rows<'_>,
    weight: impl Fn(usize) -> W + Copy,
    at: Panel,
    out: &mut ColumnBand<'_>,
) {
    let mut m = 0;
    if S::WIDE {
        while m + 4 <= x.count {
            strip::<S, W, 4, 4>(s, x, m, weight, at, out);
            m += 4;
        }
        match x.count - m {
            3 => strip::<S, W, 3, 6>(s, x, m, weight, at, out),
            2 => strip::<S, W, 2, 8>(s, x, m, weight, at, out),
            1 => strip::<S, W, 1, 8>(s, x, m, weight, at, out),
            _ => {}
        }
        return;
    }
    while m + 2 <= x.count {
        strip::<S, W, 2, 3>(s, x, m, weight, at, out);
        m += 2;
    }
    if m < x.count {
        strip::<S, W, 1, 4>(s, x, m, weight, at, out);
    }
}

/// `M` rows of `x` from `m` with the panel's weight rows, `N` at a time.
#[inline(always)]
fn strip<S: Simd, W: Row<S>, const M: usize, const N: usize>(
    s: S,
    x: Rows<'_>,
    m: usize,
    weight: impl Fn(usize) -> W,
    at: Panel,
    out: &mut ColumnBand<'_>,
) {
    let x: [&[f32]; M] = std::array::from_fn(|i| x.row(m + i));
    let mut n = 0;
    while n + N <= at.count {
        let products = tile::<S, _, W, M, N>(s, x, std::array::from_fn(|i| weight(n + i)));
        for (i, products) in products.iter().enumerate() {
            out.row_mut(m + i)[at.first + n..][..N].copy_from_slice(products);
        }
        n += N;
    }
    for n in n..at.count {
        let products = tile::<S, _, W, M, 1>(s, x, [weight(n)]);
        for (i, product) in products.iter().enumerate() {
            out.row_mut(m + i)[at.first + n] = product[0];
        }
    }
}
