//! Takes named tensors into an executor, each against the shape that the hyper-parameters demand.

use lucid_tensor::{Linear, Norm, Ops, WeightSource};

use crate::ModelError;

/// Binds tensors of one source to one executor.
pub(crate) struct Binder<'a, O: Ops> {
    pub(crate) source: &'a dyn WeightSource,
    pub(crate) ops: &'a mut O,
    pub(crate) norm_epsilon: f32,
}

impl<O: Ops> Binder<'_, O> {
    /// A tensor of exactly this shape.
    pub(crate) fn need(&mut self, name: &str, shape: &[usize]) -> Result<O::Weight, ModelError> {
        self.optional(name, shape)?.ok_or_else(|| ModelError::MissingTensor {
            name: name.to_owned(),
            expected: shape.to_vec(),
        })
    }

    /// A tensor of exactly this shape, or none.
    pub(crate) fn optional(
        &mut self,
        name: &str,
        shape: &[usize],
    ) -> Result<Option<O::Weight>, ModelError> {
        let Some(view) = self.source.tensor(name) else { return Ok(None) };
        if view.shape != shape {
            return Err(ModelError::Shape {
                name: name.to_owned(),
                offset: view.offset,
                expected: shape.to_vec(),
                found: view.shape,
            });
        }
        Ok(Some(self.ops.bind(&view)?))
    }

    /// `{name}.weight`, `[rows, cols]`, and `{name}.bias` where there is one.
    pub(crate) fn linear(
        &mut self,
        name: &str,
        rows: usize,
        cols: usize,
    ) -> Result<Linear<O::Weight>, ModelError> {
        let weight = self.need(&format!("{name}.weight"), &[rows, cols])?;
        let bias = self.optional(&format!("{name}.bias"), &[rows])?;
        Ok(Linear { weight, bias })
    }

    /// The RMS norm `{name}.weight`.
    pub(crate) fn norm(&mut self, name: &str, width: usize) -> Result<Norm<O::Weight>, ModelError> {
        let weight = self.need(&format!("{name}.weight"), &[width])?;
        Ok(Norm::Rms { weight, epsilon: self.norm_epsilon })
    }
}
