//! Every type of the tiny shape loads and runs, with logits of the promised size.

use std::sync::Arc;

use lucid_checkpoint::Checkpoint;
use lucid_engine::{Engine, EngineOptions, Feed, KvDType, Level, Packing, Wanted};
use lucid_sys::ThreadPool;

use super::*;

/// A path for one test's file, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("lucid-synth-{}-{name}.gguf", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The standard deviation of the logits of eight tokens.
fn check(shape: &str, mix: &str) {
    let file = Scratch::new(&format!("{shape}-{mix}"));
    let (shape, mix) = (shapes::named(shape).unwrap(), Mix::named(mix).unwrap());
    let mut last = (0, 0);
    let total = write(shape, mix, 1, &file.0, &mut |done, total| last = (done, total)).unwrap();
    assert_eq!(std::fs::metadata(&file.0).unwrap().len(), total);
    assert!(last.0 <= last.1 && last.0 > total / 2, "progress ended at {last:?} of {total}");
    let checkpoint = Checkpoint::open(&file.0).unwrap();
    let options = EngineOptions {
        context: 64,
        kv_blocks: 1,
        kv_dtype: KvDType::F16,
        level: Level::detect(),
        packing: Packing::Keep,
    };
    let mut engine = Engine::load(&checkpoint, Arc::new(ThreadPool::new(1)), options).unwrap();
    let sequence = engine.open();
    let tokens = [1, 17, 300, 4, 511, 42, 8, 259];
    let feed = Feed { sequence, tokens: &tokens, wanted: Wanted::All };
    let logits = engine.forward(&[feed]).unwrap();
    let values: Vec<f64> = logits.rows().flatten().map(|&x| f64::from(x)).collect();
    assert_eq!(values.len(), tokens.len() * shape.vocab);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
    let deviation = (squares / values.len() as f64).sqrt();
    assert!((2.0..6.0).contains(&deviation), "{}: deviation {deviation}", mix.file_type);
}

#[test]
fn every_type_of_the_tiny_shape_runs() {
    for mix in mix::names() {
        check("tiny", &mix);
    }
}

#[test]
fn the_same_seed_gives_the_same_file() {
    let (first, second) = (Scratch::new("first"), Scratch::new("second"));
    let (shape, mix) = (shapes::named("tiny").unwrap(), Mix::named("q4_k_m").unwrap());
    let bytes = |file: &Scratch, seed: u64| {
        write(shape, mix, seed, &file.0, &mut |_, _| {}).unwrap();
        std::fs::read(&file.0).unwrap()
    };
    assert_eq!(bytes(&first, 5), bytes(&second, 5));
    assert_ne!(bytes(&first, 5), bytes(&second, 6));
}

#[test]
fn the_shape_that_is_measured_on_has_its_parameters() {
    let count = |name: &str| {
        let all = tensors(shapes::named(name).unwrap(), Mix::named("bf16").unwrap());
        all.iter().map(|tensor| tensor.dims.iter().product::<usize>()).sum::<usize>()
    };
    assert_eq!(count("llama-1b") / 1_000_000, 1038);
    assert_eq!(count("llama-8b") / 1_000_000, 8030);
    assert_eq!(count("qwen3-0.6b") / 1_000_000, 596);
    assert_eq!(count("qwen2.5-0.5b") / 1_000_000, 494);
    assert_eq!(count("gemma3-1b") / 1_000_000, 999);
}
