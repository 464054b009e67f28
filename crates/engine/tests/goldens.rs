//! Logits and per-layer hidden states against transformers, on tiny random models of every
//! architecture. `tools/goldens/models.py` made the files; `tools/goldens/README.md` says what each
//! one is.
//!
//! Tolerance: max |a - b| / max |b| at most 1e-4 where both compute in f32, 1e-2 against
//! transformers in bf16.

#![expect(clippy::print_stdout, reason = "the figures, for whoever asks with --nocapture")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use lucid_checkpoint::Checkpoint;
use lucid_engine::{
    Engine, EngineOptions, Feed, HookRows, KvDType, Level, PackedFrom, Packing, Site, Wanted,
    kv_blocks_for,
};
use lucid_sys::ThreadPool;
use lucid_tensor::{MetaArray, MetaValue, Metadata, TensorView, WeightSource};

const NAMES: [&str; 11] = [
    "llama3",
    "llama-odd",
    "llama-linear",
    "llama-sharded",
    "llama-bf16",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma3",
    "gemma3-pattern6",
    "gemma3-bf16",
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name)
}

/// Shape and raw little-endian data of a `.npy` file of 4-byte elements.
fn npy(path: &Path) -> (Vec<usize>, Vec<[u8; 4]>) {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(&bytes[..6], b"\x93NUMPY");
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8_lossy(&bytes[10..start]).into_owned();
    assert!(header.contains("'fortran_order': False"), "{header}");
    assert!(header.contains("'<f4'") || header.contains("'<u4'"), "{header}");
    let shape = header.split_once('(').unwrap().1.split_once(')').unwrap().0;
    let shape: Vec<usize> = shape.split(',').filter_map(|part| part.trim().parse().ok()).collect();
    let data: Vec<_> = bytes[start..].chunks_exact(4).map(|c| c.try_into().unwrap()).collect();
    assert_eq!(data.len(), shape.iter().product::<usize>());
    (shape, data)
}

fn floats(path: &Path) -> Vec<f32> {
    npy(path).1.into_iter().map(f32::from_le_bytes).collect()
}

/// max |a - b| / max |b|.
fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let scale = theirs.iter().fold(0.0f32, |max, b| max.max(b.abs()));
    let worst = ours.iter().zip(theirs).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
    assert!(ours.iter().all(|value| value.is_finite()) && scale > 0.0);
    worst / scale
}

/// The root mean square of a - b through that of b.
fn root_mean_square_difference(ours: &[f32], theirs: &[f32]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let squares = |values: &mut dyn Iterator<Item = f32>| -> f64 {
        values.map(|value| f64::from(value) * f64::from(value)).sum()
    };
    let error = squares(&mut ours.iter().zip(theirs).map(|(a, b)| a - b));
    (error / squares(&mut theirs.iter().copied())).sqrt()
}

fn engine(name: &str, context: usize) -> Engine {
    let checkpoint = Checkpoint::open(&folder(name)).unwrap();
    let options = EngineOptions {
        context,
        kv_blocks: kv_blocks_for(context),
        kv_dtype: KvDType::F32,
        level: Level::detect(),
        packing: Packing::Keep,
    };
    Engine::load(&checkpoint, Arc::new(ThreadPool::new(2)), options).unwrap()
}

type Seen = Arc<Mutex<Vec<(Site, Vec<f32>)>>>;

/// Runs a model over its golden tokens; checks logits and what flows between its layers.
fn check(name: &str) {
    let folder = folder(name);
    let tokens: Vec<u32> =
        npy(&folder.join("tokens.npy")).1.into_iter().map(u32::from_le_bytes).collect();
    let mut engine = engine(name, tokens.len());
    let seen: Seen = Arc::default();
    let sink = Arc::clone(&seen);
    engine.set_hook(Some(Box::new(move |rows: HookRows<'_>| {
        sink.lock().unwrap().push((rows.site, rows.values.to_vec()));
    })));
    let sequence = engine.open();
    let feed = Feed { sequence, tokens: &tokens, wanted: Wanted::All };
    let logits: Vec<f32> = engine.forward(&[feed]).unwrap().rows().flatten().copied().collect();
    let found = difference(&logits, &floats(&folder.join("logits.npy")));
    println!("{name}: logits differ by {found:.1e}");
    assert!(found <= 1e-4, "{name}: logits differ by {found:e}");
    if folder.join("logits_bf16.npy").exists() {
        let found = difference(&logits, &floats(&folder.join("logits_bf16.npy")));
        println!("{name}: logits differ from the bf16 run by {found:.1e}");
        assert!(found <= 1e-2, "{name}: logits differ from the bf16 run by {found:e}");
    }
    let (shape, hidden) = npy(&folder.join("hidden.npy"));
    let hidden: Vec<f32> = hidden.into_iter().map(f32::from_le_bytes).collect();
    let layers = engine.config().layer_count;
    assert_eq!(shape, [layers + 1, tokens.len(), engine.config().width]);
    let seen = seen.lock().unwrap();
    for (index, expected) in hidden.chunks_exact(hidden.len() / (layers + 1)).enumerate() {
        let site = if index == 0 { Site::Embedding } else { Site::AfterLayer(index - 1) };
        let ours = &seen.iter().find(|entry| entry.0 == site).expect("the hook saw the site").1;
        let found = difference(ours, expected);
        assert!(found <= 1e-4, "{name}: {site:?} differs by {found:e}");
    }
    let head = &seen.iter().find(|entry| entry.0 == Site::Head).expect("the hook saw the head").1;
    let found = difference(head, &floats(&folder.join("final.npy")));
    assert!(found <= 1e-4, "{name}: the final norm differs by {found:e}");
}

#[test]
fn every_golden_folder_is_checked() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let folders = std::fs::read_dir(root)
        .unwrap()
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().join("logits.npy").exists()));
    assert_eq!(folders.count(), NAMES.len());
}

#[test]
fn logits_and_hidden_states_agree_with_transformers() {
    for name in NAMES {
        check(name);
    }
}

/// `config.old.json` is the same model as transformers 4 described it.
#[test]
fn older_descriptions_mean_the_same() {
    for name in NAMES {
        let folder = folder(name);
        let old = folder.join("config.old.json");
        if !old.exists() {
            continue;
        }
        let scratch = std::env::temp_dir().join(format!("lucid-old-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&scratch).unwrap();
        std::fs::copy(&old, scratch.join("config.json")).unwrap();
        std::fs::copy(folder.join("model.safetensors"), scratch.join("model.safetensors")).unwrap();
        let read = |path: &Path| lucid_engine::Config::read(&Checkpoint::open(path).unwrap());
        assert_eq!(read(&folder).unwrap(), read(&scratch).unwrap(), "{name}");
        std::fs::remove_dir_all(&scratch).unwrap();
    }
}

/// Invariant 4: how a row came to be computed does not show in its bits.
#[test]
fn logits_do_not_depend_on_batch_chunks_threads_or_forks() {
    for name in ["llama3", "mistral", "gemma3"] {
        let folder = folder(name);
        let tokens: Vec<u32> =
            npy(&folder.join("tokens.npy")).1.into_iter().map(u32::from_le_bytes).collect();
        // Long enough for several KV blocks.
        let tokens = tokens.repeat(4);
        let checkpoint = Checkpoint::open(&folder).unwrap();
        for kv_dtype in [KvDType::F32, KvDType::F16, KvDType::BF16] {
            let load = |threads: usize| {
                let options = EngineOptions {
                    context: tokens.len(),
                    kv_blocks: kv_blocks_for(tokens.len()) * 4,
                    kv_dtype,
                    level: Level::detect(),
                    packing: Packing::Keep,
                };
                Engine::load(&checkpoint, Arc::new(ThreadPool::new(threads)), options).unwrap()
            };
            let whole = whole(&mut load(1), &tokens);
            assert_eq!(whole, self::whole(&mut load(3), &tokens), "{name}: threads");
            for chunk in [1, 7, 64, 65] {
                assert_eq!(whole, chunked(&mut load(2), &tokens, chunk), "{name}: chunks {chunk}");
            }
            assert_eq!(whole, batched(&mut load(2), &tokens), "{name}: batch");
            assert_eq!(whole, forked(&mut load(2), &tokens), "{name}: fork");
        }
    }
}

/// Identity holds on every instruction set alike, because the f32 kernels are equal on all of them.
#[test]
fn logits_do_not_depend_on_the_instruction_set() {
    for name in ["llama-odd", "qwen3", "gemma3-bf16"] {
        let tokens: Vec<u32> =
            npy(&folder(name).join("tokens.npy")).1.into_iter().map(u32::from_le_bytes).collect();
        let checkpoint = Checkpoint::open(&folder(name)).unwrap();
        let mut results = Level::available().into_iter().map(|level| {
            let options = EngineOptions {
                context: 256,
                kv_blocks: 4,
                kv_dtype: KvDType::F16,
                level,
                packing: Packing::Keep,
            };
            let mut engine =
                Engine::load(&checkpoint, Arc::new(ThreadPool::new(1)), options).unwrap();
            (level, whole(&mut engine, &tokens))
        });
        let (_, first) = results.next().unwrap();
        for (level, other) in results {
            assert_eq!(first, other, "{name}: {}", level.name());
        }
    }
}

/// Bits of all logits, the whole text in one pass.
fn whole(engine: &mut Engine, tokens: &[u32]) -> Vec<u32> {
    let sequence = engine.open();
    bits(engine, &[Feed { sequence, tokens, wanted: Wanted::All }])
}

fn chunked(engine: &mut Engine, tokens: &[u32], chunk: usize) -> Vec<u32> {
    let sequence = engine.open();
    let feeds = tokens.chunks(chunk).map(|tokens| Feed { sequence, tokens, wanted: Wanted::All });
    feeds.flat_map(|feed| bits(engine, &[feed])).collect()
}

/// Two other sequences run along, one ahead by a different length in each pass.
fn batched(engine: &mut Engine, tokens: &[u32]) -> Vec<u32> {
    let ids = [engine.open(), engine.open(), engine.open()];
    let reversed: Vec<u32> = tokens.iter().rev().copied().collect();
    let mut ours = Vec::new();
    for (step, chunk) in tokens.chunks(5).enumerate() {
        let other = &reversed[step * 3..step * 3 + 3];
        let feeds = [
            Feed { sequence: ids[1], tokens: other, wanted: Wanted::Last },
            Feed { sequence: ids[0], tokens: chunk, wanted: Wanted::All },
            Feed { sequence: ids[2], tokens: &other[..1], wanted: Wanted::None },
        ];
        let logits = engine.forward(&feeds).unwrap();
        assert_eq!([0, 1, 2].map(|feed| logits.of(feed).len()), [1, chunk.len(), 0]);
        ours.extend(logits.of(1).flatten().map(|value| value.to_bits()));
    }
    ours
}

/// A fork in the middle of a block goes on as if it had been alone, and so does the original.
fn forked(engine: &mut Engine, tokens: &[u32]) -> Vec<u32> {
    let original = engine.open();
    let middle = 70;
    let first = Feed { sequence: original, tokens: &tokens[..middle], wanted: Wanted::All };
    let mut ours = bits(engine, &[first]);
    let fork = engine.fork(original).unwrap();
    let detour = Feed { sequence: original, tokens: &tokens[..9], wanted: Wanted::None };
    engine.forward(&[detour]).unwrap();
    let rest = Feed { sequence: fork, tokens: &tokens[middle..], wanted: Wanted::All };
    let rest_bits = bits(engine, &[rest]);
    engine.truncate(original, middle).unwrap();
    let again = Feed { sequence: original, tokens: &tokens[middle..], wanted: Wanted::All };
    assert_eq!(bits(engine, &[again]), rest_bits, "the original after its detour");
    ours.extend(rest_bits);
    engine.close(fork).unwrap();
    engine.close(original).unwrap();
    assert_eq!(engine.kv_bytes(), 0);
    ours
}

fn bits(engine: &mut Engine, feeds: &[Feed<'_>]) -> Vec<u32> {
    engine.forward(feeds).unwrap().rows().flatten().map(|value| value.to_bits()).collect()
}

#[test]
fn what_cannot_be_computed_is_refused_and_changes_nothing() {
    let mut engine = engine("llama3", 70);
    let sequence = engine.open();
    let feed = |tokens: &'static [u32]| Feed { sequence, tokens, wanted: Wanted::Last };
    let error = engine.forward(&[feed(&[1, 131])]).unwrap_err().to_string();
    assert!(error.contains("token 131 is out of range") && error.contains("131 tokens"), "{error}");
    assert!(engine.forward(&[feed(&[])]).unwrap_err().to_string().contains("nothing to compute"));
    let twice = engine.forward(&[feed(&[1]), feed(&[2])]).unwrap_err().to_string();
    assert!(twice.contains("twice"), "{twice}");
    let error = engine.forward(&[feed(&[1; 71])]).unwrap_err().to_string();
    assert!(error.contains("71 tokens") && error.contains("context of 70"), "{error}");
    let other = engine.open();
    engine.forward(&[feed(&[1; 70])]).unwrap();
    let full = Feed { sequence: other, tokens: &[1], wanted: Wanted::Last };
    assert!(engine.forward(&[full]).unwrap_err().to_string().contains("KV blocks"));
    assert_eq!(engine.tokens(other).unwrap().len(), 0);
    engine.close(sequence).unwrap();
    assert!(engine.forward(&[full]).is_ok());
    assert!(engine.close(sequence).is_err());
    // A new sequence in the same place does not answer to the old id.
    let next = engine.open();
    assert_ne!(next, sequence);
    assert!(engine.tokens(sequence).is_err() && engine.tokens(next).is_ok());
}

/// A window that only some layers have, in the order in which the file lists them.
#[test]
fn a_list_says_which_layers_have_a_window() {
    let source = Checkpoint::open(&folder("mistral")).unwrap();
    let tokens: Vec<u32> = (0..40).collect();
    let logits = |layers: Option<Vec<bool>>| {
        let mut changed = Changed { source: &source, metadata: source.metadata().clone() };
        if let Some(layers) = layers {
            let value = MetaValue::Array(MetaArray::Bool(layers));
            changed.metadata.insert("llama.attention.sliding_window_pattern", value, None);
        }
        let options = EngineOptions {
            context: 64,
            kv_blocks: 1,
            kv_dtype: KvDType::F32,
            level: Level::detect(),
            packing: Packing::Keep,
        };
        let mut engine = Engine::load(&changed, Arc::new(ThreadPool::new(1)), options).unwrap();
        whole(&mut engine, &tokens)
    };
    let all = logits(None);
    assert_eq!(all, logits(Some(vec![true, true])));
    let some =
        [vec![true, false], vec![false, true], vec![false, false]].map(|it| logits(Some(it)));
    assert!(some.iter().all(|other| *other != all));
    assert!(some[0] != some[1] && some[0] != some[2] && some[1] != some[2]);
}

/// A source with other metadata.
struct Changed<'a> {
    source: &'a Checkpoint,
    metadata: Metadata,
}

impl WeightSource for Changed<'_> {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn tensor(&self, name: &str) -> Option<TensorView> {
        self.source.tensor(name)
    }

    fn tensor_names(&self) -> Vec<String> {
        self.source.tensor_names()
    }
}

/// Packed weights give nearly the same logits, and to the bit whatever the batch and the threads.
#[test]
fn packed_weights_agree_and_keep_their_order_of_sums() {
    let scratch = std::env::temp_dir().join(format!("lucid-packed-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).unwrap();
    let path = scratch.join("q8_0.gguf");
    let source = Checkpoint::open(&folder("llama3")).unwrap();
    let dtype = Some(lucid_tensor::DType::Q8_0);
    lucid_checkpoint::convert(&source, &Metadata::default(), dtype, &path, &mut |_, _| {}).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let tokens: Vec<u32> = (0..100).collect();
    let load = |packing: Packing, threads: usize| {
        let options = EngineOptions {
            context: 128,
            kv_blocks: 2,
            kv_dtype: KvDType::F32,
            level: Level::detect(),
            packing,
        };
        Engine::load(&checkpoint, Arc::new(ThreadPool::new(threads)), options).unwrap()
    };
    let values = |bits: &[u32]| bits.iter().map(|&bits| f32::from_bits(bits)).collect::<Vec<_>>();
    if !lucid_kernels::packed_kernel(Level::detect(), lucid_tensor::DType::Q8_0) {
        println!("skipped: this processor has no fast packed kernel");
        return;
    }
    let exact = whole(&mut load(Packing::Keep, 1), &tokens);
    let mut engine = load(Packing::Pack, 1);
    assert_eq!(engine.pack(None, &mut |_, _| {}).unwrap(), PackedFrom::Model { cache_error: None });
    let packed = whole(&mut engine, &tokens);
    // This asks whether the right numbers are multiplied, not how noisy they are: other weights
    // would differ by 100 %. The noise of a product is bounded in `kernels/tests/packed.rs`; how
    // this sharp little network amplifies it (3 %) says nothing about a trained one.
    let (packed_values, exact_values) = (values(&packed), values(&exact));
    let found = root_mean_square_difference(&packed_values, &exact_values);
    println!("packed Q8_0: logits differ by {found:.1e}");
    assert!(found > 0.0 && found <= 1e-1, "packed logits differ by {found:e}");
    assert_eq!(packed, whole(&mut load(Packing::Pack, 3), &tokens), "threads");
    // Of many passes the first one regroups, and those after it pack for good.
    assert_eq!(packed, chunked(&mut load(Packing::Pack, 2), &tokens, 7), "chunks");
    assert_eq!(packed, chunked(&mut load(Packing::InPassing, 2), &tokens, 7), "in passing");
    std::fs::remove_dir_all(&scratch).unwrap();
}
