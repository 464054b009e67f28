//! What is trained is what is served: the forward pass of `Tape` against that of `Eager`.

use std::sync::Arc;

use lucid_model::Transformer;
use lucid_sys::ThreadPool;
use lucid_tensor::{
    DType, Eager, EagerOptions, KV_BLOCK_LEN, KvBlockId, KvDType, KvShape, Level, Packing, Pass,
    Products, Purpose, TapeOptions,
};

use crate::source::{Batch, Head, Model, SMALL, Size};
use crate::{Trained, options};

/// The logits of all rows, by the executor that serves.
fn served(model: &Model, size: Size, kv: KvDType, packing: Packing, batch: &Batch) -> Vec<f32> {
    let kv = KvShape {
        dtype: kv,
        layers: size.layers,
        kv_heads: size.kv_heads,
        head_dim: size.head_dim,
        value_dim: size.head_dim,
    };
    let options = EagerOptions { level: Level::detect(), kv, packing };
    let mut eager = Eager::new(Arc::new(ThreadPool::new(2)), options);
    let transformer = Transformer::bind(model, &mut eager).expect("a model of ours");
    let sequences = batch.rows.iter().map(|row| row.sequence as usize + 1).max().unwrap_or(0);
    let mut blocks = (0..).map(KvBlockId);
    let longest = batch.rows.len().div_ceil(KV_BLOCK_LEN);
    let tables = (0..sequences).map(|_| blocks.by_ref().take(longest).collect()).collect();
    eager.reserve_kv(sequences * longest);
    let outputs = (0..batch.rows.len() as u32).collect();
    let rows = batch.rows.clone();
    eager.begin(&Pass { rows, tables, outputs, ..Pass::default() });
    let logits = transformer.forward(&mut eager).logits;
    eager.read(logits).to_vec()
}

fn trained(model: &Model, options: TapeOptions, purpose: Purpose, batch: &Batch) -> Vec<f32> {
    let mut trained = Trained::new(model, options);
    trained.tape.begin(&batch.rows, purpose);
    let logits = trained.transformer.forward(&mut trained.tape).logits;
    trained.tape.logits(logits)
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| x.to_bits()).collect()
}

/// The tape's masters are f32 numbers that bfloat16 holds.
fn check_bf16(architecture: &str, kv: KvDType, lengths: &[usize]) {
    let batch = Batch::new(SMALL.vocabulary, lengths);
    let file = Model::new(architecture, SMALL, Head::Tied, DType::BF16);
    let want = served(&file, SMALL, kv, Packing::Pack, &batch);
    let options = TapeOptions { kv, ..options(Products::Bf16) };
    for purpose in [Purpose::Train, Purpose::Evaluate] {
        for dtype in [DType::BF16, DType::F32] {
            let model = Model::new(architecture, SMALL, Head::Tied, dtype);
            let found = trained(&model, options, purpose, &batch);
            assert!(bits(&found) == bits(&want), "{architecture} {kv:?} {purpose:?} {dtype}");
        }
    }
}

#[test]
fn bf16_logits_are_those_of_serving_to_the_bit() {
    for architecture in ["llama", "qwen2", "qwen3", "gemma3"] {
        check_bf16(architecture, KvDType::F32, &[9, 1, 14]);
    }
    for kv in [KvDType::F16, KvDType::BF16] {
        check_bf16("llama", kv, &[70, 3]);
    }
    // More than a run of chunks.
    check_bf16("gemma3", KvDType::F32, &[600]);
}

#[test]
fn losses_in_bf16_are_those_of_the_logits() {
    let batch = Batch::new(SMALL.vocabulary, &[9, 14]);
    let model = Model::new("llama", SMALL, Head::Own, DType::BF16);
    let logits = served(&model, SMALL, KvDType::F32, Packing::Pack, &batch);
    let mut trained = Trained::new(&model, options(Products::Bf16));
    trained.tape.begin(&batch.rows, Purpose::Evaluate);
    let lazy = trained.transformer.forward(&mut trained.tape).logits;
    let losses = trained.tape.losses(lazy, &batch.targets, &batch.weights);
    let rows = logits.chunks_exact(SMALL.vocabulary).zip(&batch.targets).zip(&batch.weights);
    for (loss, ((logits, target), weight)) in losses.iter().zip(rows) {
        let sum: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
        let want = sum.ln() - f64::from(logits[*target as usize]);
        let want = if *weight == 0.0 { 0.0 } else { want };
        assert!((f64::from(*loss) - want).abs() < 1e-5, "{loss} {want}");
    }
}

/// f32 products sum in another order than serving does.
#[test]
fn f32_logits_are_those_of_serving_up_to_rounding() {
    for architecture in ["llama", "qwen2", "qwen3", "gemma3"] {
        let batch = Batch::new(SMALL.vocabulary, &[9, 1, 70]);
        let model = Model::new(architecture, SMALL, Head::Own, DType::F32);
        let want = served(&model, SMALL, KvDType::F32, Packing::Keep, &batch);
        let found = trained(&model, options(Products::F32), Purpose::Train, &batch);
        for (found, want) in found.iter().zip(&want) {
            assert!((found - want).abs() <= 3e-5 * (1.0 + want.abs()), "{found} {want}");
        }
    }
}
