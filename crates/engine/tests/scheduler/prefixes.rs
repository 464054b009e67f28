//! Keys and values that are known are not computed again, and nobody learns from it what others
//! asked.

use lucid_engine::{ClientId, Feed, Request, Scheduler, Scope, Wanted, WantedLogProbs};

use crate::fixture::{
    MODEL, Model, all_blocks_return, end, greedy, prompt, scheduler, serve, tokens,
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

/// Two that compute the same at once keep it once.
#[test]
fn twins_end_up_sharing() {
    let mut scheduler = scheduler(512, 32);
    for _ in 0..2 {
        scheduler.submit(greedy(prompt(1, 150), 5)).unwrap();
    }
    scheduler.step().unwrap();
    // Two blocks together, and one each.
    let held = scheduler.engine().kv_bytes();
    crate::fixture::drain(&mut scheduler);
    assert_eq!(scheduler.engine().published_bytes(), held / 2);
    let mut one = Model::golden(MODEL).engine(1, 256, 1);
    let sequence = one.open();
    one.forward(&[Feed { sequence, tokens: &[1], wanted: Wanted::Last }]).unwrap();
    assert_eq!(held, 4 * one.kv_bytes());
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
