//! The gradients of all parameters that one tape has summed, laid out as the masters are.

use std::ops::Range;

use lucid_kernels::Onto;

use super::parameters::{Block, ParameterId, Parameters, Place, split};
use crate::aligned::Aligned;

#[derive(Default)]
pub(super) struct Gradients {
    /// Of the parameters that have gradients.
    places: Vec<Place>,
    matrices: Aligned<f32>,
    vectors: Aligned<f32>,
    /// Matrices whose sums were forgotten and not begun anew: their elements mean nothing.
    forgotten: Vec<Range<usize>>,
}

impl Gradients {
    /// Makes sure that every parameter has its gradient; new ones are zero.
    pub(super) fn fit(&mut self, parameters: &Parameters) {
        self.places.extend(parameters.places().skip(self.places.len()));
        let [matrices, vectors] = parameters.sizes();
        self.matrices.extend(matrices - self.matrices.as_slice().len());
        self.vectors.extend(vectors - self.vectors.as_slice().len());
    }

    pub(super) fn zero(&mut self) {
        self.forgotten.clear();
        self.matrices.as_mut_slice().fill(0.0);
        self.vectors.as_mut_slice().fill(0.0);
    }

    /// Begins all sums anew. What is summed first to a matrix replaces what stands there, so that
    /// memory is written once and not read.
    pub(super) fn forget(&mut self) {
        self.vectors.as_mut_slice().fill(0.0);
        self.forgotten.clear();
        let matrices = self.places.iter().filter_map(|place| match *place {
            Place::Matrix { start, rows, cols } => Some(start..start + rows * cols),
            Place::Vector { .. } => None,
        });
        self.forgotten.extend(matrices);
    }

    /// Makes those zero to which nothing was added since `forget`.
    pub(super) fn settle(&mut self) {
        for range in self.forgotten.drain(..) {
            self.matrices.as_mut_slice()[range].fill(0.0);
        }
    }

    pub(super) fn of(&self, id: ParameterId) -> &[f32] {
        self.check();
        match self.places[id.index()] {
            Place::Matrix { start, rows, cols } => {
                &self.matrices.as_slice()[start..][..rows * cols]
            }
            Place::Vector { start, len } => &self.vectors.as_slice()[start..][..len],
        }
    }

    pub(super) fn all(&self) -> [&[f32]; 2] {
        self.check();
        [self.matrices.as_slice(), self.vectors.as_slice()]
    }

    pub(super) fn all_mut(&mut self) -> [&mut [f32]; 2] {
        self.check();
        [self.matrices.as_mut_slice(), self.vectors.as_mut_slice()]
    }

    pub(super) fn each_mut(&mut self) -> Vec<(ParameterId, &mut [f32])> {
        self.check();
        let Self { places, matrices, vectors, .. } = self;
        split(places.iter().copied(), matrices.as_mut_slice(), vectors.as_mut_slice())
    }

    fn check(&self) {
        assert!(self.forgotten.is_empty(), "gradients were forgotten, and no backward has ended");
    }

    /// The matrices of a block, for sums of many parts.
    pub(super) fn block_mut(&mut self, block: Block) -> &mut [f32] {
        let block = block.range();
        let matrices = self.matrices.as_mut_slice();
        self.forgotten.retain(|range| {
            let inside = block.start <= range.start && range.end <= block.end;
            if inside {
                matrices[range.clone()].fill(0.0);
            }
            !inside
        });
        &mut matrices[block]
    }

    /// The same for a product that gives every element, and how it is to be summed.
    pub(super) fn product_mut(&mut self, block: Block) -> (&mut [f32], Onto) {
        let range = block.range();
        let inside = |one: &Range<usize>| range.start <= one.start && one.end <= range.end;
        let len: usize = self.forgotten.iter().filter(|one| inside(one)).map(Range::len).sum();
        if len < range.len() {
            return (self.block_mut(block), Onto::Add);
        }
        self.forgotten.retain(|one| !inside(one));
        (&mut self.matrices.as_mut_slice()[range], Onto::Replace)
    }

    pub(super) fn vector_mut(&mut self, parameters: &Parameters, id: ParameterId) -> &mut [f32] {
        match parameters.place(id) {
            Place::Vector { start, len } => &mut self.vectors.as_mut_slice()[start..][..len],
            Place::Matrix { .. } => panic!("a matrix stands where a vector is needed"),
        }
    }

    /// Those of a weight, and of a bias if there is one.
    pub(super) fn pair_mut(
        &mut self,
        parameters: &Parameters,
        weight: ParameterId,
        bias: Option<ParameterId>,
    ) -> (&mut [f32], Option<&mut [f32]>) {
        let range = |id| match parameters.place(id) {
            Place::Vector { start, len } => start..start + len,
            Place::Matrix { .. } => panic!("a matrix stands where a vector is needed"),
        };
        let weight = range(weight);
        let vectors = self.vectors.as_mut_slice();
        let Some(bias) = bias.map(range) else { return (&mut vectors[weight], None) };
        let [weight, bias] =
            vectors.get_disjoint_mut([weight, bias]).expect("two parameters do not overlap");
        (weight, Some(bias))
    }
}
