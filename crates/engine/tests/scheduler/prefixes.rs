//! Keys and values that are known are not computed again, and nobody learns from it what others
//! asked.

use lucid_engine::{
    ClientId, Feed, Hook, HookRows, Request, Scheduler, Scope, Site, Wanted, WantedLogProbs,
};

use crate::fixture::{
    MODEL, Model, all_blocks_return, drain, end, greedy, prompt, scheduler, serve, tokens,
};

/// Serves a request; returns its cached tokens, after checking that the others were computed.
fn cached(scheduler: &mut Scheduler, request: Request) -> usize {
    let before = scheduler.stats().rows;
    let (prompt, new) = (request.prompt.len(), request.new_tokens_max);
    let (id, events) = serve(scheduler, request);
    let (_, usage) = end(&events, id, 0);
    assert_eq!((usage.prompt_tokens, usage.new_tokens), (prompt, new));
    let computed = (scheduler.stats().rows - before) as usize;
    assert_eq!(computed, prompt - usage.cached_tokens + new - 1);
    usage.cached_tokens
}

#[test]
fn what_is_known_is_not_computed_again() {
    let mut scheduler = scheduler(512, 32);
    let scheduler = &mut scheduler;
    assert_eq!(cached(scheduler, greedy(prompt(1, 150), 3)), 0);
    assert_eq!(cached(scheduler, greedy(prompt(1, 150), 3)), 128);
    assert_eq!(cached(scheduler, greedy(prompt(1, 200), 3)), 128);
    assert_eq!(cached(scheduler, greedy(prompt(1, 200), 3)), 192);
    // Its last token is computed in any case.
    assert_eq!(cached(scheduler, greedy(prompt(1, 128), 3)), 64);
    assert_eq!(cached(scheduler, greedy(prompt(1, 129), 3)), 128);
    assert_eq!(cached(scheduler, greedy(prompt(2, 150), 3)), 0);
    // For the prompt's log-probabilities all of it is needed.
    let wanted = WantedLogProbs { alternatives: 0, prompt: true };
    assert_eq!(
        cached(scheduler, Request { log_probs: Some(wanted), ..greedy(prompt(1, 150), 3) }),
        0
    );
    all_blocks_return(scheduler);
    assert_eq!(cached(scheduler, greedy(prompt(1, 150), 3)), 0);
}

#[test]
fn a_conversation_goes_on_where_it_was() {
    let mut scheduler = scheduler(512, 32);
    let (id, events) = serve(&mut scheduler, greedy(prompt(1, 100), 95));
    let mut talk = prompt(1, 100);
    talk.extend(tokens(&events, id, 0));
    talk.extend(prompt(9, 10));
    // 195 tokens, the last one of the answer never computed.
    assert_eq!(cached(&mut scheduler, greedy(talk, 4)), 192);
}

#[test]
fn scopes_are_kept_apart() {
    let mut scheduler = scheduler(512, 32);
    let request = |client: u64, scope: &[u8]| Request {
        client: ClientId(client),
        scope: scope.to_vec(),
        ..greedy(prompt(1, 150), 3)
    };
    for (client, scope) in [(1, &b""[..]), (2, b""), (1, b"a"), (1, b"ab")] {
        assert_eq!(cached(&mut scheduler, request(client, scope)), 0, "{client} {scope:?}");
        assert_eq!(cached(&mut scheduler, request(client, scope)), 128, "{client} {scope:?}");
    }
}

#[test]
fn a_running_prompt_is_known_as_far_as_it_is_computed() {
    let mut scheduler = scheduler(512, 32);
    let first = scheduler.submit(greedy(prompt(1, 150), 50)).unwrap();
    scheduler.step().unwrap();
    let (second, events) = serve(&mut scheduler, greedy(prompt(1, 150), 50));
    assert_eq!(end(&events, second, 0).1.cached_tokens, 128);
    let said = tokens(&events, first, 0);
    assert_eq!(said[..], tokens(&events, second, 0)[1..]);
    all_blocks_return(&mut scheduler);
}

/// Of those that come together the first computes what they have in common.
#[test]
fn twins_compute_once() {
    for (second, cached, rows) in [(prompt(1, 150), 128, 22), (prompt(1, 70), 64, 6)] {
        let mut scheduler = scheduler(512, 32);
        let ids =
            [prompt(1, 150), second].map(|prompt| scheduler.submit(greedy(prompt, 5)).unwrap());
        scheduler.step().unwrap();
        assert_eq!(scheduler.stats().rows, 150);
        let events = drain(&mut scheduler);
        // A row more for each further token of the two answers.
        assert_eq!(scheduler.stats().rows, 150 + rows + 2 * 4);
        for (id, cached) in ids.into_iter().zip([0, cached]) {
            assert_eq!(end(&events, id, 0).1.cached_tokens, cached);
        }
        all_blocks_return(&mut scheduler);
    }
}

/// Who waits for a prompt that ends early computes it himself, and others wait for him.
#[test]
fn who_waited_goes_on_when_the_first_is_cancelled() {
    let mut scheduler = scheduler(512, 32);
    let [first, second, third] =
        [0; 3].map(|_| scheduler.submit(greedy(prompt(1, 150), 5)).unwrap());
    let stranger = Request { client: ClientId(7), ..greedy(prompt(1, 150), 5) };
    let stranger = scheduler.submit(stranger).unwrap();
    // Nothing is computed of the first one yet.
    scheduler.cancel(first);
    let events = drain(&mut scheduler);
    let cached = [second, third, stranger].map(|id| end(&events, id, 0).1.cached_tokens);
    assert_eq!(cached, [0, 128, 0], "nobody waits for a stranger");
    all_blocks_return(&mut scheduler);
}

/// A request for which there is no room gets in once enough of it is known.
#[test]
fn what_is_published_lets_in_who_waits() {
    let mut scheduler = scheduler(512, 6);
    for _ in 0..2 {
        scheduler.submit(greedy(prompt(1, 250), 3)).unwrap();
    }
    scheduler.step().unwrap();
    assert_eq!((scheduler.stats().running, scheduler.stats().waiting), (1, 1));
    scheduler.step().unwrap();
    assert_eq!((scheduler.stats().running, scheduler.stats().waiting), (2, 0));
    drain(&mut scheduler);
    all_blocks_return(&mut scheduler);
}

#[test]
fn a_bare_engine_adopts_what_it_published() {
    let mut engine = Model::golden(MODEL).engine(1, 256, 3);
    let (scope, text) = (Scope::new(ClientId(1), b""), prompt(1, 140));
    let first = engine.open();
    let row = |engine: &mut lucid_engine::Engine, sequence, tokens: &[u32]| {
        let feed = Feed { sequence, tokens, wanted: Wanted::Last };
        engine.forward(&[feed]).map(|logits| logits.last().to_vec())
    };
    let expected = row(&mut engine, first, &text).unwrap();
    engine.publish(first, &scope).unwrap();
    // Within a block that others have: it is copied first, for which there is no room.
    let fork = engine.fork(first).unwrap();
    engine.truncate(fork, 100).unwrap();
    assert!(row(&mut engine, fork, &[5; 3]).is_err());
    engine.close(first).unwrap();
    row(&mut engine, fork, &[5; 3]).unwrap();
    engine.close(fork).unwrap();
    // The copy took the place of what was written in `first` alone; the rest is still there.
    let second = engine.adopt(&scope, &text);
    assert_eq!(engine.tokens(second).unwrap(), &text[..128]);
    assert_eq!(row(&mut engine, second, &text[128..]).unwrap(), expected);
    // A sequence has its blocks for itself again once they are forgotten.
    engine.forget_published();
    assert_eq!(engine.tokens(second).unwrap(), text);
    engine.close(second).unwrap();
    assert!(engine.publish(second, &scope).is_err());
    assert_eq!((engine.kv_bytes(), engine.published_bytes()), (0, 0));
}

/// Adds to what every layer hands on.
fn steering() -> Hook {
    Box::new(|rows: HookRows<'_>| {
        if matches!(rows.site, Site::AfterLayer(_)) {
            rows.values.iter_mut().enumerate().for_each(|(i, value)| *value += (i % 3) as f32);
        }
    })
}

#[test]
fn what_a_hook_changed_is_found_by_nobody() {
    let request = || greedy(prompt(1, 150), 3);
    let (id, events) = serve(&mut scheduler(512, 32), request());
    let expected = tokens(&events, id, 0);
    let mut scheduler = scheduler(512, 32);
    for (steers, known) in [(false, 0), (true, 0), (false, 128), (true, 0)] {
        scheduler.engine_mut().set_hook(steers.then(steering));
        let (id, events) = serve(&mut scheduler, request());
        assert_eq!(end(&events, id, 0).1.cached_tokens, known, "steered: {steers}");
        assert_eq!(tokens(&events, id, 0) == expected, !steers);
    }
    // Nor if it was installed for a while only.
    let engine = scheduler.engine_mut();
    let (scope, text) = (Scope::new(ClientId(2), b""), prompt(2, 150));
    let sequence = engine.open();
    for (tokens, steers) in [(&text[..70], true), (&text[70..], false)] {
        engine.set_hook(steers.then(steering));
        engine.forward(&[Feed { sequence, tokens, wanted: Wanted::None }]).unwrap();
    }
    let fork = engine.fork(sequence).unwrap();
    for id in [sequence, fork] {
        engine.publish(id, &scope).unwrap();
        engine.close(id).unwrap();
    }
    let next = engine.adopt(&scope, &text);
    assert_eq!(engine.tokens(next).unwrap().len(), 0);
}
