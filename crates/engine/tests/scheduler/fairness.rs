//! Who waits how long: counted in passes, and by a clock that counts rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lucid_engine::{
    ClientId, Event, FinishReason, HookRows, Request, RequestId, Scheduler, SchedulerOptions, Site,
};

use crate::fixture::{
    Even, MODEL, Model, all_blocks_return, drain, greedy, prompt, scheduler, still, tokens,
};

fn of_client(client: u64, request: Request) -> Request {
    Request { client: ClientId(client), ..request }
}

/// Steps until a request is over; returns how many it took, and all events.
fn passes_until_over(scheduler: &mut Scheduler, id: RequestId) -> (usize, Vec<Event>) {
    let mut all = Vec::new();
    for pass in 1..5_000 {
        let events = scheduler.step().unwrap();
        let over =
            |event: &Event| matches!(event, Event::Finished { request, .. } if *request == id);
        let done = events.iter().any(over);
        all.extend(events);
        if done {
            return (pass, all);
        }
    }
    panic!("it starves: {:?}", scheduler.stats());
}

/// How many answers ended because they were complete.
fn complete(events: &[Event]) -> usize {
    let complete =
        |event: &&Event| matches!(event, Event::Finished { reason: FinishReason::Limit, .. });
    events.iter().filter(complete).count()
}

/// Blocks or places for sequences are all taken by one client, or neither is.
#[test]
fn a_crowd_of_long_prompts_does_not_hold_up_a_short_one() {
    for (blocks, sequences_max) in [(1_000, 64), (1_000, 3), (13, 64), (8, 64)] {
        let engine = Model::golden(MODEL).engine(1, 256, blocks);
        let options = SchedulerOptions { sequences_max, ..SchedulerOptions::default() };
        let mut scheduler = Scheduler::new(engine, options, still()).unwrap();
        for seed in 0..50 {
            let request = greedy(prompt(seed, 200), 25);
            scheduler.submit(of_client(1, request)).unwrap();
        }
        let mut events = Vec::new();
        for _ in 0..15 {
            events.extend(scheduler.step().unwrap());
        }
        let id = scheduler.submit(of_client(2, greedy(prompt(99, 40), 5))).unwrap();
        let (passes, more) = passes_until_over(&mut scheduler, id);
        // Its prompt takes two turns of two clients at most, its answer a pass a token.
        assert!(passes <= 8, "{blocks} blocks, {sequences_max} sequences: {passes} passes");
        events.extend(more);
        events.extend(drain(&mut scheduler));
        assert_eq!(complete(&events), 51, "nothing is dropped");
        all_blocks_return(&mut scheduler);
    }
}

/// Many samples of one prompt are one sequence until it is computed, and a guest with more samples
/// than may run is taken in beside a crowd without ending it.
#[test]
fn many_samples_neither_lock_out_nor_empty_the_house() {
    let engine = Model::golden(MODEL).engine(1, 256, 1_000);
    let options = SchedulerOptions { sequences_max: 8, ..SchedulerOptions::default() };
    let mut scheduler = Scheduler::new(engine, options, still()).unwrap();
    let many = |seed, samples| Request { samples, ..greedy(prompt(seed, 200), 25) };
    scheduler.submit(of_client(1, many(1, 8))).unwrap();
    scheduler.step().unwrap();
    let short = scheduler.submit(of_client(2, greedy(prompt(99, 40), 5))).unwrap();
    let (passes, _) = passes_until_over(&mut scheduler, short);
    assert!(passes <= 8, "{passes} passes");
    drain(&mut scheduler);
    for seed in 10..18 {
        scheduler.submit(of_client(1, greedy(prompt(seed, 40), 100))).unwrap();
    }
    for _ in 0..10 {
        scheduler.step().unwrap();
    }
    let before = scheduler.stats().preemptions;
    scheduler.submit(of_client(2, many(2, 9))).unwrap();
    scheduler.step().unwrap();
    assert!(scheduler.stats().preemptions <= before + 1, "{:?}", scheduler.stats());
    assert_eq!(complete(&drain(&mut scheduler)), 17);
    all_blocks_return(&mut scheduler);
}

/// The budget itself goes round: here it is one part a pass.
#[test]
fn clients_take_turns_in_the_budget() {
    for (crowd, guest) in [(1, 2), (2, 1)] {
        let (mut scheduler, _) = timed(5_000, 20_000, Duration::from_millis(100));
        scheduler.submit(of_client(crowd, greedy(prompt(1, 64), 500))).unwrap();
        scheduler.step().unwrap();
        for seed in 10..15 {
            scheduler.submit(of_client(crowd, greedy(prompt(seed, 600), 1))).unwrap();
        }
        (0..3).for_each(|_| drop(scheduler.step().unwrap()));
        let id = scheduler.submit(of_client(guest, greedy(prompt(2, 60), 1))).unwrap();
        let (passes, _) = passes_until_over(&mut scheduler, id);
        assert!(passes <= 4, "two parts of its own, in {passes} passes");
    }
}

/// Of one client too: a short prompt comes through beside a long one, and a long one beside short
/// ones that never cease.
#[test]
fn the_oldest_and_the_shortest_take_turns() {
    let (mut scheduler, _) = timed(5_000, 20_000, Duration::from_millis(100));
    scheduler.submit(of_client(1, greedy(prompt(1, 64), 500))).unwrap();
    scheduler.step().unwrap();
    // The answer under way leaves one part of 32 tokens for prompts in each pass.
    let long = scheduler.submit(of_client(1, greedy(prompt(2, 1_500), 1))).unwrap();
    for _ in 0..3 {
        scheduler.step().unwrap();
    }
    let short = scheduler.submit(of_client(1, greedy(prompt(3, 60), 1))).unwrap();
    let (passes, _) = passes_until_over(&mut scheduler, short);
    assert!(passes <= 4, "{passes} passes");
    let mut passes = 0;
    loop {
        passes += 1;
        let another = greedy(prompt(1_000 + passes, 30), 1);
        scheduler.submit(of_client(1, another)).unwrap();
        let events = scheduler.step().unwrap();
        if events.iter().any(|e| matches!(e, Event::Finished { request, .. } if *request == long)) {
            break;
        }
        assert!(passes < 100, "it starves");
    }
    // Some 1,400 tokens, every other part.
    assert!(passes > 80, "nothing came between: {passes} passes");
}

/// A long prompt among short ones of others that never cease.
#[test]
fn short_ones_do_not_starve_a_long_one() {
    let mut scheduler = scheduler(512, 8);
    let mut short = 0;
    let mut submit = |scheduler: &mut Scheduler| {
        short += 1;
        let request = greedy(prompt(1_000 + short, 30), 20);
        scheduler.submit(of_client(short % 3, request)).unwrap();
    };
    (0..20).for_each(|_| submit(&mut scheduler));
    for _ in 0..5 {
        scheduler.step().unwrap();
    }
    let long = scheduler.submit(of_client(9, greedy(prompt(1, 440), 20))).unwrap();
    let mut passes = 0;
    loop {
        passes += 1;
        assert!(passes < 200, "it starves: {:?}", scheduler.stats());
        submit(&mut scheduler);
        let events = scheduler.step().unwrap();
        if events.iter().any(|e| matches!(e, Event::Finished { request, .. } if *request == long)) {
            break;
        }
    }
    let waiting = scheduler.stats().waiting;
    assert!(waiting > 0, "nobody was there to overtake it");
    drain(&mut scheduler);
    all_blocks_return(&mut scheduler);
}

#[test]
fn of_one_client_the_oldest_comes_first() {
    let mut scheduler = scheduler(2_048, 200);
    let ids: Vec<RequestId> = (0..4)
        .map(|seed| scheduler.submit(of_client(1, greedy(prompt(seed, 700), 1))).unwrap())
        .collect();
    let events = drain(&mut scheduler);
    let order: Vec<RequestId> = events
        .iter()
        .filter_map(|event| match event {
            Event::Finished { request, .. } => Some(*request),
            _ => None,
        })
        .collect();
    assert_eq!(order, ids);
}

/// A scheduler whose passes take `base_us` and `row_us` for each row, as its clock says.
fn timed(base_us: u64, row_us: u64, stall: Duration) -> (Scheduler, Arc<AtomicU64>) {
    let mut engine = Model::golden(MODEL).engine(1, 4_096, 200);
    let now = Arc::new(AtomicU64::new(0));
    let (ticks, shown) = (Arc::clone(&now), Arc::clone(&now));
    engine.set_hook(Some(Box::new(move |seen: HookRows<'_>| {
        if seen.site == Site::Embedding {
            let took = base_us + row_us * seen.pass.rows.len() as u64;
            ticks.fetch_add(took, Ordering::Relaxed);
        }
    })));
    let clock = Box::new(move || Duration::from_micros(shown.load(Ordering::Relaxed)));
    let options = SchedulerOptions { stall, ..SchedulerOptions::default() };
    (Scheduler::new(engine, options, clock).unwrap(), now)
}

/// While nobody is answered a pass is long; but not longer than a short prompt needs that came
/// beside the one that fills it.
#[test]
fn a_short_prompt_does_not_wait_for_a_full_pass_of_a_long_one() {
    let (mut scheduler, _) = timed(5_000, 1_000, Duration::from_millis(100));
    scheduler.submit(of_client(1, greedy(prompt(1, 2_000), 1))).unwrap();
    scheduler.step().unwrap();
    assert_eq!(scheduler.stats().rows, 512);
    let short = scheduler.submit(of_client(2, greedy(prompt(2, 64), 1))).unwrap();
    let events = scheduler.step().unwrap();
    assert_eq!(tokens(&events, short, 0).len(), 1);
    // Parts of 32 in turn.
    assert_eq!(scheduler.stats().rows, 512 + 32 * 3);
    scheduler.step().unwrap();
    assert_eq!(scheduler.stats().rows, 512 + 32 * 3 + 512);
}

/// A long prompt comes while another answer is under way: what the longest pass takes until the
/// prompt is computed, in milliseconds, and the rows of the passes.
fn stalls(base_us: u64, row_us: u64, stall_ms: u64) -> (u64, Vec<u64>) {
    let (mut scheduler, now) = timed(base_us, row_us, Duration::from_millis(stall_ms));
    scheduler.submit(of_client(1, greedy(prompt(1, 64), 200))).unwrap();
    for _ in 0..5 {
        scheduler.step().unwrap();
    }
    let long = scheduler.submit(of_client(2, greedy(prompt(2, 2_000), 1))).unwrap();
    let (mut longest, mut rows) = (0, Vec::new());
    loop {
        let before = (now.load(Ordering::Relaxed), scheduler.stats().rows);
        let events = scheduler.step().unwrap();
        let token =
            |event: &Event| matches!(event, Event::Token { request, .. } if *request != long);
        assert!(events.iter().any(token), "a pass without a token for the one who decodes");
        longest = longest.max(now.load(Ordering::Relaxed) - before.0);
        rows.push(scheduler.stats().rows - before.1);
        if events.iter().any(|e| matches!(e, Event::Finished { request, .. } if *request == long)) {
            return (longest / 1_000, rows);
        }
    }
}

#[test]
fn a_long_prompt_holds_others_up_no_longer_than_said() {
    for (row_us, stall_ms) in [(1_000, 100), (500, 100), (250, 25)] {
        let (longest, rows) = stalls(5_000, row_us, stall_ms);
        let most = stall_ms + 5 + row_us / 1_000;
        assert!(longest <= most, "{row_us} us a row: {longest} ms, not {most}");
        // And it uses most of what it may, once it knows what a pass takes without prompts.
        let fewest = stall_ms * 1_000 / row_us * 3 / 4;
        assert!(rows[..rows.len() - 1].iter().all(|&rows| rows >= fewest), "{rows:?}");
    }
    // Slower than that: 32 prompt tokens go into a pass at least.
    let (_, rows) = stalls(5_000, 20_000, 100);
    assert!(rows[..rows.len() - 1].iter().all(|&rows| rows == 33), "{rows:?}");
}

/// What a constraint forces is not held up by prompts that fill the budget.
#[test]
fn forced_runs_go_before_prompts() {
    let (mut scheduler, _) = timed(5_000, 20_000, Duration::from_millis(100));
    let mut prompts = Vec::new();
    for seed in 0..3 {
        prompts.push(scheduler.submit(of_client(seed, greedy(prompt(seed, 1_500), 1))).unwrap());
    }
    let constraint = Some(Box::new(Even::new(2)) as _);
    let id = scheduler
        .submit(of_client(9, Request { constraint, ..greedy(prompt(9, 20), 40) }))
        .unwrap();
    let (passes, events) = passes_until_over(&mut scheduler, id);
    // Each choice comes with three more tokens that are forced, whatever else is computed. The
    // prompt itself is one part of 32.
    assert!(passes <= 2 + 40 / 3, "{passes} passes");
    assert_eq!(tokens(&events, id, 0).len(), 40);
    assert!(!prompts.is_empty() && scheduler.stats().running > 1, "nothing was in its way");
}

#[test]
fn a_long_prompt_alone_takes_large_passes() {
    let (mut scheduler, _) = timed(5_000, 20_000, Duration::from_millis(100));
    scheduler.submit(greedy(prompt(2, 1_200), 1)).unwrap();
    let mut rows = Vec::new();
    while !scheduler.idle() {
        let before = scheduler.stats().rows;
        scheduler.step().unwrap();
        rows.push(scheduler.stats().rows - before);
    }
    assert_eq!(rows, [512, 512, 176]);
}
