//! Invariant 4 for whole answers: random arrivals, lengths, cancels, seeds, samples and clients
//! over few blocks, on several numbers of threads, against each request alone.

use std::collections::BTreeMap;
use std::time::Duration;

use lucid_engine::sampler::SamplerConfig;
use lucid_engine::{
    ClientId, Clock, Event, FinishReason, LogProb, Request, RequestId, Scheduler, SchedulerOptions,
    SchedulerStats, Speculation, WantedLogProbs,
};
use lucid_tensor::TokenId;

use crate::alone::{Answer, alone, copy};
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

fn arrival(random: &mut Random) -> Arrival {
    // Few beginnings, so that prompts share some.
    let longest = if random.once_in(2) { 200 } else { 70 };
    let mut tokens = prompt(random.below(2) as u64, 1 + random.below(longest));
    tokens.extend(prompt(random.below(1_000) as u64, random.below(20)));
    let even = |run_every| -> Option<Box<dyn lucid_engine::Constraint>> {
        Some(Box::new(Even::new(run_every)))
    };
    let wanted = WantedLogProbs { alternatives: random.below(6), prompt: random.once_in(4) };
    let request = Request {
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
        ..Request::default()
    };
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
    cached: usize,
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
            Event::Embedded { .. } => panic!("an answer was asked for"),
            Event::Finished { sample, reason, usage, .. } => {
                let tokens = self.tokens.entry(sample).or_default().len();
                assert_eq!((usage.prompt_tokens, usage.new_tokens), (request.prompt.len(), tokens));
                assert!(usage.cached_tokens < request.prompt.len());
                self.cached += usage.cached_tokens;
                assert!(self.reasons.insert(sample, reason).is_none(), "an answer ended twice");
            }
        }
    }

    fn check(&self, what: &str, cancelled: bool, expected: &(Vec<Option<LogProb>>, Vec<Answer>)) {
        assert_eq!(self.reasons.len(), expected.1.len(), "{what}: samples");
        for (sample, answer) in expected.1.iter().enumerate() {
            let (tokens, reason) = (&self.tokens[&sample], &self.reasons[&sample]);
            if *reason == FinishReason::Cancelled {
                assert!(cancelled, "{what}: sample {sample} was not cancelled");
                assert!(answer.tokens.starts_with(tokens), "{what}: sample {sample}");
                assert!(expected.0.starts_with(&self.echo), "{what}: prompt");
            } else {
                assert_eq!(tokens, &answer.tokens, "{what}: sample {sample}");
                assert_eq!(reason, &answer.reason, "{what}: sample {sample}");
                assert_eq!(self.echo, expected.0, "{what}: prompt");
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

/// Serves all arrivals; returns what became of them, and what it took.
fn serve(scheduler: &mut Scheduler, arrivals: &[Arrival]) -> (Vec<Outcome>, SchedulerStats) {
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
        if scheduler.idle() && pass > 100 {
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

/// Preemptions, evictions, cached tokens, right and wrong proposals: each must have happened.
fn check(model: &Model, seed: u64, rounds: usize) {
    let mut random = Random(seed);
    let (mut happened, other) = ([0; 5], Model::golden("llama-odd"));
    for round in 0..rounds {
        let blocks = 4 + random.below(6);
        let arrivals: Vec<Arrival> = (0..REQUESTS).map(|_| arrival(&mut random)).collect();
        let mut reference = model.engine(1, CONTEXT, 8);
        let capacity = CONTEXT.min(blocks * 64);
        let expected: Vec<_> =
            arrivals.iter().map(|it| alone(&mut reference, &it.request, capacity)).collect();
        for threads in 1..=3 {
            let options = SchedulerOptions {
                stall: Duration::from_millis(100),
                sequences_max: 1 + random.below(8),
                lookup: !random.once_in(4),
            };
            let engine = model.engine(threads, CONTEXT, blocks);
            let mut scheduler =
                Scheduler::new(engine, options, jumpy(random.below(1 << 30) as u64)).unwrap();
            // The model itself is right as far as its blocks go, another one hardly ever.
            if let Some(draft) = [None, Some(model), Some(&other)][random.below(3)] {
                let (context, blocks) = (64 + random.below(200), 1 + random.below(8));
                scheduler = scheduler.with_draft(draft.engine(threads, context, blocks)).unwrap();
            }
            let (outcomes, stats) = serve(&mut scheduler, &arrivals);
            for (index, (outcome, expected)) in outcomes.iter().zip(&expected).enumerate() {
                let what = format!("round {round}, {threads} threads, {index}");
                outcome.check(&what, arrivals[index].cancelled.is_some(), expected);
            }
            let cached: usize = outcomes.iter().map(|outcome| outcome.cached).sum();
            let counts = [
                stats.preemptions,
                scheduler.engine().evictions(),
                cached as u64,
                stats.accepted_tokens,
                stats.proposed_tokens - stats.accepted_tokens,
            ];
            happened.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            all_blocks_return(&mut scheduler);
        }
    }
    let [preemptions, evictions, cached, right, wrong] = happened;
    println!(
        "{preemptions} preemptions, {evictions} evictions, {cached} cached tokens, {right} \
         proposed tokens came true and {wrong} did not"
    );
    assert!(happened.iter().all(|&count| count > 0), "{happened:?}");
}

#[test]
fn answers_in_f32_are_those_of_each_request_alone() {
    check(&Model::golden("llama3"), 1, 10);
}

/// Windows, soft caps of other shapes, and norms per head.
#[test]
fn answers_with_windows_are_those_of_each_request_alone() {
    check(&Model::golden("gemma3"), 2, 8);
}

#[test]
fn answers_of_packed_weights_are_those_of_each_request_alone() {
    check(&Model::packed("llama3", "property"), 3, 10);
}

/// The same for longer, on other arrivals: `cargo test -p lucid-engine --test scheduler --
/// --ignored`.
#[test]
#[ignore = "takes minutes"]
fn answers_are_those_of_each_request_alone_for_long() {
    for seed in 100..110 {
        check(&Model::golden("llama3"), seed, 25);
        check(&Model::golden("gemma3"), seed + 100, 10);
        check(&Model::packed("llama3", &format!("long-{seed}")), seed + 200, 25);
    }
}
