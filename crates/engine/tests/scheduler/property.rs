//! Invariant 4 for whole answers: random arrivals, lengths, cancels, pauses, seeds, samples,
//! adapters and clients over few blocks, with a folder on disk and without, on several numbers of
//! threads, against each request alone. Some are to be embedded, not answered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lucid_checkpoint::AdapterFile;
use lucid_engine::sampler::SamplerConfig;
use lucid_engine::{
    AdapterId, ClientId, Clock, DiskOptions, Engine, Event, FinishReason, Keep, LogProb, Pooling,
    Purpose, Request, RequestId, Scheduler, SchedulerOptions, SchedulerStats, Speculation,
    WantedLogProbs,
};
use lucid_tensor::TokenId;

use crate::alone::{Expected, alone, copy};
use crate::fixture::{Even, Model, Random, all_blocks_return, prompt};

const CONTEXT: usize = 256;
const REQUESTS: usize = 14;

/// A request, when it comes, and when it is cancelled.
struct Arrival {
    request: Request,
    pass: usize,
    cancelled: Option<usize>,
}

fn sampler(random: &mut Random) -> SamplerConfig {
    let mut config = match random.below(3) {
        0 => SamplerConfig::greedy(),
        1 => SamplerConfig::unfiltered(),
        _ => SamplerConfig::default(),
    };
    config.seed = random.below(1 << 30) as u64;
    if random.once_in(3) {
        config.penalties.repeat = 1.2;
        config.dry.multiplier = 0.5;
    }
    config
}

fn arrival(random: &mut Random, adapters: &[AdapterId]) -> Arrival {
    // Few beginnings, so that prompts share some.
    let longest = if random.once_in(2) { 200 } else { 70 };
    let mut tokens = prompt(random.below(2) as u64, 1 + random.below(longest));
    tokens.extend(prompt(random.below(1_000) as u64, random.below(20)));
    let even = |run_every| -> Option<Box<dyn lucid_engine::Constraint>> {
        Some(Box::new(Even::new(run_every)))
    };
    let wanted = WantedLogProbs { alternatives: random.below(6), prompt: random.once_in(4) };
    let mut request = Request {
        prompt: tokens,
        new_tokens_max: random.below(50),
        sampler: sampler(random),
        stop_tokens: (0..random.below(3)).map(|_| random.below(131) as TokenId).collect(),
        client: ClientId(random.below(5) as u64 / 2),
        scope: vec![0; usize::from(random.once_in(5))],
        log_probs: (!random.once_in(3)).then_some(wanted),
        constraint: if random.once_in(3) { even(4) } else { None },
        samples: if random.once_in(4) { 1 + random.below(5) } else { 1 },
        speculation: if random.once_in(4) { Speculation::Off } else { Speculation::Auto },
        adapter: adapters.get(random.below(2 * adapters.len() + 1)).copied(),
        purpose: Purpose::Answer,
    };
    if random.once_in(6) {
        let pooling = [Pooling::Mean, Pooling::First, Pooling::Last][random.below(3)];
        request.purpose = Purpose::Embed(pooling);
        (request.samples, request.log_probs, request.constraint) = (1, None, None);
    }
    let pass = random.below(40);
    let cancelled = random.once_in(6).then(|| pass + random.below(40));
    Arrival { request, pass, cancelled }
}

/// What became of a request.
#[derive(Default)]
struct Outcome {
    echo: Vec<Option<LogProb>>,
    tokens: BTreeMap<usize, Vec<(TokenId, Option<LogProb>)>>,
    reasons: BTreeMap<usize, FinishReason>,
    states: Option<Vec<f32>>,
    cached: usize,
    from_disk: usize,
}

impl Outcome {
    fn take(&mut self, event: Event, request: &Request) {
        match event {
            Event::Prompt { index, token, log_prob, .. } => {
                assert_eq!((index, token), (self.echo.len(), request.prompt[index]));
                self.echo.push(log_prob);
            }
            Event::Token { sample, token, log_prob, .. } => {
                assert!(!self.reasons.contains_key(&sample), "a token after the end");
                self.tokens.entry(sample).or_default().push((token, log_prob));
            }
            Event::Embedded { values, .. } => {
                assert!(self.states.replace(values).is_none(), "it was embedded twice");
            }
            Event::Finished { sample, reason, usage, .. } => {
                let tokens = self.tokens.entry(sample).or_default().len();
                assert_eq!((usage.prompt_tokens, usage.new_tokens), (request.prompt.len(), tokens));
                assert!(usage.cached_tokens < request.prompt.len());
                assert!(usage.disk_tokens <= usage.cached_tokens, "{usage:?}");
                self.cached += usage.cached_tokens;
                self.from_disk += usage.disk_tokens;
                assert!(self.reasons.insert(sample, reason).is_none(), "an answer ended twice");
            }
        }
    }

    fn check(&self, what: &str, cancelled: bool, expected: &Expected) {
        let Expected { echo, answers, states } = expected;
        assert_eq!(self.reasons.len(), answers.len(), "{what}: samples");
        for (sample, answer) in answers.iter().enumerate() {
            let (tokens, reason) = (&self.tokens[&sample], &self.reasons[&sample]);
            if *reason == FinishReason::Cancelled {
                assert!(cancelled, "{what}: sample {sample} was not cancelled");
                assert!(answer.tokens.starts_with(tokens), "{what}: sample {sample}");
                assert!(echo.starts_with(&self.echo), "{what}: prompt");
                assert_eq!(self.states, None, "{what}: states");
            } else {
                assert_eq!(tokens, &answer.tokens, "{what}: sample {sample}");
                assert_eq!(reason, &answer.reason, "{what}: sample {sample}");
                assert_eq!(&self.echo, echo, "{what}: prompt");
                assert_eq!(&self.states, states, "{what}: states");
            }
        }
    }
}

/// A clock on which passes take anything up to a fifth of a second.
fn jumpy(seed: u64) -> Clock {
    let (mut random, mut now) = (Random(seed), 0);
    Box::new(move || {
        now += random.below(200);
        Duration::from_millis(now as u64)
    })
}

/// Lets requests stand still at random tokens, and go on later.
struct Pauses {
    random: Random,
    still: Vec<RequestId>,
}

impl Pauses {
    fn at_a_pass(&mut self, scheduler: &mut Scheduler, ids: &BTreeMap<RequestId, usize>) {
        // Where nothing else is to be done all go on.
        let idle = scheduler.idle();
        let random = &mut self.random;
        let (go_on, still) =
            self.still.drain(..).partition::<Vec<_>, _>(|_| idle || random.once_in(4));
        self.still = still;
        for id in go_on {
            // One that stood still may have been cancelled.
            scheduler.resume(id);
        }
        for id in ids.keys() {
            if self.random.once_in(25) {
                let keep = [Keep::Blocks, Keep::Tokens][self.random.below(2)];
                if scheduler.pause(*id, keep) {
                    self.still.push(*id);
                }
            }
        }
    }
}

/// Serves all arrivals; returns what became of them, and what it took.
fn serve(
    scheduler: &mut Scheduler,
    arrivals: &[Arrival],
    seed: u64,
) -> (Vec<Outcome>, SchedulerStats) {
    let mut pauses = Pauses { random: Random(seed), still: Vec::new() };
    let mut outcomes: Vec<Outcome> = arrivals.iter().map(|_| Outcome::default()).collect();
    let mut ids: BTreeMap<RequestId, usize> = BTreeMap::new();
    let mut pass = 0;
    loop {
        for (index, arrival) in arrivals.iter().enumerate() {
            if arrival.pass == pass {
                ids.insert(scheduler.submit(copy(&arrival.request)).unwrap(), index);
            }
            if arrival.cancelled == Some(pass) {
                let id = ids.iter().find(|entry| *entry.1 == index).unwrap().0;
                scheduler.cancel(*id);
            }
        }
        pauses.at_a_pass(scheduler, &ids);
        if scheduler.idle() && pauses.still.is_empty() && pass > 100 {
            return (outcomes, scheduler.stats());
        }
        for event in scheduler.step().unwrap() {
            let (Event::Prompt { request, .. }
            | Event::Token { request, .. }
            | Event::Embedded { request, .. }
            | Event::Finished { request, .. }) = &event;
            let index = ids[request];
            outcomes[index].take(event, &arrivals[index].request);
        }
        pass += 1;
        assert!(pass < 20_000, "no end: {:?}", scheduler.stats());
    }
}

/// An engine with its adapters; their ids are the same in each.
fn adapted(model: &Model, adapters: &[&str], threads: usize, blocks: usize) -> Engine {
    let mut engine = model.engine(threads, CONTEXT, blocks);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/adapters");
    for (name, scale) in adapters.iter().zip([1.0, -0.7]) {
        let file = AdapterFile::open(&folder.join(name)).unwrap();
        engine.load_adapter(&file, scale).unwrap();
    }
    engine
}

/// A folder that the engines of a round share one after the other; gone after it.
struct Folder(PathBuf);

impl Folder {
    fn new(seed: u64, round: usize) -> Self {
        let name = format!("lucid-property-{}-{seed}-{round}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn options(&self, bytes_max: u64) -> DiskOptions {
        DiskOptions { folder: self.0.clone(), bytes_max, key: [3; 32] }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What must have happened at least once in all rounds.
const MUST_HAPPEN: [&str; 7] = [
    "preemptions",
    "pauses",
    "evictions",
    "cached tokens",
    "tokens from disk",
    "proposed tokens that came true",
    "proposed tokens that did not",
];

fn check(model: &Model, adapters: &[&str], seed: u64, rounds: usize) {
    let mut random = Random(seed);
    let (mut happened, other) = ([0; 7], Model::golden("llama-odd"));
    for round in 0..rounds {
        let blocks = 4 + random.below(6);
        let mut reference = adapted(model, adapters, 1, 8);
        let ids: Vec<AdapterId> = reference.adapters().map(|info| info.id).collect();
        let arrivals: Vec<Arrival> = (0..REQUESTS).map(|_| arrival(&mut random, &ids)).collect();
        let capacity = CONTEXT.min(blocks * 64);
        let expected: Vec<_> =
            arrivals.iter().map(|it| alone(&mut reference, &it.request, capacity)).collect();
        let folder = random.once_in(2).then(|| Folder::new(seed, round));
        for threads in 1..=3 {
            let options = SchedulerOptions {
                stall: Duration::from_millis(100),
                sequences_max: 1 + random.below(8),
                lookup: !random.once_in(4),
            };
            let mut engine = adapted(model, adapters, threads, blocks);
            if let Some(folder) = &folder {
                let bytes_max = [1 << 30, 200_000][random.below(2)];
                engine.open_disk(folder.options(bytes_max)).unwrap();
            }
            let mut scheduler =
                Scheduler::new(engine, options, jumpy(random.below(1 << 30) as u64)).unwrap();
            // The model itself is right as far as its blocks go, another one hardly ever.
            if let Some(draft) = [None, Some(model), Some(&other)][random.below(3)] {
                let (context, blocks) = (64 + random.below(200), 1 + random.below(8));
                scheduler = scheduler.with_draft(draft.engine(threads, context, blocks)).unwrap();
            }
            let seed = random.below(1 << 30) as u64;
            let (outcomes, stats) = serve(&mut scheduler, &arrivals, seed);
            for (index, (outcome, expected)) in outcomes.iter().zip(&expected).enumerate() {
                let what = format!("round {round}, {threads} threads, {index}");
                outcome.check(&what, arrivals[index].cancelled.is_some(), expected);
            }
            let sum = |of: fn(&Outcome) -> usize| outcomes.iter().map(of).sum::<usize>() as u64;
            let counts = [
                stats.preemptions,
                stats.pauses,
                scheduler.engine().evictions(),
                sum(|outcome| outcome.cached),
                sum(|outcome| outcome.from_disk),
                stats.accepted_tokens,
                stats.proposed_tokens - stats.accepted_tokens,
            ];
            happened.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            assert_eq!(scheduler.engine().kv_bytes(), 0, "blocks of sequences that are over");
            // That forgets the folder as well.
            if folder.is_none() || threads == 3 {
                all_blocks_return(&mut scheduler);
            }
        }
    }
    for (what, count) in MUST_HAPPEN.iter().zip(happened) {
        println!("{count} {what}");
        assert!(count > 0, "no {what}");
    }
}

const LLAMA_ADAPTERS: [&str; 2] = ["llama3-all", "llama3-patterns"];

#[test]
fn answers_in_f32_are_those_of_each_request_alone() {
    check(&Model::golden("llama3"), &LLAMA_ADAPTERS, 1, 10);
}

/// Windows, soft caps of other shapes, and norms per head.
#[test]
fn answers_with_windows_are_those_of_each_request_alone() {
    check(&Model::golden("gemma3"), &["gemma3-embedding"; 2], 2, 8);
}

#[test]
fn answers_of_packed_weights_are_those_of_each_request_alone() {
    check(&Model::packed("llama3", "property"), &LLAMA_ADAPTERS, 3, 10);
}

/// The same for longer, on other arrivals: `cargo test -p lucid-engine --test scheduler --
/// --ignored`.
#[test]
#[ignore = "takes minutes"]
fn answers_are_those_of_each_request_alone_for_long() {
    for seed in 100..110 {
        check(&Model::golden("llama3"), &LLAMA_ADAPTERS, seed, 25);
        check(&Model::golden("gemma3"), &["gemma3-embedding"; 2], seed + 100, 10);
        let packed = Model::packed("llama3", &format!("long-{seed}"));
        check(&packed, &LLAMA_ADAPTERS, seed + 200, 25);
    }
}
