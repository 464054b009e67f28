//! The head of models that rank texts: from a pooled state to a score per label. Source: the
//! tensors `cls` and `cls.output` of llama.cpp (`llm_graph_context::build_pooling`).

use lucid_tensor::{Linear, Ops};

use crate::ModelError;
use crate::bind::Binder;

/// `output(tanh(dense(x)))`; `output(x)` without a dense part.
pub struct Classifier<O: Ops> {
    /// `[width, width]`.
    pub dense: Option<Linear<O::Weight>>,
    /// `[labels, width]`.
    pub output: Linear<O::Weight>,
}

impl<O: Ops> Classifier<O> {
    pub(crate) fn bind(
        binder: &mut Binder<'_, O>,
        width: usize,
    ) -> Result<Option<Self>, ModelError> {
        let Some(view) = binder.source.tensor("cls.output.weight") else { return Ok(None) };
        let labels = view.shape.first().copied().unwrap_or(0);
        let output = binder.linear("cls.output", labels, width)?;
        let dense = match binder.source.tensor("cls.weight") {
            Some(_) => Some(binder.linear("cls", width, width)?),
            None => None,
        };
        Ok(Some(Self { dense, output }))
    }
}
