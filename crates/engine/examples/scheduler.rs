//! What a pass of many answers spends outside the engine: `cargo run --release -p lucid-engine
//! --example scheduler -- MODEL.gguf [SEQUENCES]`. Figures for LOG.md, never an assertion.
#![allow(clippy::print_stdout, reason = "a program for a person")]
#![allow(clippy::unwrap_used, reason = "it ends with what went wrong")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use lucid_checkpoint::Checkpoint;
use lucid_engine::sampler::SamplerConfig;
use lucid_engine::{
    Engine, EngineOptions, Event, KvDType, Level, Packing, Request, Scheduler, SchedulerOptions,
    Speculation, WantedLogProbs,
};
use lucid_sys::ThreadPool;

/// Passes that are measured of each kind of answer.
const PASSES: usize = 16;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("the path of a GGUF file");
    let sequences: usize = arguments.next().map_or(16, |count| count.parse().unwrap());
    let checkpoint = Checkpoint::open(Path::new(&path)).unwrap();
    let options = EngineOptions {
        context: 1024,
        kv_blocks: sequences * 16,
        kv_dtype: KvDType::F16,
        level: Level::detect(),
        packing: Packing::Pack,
    };
    let engine = Engine::load(&checkpoint, Arc::new(ThreadPool::new(2)), options).unwrap();
    let began = Instant::now();
    let clock = Box::new(move || began.elapsed());
    let mut scheduler = Scheduler::new(engine, SchedulerOptions::default(), clock).unwrap();
    scheduler.engine_mut().pack(None, &mut |_, _| {}).unwrap();
    let log_probs = Some(WantedLogProbs { alternatives: 5, prompt: false });
    for (name, sampler, log_probs) in [
        ("greedy", SamplerConfig::greedy(), None),
        ("default", SamplerConfig::default(), None),
        ("unfiltered", SamplerConfig::unfiltered(), None),
        ("log-probabilities", SamplerConfig::default(), log_probs),
    ] {
        for speculation in [Speculation::Off, Speculation::Auto] {
            let request = |seed: usize| Request {
                prompt: (0..129)
                    .map(|place| (place * 37 + seed * 101 + 3) as u32 % 30_000)
                    .collect(),
                new_tokens_max: PASSES * 4,
                sampler: SamplerConfig { seed: seed as u64, ..sampler.clone() },
                log_probs,
                speculation,
                ..Request::default()
            };
            let ids: Vec<_> =
                (0..sequences).map(|seed| scheduler.submit(request(seed)).unwrap()).collect();
            // The first time computes the prompts; later their blocks are known.
            let mut begun = BTreeSet::new();
            while begun.len() < sequences {
                for event in scheduler.step().unwrap() {
                    if let Event::Token { request, .. } = event {
                        begun.insert(request);
                    }
                }
            }
            let before = scheduler.stats();
            let mut tokens = 0;
            for _ in 0..PASSES {
                let events = scheduler.step().unwrap();
                tokens += events.iter().filter(|it| matches!(it, Event::Token { .. })).count();
            }
            let after = scheduler.stats();
            let busy = after.busy.saturating_sub(before.busy).as_secs_f64();
            let passing = after.passing.saturating_sub(before.passing).as_secs_f64();
            println!(
                "{sequences} sequences, {name}, {speculation:?}: {:.1} ms a step, {:.2} % of it \
                 outside the engine, {:.1} tokens/s, {} rows",
                busy * 1e3 / PASSES as f64,
                100.0 * (busy - passing) / busy,
                tokens as f64 / busy,
                after.rows - before.rows
            );
            for id in ids {
                scheduler.cancel(id);
            }
            scheduler.step().unwrap();
        }
    }
}
