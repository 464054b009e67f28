//! A model on this machine, one slot, many processes: turns are set aside at any token, by the
//! dispatcher and at random, and say what they say alone.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use serde_json::json;

use lucid_os::{Step, Task};

use crate::fixture::{World, ann, call, text};
use crate::mind::Mind;

/// Programs that are ready together.
const PROGRAMS: usize = 16;
/// Turns that are set aside at random tokens, at least.
const PAUSES: u64 = 1000;

/// A few long thoughts among short ones.
fn length(seed: u64) -> usize {
    if seed.is_multiple_of(6) { 600 } else { 20 + (seed % 100) as usize }
}

#[test]
fn a_thought_that_is_set_aside_is_the_thought_alone() {
    let mut world = World::new("pauses").play("main", |seen| match seen.turn {
        0..4 => call("calculator", json!({"expression": "2+2"})),
        _ => text("done"),
    });
    world.window = 5000;
    let mut settings = world.settings();
    settings.slots = 1;
    let mind = Mind::give(&mut settings, length, true);
    let mut kernel = lucid_os::Kernel::open(Box::new(world.store.clone()), settings).unwrap();
    for number in 0..PROGRAMS {
        kernel.spawn(&Task::new("main", &ann(), &format!("think of {number}"))).unwrap();
    }
    assert_eq!(kernel.run().unwrap(), Step::Over);
    let (thoughts, pauses, own) =
        (mind.take_thoughts(), mind.pauses(), mind.own_pauses.load(Ordering::Relaxed));
    println!("{} thoughts, set aside {own} times at random, {pauses} times in all", thoughts.len());
    assert_eq!(thoughts.len(), PROGRAMS * 5);
    assert!(own >= PAUSES && pauses >= PAUSES, "set aside {pauses} times");
    let (mut tokens, mut different) = (0, BTreeSet::new());
    for thought in thoughts {
        tokens += thought.tokens.len();
        different.extend(thought.tokens.iter().map(|(token, _)| *token));
        assert!(thought.tokens == mind.alone(&thought.turn), "it said something else alone");
    }
    assert!(tokens > 8000 && different.len() > 50, "{tokens} tokens, {} kinds", different.len());
}
