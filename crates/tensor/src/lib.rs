//! Shapes, tensors as files hold them, and the `Ops` trait with its executors. Knows nothing about
//! file formats, architectures or text.

#![forbid(unsafe_code)]

mod aligned;
mod array;
mod eager;
mod error;
mod metadata;
mod ops;
mod pass;
mod source;
mod tape;

pub use array::{Number, Numbers, Texts};
pub use eager::{
    Adapter, AdapterTarget, Eager, EagerOptions, EagerValue, Factor, Hook, HookRows, KvDType,
    KvShape, LowRank, PackedFrom, Packing, RotaryId, WeightId,
};
pub use error::TensorError;
pub use lucid_kernels::{DType, Level, Products, dequantize_row, quantize_row};
pub use metadata::{MetaArray, MetaValue, Metadata, MetadataError};
pub use ops::{Activation, AttentionSpec, Linear, Norm, Ops, RotaryPairing, RotarySpec, Site};
pub use pass::{KV_BLOCK_LEN, KvBlockId, Pass, PassRow};
pub use source::{TensorView, WeightSource};
pub use tape::{
    ParameterId, Parameters, Purpose, Recompute, RotaryHandle, Tape, TapeOptions, TapeValue,
};

/// The version of what `Eager` computes, to the bit. Raised whenever a sum of it or of the kernels
/// runs in another order, or anything is rounded otherwise: keys and values that are kept on disk
/// are of one version.
pub const ARITHMETIC_VERSION: u32 = 1;

/// The number of a token in its vocabulary. The tokenizer and the network share nothing else, so
/// each names it.
pub type TokenId = u32;
