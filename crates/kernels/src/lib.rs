//! Numeric kernels on slices. Knows nothing about tensors' names, threads or files; does no I/O.

mod dtype;

pub use dtype::DType;
