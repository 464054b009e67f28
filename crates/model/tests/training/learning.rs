//! A small model learns a text by heart with plain gradient descent.

use lucid_sys::ThreadPool;
use lucid_tensor::{DType, PassRow, Products};

use crate::source::{Batch, Head, Model, SMALL};
use crate::{Trained, options};

fn check(architecture: &str, products: Products, rate: f32) {
    let tokens = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4];
    let count = tokens.len() - 1;
    let row = |(position, token): (usize, &u32)| PassRow {
        token: *token,
        position: position as u32,
        sequence: 0,
    };
    let batch = Batch {
        rows: tokens[..count].iter().enumerate().map(row).collect(),
        targets: tokens[1..].to_vec(),
        weights: vec![1.0 / count as f32; count],
    };
    let model = Model::new(architecture, SMALL, Head::Tied, DType::F32);
    let mut trained = Trained::new(&model, options(products));
    let pool = ThreadPool::new(2);
    let first = trained.train(&batch);
    let mut last = first;
    for _ in 0..300 {
        let mut parameters = trained.tape.parameters_mut();
        for (id, values) in parameters.all_mut() {
            for (value, gradient) in values.iter_mut().zip(trained.tape.gradients(id)) {
                *value -= rate * gradient;
            }
        }
        parameters.repack(&pool);
        drop(parameters);
        trained.tape.zero_gradients();
        last = trained.train(&batch);
    }
    assert!(first > 2.0 && last < first / 15.0, "{architecture} {products:?}: {first} to {last}");
}

#[test]
fn a_text_by_heart() {
    check("llama", Products::F32, 0.3);
    check("llama", Products::Bf16, 0.3);
    check("gemma3", Products::Bf16, 0.1);
}
