//! Adapters on the golden models: logits against PEFT and against merged weights; to the bit the
//! same whatever else is in the pass; never sharing what was computed with another one.
//!
//! Tolerance: max |a - b| / max |b| at most 1e-4; both compute in f32.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lucid_checkpoint::{AdapterFile, Checkpoint};
use lucid_engine::sampler::SamplerConfig;
use lucid_engine::{
    AdapterId, Engine, EngineError, EngineOptions, Event, Feed, KvDType, Level, Packing, Request,
    Scheduler, SchedulerOptions, SequenceId, Wanted, kv_blocks_for,
};
use lucid_sys::{Bytes, ThreadPool};
use lucid_tensor::{DType, Metadata, TensorView, TokenId, WeightSource, dequantize_row};

/// (adapter, its model, whether there is a GGUF file of it).
const ADAPTERS: [(&str, &str, bool); 4] = [
    ("llama3-all", "llama3", true),
    ("qwen3-all", "qwen3", true),
    ("gemma3-embedding", "gemma3", true),
    ("llama3-patterns", "llama3", false),
];

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn model(name: &str) -> Checkpoint {
    Checkpoint::open(&tests().join("goldens").join(name)).unwrap()
}

fn adapter(name: &str) -> AdapterFile {
    AdapterFile::open(&tests().join("adapters").join(name)).unwrap()
}

/// A model as a GGUF file, gone at the end of the test.
struct Converted(PathBuf);

impl Converted {
    fn new(name: &str, dtype: DType, test: &str) -> Self {
        let file = format!("lucid-adapters-{}-{test}-{name}.gguf", std::process::id());
        let path = std::env::temp_dir().join(file);
        let none = Metadata::default();
        lucid_checkpoint::convert(&model(name), &none, Some(dtype), &path, &mut |_, _| {}).unwrap();
        Self(path)
    }

    fn open(&self) -> Checkpoint {
        Checkpoint::open(&self.0).unwrap()
    }
}

impl Drop for Converted {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The elements of a `.npy` file, four bytes each, behind its header.
fn npy(path: &Path) -> Vec<[u8; 4]> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[start..].as_chunks().0.to_vec()
}

fn floats(path: &Path) -> Vec<f32> {
    npy(path).into_iter().map(f32::from_le_bytes).collect()
}

fn tokens(model: &str) -> Vec<TokenId> {
    let path = tests().join("goldens").join(model).join("tokens.npy");
    npy(&path).into_iter().map(u32::from_le_bytes).collect()
}

fn engine(source: &dyn WeightSource, packing: Packing, threads: usize) -> Engine {
    let options = EngineOptions {
        context: 256,
        kv_blocks: kv_blocks_for(256) * 6,
        kv_dtype: KvDType::F32,
        level: Level::detect(),
        packing,
    };
    Engine::load(source, Arc::new(ThreadPool::new(threads)), options).unwrap()
}

fn logits(engine: &mut Engine, sequence: SequenceId, tokens: &[TokenId]) -> Vec<f32> {
    let feed = Feed { sequence, tokens, wanted: Wanted::All };
    engine.forward(&[feed]).unwrap().rows().flatten().copied().collect()
}

/// max |a - b| / max |b|.
fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let scale = theirs.iter().fold(0.0f32, |max, b| max.max(b.abs()));
    let worst = ours.iter().zip(theirs).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
    assert!(ours.iter().all(|value| value.is_finite()) && scale > 0.0);
    worst / scale
}

/// Either format on either kind of weights file: rows of queries and keys are ordered in two ways.
#[test]
fn logits_agree_with_peft() {
    for (name, of, has_gguf) in ADAPTERS {
        let folder = tests().join("adapters").join(name);
        let expected = floats(&folder.join("logits.npy"));
        let converted = Converted::new(of, DType::F32, "peft");
        let mut files = vec![AdapterFile::open(&folder).unwrap()];
        if has_gguf {
            files.push(AdapterFile::open(&folder.join("adapter.gguf")).unwrap());
        }
        for (kind, source) in [("safetensors", model(of)), ("GGUF", converted.open())] {
            for file in &files {
                let mut engine = engine(&source, Packing::Keep, 2);
                let id = engine.load_adapter(file, 1.0).unwrap();
                let sequence = engine.open_with(Some(id)).unwrap();
                let found = difference(&logits(&mut engine, sequence, &tokens(of)), &expected);
                println!("{} on {kind}: logits differ by {found:.1e}", file.file().display());
                assert!(found <= 1e-4, "{name} on {kind}: logits differ by {found:e}");
            }
        }
    }
}

/// A model whose matrices have an adapter's products added, in f32.
struct Merged {
    source: Checkpoint,
    adapter: AdapterFile,
    scale: f32,
}

impl WeightSource for Merged {
    fn metadata(&self) -> &Metadata {
        self.source.metadata()
    }

    fn tensor(&self, name: &str) -> Option<TensorView> {
        let view = self.source.tensor(name)?;
        let Some(part) = self.adapter.parts().iter().find(|part| part.tensor == name) else {
            return Some(view);
        };
        let widen = |view: &TensorView| {
            let mut out = vec![0.0; view.element_count()];
            dequantize_row(Level::detect(), view.dtype, &view.data, &mut out);
            out
        };
        let (mut whole, a, b) = (widen(&view), widen(&part.a), widen(&part.b));
        let (rank, [_, cols]) = part.shape();
        for (row, out) in whole.chunks_exact_mut(cols).enumerate() {
            for (col, out) in out.iter_mut().enumerate() {
                let sum: f64 = (0..rank)
                    .map(|k| f64::from(b[row * rank + k]) * f64::from(a[k * cols + col]))
                    .sum();
                *out += (sum * f64::from(part.scale * self.scale)) as f32;
            }
        }
        let bytes: Vec<u8> = whole.into_iter().flat_map(f32::to_le_bytes).collect();
        Some(TensorView { dtype: DType::F32, data: Bytes::from(bytes), ..view })
    }

    fn tensor_names(&self) -> Vec<String> {
        self.source.tensor_names()
    }
}

#[test]
fn an_adapter_is_what_its_merged_weights_are() {
    for scale in [1.0, -0.4] {
        let merged = Merged { source: model("llama3"), adapter: adapter("llama3-all"), scale };
        let mut whole = engine(&merged, Packing::Keep, 1);
        let sequence = whole.open();
        let expected = logits(&mut whole, sequence, &tokens("llama3"));
        let mut engine = engine(&model("llama3"), Packing::Keep, 1);
        let id = engine.load_adapter(&merged.adapter, scale).unwrap();
        let sequence = engine.open_with(Some(id)).unwrap();
        let found = difference(&logits(&mut engine, sequence, &tokens("llama3")), &expected);
        println!("merged at {scale}: logits differ by {found:.1e}");
        assert!(found <= 1e-4, "{found:e}");
    }
}

/// Bits of all logits of one sequence, fed in parts of `chunk`.
fn alone(
    engine: &mut Engine,
    adapter: Option<AdapterId>,
    tokens: &[u32],
    chunk: usize,
) -> Vec<u32> {
    let sequence = engine.open_with(adapter).unwrap();
    let parts = tokens.chunks(chunk);
    let bits: Vec<f32> = parts.flat_map(|part| logits(engine, sequence, part)).collect();
    engine.close(sequence).unwrap();
    bits.into_iter().map(f32::to_bits).collect()
}

/// Four sequences of the same text with two adapters, another scale and none, each in parts of its
/// own length.
fn check_mixed(source: &dyn WeightSource, packing: Packing, text: &[u32], names: [&str; 2]) {
    let mut mixed = engine(source, packing, 2);
    let [first, second] = names.map(adapter);
    let ids = [
        None,
        Some(mixed.load_adapter(&first, 1.0).unwrap()),
        Some(mixed.load_adapter(&second, 1.5).unwrap()),
        Some(mixed.load_adapter(&first, 0.5).unwrap()),
    ];
    let expected = ids.map(|id| match id {
        // Rows without an adapter have the bits of an engine that knows no adapters.
        None => alone(&mut engine(source, packing, 1), None, text, text.len()),
        id => alone(&mut mixed, id, text, text.len()),
    });
    for (index, one) in expected.iter().enumerate() {
        assert!(expected[..index].iter().all(|other| other != one), "adapters change the logits");
    }
    for chunk in [1, 7] {
        assert_eq!(alone(&mut mixed, ids[1], text, chunk), expected[1], "parts of {chunk}");
    }
    let sequences = ids.map(|id| mixed.open_with(id).unwrap());
    let (mut fed, mut bits) = ([0; 4], [const { Vec::new() }; 4]);
    while fed != [text.len(); 4] {
        let ends = [5, 3, 1, 8];
        let parts: Vec<(usize, &[u32])> = (0..4)
            .map(|i| (i, &text[fed[i]..text.len().min(fed[i] + ends[i])]))
            .filter(|(_, part)| !part.is_empty())
            .collect();
        let feeds: Vec<Feed<'_>> = parts
            .iter()
            .map(|&(i, tokens)| Feed { sequence: sequences[i], tokens, wanted: Wanted::All })
            .collect();
        let computed = mixed.forward(&feeds).unwrap();
        for (feed, &(i, part)) in parts.iter().enumerate() {
            bits[i].extend(computed.of(feed).flatten().map(|value| value.to_bits()));
            fed[i] += part.len();
        }
    }
    assert_eq!(bits, expected, "mixed in one batch");
}

#[test]
fn mixed_in_one_batch_each_row_is_what_it_is_alone() {
    let names = ["llama3-all", "llama3-patterns"];
    let text = tokens("llama3");
    check_mixed(&model("llama3"), Packing::Keep, &text, names);
    let packed = Converted::new("llama3", DType::Q8_0, "mixed");
    for packing in [Packing::InPassing, Packing::Pack] {
        check_mixed(&packed.open(), packing, &text, names);
    }
    let text = tokens("gemma3");
    check_mixed(&model("gemma3"), Packing::Keep, &text, ["gemma3-embedding"; 2]);
}

fn serve(scheduler: &mut Scheduler, request: Request) -> (Vec<TokenId>, usize) {
    scheduler.submit(request).unwrap();
    drain(scheduler)
}

/// Tokens and cached tokens of the only request.
fn drain(scheduler: &mut Scheduler) -> (Vec<TokenId>, usize) {
    let (mut tokens, mut cached) = (Vec::new(), 0);
    while !scheduler.idle() {
        for event in scheduler.step().unwrap() {
            match event {
                Event::Token { token, .. } => tokens.push(token),
                Event::Finished { usage, .. } => cached = usage.cached_tokens,
                other => panic!("{other:?}"),
            }
        }
    }
    (tokens, cached)
}

fn request(adapter: Option<AdapterId>) -> Request {
    Request {
        prompt: (0..150).map(|n| n * 7 % 131).collect(),
        new_tokens_max: 12,
        sampler: SamplerConfig::greedy(),
        adapter,
        ..Request::default()
    }
}

fn scheduler(engine: Engine) -> Scheduler {
    Scheduler::new(engine, SchedulerOptions::default(), Box::new(|| Duration::ZERO)).unwrap()
}

#[test]
fn what_is_known_is_not_shared_between_adapters() {
    let mut scheduler = scheduler(engine(&model("llama3"), Packing::Keep, 1));
    let (all, patterns) = (adapter("llama3-all"), adapter("llama3-patterns"));
    let mut load = |file, scale| scheduler.engine_mut().load_adapter(file, scale).unwrap();
    let ids = [Some(load(&all, 1.0)), None, Some(load(&all, 0.5)), Some(load(&patterns, 1.0))];
    let twin = load(&all, 1.0);
    let mut answers = Vec::new();
    for id in ids {
        let (answer, cached) = serve(&mut scheduler, request(id));
        assert_eq!(cached, 0, "{id:?}");
        assert_eq!(serve(&mut scheduler, request(id)), (answer.clone(), 128), "{id:?}");
        answers.push(answer);
    }
    assert!(answers[1..].iter().all(|answer| *answer != answers[0]), "{answers:?}");
    // What is the same in everything is the same adapter.
    assert_eq!(serve(&mut scheduler, request(Some(twin))), (answers[0].clone(), 128));
}

#[test]
fn an_adapter_stays_until_its_last_sequence_ends() {
    let mut engine = engine(&model("llama3"), Packing::Keep, 1);
    let file = adapter("llama3-all");
    let text = tokens("llama3");
    let id = engine.load_adapter(&file, 1.0).unwrap();
    let expected = alone(&mut engine, Some(id), &text, 48);
    let held = engine.adapters().next().unwrap().bytes;
    assert!(held > 0 && engine.adapter_bytes() == held);
    let sequence = engine.open_with(Some(id)).unwrap();
    let mut bits: Vec<f32> = logits(&mut engine, sequence, &text[..20]);
    engine.drop_adapter(id).unwrap();
    assert_eq!(engine.drop_adapter(id), engine.open_with(Some(id)).map(|_| ()));
    assert_eq!((engine.adapters().count(), engine.adapter_bytes()), (0, held));
    let fork = engine.fork(sequence).unwrap();
    engine.close(sequence).unwrap();
    bits.extend(logits(&mut engine, fork, &text[20..]));
    assert_eq!(bits.into_iter().map(f32::to_bits).collect::<Vec<_>>(), expected);
    engine.close(fork).unwrap();
    assert_eq!(engine.adapter_bytes(), 0);
    // A request that waits holds it as well.
    let mut scheduler = scheduler(engine);
    let id = scheduler.engine_mut().load_adapter(&file, 1.0).unwrap();
    let (answer, _) = serve(&mut scheduler, request(Some(id)));
    scheduler.submit(request(Some(id))).unwrap();
    scheduler.engine_mut().drop_adapter(id).unwrap();
    assert_eq!(drain(&mut scheduler).0, answer);
    assert_eq!(scheduler.engine().adapter_bytes(), 0);
    assert!(matches!(scheduler.submit(request(Some(id))), Err(EngineError::UnknownAdapter(_))));
}

#[test]
fn what_does_not_suit_the_model_is_refused_by_name() {
    let check = |of: &str, file: &str, scale: f32, expected: &[&str]| {
        let file = AdapterFile::open(&tests().join("adapters").join(file)).unwrap();
        let error = engine(&model(of), Packing::Keep, 1).load_adapter(&file, scale).unwrap_err();
        let error = error.to_string();
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    };
    check("qwen3", "llama3-all", 1.0, &["adapter_model", "blk.0.", "another model"]);
    check("qwen3", "llama3-all/adapter.gguf", 1.0, &["adapter.gguf", "`llama`", "`qwen3`"]);
    check("llama-linear", "llama3-patterns", 1.0, &["blk.0.attn_q.weight", "byte"]);
    check("llama3", "llama3-all", f32::NAN, &["NaN", "finite"]);
    // Finite by itself; but the adapter's own is 1.5.
    check("llama3", "llama3-all", f32::MAX, &["1.5 times", "finite"]);
}
