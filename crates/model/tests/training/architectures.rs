//! The gradients of whole models of every architecture against finite differences.
//!
//! Each parameter is moved along its gradient and along a random direction `d` of length 1, and
//! `gradient . d` compared with the derivative from four points, `(8 (f(h) - f(-h)) - (f(2h) -
//! f(-2h))) / 12h`, whose error is of order h^4. The loss is a mean of rows' losses near 4, each
//! good to about 1e-6, so with h = 1/32 the derivative is good to some 1e-4.

use lucid_sys::ThreadPool;
use lucid_tensor::{DType, ParameterId, Products};

use crate::source::{Batch, Head, Model, Random, SMALL};
use crate::{Trained, options};

const STEP: f32 = 1.0 / 32.0;
const ABSOLUTE: f64 = 2e-4;
const RELATIVE: f64 = 5e-3;

fn derivative(trained: &mut Trained, id: ParameterId, direction: &[f32], batch: &Batch) -> f64 {
    let start = trained.tape.parameters().values(id).to_vec();
    let pool = ThreadPool::new(1);
    let mut at = |steps: f32| {
        let mut parameters = trained.tape.parameters_mut();
        let values = parameters.values_mut(id).iter_mut().zip(&start).zip(direction);
        for ((value, start), direction) in values {
            *value = direction.mul_add(steps * STEP, *start);
        }
        parameters.repack(&pool);
        drop(parameters);
        trained.loss(batch)
    };
    let (near, far) = (at(1.0) - at(-1.0), at(2.0) - at(-2.0));
    at(0.0);
    (8.0 * near - far) / (12.0 * f64::from(STEP))
}

fn normalised(mut direction: Vec<f32>) -> Vec<f32> {
    let square: f64 = direction.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    for x in &mut direction {
        *x /= square.sqrt() as f32;
    }
    direction
}

fn check(architecture: &str, head: Head) {
    let model = Model::new(architecture, SMALL, head, DType::F32);
    let mut trained = Trained::new(&model, options(Products::F32));
    let batch = Batch::new(SMALL.vocabulary, &[11, 1, 9]);
    let trained_loss = trained.train(&batch);
    assert_eq!(trained_loss, trained.loss(&batch), "training and evaluation");
    let mut random = Random(3);
    for id in trained.ids() {
        let gradient = trained.tape.gradients(id).to_vec();
        let chance = gradient.iter().map(|_| random.next()).collect();
        for direction in [normalised(gradient.clone()), normalised(chance)] {
            let each = gradient.iter().zip(&direction);
            let found: f64 = each.map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            let want = derivative(&mut trained, id, &direction, &batch);
            let name = trained.tape.parameters().name(id).to_owned();
            assert!(
                (found - want).abs() <= ABSOLUTE + RELATIVE * want.abs(),
                "{architecture}, {name}: {found} by backward, {want} by differences"
            );
        }
    }
}

#[test]
fn llama() {
    check("llama", Head::Own);
    check("llama", Head::Tied);
}

#[test]
fn qwen2() {
    check("qwen2", Head::Tied);
}

#[test]
fn qwen3() {
    check("qwen3", Head::Own);
}

#[test]
fn gemma3() {
    check("gemma3", Head::Tied);
}
