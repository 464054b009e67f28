//! Tokens per second of forward and backward on some lanes, one thread each. `cargo run --release
//! -p lucid-model --example training [-- 34m] [f32] [lanes=2] [rows=512] [seconds=10]`. Figures for
//! LOG.md, never an assertion.
#![allow(clippy::print_stdout, reason = "a program for a person")]

#[path = "../tests/training/source.rs"]
#[allow(dead_code, reason = "shared with tests that use all of it")]
mod source;

use std::time::{Duration, Instant};

use lucid_model::Transformer;
use lucid_sys::ThreadPool;
use lucid_tensor::{DType, KvDType, Level, Products, Purpose, Recompute, Tape, TapeOptions};

use source::{Batch, Head, Model, Size};

/// The shapes that are compared with peers: 6.9 and 34.1 million parameters.
const SHAPES: [(&str, Size, usize); 2] =
    [("7m", shape(4096, 256, 6, 4, 704), 256), ("34m", shape(8192, 512, 8, 8, 1408), 512)];

const fn shape(
    vocabulary: usize,
    width: usize,
    layers: usize,
    heads: usize,
    feed_forward: usize,
) -> Size {
    Size { vocabulary, width, layers, heads, kv_heads: heads, head_dim: 64, feed_forward }
}

/// Seconds that a lane spent on each part.
#[derive(Clone, Copy, Default)]
struct Spent {
    forward: f64,
    head: f64,
    backward: f64,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| words.iter().any(|given| given == word);
    let number = |name: &str, default: usize| {
        let given = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        given.map_or(default, |text| text.parse().expect("a number"))
    };
    let (_, size, context) = SHAPES[usize::from(has("34m"))];
    let products = if has("f32") { Products::F32 } else { Products::Bf16 };
    let recompute = if has("recompute") { Recompute::Scopes } else { Recompute::Nothing };
    let (lanes, rows) = (number("lanes", 2), number("rows", 512).max(context));
    let limit = Duration::from_secs(number("seconds", 10) as u64);

    let model = Model::new("llama", size, Head::Tied, DType::F32);
    let level = Level::detect();
    let mut first = Tape::new(TapeOptions { level, products, kv: KvDType::F32, recompute });
    let transformer = Transformer::bind(&model, &mut first).expect("a model of ours");
    let batch = Batch::new(size.vocabulary, &vec![context; rows / context]);
    let mut tapes: Vec<_> = (1..lanes).map(|_| (first.lane(), Spent::default())).collect();
    tapes.push((first, Spent::default()));
    let pool = ThreadPool::new(lanes);
    let step = |tapes: &mut Vec<(Tape, Spent)>| {
        pool.for_each(tapes, |_, (tape, spent)| micro_batch(&transformer, tape, &batch, spent));
    };
    step(&mut tapes);
    let repacking = Instant::now();
    tapes[0].0.parameters_mut().repack(&pool);
    let repacking = repacking.elapsed().as_secs_f64();
    step(&mut tapes);
    for (_, spent) in &mut tapes {
        *spent = Spent::default();
    }

    let (start, mut steps) = (Instant::now(), 0);
    while start.elapsed() < limit {
        step(&mut tapes);
        steps += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    let tokens = (steps * lanes * batch.rows.len()) as f64;
    let count = tapes[0].0.parameters().element_count();
    let attention = size.layers * context * size.heads * size.head_dim * 6;
    let flops = (6 * count + attention) as f64 * tokens / seconds;
    println!(
        "{} parameters, {products:?}, {lanes} lanes of {} rows: {:.0} tokens/s, {:.0} GFLOP/s",
        count,
        batch.rows.len(),
        tokens / seconds,
        flops / 1e9
    );
    let Spent { forward, head, backward } = tapes[0].1;
    let each = |spent: f64| 1e3 * spent / steps as f64;
    println!(
        "ms a micro-batch: forward {:.1}, head {:.1}, backward {:.1}; repacking {:.1}; {} MB peak",
        each(forward),
        each(head),
        each(backward),
        1e3 * repacking,
        lucid_sys::peak_resident_bytes().unwrap_or(0) / 1_000_000
    );
}

fn micro_batch(transformer: &Transformer<Tape>, tape: &mut Tape, batch: &Batch, spent: &mut Spent) {
    let start = Instant::now();
    tape.begin(&batch.rows, Purpose::Train);
    let logits = transformer.forward(tape).logits;
    let forward = Instant::now();
    tape.cross_entropy(logits, &batch.targets, &batch.weights);
    let head = Instant::now();
    tape.backward();
    spent.forward += (forward - start).as_secs_f64();
    spent.head += (head - forward).as_secs_f64();
    spent.backward += head.elapsed().as_secs_f64();
}
