//! The same through the scheduler, with a real model of random weights.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lucid_checkpoint::Checkpoint;
use lucid_engine::sampler::SamplerConfig;
use lucid_engine::{
    Engine, EngineOptions, Event, FinishReason, KvDType, Level, Packing, Request, Scheduler,
    SchedulerOptions,
};
use lucid_provider::OutputFormat;
use lucid_provider::grammar::Grammars;
use lucid_sys::ThreadPool;
use lucid_tokenizer::{ShowSpecial, TokenId};
use serde_json::Value;

use super::answer::constraint;
use super::schemas::{Case, accepted, judge};
use super::vocabularies;

/// The tokens of the golden model.
const VOCAB: usize = 131;

fn scheduler() -> Scheduler {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/goldens/llama3");
    let options = EngineOptions {
        context: 256,
        kv_blocks: 128,
        kv_dtype: KvDType::F16,
        level: Level::detect(),
        packing: Packing::Keep,
    };
    let checkpoint = Checkpoint::open(&golden).unwrap();
    let engine = Engine::load(&checkpoint, Arc::new(ThreadPool::new(1)), options).unwrap();
    Scheduler::new(engine, SchedulerOptions::default(), Box::new(|| Duration::ZERO)).unwrap()
}

#[test]
fn answers_through_the_scheduler_are_valid() {
    let tokenizer = vocabularies::small(VOCAB);
    let grammars = Grammars::new(&tokenizer).unwrap();
    // Only letters and signs of ASCII are in this vocabulary.
    let ascii = |case: &Case| case.schema.to_string().is_ascii() && !case.name.contains("script");
    let cases: Vec<Case> = accepted().into_iter().filter(ascii).step_by(4).collect();
    let favour = (0..VOCAB as TokenId).filter(|&token| {
        tokenizer.piece(token).is_some_and(|piece| matches!(&*piece, b"\"" | b"}" | b"]"))
    });
    let favour: Vec<(TokenId, f32)> = favour.map(|token| (token, 3.0)).collect();
    let mut scheduler = scheduler();
    let mut requests = HashMap::new();
    for (index, case) in cases.iter().enumerate() {
        let format = OutputFormat::JsonSchema(case.schema.clone());
        let sampler = SamplerConfig {
            temperature: 1.0,
            top_k: 0,
            seed: index as u64,
            logit_bias: favour.clone(),
            ..SamplerConfig::default()
        };
        let request = Request {
            prompt: vec![1, 10 + index as TokenId % 90],
            new_tokens_max: 240,
            sampler,
            stop_tokens: vec![2],
            constraint: Some(constraint(&grammars, &format).unwrap()),
            ..Request::default()
        };
        requests.insert(scheduler.submit(request).unwrap(), (index, Vec::new(), None));
    }
    while !scheduler.idle() {
        for event in scheduler.step().unwrap() {
            match event {
                Event::Token { request, token, .. } => {
                    requests.get_mut(&request).unwrap().1.push(token);
                }
                Event::Finished { request, reason, .. } => {
                    requests.get_mut(&request).unwrap().2 = Some(reason);
                }
                Event::Prompt { .. } | Event::Embedded { .. } => {}
            }
        }
    }
    let mut whole = 0;
    for (index, tokens, reason) in requests.values() {
        let Case { name, schema } = &cases[*index];
        let mut decoder = tokenizer.stream_decoder_continuing(ShowSpecial::Yes);
        let text: String = tokens.iter().map(|&token| decoder.push(token).to_owned()).collect();
        match reason {
            Some(FinishReason::Constraint | FinishReason::EndToken(2)) => whole += 1,
            Some(FinishReason::Limit | FinishReason::ContextFull) => continue,
            other => panic!("{name}: {other:?} after {text:?}"),
        }
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("{name}: {text:?} is no JSON: {error}");
        });
        assert!(judge(schema).is_valid(&value), "{name}: {text}");
    }
    println!("{} schemas through the scheduler, {whole} judged", cases.len());
    assert!(whole * 100 >= cases.len() * 85, "{whole} of {}", cases.len());
}
