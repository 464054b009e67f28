//! Shapes, tensors as files hold them, and the `Ops` trait with its executors. Knows nothing about file formats,
//! architectures or text.

mod metadata;
mod source;

pub use lucid_kernels::DType;
pub use metadata::{MetaArray, MetaValue, Metadata, MetadataError};
pub use source::{TensorView, WeightSource};

/// The number of a token in its vocabulary. The tokenizer and the network share nothing else, so each names it.
pub type TokenId = u32;
