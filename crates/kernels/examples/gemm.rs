//! Speed of the products of training on one thread, as a share of what f32 multiply-adds give at
//! most, measured in turns. `cargo run --release -p lucid-kernels --example gemm [-- avx2]`.
//! Figures for LOG.md, never an assertion.
#![allow(clippy::print_stdout, reason = "a program for a person")]

use lucid_kernels::{
    GemmScratch, Level, Matrix, Multiplier, Onto, PackedRight, Products, Right, gemm, multiply,
};
use std::time::Instant;

/// What a product is in training.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    /// `y = x W^T`, the weights packed before.
    Forward,
    /// `dx = dy W`, the weights where they lie.
    InputGradient,
    /// `dW += dy^T x`, neither packed before.
    WeightGradient,
    /// Of a block of attention: small, neither packed before, the right one transposed.
    Attention,
}

/// m, n, k.
const SHAPES: [(Role, [usize; 3]); 13] = [
    (Role::Forward, [256, 256, 256]),
    (Role::Forward, [2048, 256, 256]),
    (Role::Forward, [2048, 704, 256]),
    (Role::Forward, [2048, 1408, 512]),
    (Role::Forward, [2048, 512, 1408]),
    (Role::InputGradient, [512, 256, 256]),
    (Role::InputGradient, [512, 256, 1408]),
    (Role::InputGradient, [512, 512, 8192]),
    (Role::WeightGradient, [256, 256, 2048]),
    (Role::WeightGradient, [704, 256, 2048]),
    (Role::WeightGradient, [1408, 512, 2048]),
    (Role::Attention, [64, 64, 64]),
    (Role::Attention, [64, 64, 128]),
];

/// Measurements of each; the fastest counts.
const PASSES: usize = 8;
/// Operations of a measurement at least.
const OPERATIONS: f64 = 2e8;

/// Operations per second.
fn rate(mut work: impl FnMut() -> f64) -> f64 {
    let start = Instant::now();
    let mut operations = 0.0;
    while operations < OPERATIONS {
        operations += work();
    }
    operations / start.elapsed().as_secs_f64()
}

fn measure(level: Level, products: Products, role: Role, [m, n, k]: [usize; 3]) {
    let number = |i: usize| (i * 7 % 61) as f32 / 30.0 - 1.0;
    // At lines of the cache, as training's buffers are.
    let lines = |len: usize| -> (Vec<f32>, usize) {
        let all: Vec<f32> = vec![0.0; len + 16];
        let start = all.as_ptr().align_offset(64);
        (all, start)
    };
    let numbers = |len: usize| -> (Vec<f32>, usize) {
        let (mut all, start) = lines(len);
        for (i, x) in all[start..].iter_mut().enumerate() {
            *x = number(i);
        }
        (all, start)
    };
    let ((a, a_start), (b, b_start)) = (numbers(m * k), numbers(k * n));
    let (a, b) = (&a[a_start..][..m * k], &b[b_start..][..k * n]);
    let (mut out, start) = lines(m * n);
    let out = &mut out[start..][..m * n];
    let (mut packed, mut scratch) = (PackedRight::new(), GemmScratch::new());
    let turned = Matrix::row_major(b, n, k).transposed();
    packed.pack(level, products, turned);
    let (left, right, onto) = match role {
        Role::Forward => (Matrix::row_major(a, m, k), Right::Packed(&packed), Onto::Replace),
        Role::InputGradient => {
            let right = Right::Matrix(Matrix::row_major(b, k, n));
            (Matrix::row_major(a, m, k), right, Onto::Replace)
        }
        Role::WeightGradient => {
            let left = Matrix::row_major(a, k, m).transposed();
            (left, Right::Matrix(Matrix::row_major(b, k, n)), Onto::Add)
        }
        Role::Attention => (Matrix::row_major(a, m, k), Right::Matrix(turned), Onto::Replace),
    };
    let (mut best, mut ceiling) = (0.0f64, 0.0f64);
    for _ in 0..PASSES {
        ceiling =
            ceiling.max(rate(|| multiply(level, Multiplier::F32, 20_000).unwrap_or(1) as f64));
        best = best.max(rate(|| {
            gemm(level, products, left, right, onto, out, n, &mut scratch);
            (2 * m * n * k) as f64
        }));
    }
    let share = 100.0 * best / ceiling;
    let (best, ceiling) = (best / 1e9, ceiling / 1e9);
    println!(
        "{products:?} {role:?} [{m}, {n}, {k}]: {best:.1} of {ceiling:.1} GFLOP/s, {share:.0} %"
    );
}

fn main() {
    let name = std::env::args().nth(1);
    let chosen = |level: &Level| name.as_ref().is_none_or(|name| name == level.name());
    for level in Level::available().into_iter().rev().filter(chosen).take(1) {
        for products in [Products::F32, Products::Bf16] {
            for (role, shape) in SHAPES {
                measure(level, products, role, shape);
            }
        }
    }
}
