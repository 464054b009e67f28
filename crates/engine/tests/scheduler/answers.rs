//! What an answer consists of: samples, log-probabilities, reasons to end, and what it took.

use lucid_engine::sampler::SamplerConfig;
use lucid_engine::{
    Event, Feed, FinishReason, HookRows, LogProb, Request, Scheduler, SchedulerOptions, Site,
    Speculation, Usage, Wanted, WantedLogProbs,
};
use lucid_tensor::{Pass, TokenId};

use crate::fixture::{
    Even, MODEL, Model, all_blocks_return, drain, end, greedy, prompt, scheduler, serve, still,
    tokens,
};

/// ln softmax of each row, by the definition.
fn log_softmax(rows: &[f32], vocab: usize) -> Vec<Vec<f64>> {
    let row = |row: &[f32]| {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|&x| f64::from(x - max).exp()).sum();
        row.iter().map(|&x| f64::from(x - max) - sum.ln()).collect()
    };
    rows.chunks(vocab).map(row).collect()
}

#[test]
fn log_probabilities_are_those_of_the_raw_logits() {
    let constraints: [Option<Even>; 2] = [None, Some(Even::new(4))];
    for constraint in constraints {
        let mut scheduler = scheduler(256, 8);
        let mut sampler = SamplerConfig { temperature: 1.5, ..SamplerConfig::default() };
        sampler.penalties.repeat = 1.5;
        let request = Request {
            prompt: prompt(3, 70),
            new_tokens_max: 40,
            sampler,
            log_probs: Some(WantedLogProbs { alternatives: 5, prompt: true }),
            constraint: constraint.map(|it| Box::new(it) as _),
            ..Request::default()
        };
        let (_, events) = serve(&mut scheduler, request);
        let mut told: Vec<(TokenId, Option<LogProb>)> = Vec::new();
        for event in events {
            match event {
                Event::Prompt { token, log_prob, .. } | Event::Token { token, log_prob, .. } => {
                    told.push((token, log_prob));
                }
                Event::Finished { reason, .. } => assert_eq!(reason, FinishReason::Limit),
                Event::Embedded { .. } => panic!("an answer was asked for"),
            }
        }
        assert_eq!(told.len(), 110);
        assert_eq!(told[0].1, None);
        let all: Vec<TokenId> = told.iter().map(|entry| entry.0).collect();
        let mut engine = Model::golden(MODEL).engine(1, 256, 4);
        let feed = Feed { sequence: engine.open(), tokens: &all, wanted: Wanted::All };
        let rows: Vec<f32> = engine.forward(&[feed]).unwrap().rows().flatten().copied().collect();
        let expected = log_softmax(&rows, 131);
        for ((token, log_prob), expected) in told[1..].iter().zip(expected) {
            let LogProb { value, alternatives } = log_prob.as_ref().unwrap();
            assert!((value - expected[*token as usize]).abs() < 1e-6);
            let mut order: Vec<usize> = (0..expected.len()).collect();
            order.sort_by(|&a, &b| expected[b].total_cmp(&expected[a]));
            assert_eq!(alternatives.len(), 5);
            for (&(token, value), &best) in alternatives.iter().zip(&order) {
                assert_eq!(token as usize, best);
                assert!((value - expected[best]).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn samples_share_one_prefill_and_draw_with_their_own_seeds() {
    let sampler = SamplerConfig { seed: u64::MAX, ..SamplerConfig::unfiltered() };
    let request = |seed: u64, samples: usize| Request {
        prompt: prompt(5, 100),
        new_tokens_max: 9,
        sampler: SamplerConfig { seed, ..sampler.clone() },
        samples,
        speculation: Speculation::Off,
        ..Request::default()
    };
    let mut together = scheduler(256, 32);
    let (id, events) = serve(&mut together, request(u64::MAX, 8));
    // The last token of an answer is not fed.
    assert_eq!(together.stats().rows, 100 + 8 * 8);
    for sample in 0..8 {
        let seed = u64::MAX.wrapping_add(sample as u64);
        let (other, alone) = serve(&mut scheduler(256, 4), request(seed, 1));
        assert_eq!(tokens(&events, id, sample), tokens(&alone, other, 0), "sample {sample}");
        let usage = Usage { prompt_tokens: 100, new_tokens: 9, ..Usage::default() };
        assert_eq!(end(&events, id, sample), (FinishReason::Limit, usage));
    }
    assert_ne!(tokens(&events, id, 0), tokens(&events, id, 1));
    all_blocks_return(&mut together);
}

#[test]
fn every_answer_says_why_it_ended() {
    let mut scheduler = scheduler(128, 8);
    let (id, events) = serve(&mut scheduler, greedy(prompt(1, 20), 10));
    let said = tokens(&events, id, 0);
    assert_eq!((said.len(), end(&events, id, 0).0), (10, FinishReason::Limit));

    // The fifth token ends it, where it stands first.
    let stop = said[4];
    let before = said.iter().position(|&token| token == stop).unwrap();
    let request = Request { stop_tokens: vec![stop], ..greedy(prompt(1, 20), 10) };
    let (id, events) = serve(&mut scheduler, request);
    assert_eq!(tokens(&events, id, 0), said[..before]);
    let (reason, usage) = end(&events, id, 0);
    assert_eq!((reason, usage.new_tokens), (FinishReason::EndToken(stop), before));

    let (id, events) = serve(&mut scheduler, greedy(prompt(1, 120), usize::MAX));
    assert_eq!(
        (tokens(&events, id, 0).len(), end(&events, id, 0).0),
        (8, FinishReason::ContextFull)
    );

    let (id, events) = serve(&mut scheduler, greedy(prompt(1, 20), 0));
    assert_eq!((tokens(&events, id, 0).len(), end(&events, id, 0).0), (0, FinishReason::Limit));
    all_blocks_return(&mut scheduler);
}

#[test]
fn all_blocks_there_are_can_be_a_limit_as_well() {
    let mut scheduler = scheduler(4_096, 2);
    let (id, events) = serve(&mut scheduler, greedy(prompt(1, 100), usize::MAX));
    assert_eq!(
        (tokens(&events, id, 0).len(), end(&events, id, 0).0),
        (28, FinishReason::ContextFull)
    );
    all_blocks_return(&mut scheduler);
}

#[test]
fn cancelling_ends_all_samples_at_once() {
    let mut scheduler = scheduler(256, 8);
    let request = |samples| Request { samples, ..greedy(prompt(1, 20), 100) };
    let running = scheduler.submit(request(3)).unwrap();
    for _ in 0..5 {
        scheduler.step().unwrap();
    }
    let waiting = scheduler.submit(request(2)).unwrap();
    assert!(scheduler.cancel(running) && scheduler.cancel(waiting));
    assert!(!scheduler.cancel(running), "it is over");
    assert!(!scheduler.idle(), "there is something to say");
    let events = drain(&mut scheduler);
    assert_eq!(events.len(), 5);
    for (id, samples, new_tokens) in [(running, 3, 5), (waiting, 2, 0)] {
        for sample in 0..samples {
            let (reason, usage) = end(&events, id, sample);
            assert_eq!((reason, usage.new_tokens), (FinishReason::Cancelled, new_tokens));
        }
    }
    all_blocks_return(&mut scheduler);
}

/// One of several answers ends, and no row more is computed of it; the others go on as they would.
#[test]
fn one_sample_can_be_cancelled() {
    let request = || Request { samples: 3, ..greedy(prompt(1, 20), 12) };
    let mut scheduler = scheduler(256, 8);
    let (id, events) = serve(&mut scheduler, request());
    let expected = tokens(&events, id, 0);
    scheduler.forget_published();
    let before = scheduler.stats().rows;
    let id = scheduler.submit(request()).unwrap();
    assert!(!scheduler.cancel_sample(id, 1), "they are one as yet");
    let mut events = Vec::new();
    for _ in 0..4 {
        events.extend(scheduler.step().unwrap());
    }
    assert!(scheduler.cancel_sample(id, 1));
    assert!(!scheduler.cancel_sample(id, 1) && !scheduler.cancel_sample(id, 3));
    events.extend(drain(&mut scheduler));
    assert_eq!(tokens(&events, id, 1), expected[..4]);
    assert_eq!(end(&events, id, 1).0, FinishReason::Cancelled);
    for sample in [0, 2] {
        assert_eq!(tokens(&events, id, sample), expected);
        assert_eq!(end(&events, id, sample).0, FinishReason::Limit);
    }
    assert_eq!(scheduler.stats().rows - before, 20 + 2 * 11 + 3);
    all_blocks_return(&mut scheduler);
}

/// Logits that are no numbers, from a prompt's first token on or after its last one.
#[test]
fn answers_that_fail_together_end_once_each() {
    let log_probs = Some(WantedLogProbs { alternatives: 0, prompt: true });
    for (first_bad, forced) in [(0, false), (0, true), (19, false)] {
        let mut engine = Model::golden(MODEL).engine(1, 256, 8);
        engine.set_hook(Some(Box::new(move |rows: HookRows<'_>| {
            let Pass { outputs, rows: all, .. } = rows.pass;
            if rows.site == Site::Head {
                let states = rows.values.chunks_exact_mut(rows.width).zip(outputs);
                let bad = |&output: &u32| all[output as usize].position >= first_bad;
                states.filter(|(_, row)| bad(row)).for_each(|(state, _)| state.fill(f32::NAN));
            }
        })));
        let mut scheduler = Scheduler::new(engine, SchedulerOptions::default(), still()).unwrap();
        let constraint = forced.then(|| Box::new(Even::opening(vec![2, 4])) as _);
        let request = Request { samples: 3, log_probs, constraint, ..greedy(prompt(1, 20), 9) };
        let (_, events) = serve(&mut scheduler, request);
        let mut ended = Vec::new();
        for event in events {
            if let Event::Finished { sample, reason, usage, .. } = event {
                assert!(matches!(reason, FinishReason::Error(_)), "{reason:?}");
                assert!(usage.new_tokens == 0 || forced, "{usage:?}");
                ended.push(sample);
            }
        }
        ended.sort_unstable();
        assert_eq!(ended, [0, 1, 2], "bad from {first_bad} on");
        all_blocks_return(&mut scheduler);
    }
}
