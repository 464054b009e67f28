//! What can go wrong when a tensor is bound.

/// A tensor cannot be used by an executor.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TensorError {
    /// Neither a vector nor a matrix.
    #[error("tensor `{name}` at byte {offset} has {found} dimensions, expected 1 or 2")]
    Rank {
        /// The tensor.
        name: String,
        /// Where its data starts.
        offset: u64,
        /// How many dimensions it has.
        found: usize,
    },
    /// The data is not as long as shape and format say.
    #[error(
        "tensor `{name}` at byte {offset} holds {found} bytes, but {dtype} of shape {shape:?} \
         needs {expected}"
    )]
    Length {
        /// The tensor.
        name: String,
        /// Where its data starts.
        offset: u64,
        /// Its format.
        dtype: crate::DType,
        /// Its shape, outermost first.
        shape: Vec<usize>,
        /// Bytes needed.
        expected: usize,
        /// Bytes there.
        found: usize,
    },
    /// Only floats can be trained.
    #[error(
        "tensor `{name}` at byte {offset} is {dtype}, which cannot be trained; convert the model \
         to f32, f16 or bf16 first"
    )]
    Quantised {
        /// The tensor.
        name: String,
        /// Where its data starts.
        offset: u64,
        /// Its format.
        dtype: crate::DType,
    },
    /// Packed weights do not fit.
    #[error(
        "the system refuses {bytes} bytes for packed weights; --no-pack runs from the mapped file"
    )]
    Memory {
        /// Bytes asked for.
        bytes: usize,
    },
}
