//! The instruction sets of x86-64 that kernels are built for.

pub(crate) mod avx2;
pub(crate) mod avx2_bytes;
pub(crate) mod avx512;
pub(crate) mod avx512_bf16;
pub(crate) mod avx512_bytes;
pub(crate) mod byte_vector;
