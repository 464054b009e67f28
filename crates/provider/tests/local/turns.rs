//! Turns side by side: seeds, samples, cancelling, the queue.

use std::time::{Duration, Instant};

use lucid_provider::{Delta, LogProbs, Provider as _, ProviderError, Sampling, Stop, Waited};

use crate::fixture::{answer, answers, greedy, options, seeded, stories, text, tiny, tiny_with};

#[test]
fn the_same_seed_gives_the_same_answer() {
    let Some(local) = stories(&options()) else { return };
    let first = answer(&local, text("Once upon a time", 40, seeded(5)));
    let again = answer(&local, text("Once upon a time", 40, seeded(5)));
    assert_eq!((&first.text, &first.tokens), (&again.text, &again.tokens));
    let other = answer(&local, text("Once upon a time", 40, seeded(6)));
    assert_ne!(first.text, other.text);
    // A seed that was drawn is told, and gives the same answer again.
    let drawn = answer(&local, text("Once upon a time", 40, Sampling::default()));
    let seed = drawn.usage.seed.unwrap();
    let again = answer(&local, text("Once upon a time", 40, seeded(seed)));
    assert_eq!(drawn.text, again.text);
}

#[test]
fn samples_are_what_their_seeds_give_alone() {
    let Some(local) = stories(&options()) else { return };
    let mut turn = text("Tom and Lily", 30, seeded(u64::MAX - 1));
    turn.samples = 4;
    turn.log_probs = Some(LogProbs::default());
    let together = answers(&local, turn.clone());
    assert_eq!(together.len(), 4);
    for (index, sample) in together.iter().enumerate() {
        turn.samples = 1;
        turn.sampling.seed = Some((u64::MAX - 1).wrapping_add(index as u64));
        let alone = answer(&local, turn.clone());
        assert_eq!((&sample.text, &sample.tokens), (&alone.text, &alone.tokens), "{index}");
        assert_eq!(sample.usage.seed, alone.usage.seed);
        assert_eq!(sample.stop, alone.stop);
    }
    assert_ne!(together[0].text, together[1].text);
}

#[test]
fn what_was_computed_is_found_again() {
    let Some(local) = stories(&options()) else { return };
    let prompt = "Once upon a time there was a little girl. ".repeat(8);
    let first = answer(&local, text(&prompt, 4, greedy()));
    let again = answer(&local, text(&prompt, 4, greedy()));
    assert_eq!((first.usage.cached_tokens, &first.text), (0, &again.text));
    assert!(again.usage.cached_tokens >= 64, "{:?}", again.usage);
    let stats = local.stats();
    assert_eq!(stats.cached_tokens, again.usage.cached_tokens as u64);
    assert_eq!(stats.new_tokens, 8);
    assert!(stats.kv_blocks_known > 0 && stats.memory_bytes > 0);
    local.forget();
    assert_eq!(answer(&local, text(&prompt, 4, greedy())).usage.cached_tokens, 0);
    // Another client, or another scope, sees nothing of it.
    let mut turn = text(&prompt, 4, greedy());
    turn.client = lucid_provider::ClientId(1);
    assert_eq!(answer(&local, turn.clone()).usage.cached_tokens, 0);
    turn.scope = b"label".to_vec();
    assert_eq!(answer(&local, turn).usage.cached_tokens, 0);
}

/// An answer that goes on until it is stopped.
fn endless() -> lucid_provider::Turn {
    let mut turn = text("ab", usize::MAX, greedy());
    turn.ignore_end = true;
    turn
}

fn wait(what: &str, done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(20), "waited for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn whoever_leaves_is_not_answered_any_more() {
    let mut options = options();
    options.compute.context = Some(1 << 17);
    let local = tiny_with(|tiny| tiny, &options);
    let mut pieces = local.generate(endless()).unwrap();
    for _ in 0..3 {
        assert!(pieces.wait().unwrap().is_ok());
    }
    drop(pieces);
    wait("the engine to be idle", || {
        let stats = local.stats();
        stats.scheduler.running == 0 && stats.kv_blocks_used == 0
    });
    assert_eq!(answer(&local, text("ab", 3, greedy())).text, "cde");
}

#[test]
fn too_many_are_told_to_come_back() {
    let mut options = options();
    options.compute.context = Some(1 << 17);
    (options.sequences_max, options.queue_max) = (1, 1);
    let local = tiny_with(|tiny| tiny, &options);
    let first = local.generate(endless()).unwrap();
    let second = local.generate(endless()).unwrap();
    let error = local.generate(endless()).unwrap_err();
    assert!(matches!(error, ProviderError::Busy { retry_after } if !retry_after.is_zero()));
    // A turn that is refused for itself takes no place.
    assert!(local.generate(text("", 1, greedy())).is_err());
    drop(first);
    wait("a place", || local.stats().scheduler.waiting == 0);
    let mut third = loop {
        match local.generate(endless()) {
            Ok(third) => break third,
            Err(error) => assert!(matches!(error, ProviderError::Busy { .. })),
        }
    };
    drop(second);
    // Its turn comes: the one before it is gone.
    while !matches!(third.wait().unwrap().unwrap(), Delta::Text { .. }) {}
}

#[test]
fn an_unloaded_model_says_so() {
    let mut options = options();
    options.compute.context = Some(1 << 17);
    let local = tiny_with(|tiny| tiny, &options);
    let mut pieces = local.generate(endless()).unwrap();
    assert!(pieces.wait().unwrap().is_ok());
    drop(local);
    let last = std::iter::from_fn(|| pieces.wait()).last().unwrap();
    assert!(matches!(last, Err(ProviderError::Broken { .. })), "{last:?}");
}

#[test]
fn waiting_has_an_end() {
    let local = tiny();
    let mut pieces = local.generate(text("ab", 2, greedy())).unwrap();
    let mut said = String::new();
    loop {
        match pieces.wait_for(Duration::from_secs(10)) {
            Waited::Delta(Ok(Delta::Text { text, .. })) => said.push_str(&text),
            Waited::Delta(Ok(Delta::Finished { stop, .. })) => assert_eq!(stop, Stop::Length),
            Waited::Delta(delta) => assert!(matches!(delta, Ok(Delta::Begun { .. }))),
            Waited::Over => break,
            Waited::Nothing => panic!("nothing in ten seconds"),
        }
    }
    assert_eq!(said, "cd");
    let (_teller, mut pieces) = lucid_provider::answers();
    assert_eq!(pieces.wait_for(Duration::from_millis(5)), Waited::Nothing);
}
