//! Muon: the momentum of a matrix, made orthogonal, is its update.
//!
//! Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), for the
//! iteration and its coefficients; Liu et al., arXiv:2502.16982, for the size of the update, which
//! lets it share AdamW's learning rate and weight decay.

use lucid_kernels::{
    Elements, GemmScratch, Level, Matrix, Onto, Order, Products, Right, gemm, sum_of_squares,
};

/// Of the momentum's average.
const MOMENTUM: f32 = 0.95;

/// Steps of the Newton-Schulz iteration.
const STEPS: usize = 5;

/// Of its polynomial `a x + b x^3 + c x^5`: steepest at 0 while all singular values end between
/// about 0.7 and 1.2.
const COEFFICIENTS: (f32, f32, f32) = (3.4445, -4.7750, 2.0315);

/// Root mean square of an update, that of AdamW's.
const UPDATE: f32 = 0.2;

/// Working memory, to be kept between calls.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    update: Vec<f32>,
    square: Vec<f32>,
    polynomial: Vec<f32>,
    next: Vec<f32>,
    gemm: GemmScratch,
}

/// What one step does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Learning rate.
    pub(super) rate: f32,
    /// Weight decay per unit of learning rate.
    pub(super) weight_decay: f32,
    /// Factor on the gradient.
    pub(super) scale: f32,
}

/// One matrix, `[rows, cols]`, as are its gradient and its momentum.
pub(super) struct Parameter<'a> {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) values: &'a mut [f32],
    pub(super) gradient: &'a [f32],
    pub(super) momentum: &'a mut [f32],
}

/// Updates a matrix. On one thread, in one order.
pub(super) fn update(level: Level, it: Parameter<'_>, step: Step, scratch: &mut Scratch) {
    let Parameter { rows, cols, values, gradient, momentum } = it;
    let Scratch { update, square, polynomial, next, gemm } = scratch;
    update.clear();
    update.extend(momentum.iter_mut().zip(gradient).map(|(momentum, gradient)| {
        let gradient = gradient * step.scale;
        *momentum = MOMENTUM * *momentum + gradient;
        MOMENTUM * *momentum + gradient
    }));
    let norm = sum_of_squares(level, update).sqrt();
    if norm > 0.0 && norm.is_finite() {
        let size = ((1.0 / norm) as f32).min(f32::MAX);
        for value in update.iter_mut() {
            *value *= size;
        }
        let mut orthogonal = Orthogonal { level, rows, cols, square, polynomial, gemm };
        for _ in 0..STEPS {
            orthogonal.step(update, next);
            std::mem::swap(update, next);
        }
    }
    let kept = 1.0 - step.rate * step.weight_decay;
    let moved = step.rate * UPDATE * (rows.max(cols) as f32).sqrt();
    for (value, update) in values.iter_mut().zip(&*update) {
        *value = *value * kept - moved * update;
    }
}

/// The iteration on a matrix `[rows, cols]`.
struct Orthogonal<'a> {
    level: Level,
    rows: usize,
    cols: usize,
    square: &'a mut Vec<f32>,
    polynomial: &'a mut Vec<f32>,
    gemm: &'a mut GemmScratch,
}

impl Orthogonal<'_> {
    /// `next = a x + (b s + c s s) x` with `s = x x^T`, or the same from the right with `x^T x`
    /// where that is smaller.
    fn step(&mut self, x: &[f32], next: &mut Vec<f32>) {
        let (a, b, c) = COEFFICIENTS;
        let wide = self.rows <= self.cols;
        let side = self.rows.min(self.cols);
        let stands = self.matrix(x, Order::RowMajor);
        let lies = self.matrix(x, Order::Transposed);
        let mut square = std::mem::take(self.square);
        let mut polynomial = std::mem::take(self.polynomial);
        square.resize(side * side, 0.0);
        let (left, right) = if wide { (stands, lies) } else { (lies, stands) };
        self.product(left, right, &mut square, side);
        polynomial.resize(side * side, 0.0);
        let of_square = Matrix {
            elements: Elements::F32(&square),
            rows: side,
            cols: side,
            stride: side,
            order: Order::RowMajor,
        };
        self.product(of_square, of_square, &mut polynomial, side);
        for (sum, square) in polynomial.iter_mut().zip(&square) {
            *sum = b * square + c * *sum;
        }
        let of_sum = Matrix { elements: Elements::F32(&polynomial), ..of_square };
        next.resize(x.len(), 0.0);
        let (left, right) = if wide { (of_sum, stands) } else { (stands, of_sum) };
        self.product(left, right, next, self.cols);
        next.iter_mut().zip(x).for_each(|(next, x)| *next += a * x);
        *self.square = square;
        *self.polynomial = polynomial;
    }

    fn matrix<'x>(&self, x: &'x [f32], order: Order) -> Matrix<'x> {
        let (rows, cols) = match order {
            Order::RowMajor => (self.rows, self.cols),
            Order::Transposed => (self.cols, self.rows),
        };
        Matrix { elements: Elements::F32(x), rows, cols, stride: self.cols, order }
    }

    fn product(&mut self, left: Matrix<'_>, right: Matrix<'_>, out: &mut [f32], stride: usize) {
        let right = Right::Matrix(right);
        gemm(self.level, Products::F32, left, right, Onto::Replace, out, stride, self.gemm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn moved(rows: usize, cols: usize, scale: f32) -> Vec<f32> {
        let mut random = Random::new("test", 7, 0);
        let gradient: Vec<f32> = (0..rows * cols).map(|_| scale * random.normal()).collect();
        let (mut values, mut momentum) = (vec![0.0; rows * cols], vec![0.0; rows * cols]);
        let it = Parameter {
            rows,
            cols,
            values: &mut values,
            gradient: &gradient,
            momentum: &mut momentum,
        };
        let step = Step { rate: 1.0, weight_decay: 0.0, scale: 1.0 };
        update(Level::detect(), it, step, &mut Scratch::default());
        values
    }

    /// Squared lengths of the rows (or columns, where they are fewer) in units of an orthogonal
    /// matrix's, and the largest product of two different ones.
    fn gram(values: &[f32], rows: usize, cols: usize) -> (Vec<f32>, f32) {
        let unit = (UPDATE * (rows.max(cols) as f32).sqrt()).powi(2);
        let at = |i: usize, k: usize| {
            if rows <= cols { values[i * cols + k] } else { values[k * cols + i] }
        };
        let (side, length) = (rows.min(cols), rows.max(cols));
        let product =
            |i: usize, j: usize| (0..length).map(|k| at(i, k) * at(j, k)).sum::<f32>() / unit;
        let squares = (0..side).map(|i| product(i, i)).collect();
        let pairs = (0..side).flat_map(|i| (0..i).map(move |j| (i, j)));
        (squares, pairs.map(|(i, j)| product(i, j).abs()).fold(0.0, f32::max))
    }

    #[test]
    fn an_update_is_nearly_orthogonal_whatever_the_gradient_s_size() {
        for (rows, cols) in [(24, 96), (96, 24), (32, 32)] {
            for scale in [1e-12, 1.0, 1e12] {
                let (squares, across) = gram(&moved(rows, cols, scale), rows, cols);
                assert!(
                    squares.iter().all(|x| (0.3..1.6).contains(x)),
                    "{rows} {cols} {squares:?}"
                );
                assert!(across < 0.45, "{rows} {cols}: {across}");
            }
        }
    }

    #[test]
    fn no_gradient_moves_nothing_and_what_is_not_finite_is_not_hidden() {
        let mut values = vec![1.0; 4];
        let mut momentum = vec![0.0; 4];
        let step = Step { rate: 0.1, weight_decay: 1.0, scale: 1.0 };
        let gradient = [0.0; 4];
        let it = Parameter {
            rows: 2,
            cols: 2,
            values: &mut values,
            gradient: &gradient,
            momentum: &mut momentum,
        };
        update(Level::detect(), it, step, &mut Scratch::default());
        assert_eq!(values, [0.9; 4]);
    }
}
