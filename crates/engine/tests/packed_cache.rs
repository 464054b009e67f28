//! The packed cache: mapped while it fits the weights, made again when it does not.

#![expect(clippy::print_stdout, reason = "says that it skips")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use lucid_checkpoint::Checkpoint;
use lucid_engine::{
    Engine, EngineOptions, Feed, KvDType, Level, PackedFrom, Packing, Wanted, kv_blocks_for,
};
use lucid_sys::ThreadPool;
use lucid_tensor::{DType, Metadata, WeightSource as _};

const CONTEXT: usize = 32;

/// A folder that is gone when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lucid-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes the golden model `name` in Q8_0.
fn write_model(name: &str, path: &Path) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
    let source = Checkpoint::open(&folder).unwrap();
    let dtype = Some(DType::Q8_0);
    lucid_checkpoint::convert(&source, &Metadata::default(), dtype, path, &mut |_, _| {}).unwrap();
}

/// Where the weights came from, and the logits after a few tokens.
fn load(model: &Path, cache: &Path) -> (PackedFrom, Vec<u32>) {
    let options = EngineOptions {
        context: CONTEXT,
        kv_blocks: kv_blocks_for(CONTEXT),
        kv_dtype: KvDType::F32,
        level: Level::detect(),
        packing: Packing::Pack,
    };
    let checkpoint = Checkpoint::open(model).unwrap();
    let pool = Arc::new(ThreadPool::new(2));
    let mut steps = Vec::new();
    let mut progress = |done, total| steps.push((done, total));
    let mut engine = Engine::load(&checkpoint, pool, options).unwrap();
    let from = engine.pack(Some(cache), &mut progress).unwrap();
    assert!(steps.is_sorted(), "progress goes back: {steps:?}");
    let sequence = engine.open();
    let feed = Feed { sequence, tokens: &[1, 2, 3, 4, 5], wanted: Wanted::Last };
    let logits = engine.forward(&[feed]).unwrap().last().iter().map(|x| x.to_bits()).collect();
    (from, logits)
}

fn packs_here() -> bool {
    let packs = lucid_kernels::packed_kernel(Level::detect(), DType::Q8_0);
    if !packs {
        println!("skipped: this processor has no fast packed kernel");
    }
    packs
}

const FROM_MODEL: PackedFrom = PackedFrom::Model { cache_error: None };

#[test]
fn a_cache_serves_its_weights_and_no_others() {
    if !packs_here() {
        return;
    }
    let scratch = Scratch::new("packed-cache");
    let (model, cache) = (scratch.0.join("model.gguf"), scratch.0.join("model.packed"));
    write_model("llama3", &model);
    let (from, expected) = load(&model, &cache);
    assert_eq!(from, FROM_MODEL);
    assert_eq!(load(&model, &cache), (PackedFrom::Cache, expected.clone()));

    // Another time, the same content.
    let touch = |path: &Path| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    };
    touch(&model);
    assert_eq!(load(&model, &cache), (PackedFrom::Cache, expected.clone()));

    // Another content of the same shape: one weight changed.
    let view = Checkpoint::open(&model).unwrap().tensor("blk.0.attn_v.weight").unwrap();
    let mut bytes = fs::read(&model).unwrap();
    bytes[view.offset as usize + 10] ^= 0x40;
    fs::write(&model, &bytes).unwrap();
    let (from, other) = load(&model, &cache);
    assert_eq!(from, FROM_MODEL);
    assert_eq!(load(&model, &cache), (PackedFrom::Cache, other));

    // Another model.
    write_model("qwen3", &model);
    assert_eq!(load(&model, &cache).0, FROM_MODEL);
}

#[test]
fn a_cache_with_a_damaged_header_is_made_again() {
    if !packs_here() {
        return;
    }
    let scratch = Scratch::new("packed-damage");
    let (model, cache) = (scratch.0.join("model.gguf"), scratch.0.join("model.packed"));
    write_model("llama3", &model);
    let (_, expected) = load(&model, &cache);
    let whole = fs::read(&cache).unwrap();
    let damaged = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(&cache, &bytes).unwrap();
        assert_eq!(load(&model, &cache), (FROM_MODEL, expected.clone()));
    };
    damaged(&|bytes| bytes.clear());
    damaged(&|bytes| bytes.truncate(5));
    damaged(&|bytes| bytes.truncate(4096));
    damaged(&|bytes| bytes.push(0));
    damaged(&|bytes| bytes[0] ^= 1);
    damaged(&|bytes| bytes[8] ^= 1);
    damaged(&|bytes| bytes[12..16].fill(0xff));
    // The hash of the layout, behind one stamp.
    damaged(&|bytes| bytes[16 + 40] ^= 1);
}

#[test]
fn a_cache_that_cannot_be_written_is_no_error() {
    if !packs_here() {
        return;
    }
    let scratch = Scratch::new("packed-nowhere");
    let model = scratch.0.join("model.gguf");
    write_model("llama3", &model);
    let (from, _) = load(&model, &scratch.0.join("no/such/folder/model.packed"));
    assert!(matches!(from, PackedFrom::Model { cache_error: Some(_) }), "{from:?}");
}
