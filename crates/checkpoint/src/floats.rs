//! Plain floats in files' byte order, to and from f32. The bytes need no alignment.

use half::{bf16, f16};
use lucid_tensor::DType;

/// Decodes whole elements of F32, F16 or BF16.
pub(crate) fn decode(dtype: DType, data: &[u8]) -> Vec<f32> {
    let pairs = || data.as_chunks::<2>().0.iter();
    match dtype {
        DType::F32 => data.as_chunks::<4>().0.iter().map(|&c| f32::from_le_bytes(c)).collect(),
        DType::F16 => pairs().map(|&c| f16::from_le_bytes(c).to_f32()).collect(),
        DType::BF16 => pairs().map(|&c| bf16::from_le_bytes(c).to_f32()).collect(),
        other => unreachable!("{other} is no plain float"),
    }
}
