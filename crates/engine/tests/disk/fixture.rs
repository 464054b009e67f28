//! Models, folders and prompts of these tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lucid_checkpoint::Checkpoint;
use lucid_engine::{
    ClientId, DiskOptions, Engine, EngineOptions, Feed, KvDType, Level, Packing, Scope, Wanted,
};
use lucid_sys::ThreadPool;
use lucid_tensor::{DType, KV_BLOCK_LEN, Metadata, TokenId};

/// Tokens that most prompts here have: two full blocks and a part of one.
pub(crate) const PROMPT: usize = 2 * KV_BLOCK_LEN + 20;
/// Blocks of an engine.
pub(crate) const BLOCKS: usize = 24;
/// The vocabulary of the golden model.
const VOCAB: u64 = 131;

/// A folder that is gone when the test is over.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("lucid-disk-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where and under which key.
pub(crate) fn options(folder: &Path) -> DiskOptions {
    DiskOptions { folder: folder.join("kv"), bytes_max: DiskOptions::BYTES_MAX, key: [7; 32] }
}

/// How an engine computes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) kv_dtype: KvDType,
    pub(crate) packing: Packing,
    pub(crate) level: Level,
}

impl Default for Setup {
    fn default() -> Self {
        Self { kv_dtype: KvDType::F16, packing: Packing::Keep, level: Level::detect() }
    }
}

pub(crate) fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/llama3")
}

/// Writes another golden model in Q8_0, whose heads suit every format of keys and values.
pub(crate) fn write_model(path: &Path) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/qwen3");
    let source = Checkpoint::open(&folder).unwrap();
    let dtype = Some(DType::Q8_0);
    lucid_checkpoint::convert(&source, &Metadata::default(), dtype, path, &mut |_, _| {}).unwrap();
}

pub(crate) fn engine(model: &Path, setup: Setup) -> Engine {
    sized(model, setup, BLOCKS)
}

/// An engine of so many blocks.
pub(crate) fn sized(model: &Path, setup: Setup, kv_blocks: usize) -> Engine {
    let checkpoint = Checkpoint::open(model).unwrap();
    let Setup { kv_dtype, packing, level } = setup;
    let options = EngineOptions { context: 2048, kv_blocks, kv_dtype, level, packing };
    Engine::load(&checkpoint, Arc::new(ThreadPool::new(2)), options).unwrap()
}

/// An engine of the golden model over a folder.
pub(crate) fn reopened(folder: &Path) -> Engine {
    let mut engine = engine(&golden(), Setup::default());
    engine.open_disk(options(folder)).unwrap();
    engine
}

pub(crate) fn scope(client: u64) -> Scope {
    Scope::new(ClientId(client), b"")
}

/// A prompt of `len` tokens that no other `seed` shares.
pub(crate) fn prompt(seed: u64, len: usize) -> Vec<TokenId> {
    let next = |state: &mut u64| {
        *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        Some(((*state >> 33) % VOCAB) as TokenId)
    };
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    std::iter::from_fn(|| next(&mut state)).take(len).collect()
}

/// Answers a prompt: how many of its tokens were known, and the bits of the logits after it. What
/// was computed is published.
pub(crate) fn answer(engine: &mut Engine, scope: &Scope, tokens: &[TokenId]) -> (usize, Vec<u32>) {
    let sequence = engine.adopt(scope, tokens);
    let known = engine.tokens(sequence).unwrap().len();
    let feed = Feed { sequence, tokens: &tokens[known..], wanted: Wanted::Last };
    let logits = engine.forward(&[feed]).unwrap().last().iter().map(|x| x.to_bits()).collect();
    engine.publish(sequence, scope).unwrap();
    engine.close(sequence).unwrap();
    (known, logits)
}

/// The files of all blocks in a folder, sorted.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.join("kv/blocks")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}
