//! What can be wrong with a model's description or tensors.

use lucid_tensor::{MetadataError, TensorError};

/// A model cannot be built from its weights file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// `general.architecture` names none that Lucid knows.
    #[error("the architecture `{found}` is not supported; this version runs {known}")]
    Architecture {
        /// The name in the file.
        found: String,
        /// The names that are known, separated by commas.
        known: String,
    },
    /// A metadata key is missing or of the wrong type or range.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A hyper-parameter contradicts another.
    #[error("the metadata key `{key}` is {found}, expected {expected}{}", at(*offset))]
    HyperParameter {
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What the network needs.
        expected: String,
        /// Where the value stands in the file.
        offset: Option<u64>,
    },
    /// The file describes something that Lucid cannot compute yet.
    #[error("the metadata key `{key}` asks for {found}, which is not supported yet{}", at(*offset))]
    Unsupported {
        /// The key.
        key: String,
        /// What it asks for.
        found: String,
        /// Where the value stands in the file.
        offset: Option<u64>,
    },
    /// A tensor that the network needs is not there.
    #[error("tensor `{name}` is missing (expected {expected:?})")]
    MissingTensor {
        /// The tensor.
        name: String,
        /// The shape that it should have, outermost first.
        expected: Vec<usize>,
    },
    /// A tensor's shape contradicts the hyper-parameters.
    #[error(
        "tensor `{name}` at byte {offset} has the shape {found:?}, but the hyper-parameters say \
         {expected:?}"
    )]
    Shape {
        /// The tensor.
        name: String,
        /// Where its data starts.
        offset: u64,
        /// The shape that it should have, outermost first.
        expected: Vec<usize>,
        /// The shape that it has.
        found: Vec<usize>,
    },
    /// The executor refused a tensor.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

pub(crate) fn at(offset: Option<u64>) -> String {
    offset.map_or_else(String::new, |offset| format!(" (at byte {offset})"))
}
