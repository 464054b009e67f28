//! Windows that are too small: pages leave and come back, and nothing is lost.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::json;

use lucid_os::{Pid, Place, Step, Task, Wish};
use lucid_policy::SourceKind;

use crate::fixture::{Seen, World, ann, call, result_of, text};

/// Numbers that look random, the same each time.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }
}

/// A table of pairs, with chains of this depth hidden in it: the value of one key is the next key.
fn table(pairs: usize, depth: usize, dice: &mut Dice) -> (String, String, String) {
    let mut name = || format!("{:08x}{:08x}", dice.next(), dice.next());
    let mut lines: Vec<String> = (0..pairs).map(|_| format!("{} = {}", name(), name())).collect();
    let chain: Vec<String> = (0..depth + 2).map(|_| name()).collect();
    for pair in chain.windows(2) {
        let at = (dice.next() as usize) % lines.len();
        lines.insert(at, format!("{} = {}", pair[0], pair[1]));
    }
    (lines.join("\n"), chain[0].clone(), chain[depth + 1].clone())
}

/// Follows the chain: looks for a key, and takes its value for the next one.
fn follow(seen: &Seen<'_>, depth: usize) -> crate::fixture::Say {
    let goal = seen.messages.iter().rev().find(|message| message.role == "user").unwrap();
    let goal = goal.content.as_deref().unwrap().rsplit("key ").next().unwrap();
    let mut key = goal.trim().to_owned();
    if seen.turn > 0 {
        let line = seen.result().lines().next().unwrap();
        line.rsplit("= ").next().unwrap().clone_into(&mut key);
    }
    if seen.turn == depth + 1 {
        return text(key);
    }
    call("search", json!({"query": format!("{key} ="), "count": 1}))
}

#[test]
fn values_that_are_keys_are_found_at_every_depth_in_a_table_of_many_windows() {
    let mut dice = Dice(7);
    for window in [2048, 4096, 8192] {
        for depth in 0..=6 {
            let mut world = World::new(&format!("nested-{window}-{depth}"))
                .play("main", move |seen| follow(seen, depth));
            world.window = window;
            let (table, first, last) = table(window / 4, depth, &mut dice);
            assert!(table.len() > 8 * window, "the table has many windows");
            let mut kernel = world.boot();
            let texts = vec![(SourceKind::OwnFile, "file:table".to_owned(), table)];
            let goal = format!("follow the table from key {first}");
            let task = Task { texts, ..Task::new("main", &ann(), &goal) };
            let pid = kernel.spawn(&task).unwrap();
            assert_eq!(kernel.run().unwrap(), Step::Over);
            assert_eq!(result_of(&kernel, pid), last, "window {window}, depth {depth}");
            fits(&world, window);
        }
    }
}

/// No prompt was larger than its window; a token is a byte here.
fn fits(world: &World, window: usize) {
    for turn in world.puppets.as_ref().unwrap().turns.lock().unwrap().iter() {
        let lucid_provider::Prompt::Chat { messages, .. } = &turn.prompt else { unreachable!() };
        let bytes: usize =
            messages.iter().filter_map(|message| message.content.as_ref()).map(String::len).sum();
        assert!(bytes <= window, "a prompt of {bytes} bytes in a window of {window}");
    }
}

#[test]
fn a_page_that_went_out_comes_back_byte_for_byte() {
    let parts: BTreeMap<usize, String> = (0..40)
        .map(|part| {
            let mut text = format!("part {part}\r\n\t\u{e4}\u{20ac}\u{1f600} ");
            (0..20).for_each(|n| write!(text, "{} ", part * 1000 + n).unwrap());
            (part, text)
        })
        .collect();
    let wanted = parts.clone();
    let mut world = World::new("back").play("main", move |seen| match seen.turn {
        0..40 => {
            call("write", json!({"path": format!("{}", seen.turn), "text": wanted[&seen.turn]}))
        }
        40..80 => call("read", json!({"path": format!("{}", seen.turn - 40)})),
        80 => call("search", json!({"query": "part 3", "count": 1})),
        81 => call("page_in", json!({"page": seen.number_after("page#")})),
        _ => text(seen.result()),
    });
    world.window = 4096;
    let mut kernel = world.boot();
    let pid = kernel.spawn(&Task::new("main", &ann(), "write and read")).unwrap();
    kernel.run().unwrap();
    let pages = kernel.pages(pid).unwrap();
    let out = pages.iter().filter(|page| page.place == Some(Place::Out)).count();
    assert!(out > 40, "{out} pages are out");
    assert_eq!(result_of(&kernel, pid), parts[&3]);
    fits(&world, 4096);
}

#[test]
fn what_is_mentioned_comes_back_and_what_is_pinned_stays() {
    let long = |n: usize| format!("text {n}: {}", "x".repeat(300));
    let mut world = World::new("pinned").play("main", move |seen| match seen.turn {
        0..30 => call("write", json!({"path": "a", "text": long(seen.turn)})),
        _ => text("done"),
    });
    world.window = 3000;
    let mut kernel = world.boot();
    let texts = vec![(SourceKind::OwnFile, "file:first".to_owned(), "the first text".to_owned())];
    let task = Task { texts, ..Task::new("main", &ann(), "write a lot") };
    let pid = kernel.spawn(&task).unwrap();
    let first = kernel.pages(pid).unwrap().into_iter().find(|page| page.source == "file:first");
    let page = first.unwrap().id;
    assert!(kernel.wish(Wish::Pin { pid, page, stays: true }).unwrap());
    kernel.run().unwrap();
    let pages = kernel.pages(pid).unwrap();
    let place = |source: &str| pages.iter().find(|page| page.source == source).unwrap().place;
    assert_eq!(place("file:first"), Some(Place::In));
    assert_eq!(place("person"), Some(Place::In));
    assert!(pages.iter().any(|page| page.place == Some(Place::Out)));
    fits(&world, 3000);
    let process = kernel.state().process(pid).unwrap();
    assert!(process.window.again > 0, "tokens that are computed again are counted");
}

#[test]
fn people_move_pages() {
    let mut world = World::new("moved").play("main", |seen| match seen.turn {
        0 => call("recv", json!({})),
        _ => text("done"),
    });
    let mut kernel = world.boot();
    let texts = vec![(SourceKind::OwnFile, "file:first".to_owned(), "the first text".to_owned())];
    let task = Task { texts, ..Task::new("main", &ann(), "wait") };
    let pid = kernel.spawn(&task).unwrap();
    assert_eq!(kernel.run().unwrap(), Step::Asks);
    let pages = kernel.pages(pid).unwrap();
    let named = |source: &str| pages.iter().find(|page| page.source == source).unwrap().id;
    let (file, goal) = (named("file:first"), named("person"));
    let to = |page, place| Wish::Move { pid, page, place };
    assert!(kernel.wish(to(file, Place::Out)).unwrap());
    assert!(!kernel.wish(to(file, Place::Out)).unwrap(), "it is out already");
    assert!(!kernel.wish(to(goal, Place::Out)).unwrap(), "a goal stays");
    assert!(kernel.wish(to(file, Place::In)).unwrap());
    assert!(!kernel.wish(Wish::Move { pid: Pid(9), page: file, place: Place::In }).unwrap());
}

#[test]
fn what_is_forgotten_is_shown_to_nobody_and_the_log_still_holds() {
    let mut world = World::new("forgets").play("main", |seen| match seen.turn {
        0 => call("recv", json!({})),
        _ => text("done"),
    });
    let mut kernel = world.boot();
    let secret = "the combination is 12-34";
    let texts = vec![(SourceKind::OwnFile, "file:secret".to_owned(), secret.to_owned())];
    let task = Task { texts, ..Task::new("main", &ann(), "wait") };
    let pid = kernel.spawn(&task).unwrap();
    kernel.run().unwrap();
    let slots = kernel.state().process(pid).unwrap().window.slots();
    let content = slots.iter().find(|slot| slot.page.source == "file:secret").unwrap().page.content;
    assert!(kernel.wish(Wish::Forget { content }).unwrap());
    assert!(!kernel.wish(Wish::Forget { content }).unwrap());
    drop(kernel);
    let kernel = world.boot();
    let pages = kernel.pages(pid).unwrap();
    let page = pages.iter().find(|page| page.source == "file:secret").unwrap();
    assert!(!page.gist.contains("12-34"), "{}", page.gist);
    assert_eq!(kernel.content(content).unwrap().text(), lucid_os::log::FORGOTTEN);
}

#[test]
fn a_task_that_leaves_no_room_is_refused() {
    let mut world = World::new("long").play("main", |_| text("done"));
    world.window = 4000;
    let mut kernel = world.boot();
    let long = "word ".repeat(500);
    let error = kernel.spawn(&Task::new("main", &ann(), &long)).unwrap_err();
    assert!(
        matches!(error, lucid_os::OsError::LongTask { tokens: 2508, room } if room < 2000),
        "{error}"
    );
    assert_eq!(kernel.state().processes.len(), 0);
}

#[test]
fn arguments_stay_as_long_as_their_results() {
    let big = "a line of the file\n".repeat(60);
    let mut world = World::new("arguments").play("main", move |seen| match seen.turn {
        at @ 0..4 => call("write", json!({"path": format!("{at}.txt"), "text": big})),
        at @ 4..8 => call("read", json!({"path": format!("{}.txt", at - 4)})),
        _ => text("done"),
    });
    world.window = 4000;
    let (_kernel, result) = world.run("read them");
    assert_eq!(result, "done");
    let (mut pairs, mut out) = (0, 0);
    for turn in world.puppets.as_ref().unwrap().turns.lock().unwrap().iter() {
        let lucid_provider::Prompt::Chat { messages, .. } = &turn.prompt else { unreachable!() };
        for message in messages {
            for call in message.tool_calls.iter().filter(|call| call.name == "read") {
                let answers = |it: &&lucid_provider::Message| {
                    it.tool_call_id.as_deref() == Some(call.id.as_str())
                };
                let text = messages.iter().find(answers).unwrap().content.clone().unwrap();
                pairs += 1;
                // Where the text of a file stands, so does its name.
                if text.contains("a line of the file\na line") {
                    assert!(call.arguments.get("path").is_some(), "{call:?}");
                } else {
                    out += 1;
                }
            }
        }
    }
    assert!(pairs > 8 && out > 0, "{pairs} calls, {out} of them out");
}
