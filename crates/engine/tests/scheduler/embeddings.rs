//! Embeddings and ranking: the joined states against the hook's, in f64; to the bit the same
//! whatever else runs and however the text was cut.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lucid_checkpoint::AdapterFile;
use lucid_engine::{
    ClientId, Engine, EngineError, Event, Feed, FinishReason, HookRows, Pooling, Purpose, Request,
    Scheduler, SchedulerOptions, Site, Usage, Wanted, WantedLogProbs,
};
use lucid_sys::{Bytes, ThreadPool};
use lucid_tensor::{DType, MetaValue, Metadata, TensorView, TokenId, WeightSource};

use crate::fixture::{
    MODEL, Model, Random, all_blocks_return, drain, end, greedy, prompt, scheduler, still,
};

const POOLINGS: [Pooling; 3] = [Pooling::Mean, Pooling::First, Pooling::Last];

fn embed(prompt: Vec<TokenId>, pooling: Pooling) -> Request {
    Request { prompt, purpose: Purpose::Embed(pooling), ..Request::default() }
}

/// The values of the only request.
fn values(scheduler: &mut Scheduler, request: Request) -> (Vec<f32>, Usage) {
    let id = scheduler.submit(request).unwrap();
    let events = drain(scheduler);
    let (reason, usage) = end(&events, id, 0);
    assert_eq!((reason, events.len()), (FinishReason::Limit, 2));
    match &events[0] {
        Event::Embedded { request, values } if *request == id => (values.clone(), usage),
        other => panic!("{other:?}"),
    }
}

/// What the final norm makes of each token, as a hook sees it in one pass.
fn states(engine: &mut Engine, tokens: &[TokenId]) -> Vec<Vec<f32>> {
    let seen: Arc<Mutex<Vec<Vec<f32>>>> = Arc::default();
    let sink = Arc::clone(&seen);
    engine.set_hook(Some(Box::new(move |rows: HookRows<'_>| {
        if rows.site == Site::Head {
            let rows = rows.values.chunks_exact(rows.width).map(<[f32]>::to_vec);
            *sink.lock().unwrap() = rows.collect();
        }
    })));
    let sequence = engine.open();
    engine.forward(&[Feed { sequence, tokens, wanted: Wanted::All }]).unwrap();
    engine.close(sequence).unwrap();
    engine.set_hook(None);
    seen.lock().unwrap().clone()
}

#[test]
fn joined_states_are_those_of_the_final_norm() {
    let mut engine = Model::golden(MODEL).engine(1, 512, 32);
    let mut scheduler = scheduler(512, 32);
    for len in [1, 64, 65, 200] {
        let text = prompt(len as u64, len);
        let states = states(&mut engine, &text);
        assert_eq!(states.len(), len);
        let mean = |i: usize| states.iter().map(|row| f64::from(row[i])).sum::<f64>() / len as f64;
        let mean: Vec<f32> = (0..states[0].len()).map(|i| mean(i) as f32).collect();
        for (pooling, expected) in POOLINGS.iter().zip([&mean, &states[0], &states[len - 1]]) {
            let (found, usage) = values(&mut scheduler, embed(text.clone(), *pooling));
            assert_eq!(&found, expected, "{pooling:?} of {len}");
            assert_eq!((usage.prompt_tokens, usage.new_tokens), (len, 0));
            // All states are needed for a mean, the last one alone for the last.
            let known = if *pooling == Pooling::Last { (len - 1) / 64 * 64 } else { 0 };
            assert_eq!(usage.cached_tokens, known, "{pooling:?} of {len}");
        }
    }
    all_blocks_return(&mut scheduler);
}

/// Few blocks, so that what runs has to make room; passes of all sizes.
#[test]
fn they_do_not_depend_on_what_else_runs() {
    let model = Model::golden(MODEL);
    let mut alone = scheduler(512, 32);
    let mut random = Random(7);
    let engine = model.engine(2, 512, 9);
    let mut now = 0;
    let clock = Box::new(move || {
        now += random.below(200);
        Duration::from_millis(now as u64)
    });
    let mut crowd = Scheduler::new(engine, SchedulerOptions::default(), clock).unwrap();
    let (mut expected, mut events) = (Vec::new(), Vec::new());
    for n in 0..24 {
        let request = || embed(prompt(n, 20 + 17 * n as usize % 230), POOLINGS[n as usize % 3]);
        let (values, _) = values(&mut alone, request());
        let crowded = Request { client: ClientId(1), ..request() };
        expected.push((crowd.submit(crowded).unwrap(), values));
        if n % 4 == 3 {
            let guest = Request { client: ClientId(2 + n), ..greedy(prompt(100 + n, 90), 60) };
            crowd.submit(guest).unwrap();
        }
        events.extend(crowd.step().unwrap());
    }
    events.extend(drain(&mut crowd));
    assert!(crowd.stats().preemptions > 0, "nobody had to make room");
    for (id, expected) in expected {
        let found = events.iter().find_map(|event| match event {
            Event::Embedded { request, values } if *request == id => Some(values),
            _ => None,
        });
        assert_eq!(found, Some(&expected), "{id:?}");
    }
    all_blocks_return(&mut crowd);
}

/// A golden model with a ranking head of two labels.
struct Ranking {
    model: Model,
    metadata: Metadata,
    head: Vec<f32>,
}

impl Ranking {
    fn new(name: &str) -> Self {
        let model = Model::golden(name);
        let mut metadata = model.checkpoint.metadata().clone();
        metadata.insert(format!("{name}.pooling_type"), MetaValue::Unsigned(4), None);
        let mut random = Random(3);
        let width = metadata.unsigned(&format!("{name}.embedding_length")).unwrap().unwrap();
        let mut element = || random.below(2001) as f32 / 1000.0 - 1.0;
        let head = (0..2 * width).map(|_| element()).collect();
        Self { model, metadata, head }
    }
}

impl WeightSource for Ranking {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn tensor(&self, name: &str) -> Option<TensorView> {
        if name != "cls.output.weight" {
            return self.model.checkpoint.tensor(name);
        }
        let bytes: Vec<u8> = self.head.iter().flat_map(|value| value.to_le_bytes()).collect();
        Some(TensorView {
            name: name.to_owned(),
            dtype: DType::F32,
            shape: vec![2, self.head.len() / 2],
            data: Bytes::from(bytes),
            offset: 0,
        })
    }

    fn tensor_names(&self) -> Vec<String> {
        self.model.checkpoint.tensor_names()
    }
}

#[test]
fn a_ranking_head_scores_the_last_state() {
    let source = Ranking::new("qwen3");
    let options = source.model.engine(1, 256, 8).options().clone();
    let pool = Arc::new(ThreadPool::new(1));
    let mut engine = Engine::load(&source, pool, options).unwrap();
    assert!(engine.ranks() && engine.pooling() == Pooling::Last);
    let text = prompt(5, 100);
    let last = states(&mut engine, &text).pop().unwrap();
    let score = |row: &[f32]| -> f64 {
        row.iter().zip(&last).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let [yes, no] = [0, 1].map(|label| score(&source.head[label * last.len()..][..last.len()]));
    let expected = 1.0 / (1.0 + (no - yes).exp());
    let mut scheduler = Scheduler::new(engine, SchedulerOptions::default(), still()).unwrap();
    let request = Request { prompt: text, purpose: Purpose::Rank, ..Request::default() };
    let (found, _) = values(&mut scheduler, request);
    assert!((f64::from(found[0]) - expected).abs() < 1e-5, "{found:?} {expected}");
    assert_eq!(found.len(), 1);
}

/// An adapter of the ranking head as a GGUF file: two tensors of the rank 1.
fn head_adapter(width: u64) -> Vec<u8> {
    let (mut file, mut data) = (b"GGUF".to_vec(), 0u64);
    let text = |file: &mut Vec<u8>, text: &str| {
        file.extend((text.len() as u64).to_le_bytes());
        file.extend(text.as_bytes());
    };
    file.extend(3u32.to_le_bytes());
    file.extend([2u64, 2].into_iter().flat_map(u64::to_le_bytes));
    for (key, value) in [("general.type", "adapter"), ("adapter.type", "lora")] {
        text(&mut file, key);
        file.extend(8u32.to_le_bytes());
        text(&mut file, value);
    }
    for (name, dims) in [("lora_a", [width, 1]), ("lora_b", [1, 2])] {
        text(&mut file, &format!("cls.output.weight.{name}"));
        file.extend(2u32.to_le_bytes());
        file.extend(dims.into_iter().flat_map(u64::to_le_bytes));
        file.extend(0u32.to_le_bytes());
        file.extend(data.to_le_bytes());
        data += (dims[0] * dims[1] * 4).next_multiple_of(32);
    }
    file.resize(file.len().next_multiple_of(32) + data as usize, 0);
    file
}

/// It would have no effect: the head is no part of a pass.
#[test]
fn an_adapter_of_the_ranking_head_is_refused() {
    let source = Ranking::new("qwen3");
    let options = source.model.engine(1, 256, 8).options().clone();
    let mut engine = Engine::load(&source, Arc::new(ThreadPool::new(1)), options).unwrap();
    let path = std::env::temp_dir().join(format!("lucid-head-{}.gguf", std::process::id()));
    std::fs::write(&path, head_adapter(source.head.len() as u64 / 2)).unwrap();
    let file = AdapterFile::open(&path);
    std::fs::remove_file(&path).unwrap();
    let error = engine.load_adapter(&file.unwrap(), 1.0).unwrap_err();
    assert!(error.to_string().contains("cls.output.weight"), "{error}");
    assert!(matches!(error, EngineError::AdapterTensor { .. }), "{error}");
}

#[test]
fn what_belongs_to_answers_is_refused() {
    let mut scheduler = scheduler(128, 8);
    let rank = Request { purpose: Purpose::Rank, ..greedy(prompt(1, 5), 1) };
    assert_eq!(scheduler.submit(rank), Err(EngineError::NoRankingHead));
    let log_probs = Some(WantedLogProbs::default());
    for request in [
        Request { samples: 2, ..embed(prompt(1, 5), Pooling::Mean) },
        Request { log_probs, ..embed(prompt(1, 5), Pooling::Mean) },
    ] {
        let refused = scheduler.submit(request);
        assert!(matches!(refused, Err(EngineError::NotAnswered { .. })), "{refused:?}");
    }
    // A text may fill the context: nothing follows it.
    assert_eq!(values(&mut scheduler, embed(prompt(1, 128), Pooling::Last)).1.prompt_tokens, 128);
    let long = scheduler.submit(embed(prompt(1, 129), Pooling::Last));
    assert!(matches!(long, Err(EngineError::ContextFull { .. })), "{long:?}");
    // Cancelled while it waits, it ends without a vector.
    let id = scheduler.submit(embed(prompt(2, 100), Pooling::Mean)).unwrap();
    assert!(scheduler.cancel(id));
    let events = drain(&mut scheduler);
    assert_eq!(end(&events, id, 0).0, FinishReason::Cancelled);
    assert_eq!(events.len(), 1);
}
