//! A step of training allocates nothing once it is warm.

#[path = "training/source.rs"]
#[allow(dead_code, reason = "shared with tests that use all of it")]
mod source;

use lucid_model::Transformer;
use lucid_sys::CountingAllocator;
use lucid_tensor::{DType, KvDType, Level, Products, Purpose, Recompute, Tape, TapeOptions};

use source::{Batch, Head, Model, SMALL};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn check(architecture: &str, products: Products, recompute: Recompute) {
    let model = Model::new(architecture, SMALL, Head::Tied, DType::F32);
    let options = TapeOptions { level: Level::detect(), products, kv: KvDType::F32, recompute };
    let mut tape = Tape::new(options);
    let transformer = Transformer::bind(&model, &mut tape).expect("a model of ours");
    // Of the same number of rows, cut otherwise.
    let batches = [[70, 26], [41, 55]].map(|lengths| Batch::new(SMALL.vocabulary, &lengths));
    let mut step = || {
        for Batch { rows, targets, weights } in &batches {
            tape.begin(rows, Purpose::Train);
            let logits = transformer.forward(&mut tape).logits;
            tape.cross_entropy(logits, targets, weights);
            tape.backward();
        }
        tape.zero_gradients();
    };
    let ((), cold) = CountingAllocator::peak_of(&mut step);
    let ((), warm) = CountingAllocator::peak_of(&mut step);
    assert!(cold > 0, "nothing was counted");
    assert_eq!(warm, 0, "{architecture} {products:?} {recompute:?}: bytes allocated when warm");
}

#[test]
fn a_warm_step_allocates_nothing() {
    for products in [Products::F32, Products::Bf16] {
        check("llama", products, Recompute::Nothing);
        check("gemma3", products, Recompute::Scopes);
    }
}

#[test]
fn scopes_that_are_computed_again_take_less_memory() {
    let size = source::Size { layers: 8, ..SMALL };
    let model = Model::new("llama", size, Head::Tied, DType::F32);
    let batch = Batch::new(size.vocabulary, &[256]);
    let peak = |recompute| {
        let (level, kv) = (Level::detect(), KvDType::F32);
        let mut tape = Tape::new(TapeOptions { level, products: Products::F32, kv, recompute });
        let transformer = Transformer::bind(&model, &mut tape).expect("a model of ours");
        let step = || {
            tape.begin(&batch.rows, Purpose::Train);
            let logits = transformer.forward(&mut tape).logits;
            tape.cross_entropy(logits, &batch.targets, &batch.weights);
            tape.backward();
        };
        CountingAllocator::peak_of(step).1
    };
    let (all, some) = (peak(Recompute::Nothing), peak(Recompute::Scopes));
    assert!(3 * some < 2 * all, "{some} bytes of {all}");
}
