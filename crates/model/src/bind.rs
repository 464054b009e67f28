//! Takes named tensors into an executor, each against the shape that the hyper-parameters demand.

use std::collections::BTreeMap;

use lucid_tensor::{Linear, Norm, Ops, WeightSource};

use crate::ModelError;

/// Binds tensors of one source to one executor.
pub(crate) struct Binder<'a, O: Ops> {
    pub(crate) source: &'a dyn WeightSource,
    pub(crate) ops: &'a mut O,
    pub(crate) norm_epsilon: f32,
    /// Every matrix that was bound, by name, with its shape.
    pub(crate) matrices: Matrices<O>,
}

/// Bound matrices and their shapes, `[rows, cols]`, by name.
pub(crate) type Matrices<O> = BTreeMap<String, (<O as Ops>::Weight, [usize; 2])>;

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
        let weight = self.ops.bind(&view)?;
        if let [rows, cols] = *shape {
            self.matrices.insert(name.to_owned(), (weight, [rows, cols]));
        }
        Ok(Some(weight))
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
