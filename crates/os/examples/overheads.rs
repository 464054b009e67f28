//! What the system costs beside the model: a syscall, a start, a thousand processes.
//!
//!     cargo run --release -p lucid-os --example overheads [syscalls | starts | processes]

#![expect(clippy::print_stdout, reason = "the figures")]
#![allow(clippy::unwrap_used, reason = "it fails by panicking")]

#[path = "../tests/kernel/fixture.rs"]
#[allow(dead_code, reason = "shared with the tests of the kernel")]
mod fixture;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use lucid_os::log::SqliteStore;
use lucid_os::{Event, Kernel, Pid, Step, SystemClock, Task, Told};

use fixture::{Say, World, ann, call, text};

/// Calls of a turn.
const CALLS: usize = 32;
/// Turns with calls.
const TURNS: usize = 100;

fn main() {
    let wanted = std::env::args().nth(1);
    let parts: [(&str, fn()); 3] =
        [("syscalls", syscalls), ("starts", starts), ("processes", thousand)];
    for (name, part) in parts {
        if wanted.as_deref().is_none_or(|wanted| wanted == name) {
            part();
        }
    }
}

/// Time from the end of a turn to the beginning of the next, by the call: the model's time is not
/// in it, the disk's is.
fn syscalls() {
    let calls = |name: &str, arguments: serde_json::Value| {
        Say::Calls(vec![(name.to_owned(), arguments); CALLS])
    };
    for (name, arguments) in [
        ("calculator", json!({"expression": "2+2"})),
        ("tool_list", json!({})),
        ("send", json!({"pid": 1, "text": "hello"})),
    ] {
        let mut world = World::new(&format!("overheads-{name}")).play("main", move |seen| {
            if seen.turn == TURNS { text("done") } else { calls(name, arguments.clone()) }
        });
        // The window stays small, so that rendering it, which is the model's side, stays small.
        world.window = 20_000;
        let mut settings = world.settings();
        settings.time = Arc::new(SystemClock::default());
        let store = SqliteStore::open(&world.home.0.join("log")).unwrap();
        let mut kernel = Kernel::open(Box::new(store), settings).unwrap();
        kernel.spawn(&Task::new("main", &ann(), "count")).unwrap();
        let (mut spent, mut returned) = (Duration::ZERO, 0u32);
        loop {
            let began = Instant::now();
            let step = kernel.step().unwrap();
            let took = began.elapsed();
            let told = kernel.take_told();
            let is = |of: fn(&Event) -> bool| {
                told.iter().filter(|it| matches!(it, Told::Event(event) if of(event))).count()
            };
            let back = is(|event| matches!(event, Event::Returned { .. }));
            // A step that asks the model renders the window.
            if back > 0 && is(|event| matches!(event, Event::TurnBegun { .. })) == 0 {
                spent += took;
                returned += back as u32;
            }
            match step {
                Step::Worked => {}
                Step::Waits => kernel.wait(Duration::from_millis(5)).unwrap(),
                Step::Asks | Step::Over => break,
            }
        }
        println!("{name}: {:.1} us a call, {returned} calls", micros(spent) / f64::from(returned));
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// A start with a log of 10^5 events, at the worst moment: long after the last snapshot.
fn starts() {
    let mut world = World::new("overheads-start").play("main", |_| {
        Say::Calls(vec![("calculator".to_owned(), json!({"expression": "2+2"})); CALLS])
    });
    world.window = 20_000;
    world.lean = true;
    let path = world.home.0.join("log");
    {
        let mut kernel =
            Kernel::open(Box::new(SqliteStore::open(&path).unwrap()), world.settings()).unwrap();
        kernel.spawn(&Task::new("main", &ann(), "count")).unwrap();
        while kernel.head().0.0 < 109_990 {
            match kernel.step().unwrap() {
                Step::Worked => {}
                Step::Waits => kernel.wait(Duration::from_millis(5)).unwrap(),
                Step::Asks | Step::Over => panic!("it ended early"),
            }
            kernel.take_told();
        }
        let slots = kernel.state().process(Pid(1)).unwrap().window.slots().len();
        println!("pages that its process has read: {slots}");
        kernel.close().unwrap();
    }
    let settings = world.settings();
    let began = Instant::now();
    let kernel = Kernel::open(Box::new(SqliteStore::open(&path).unwrap()), settings).unwrap();
    let took = began.elapsed();
    println!("start: {:.3} s with {} events", took.as_secs_f64(), kernel.head().0);
}

/// A thousand processes that wait for a message.
fn thousand() {
    let spawned = Arc::new(AtomicU64::new(0));
    let mut world = World::new("overheads-thousand")
        .play("main", move |_| {
            if spawned.fetch_add(1, Ordering::Relaxed) < 1000 {
                return call("spawn", json!({"application": "child", "goal": "wait for it"}));
            }
            call("recv", json!({}))
        })
        .play("child", |_| call("recv", json!({})));
    world.window = 20_000;
    world.lean = true;
    let path = world.home.0.join("log");
    let settings = world.settings();
    let mut kernel = Kernel::open(Box::new(SqliteStore::open(&path).unwrap()), settings).unwrap();
    kernel.spawn(&Task::new("main", &ann(), "spawn")).unwrap();
    let began = Instant::now();
    assert_eq!(kernel.run().unwrap(), Step::Asks);
    let took = began.elapsed();
    let count = kernel.state().processes.len();
    assert!(kernel.state().process(Pid(1000)).is_some());
    let peak = lucid_sys::peak_resident_bytes().unwrap_or_default();
    println!(
        "processes: {count} in {} MB at the peak, begun in {:.2} s",
        peak >> 20,
        took.as_secs_f64()
    );
}
