//! What is guessed ahead changes when tokens come, and nothing else; it stops where it gains
//! nothing, and nothing is guessed that cannot come.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lucid_engine::sampler::SamplerConfig;
use lucid_engine::{
    EngineError, HookRows, Request, Scheduler, SchedulerOptions, Site, Speculation, Usage,
    WantedLogProbs,
};

use crate::alone::copy;
use crate::fixture::{
    Even, MODEL, Model, all_blocks_return, drain, end, greedy, prompt, serve, still, tokens,
};

/// Speculation as it comes by default.
fn auto(request: Request) -> Request {
    Request { speculation: Speculation::Auto, ..request }
}

/// An answer that is one token again and again, or what a constraint makes of it.
fn refrain(new_tokens_max: usize) -> Request {
    let sampler = SamplerConfig { logit_bias: vec![(8, 100.0)], ..SamplerConfig::greedy() };
    Request { sampler, ..greedy(prompt(4, 36), new_tokens_max) }
}

fn scheduler(lookup: bool) -> Scheduler {
    let engine = Model::golden(MODEL).engine(1, 512, 32);
    let options = SchedulerOptions { lookup, ..SchedulerOptions::default() };
    Scheduler::new(engine, options, still()).unwrap()
}

/// Serves a request with and without speculation. Returns the passes of both, and what the first
/// took, once their events were found to be the same.
fn compare(mut speculating: Scheduler, request: Request) -> (u64, u64, Usage) {
    let mut plain = scheduler(false);
    let (_, expected) = serve(&mut plain, copy(&request));
    let (id, events) = serve(&mut speculating, auto(request));
    let said = |events: &[lucid_engine::Event]| {
        let told = events.iter().filter_map(|event| match event {
            lucid_engine::Event::Token { token, log_prob, .. } => Some((*token, log_prob.clone())),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    assert_eq!(said(&events), said(&expected));
    let (reason, usage) = end(&events, id, 0);
    assert_eq!(reason, end(&expected, id, 0).0);
    all_blocks_return(&mut speculating);
    (speculating.stats().passes, plain.stats().passes, usage)
}

#[test]
fn a_text_that_repeats_takes_fewer_passes() {
    let log_probs = Some(WantedLogProbs { alternatives: 3, prompt: false });
    for log_probs in [None, log_probs] {
        let request = Request { log_probs, ..refrain(150) };
        let (passes, plain, usage) = compare(scheduler(true), request);
        assert_eq!(plain, 150);
        assert!(passes <= 25, "{passes} passes, {usage:?}");
        let Usage { new_tokens, proposed_tokens, accepted_tokens, .. } = usage;
        // Each pass settles one token of its own.
        assert_eq!((new_tokens as u64, accepted_tokens as u64), (150, 150 - passes));
        assert!(proposed_tokens >= accepted_tokens);
    }
}

#[test]
fn a_draft_that_is_right_is_believed() {
    for (threads, sampler) in [
        (1, SamplerConfig::greedy()),
        (2, SamplerConfig { seed: 9, ..SamplerConfig::unfiltered() }),
    ] {
        let draft = Model::golden(MODEL).engine(threads, 512, 32);
        let speculating = scheduler(false).with_draft(draft).unwrap();
        let request = Request { sampler, ..greedy(prompt(8, 90), 100) };
        let (passes, _, usage) = compare(speculating, request);
        assert_eq!(usage.accepted_tokens, usage.proposed_tokens);
        assert!(passes <= 30, "{passes} passes, {usage:?}");
    }
}

#[test]
fn a_draft_that_is_wrong_is_dropped() {
    let draft = Model::golden("llama-odd").engine(1, 512, 32);
    let speculating = scheduler(false).with_draft(draft).unwrap();
    let request = Request { sampler: SamplerConfig::unfiltered(), ..greedy(prompt(8, 90), 300) };
    let (_, plain, usage) = compare(speculating, request);
    assert_eq!(plain, 300);
    assert!(usage.proposed_tokens > 0, "it was never tried");
    assert!(usage.proposed_tokens < 60, "{usage:?}");
}

/// Where the draft's context ends answers go on without it, although it holds guesses that did not
/// come true.
#[test]
fn a_draft_of_less_context_falls_behind() {
    for context in [100, 128, 150] {
        for draft in [MODEL, "llama-odd"] {
            let draft = Model::golden(draft).engine(1, context, 32);
            let speculating = scheduler(false).with_draft(draft).unwrap();
            let sampler = SamplerConfig { seed: 5, ..SamplerConfig::default() };
            let request = Request { sampler, ..greedy(prompt(8, 90), 200) };
            let (_, plain, usage) = compare(speculating, request);
            assert_eq!(plain, 200);
            assert!(usage.proposed_tokens > 0 && usage.accepted_tokens < 60, "{usage:?}");
        }
    }
}

#[test]
fn another_vocabulary_is_no_draft() {
    let other = Model::golden("qwen3").engine(1, 128, 4);
    let found = other.config().vocab_size;
    assert_ne!(found, 131);
    let Err(error) = scheduler(true).with_draft(other) else { panic!("it was taken") };
    assert_eq!(error, EngineError::DraftVocabulary { expected: 131, found });
}

/// Whatever is computed of a constrained answer conforms, guessed or not.
#[test]
fn nothing_is_guessed_that_the_constraint_forbids() {
    for draft in [false, true] {
        let mut engine = Model::golden(MODEL).engine(1, 512, 32);
        let fed = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&fed);
        engine.set_hook(Some(Box::new(move |rows: HookRows<'_>| {
            if rows.site == Site::Embedding {
                let answer = rows.pass.rows.iter().filter(|row| row.position >= 36);
                seen.lock().unwrap().extend(answer.map(|row| row.token));
            }
        })));
        let options = SchedulerOptions { lookup: !draft, ..SchedulerOptions::default() };
        let mut speculating = Scheduler::new(engine, options, still()).unwrap();
        if draft {
            let draft = Model::golden(MODEL).engine(1, 512, 32);
            speculating = speculating.with_draft(draft).unwrap();
        }
        let constraint = Some(Box::new(Even::new(4)) as _);
        let request = Request { constraint, ..refrain(120) };
        let (_, _, usage) = compare(speculating, request);
        assert!(usage.proposed_tokens > 0, "nothing was guessed");
        assert!(fed.lock().unwrap().iter().all(|token| token % 2 == 0));
    }
}

/// A scheduler whose passes take so much, and so much more for each row.
fn timed(base_us: u64, row_us: u64, stall: Duration) -> Scheduler {
    let mut engine = Model::golden(MODEL).engine(1, 1_024, 32);
    let now = Arc::new(Mutex::new(Duration::ZERO));
    let (ticks, shown) = (Arc::clone(&now), Arc::clone(&now));
    engine.set_hook(Some(Box::new(move |seen: HookRows<'_>| {
        if seen.site == Site::Embedding {
            let took = base_us + row_us * seen.pass.rows.len() as u64;
            *ticks.lock().unwrap() += Duration::from_micros(took);
        }
    })));
    let clock = Box::new(move || *shown.lock().unwrap());
    let options = SchedulerOptions { stall, ..SchedulerOptions::default() };
    Scheduler::new(engine, options, clock).unwrap()
}

/// How many tokens are guessed in a long answer.
fn guessed(base_us: u64, row_us: u64) -> usize {
    let mut scheduler = timed(base_us, row_us, Duration::from_millis(100));
    let (id, events) = serve(&mut scheduler, auto(refrain(600)));
    end(&events, id, 0).1.proposed_tokens
}

/// By the clock alone: the text is the same, and what is guessed of it is right.
#[test]
fn guesses_stop_where_a_row_costs_as_much_as_a_pass() {
    let (cheap, dear) = (guessed(10_000, 100), guessed(10, 10_000));
    assert!(cheap > 400, "{cheap} tokens guessed where rows cost nothing");
    assert!(dear < 60, "{dear} tokens guessed where rows are all that costs");
}

/// Prompts come first: where they fill the budget nothing is guessed.
#[test]
fn prompts_go_before_guesses() {
    let mut scheduler = timed(20_000, 1_000, Duration::from_millis(10));
    let id = scheduler.submit(auto(refrain(400))).unwrap();
    for _ in 0..5 {
        scheduler.step().unwrap();
    }
    let before = scheduler.stats();
    assert!(before.proposed_tokens > 0);
    scheduler.submit(greedy(prompt(5, 400), 1)).unwrap();
    // A pass takes the 32 prompt tokens that it takes at least.
    for _ in 0..400 / 32 {
        scheduler.step().unwrap();
    }
    assert_eq!(scheduler.stats().proposed_tokens, before.proposed_tokens);
    let events = drain(&mut scheduler);
    assert!(scheduler.stats().proposed_tokens > before.proposed_tokens);
    assert!(!tokens(&events, id, 0).is_empty());
    all_blocks_return(&mut scheduler);
}
