//! Dequantisation of every format, one file each; quantisation of the simple ones.
//!
//! Source of the layouts: ggml's `ggml-common.h` (the `block_*` structures). Source of the
//! arithmetic, order and rounding included: the Python package `gguf` (`gguf/quants.py`);
//! `tests/quant_goldens.rs` holds us to its bits. No step is fused, so the same Rust compiled for
//! any instruction set gives the same bits.

mod floats;
mod iq4_nl;
mod iq4_xs;
mod mxfp4;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;

use crate::dispatch::dispatch;
use crate::simd::Simd;
use crate::{DType, Level};

/// The format can be read but not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported(pub DType);

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot quantise to {}: expected one of F32, F16, BF16, Q8_0, Q4_0, Q4_K", self.0)
    }
}

impl std::error::Error for Unsupported {}

/// Widens one row (or several whole ones) to f32: `out.len()` elements,
/// `dtype.row_bytes(out.len())` bytes.
pub fn dequantize_row(level: Level, dtype: DType, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(dtype.row_bytes(out.len()), Some(bytes.len()), "bytes of a {dtype} row");
    dispatch!(level, dequantize_lanes, dtype, bytes, out);
}

/// Narrows one row: `values.len()` elements, a whole number of blocks, into
/// `dtype.row_bytes(values.len())` bytes.
///
/// # Errors
/// The format cannot be written.
pub fn quantize_row(dtype: DType, values: &[f32], out: &mut [u8]) -> Result<(), Unsupported> {
    assert_eq!(dtype.row_bytes(values.len()), Some(out.len()), "bytes of a {dtype} row");
    match dtype {
        DType::F32 => floats::write_f32(values, out),
        DType::F16 => floats::write_f16(values, out),
        DType::BF16 => floats::write_bf16(values, out),
        DType::Q8_0 => write_blocks(values, out, q8_0::quantize),
        DType::Q4_0 => write_blocks(values, out, q4_0::quantize),
        DType::Q4_K => write_blocks(values, out, q4_k::quantize),
        _ => return Err(Unsupported(dtype)),
    }
    Ok(())
}

#[inline(always)]
pub(crate) fn dequantize_lanes<S: Simd>(s: S, dtype: DType, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        DType::F32 => floats::read_f32(s, bytes, out),
        DType::F16 => floats::read_f16(s, bytes, out),
        DType::BF16 => floats::read_bf16(s, bytes, out),
        DType::Q4_0 => read_blocks(s, bytes, out, q4_0::dequantize),
        DType::Q4_1 => read_blocks(s, bytes, out, q4_1::dequantize),
        DType::Q5_0 => read_blocks(s, bytes, out, q5_0::dequantize),
        DType::Q5_1 => read_blocks(s, bytes, out, q5_1::dequantize),
        DType::Q8_0 => read_blocks(s, bytes, out, q8_0::dequantize),
        DType::Q2_K => read_blocks(s, bytes, out, q2_k::dequantize),
        DType::Q3_K => read_blocks(s, bytes, out, q3_k::dequantize),
        DType::Q4_K => read_blocks(s, bytes, out, q4_k::dequantize),
        DType::Q5_K => read_blocks(s, bytes, out, q5_k::dequantize),
        DType::Q6_K => read_blocks(s, bytes, out, q6_k::dequantize),
        DType::IQ4_NL => read_blocks(s, bytes, out, iq4_nl::dequantize),
        DType::IQ4_XS => read_blocks(s, bytes, out, iq4_xs::dequantize),
        DType::MXFP4 => read_blocks(s, bytes, out, mxfp4::dequantize),
    }
}

/// Calls `block` for each block of `B` bytes and its `L` elements.
#[inline(always)]
fn read_blocks<S: Simd, const B: usize, const L: usize>(
    s: S,
    bytes: &[u8],
    out: &mut [f32],
    block: impl Fn(S, &[u8; B], &mut [f32; L]),
) {
    let (blocks, rest) = bytes.as_chunks::<B>();
    let (outs, out_rest) = out.as_chunks_mut::<L>();
    assert!(rest.is_empty() && out_rest.is_empty() && blocks.len() == outs.len(), "whole blocks");
    for (from, to) in blocks.iter().zip(outs) {
        block(s, from, to);
    }
}

/// Calls `block` for each `L` elements and their block of `B` bytes.
fn write_blocks<const B: usize, const L: usize>(
    values: &[f32],
    out: &mut [u8],
    block: impl Fn(&[f32; L], &mut [u8; B]),
) {
    let (blocks, outs) = (values.as_chunks::<L>().0, out.as_chunks_mut::<B>().0);
    for (from, to) in blocks.iter().zip(outs) {
        block(from, to);
    }
}

/// The binary16 at `bytes[at..at + 2]`.
#[inline(always)]
fn f16_at<S: Simd, const B: usize>(s: S, bytes: &[u8; B], at: usize) -> f32 {
    s.f16(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

/// `N` bytes from `at`.
#[inline(always)]
fn array<const N: usize>(bytes: &[u8], at: usize) -> &[u8; N] {
    bytes[at..].first_chunk().expect("a block holds all of its fields")
}
