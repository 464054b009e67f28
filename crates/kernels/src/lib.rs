//! Numeric kernels on slices. Knows nothing about tensors' names, threads or files; does no I/O.
//!
//! Invariants: (1) the scalar kernel is the specification, and every level gives its bits; (2) a
//! sum along a row runs in one fixed order: sixteen lanes, fused multiply-add, the tree i+8, i+4,
//! i+2, i+1, or one chain where a lane is an element of the result; it depends on that row alone;
//! (3) a tail is padded with zeros, never dropped; (4) lengths that do not match are our bugs and
//! panic.

mod attention;
mod band;
mod ceilings;
mod dispatch;
mod dot;
mod dtype;
mod elementwise;
mod gemm;
mod math;
mod matmul;
mod norm;
mod optimiser;
mod packed;
mod quant;
mod rotary;
mod scalar;
mod simd;
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use attention::{
    AttentionRows, AttentionScratch, AttentionShape, KV_CHUNK, KV_RUN, KvDType, attend, attend_run,
    merge_runs, store_kv,
};
pub use band::{ColumnBand, column_band, column_bands};
pub use ceilings::{Multiplier, READ_ACCUMULATORS, ReadPattern, multiply, read_all};
pub use dispatch::Level;
pub use dot::dot;
pub use dtype::DType;
pub use elementwise::{
    add, exp_slice, gelu_tanh_mul, gelu_tanh_product, scale, silu_mul, silu_product, soft_cap,
};
pub use gemm::{
    Elements, GemmScratch, Matrix, Onto, Order, PackedRight, Products, Right, gemm, reads_in_place,
};
pub use matmul::{WeightRows, matmul};
pub use norm::{layer_norm, rms_norm};
pub use optimiser::{AdamW, adamw, sum_of_squares};
pub use packed::{
    ACTIVATION_TILE, ActivationClass, Activations, PACKED_GROUP, PackedRows, activation_bytes,
    activation_class, pack_rows, packed_bytes, packed_kernel, packed_matmul, quantize_activations,
    unpack_row,
};
pub use quant::{Unsupported, dequantize_row, quantize_row};
pub use rotary::{RotaryPairing, rotary_table, rotate};
#[cfg(target_arch = "x86_64")]
pub use x86_64::{avx2::Avx2, avx512::Avx512};
