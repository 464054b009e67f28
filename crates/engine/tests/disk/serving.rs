//! A scheduler over a folder: what it reads, and that answers under way do not wait for all of it.

use std::time::Duration;

use lucid_engine::sampler::SamplerConfig;
use lucid_engine::{
    ClientId, Clock, Event, Request, RequestId, Scheduler, SchedulerOptions, Usage,
};
use lucid_tensor::TokenId;

use crate::fixture::{BLOCKS, PROMPT, Scratch, Setup, golden, options, prompt, sized};

/// A scheduler of a reopened engine whose clock goes a second each time it is looked at.
fn scheduler(scratch: &Scratch) -> Scheduler {
    with_blocks(scratch, BLOCKS)
}

/// The same of an engine of so many blocks.
fn with_blocks(scratch: &Scratch, kv_blocks: usize) -> Scheduler {
    let mut engine = sized(&golden(), Setup::default(), kv_blocks);
    engine.open_disk(options(&scratch.0)).unwrap();
    let mut now = Duration::ZERO;
    let clock: Clock = Box::new(move || {
        now += Duration::from_secs(1);
        now
    });
    Scheduler::new(engine, SchedulerOptions::default(), clock).unwrap()
}

fn request(prompt: Vec<TokenId>, new_tokens_max: usize) -> Request {
    let sampler = SamplerConfig::greedy();
    Request { prompt, new_tokens_max, sampler, client: ClientId(3), ..Request::default() }
}

/// What a request was answered, and what it took, once all is over.
fn answer(scheduler: &mut Scheduler, id: RequestId) -> (Vec<TokenId>, Usage) {
    let (mut tokens, mut used) = (Vec::new(), None);
    while !scheduler.idle() {
        for event in scheduler.step().unwrap() {
            match event {
                Event::Token { request, token, .. } if request == id => tokens.push(token),
                Event::Finished { request, usage, .. } if request == id => used = Some(usage),
                _ => {}
            }
        }
    }
    (tokens, used.unwrap())
}

#[test]
fn a_request_goes_on_after_a_restart() {
    let scratch = Scratch::new("scheduler");
    let mut said = Vec::new();
    for (known, from_disk) in [(0, 0), (128, 128)] {
        let mut scheduler = scheduler(&scratch);
        let id = scheduler.submit(request(prompt(1, PROMPT), 70)).unwrap();
        let (tokens, usage) = answer(&mut scheduler, id);
        assert_eq!((usage.cached_tokens, usage.disk_tokens), (known, from_disk));
        assert_eq!(scheduler.stats().disk_tokens, from_disk as u64);
        assert!(said.is_empty() || said == tokens, "another answer after the restart");
        said = tokens;
        // In memory now.
        let id = scheduler.submit(request(prompt(1, PROMPT), 70)).unwrap();
        let (tokens, usage) = answer(&mut scheduler, id);
        assert_eq!((usage.cached_tokens, usage.disk_tokens), (128, 0));
        assert_eq!(said, tokens);
    }
    // The answer is known as well: prompt and answer have three full blocks.
    let conversation = [prompt(1, PROMPT), said, prompt(2, 30)].concat();
    let mut scheduler = scheduler(&scratch);
    let id = scheduler.submit(request(conversation, 1)).unwrap();
    assert_eq!(answer(&mut scheduler, id).1.disk_tokens, 192);
}

#[test]
fn an_answer_under_way_does_not_wait_for_a_long_reading() {
    let scratch = Scratch::new("parts");
    let long = prompt(1, 20 * 64 + 10);
    let mut first = scheduler(&scratch);
    let id = first.submit(request(long.clone(), 1)).unwrap();
    let (expected, _) = answer(&mut first, id);
    drop(first);
    let mut scheduler = scheduler(&scratch);
    let talker = scheduler.submit(request(prompt(2, 10), 20)).unwrap();
    scheduler.step().unwrap();
    let reader = scheduler.submit(request(long, 1)).unwrap();
    // By this clock there is time for few parts in each pass.
    let (mut read, mut tokens, mut disk_tokens) = (Vec::new(), Vec::new(), 0);
    while !scheduler.idle() {
        let mut talks = 0;
        let events = scheduler.step().unwrap();
        for event in events {
            match event {
                Event::Token { request, .. } if request == talker => talks += 1,
                Event::Token { request, token, .. } if request == reader => tokens.push(token),
                Event::Finished { request, usage, .. } if request == reader => {
                    disk_tokens = usage.disk_tokens;
                }
                _ => {}
            }
        }
        let so_far = scheduler.stats().disk_tokens;
        if read.last() != Some(&so_far) {
            read.push(so_far);
            assert_eq!(talks, 1, "no token while {so_far} are read");
        }
    }
    assert!(read.len() >= 2 && read[0] < 20 * 64, "{read:?}");
    assert_eq!((tokens, disk_tokens), (expected, 20 * 64));
}

/// Who has nothing on disk is computed at once, and those who have take turns, by client and within
/// a client.
#[test]
fn nobody_waits_for_all_of_anothers_reading() {
    let scratch = Scratch::new("turns");
    // By this clock a step has time for two parts of eight blocks.
    let of = |client: u64, seed: u64, blocks: usize| {
        let prompt = prompt(seed, blocks * 64 + 10);
        Request { client: ClientId(client), ..request(prompt, 1) }
    };
    for (client, seed, blocks) in [(1, 1, 20), (1, 2, 8), (2, 3, 8)] {
        let mut first = scheduler(&scratch);
        let id = first.submit(of(client, seed, blocks)).unwrap();
        answer(&mut first, id);
    }
    let mut scheduler = with_blocks(&scratch, 64);
    let long = scheduler.submit(of(1, 1, 20)).unwrap();
    let others = [of(1, 4, 0), of(2, 5, 0), of(2, 3, 8), of(1, 2, 8)];
    let others = others.map(|request| scheduler.submit(request).unwrap());
    let mut steps = 0;
    let mut ended = Vec::new();
    while !scheduler.idle() {
        steps += 1;
        for event in scheduler.step().unwrap() {
            if let Event::Finished { request, usage, .. } = event {
                ended.push((request, steps, usage.disk_tokens));
            }
        }
    }
    let end = |id| ended.iter().find(|end| end.0 == id).map(|end| (end.1, end.2)).unwrap();
    assert_eq!(others.map(end), [(1, 0), (1, 0), (1, 512), (2, 512)]);
    assert_eq!(end(long), (3, 20 * 64));
}

/// What was read, and had gone again before it was of any use, is counted once.
#[test]
fn no_more_is_read_than_is_known() {
    let scratch = Scratch::new("twice");
    let long = prompt(1, 20 * 64 + 10);
    let mut first = scheduler(&scratch);
    let id = first.submit(request(long.clone(), 1)).unwrap();
    answer(&mut first, id);
    drop(first);
    let mut scheduler = scheduler(&scratch);
    scheduler.submit(request(prompt(2, 10), 30)).unwrap();
    scheduler.step().unwrap();
    let reader = scheduler.submit(request(long, 1)).unwrap();
    scheduler.step().unwrap();
    assert_eq!(scheduler.stats().disk_tokens, 16 * 64);
    // A guest needs the room of the newest of a crowd.
    let guest = Request { client: ClientId(4), ..request(prompt(3, 10 * 64 + 5), 1) };
    scheduler.submit(guest).unwrap();
    let (_, usage) = answer(&mut scheduler, reader);
    assert_eq!(scheduler.stats().preemptions, 1);
    assert!(scheduler.stats().disk_tokens > 20 * 64, "nothing was read twice");
    assert_eq!((usage.cached_tokens, usage.disk_tokens), (20 * 64, 20 * 64));
}
