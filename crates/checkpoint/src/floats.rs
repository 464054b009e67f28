//! Elements of any format as f32.

use lucid_tensor::{DType, Level, dequantize_row};

/// Decodes one row, or several whole ones; the bytes need no alignment.
pub(crate) fn decode(dtype: DType, data: &[u8]) -> Vec<f32> {
    let count = data.len() / dtype.block_bytes() * dtype.block_len();
    let mut out = vec![0.0; count];
    dequantize_row(Level::detect(), dtype, data, &mut out);
    out
}
