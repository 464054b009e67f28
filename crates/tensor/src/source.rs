//! A model's tensors and metadata as any weights file offers them: what `checkpoint` implements and
//! `model` binds.

use crate::{DType, Metadata};
use lucid_sys::Bytes;

/// One tensor of a weights file. The bytes are shared with the file's map, never copied.
#[derive(Clone, Debug)]
pub struct TensorView {
    /// The name in GGUF's vocabulary, e.g. `blk.0.attn_q.weight`.
    pub name: String,
    /// How the elements are stored.
    pub dtype: DType,
    /// Dimensions, outermost first: `[rows, cols]` of a matrix, row-major. (GGUF writes them
    /// innermost first.)
    pub shape: Vec<usize>,
    /// The elements: exactly `rows * dtype.row_bytes(cols)` bytes. Not necessarily aligned to the
    /// element's size.
    pub data: Bytes,
    /// Where the data starts in its file; 0 when it was made in memory.
    pub offset: u64,
}

impl TensorView {
    /// Product of the dimensions. It was checked against the file when the view was made, so it
    /// does not overflow.
    pub fn element_count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Tensors and metadata of one model, whatever the file format.
///
/// Names and keys are GGUF's. Two differences between formats stay visible, as metadata: whether
/// query and key rows are laid out for rotating neighbours or halves (`lucid.rope.pairing`:
/// `neighbours` or `halves`; absent means the GGUF default of the architecture).
pub trait WeightSource {
    /// All metadata.
    fn metadata(&self) -> &Metadata;
    /// The tensor of this name, or `None`.
    fn tensor(&self, name: &str) -> Option<TensorView>;
    /// The names of all tensors, in the order of the file.
    fn tensor_names(&self) -> Vec<String>;
}
