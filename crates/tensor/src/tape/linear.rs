//! Projections and their gradients: three products of matrices each.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use lucid_kernels::{Elements, GemmScratch, Level, Matrix, Onto, Order, Products, Right, gemm};

use super::elementwise;
use super::parameters::{Block, Orientation, Parameters};
use super::team::Team;

/// What products are made with.
pub(super) struct Machine<'a> {
    pub(super) level: Level,
    pub(super) products: Products,
    /// Who works on a product together; nobody else if there is none.
    pub(super) team: Option<&'a Team>,
    /// For each of them.
    pub(super) scratch: &'a mut [GemmScratch],
}

/// Rows of a matrix, `width` elements each, `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) data: &'a [f32],
    pub(super) count: usize,
    pub(super) width: usize,
    pub(super) stride: usize,
}

impl<'a> Rows<'a> {
    /// Rows without gaps.
    pub(super) fn dense(data: &'a [f32], width: usize) -> Self {
        Self { data, count: data.len() / width.max(1), width, stride: width }
    }

    /// Some columns of these rows.
    pub(super) fn columns(self, first: usize, width: usize) -> Self {
        Self { data: &self.data[first.min(self.data.len())..], width, ..self }
    }

    /// As an operand.
    pub(super) fn matrix(self) -> Matrix<'a> {
        let Self { data, count, width, stride } = self;
        let elements = Elements::F32(data);
        Matrix { elements, rows: count, cols: width, stride, order: Order::RowMajor }
    }

    /// As an operand, transposed.
    pub(super) fn transposed(self) -> Matrix<'a> {
        let Self { data, count, width, stride } = self;
        let elements = Elements::F32(data);
        Matrix { elements, rows: width, cols: count, stride, order: Order::Transposed }
    }
}

/// Rows that are written, as `Rows`.
pub(super) struct RowsMut<'a> {
    pub(super) data: &'a mut [f32],
    pub(super) stride: usize,
}

/// The parameters for reading.
pub(super) fn read(shared: &RwLock<Parameters>) -> RwLockReadGuard<'_, Parameters> {
    // Masters are plain numbers: whoever panicked while he wrote them left numbers.
    shared.read().unwrap_or_else(PoisonError::into_inner)
}

/// The same, with these blocks packed where that pays.
pub(super) fn read_packed<'a>(
    shared: &'a RwLock<Parameters>,
    blocks: &[Block],
    orientation: Orientation,
) -> RwLockReadGuard<'a, Parameters> {
    let parameters = read(shared);
    if blocks.iter().all(|block| parameters.is_ready(*block, orientation)) {
        return parameters;
    }
    drop(parameters);
    let mut parameters = shared.write().unwrap_or_else(PoisonError::into_inner);
    for block in blocks {
        // Another tape may have been faster.
        if !parameters.is_ready(*block, orientation) {
            parameters.pack(*block, orientation);
        }
    }
    drop(parameters);
    read(shared)
}

impl Machine<'_> {
    /// `out (+)= left right`.
    pub(super) fn multiply(&mut self, left: Matrix, right: Right, onto: Onto, out: RowsMut) {
        let RowsMut { data, stride } = out;
        let (level, products) = (self.level, self.products);
        let cut = self.team.and_then(|team| Some((team, team.step(left.rows)?)));
        let Some((team, step)) = cut else {
            return gemm(level, products, left, right, onto, data, stride, &mut self.scratch[0]);
        };
        let starts = (0..left.rows).step_by(step);
        let parts = starts.map(|start| left.some_rows(start..left.rows.min(start + step)));
        let mut tasks: Vec<_> = parts.zip(data.chunks_mut(step * stride)).collect();
        team.each(self.scratch, &mut tasks, |scratch, (left, out)| {
            gemm(level, products, *left, right, onto, out, stride, scratch);
        });
    }

    /// `out = x W^T + bias`.
    pub(super) fn project(
        &mut self,
        parameters: &Parameters,
        x: Rows,
        block: Block,
        bias: Option<&[f32]>,
        out: RowsMut,
    ) {
        let RowsMut { data, stride } = out;
        let right = parameters.right(block, Orientation::Forward);
        let products = RowsMut { data: &mut *data, stride };
        self.multiply(x.matrix(), right, Onto::Replace, products);
        if let Some(bias) = bias {
            elementwise::add_bias(self.level, bias, data, stride, x.count);
        }
    }

    /// `dx (+)= dy W`.
    pub(super) fn input_gradient(
        &mut self,
        parameters: &Parameters,
        dy: Rows,
        block: Block,
        onto: Onto,
        dx: RowsMut,
    ) {
        let right = parameters.right(block, Orientation::Backward);
        self.multiply(dy.matrix(), right, onto, dx);
    }

    /// `dW (+)= dy^T x`.
    pub(super) fn weight_gradient(
        &mut self,
        dy: Rows,
        x: Rows,
        (gradient, onto): (&mut [f32], Onto),
    ) {
        let out = RowsMut { data: gradient, stride: x.width };
        self.multiply(dy.transposed(), Right::Matrix(x.matrix()), onto, out);
    }
}

/// What a product is added to, given whether something stands there.
pub(super) fn onto(exists: bool) -> Onto {
    if exists { Onto::Add } else { Onto::Replace }
}
