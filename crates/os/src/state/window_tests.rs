//! What a window shows, against a second statement of it that looks at everything.

use proptest::prelude::*;

use super::*;
use crate::ids::{CallId, ContentId};
use crate::page::{CallRecord, PageKind};
use lucid_policy::Label;

fn page(id: u64, speaker: Speaker) -> Page {
    Page {
        id: PageId(id),
        kind: PageKind::Dialogue,
        speaker,
        source: String::new(),
        source_kind: None,
        content: ContentId::of(b""),
        bytes: 0,
        tokens: id % 7 + 1,
        label: Label::unlimited(),
        copy_of: None,
    }
}

/// Whether a slot is shown as a part of a range, found by looking at every other slot.
fn hidden(window: &Window, at: usize) -> bool {
    let slots = window.slots();
    let out = |at: usize| at < window.folded() && slots[at].place == Place::Out;
    let result_of = |at: usize| match slots[at].page.speaker {
        Speaker::Result { call } => Some(call),
        _ => None,
    };
    let calls_of = |at: usize| match &slots[at].page.speaker {
        Speaker::Process { calls, .. } => calls.iter().map(|call| call.id).collect(),
        _ => Vec::new(),
    };
    let own = calls_of(at);
    let caller = (0..slots.len())
        .find(|&caller| result_of(at).is_some_and(|call| calls_of(caller).contains(&call)));
    let calls = caller.map_or(own, calls_of);
    let results: Vec<usize> = (0..slots.len())
        .filter(|&at| result_of(at).is_some_and(|call| calls.contains(&call)))
        .collect();
    slots[at].page.speaker != Speaker::System
        && out(at)
        && caller.is_none_or(out)
        && results.len() == calls.len()
        && results.into_iter().all(out)
}

#[test]
fn what_stands_behind_a_change_is_computed_again() {
    let mut window = Window::default();
    for id in 1..=6 {
        window.append(page(id, Speaker::Person), 0);
    }
    let mut after = window.clone();
    assert_eq!(window.computed_again(&after), 0);
    after.send_out(3, 0);
    // Pages have one token more than their number.
    assert_eq!(window.computed_again(&after), 6 + 7);
    after.send_out(2, 0);
    after.fold(4);
    assert_eq!(window.computed_again(&after), 6 + 7);
    after.bring_in(2);
    assert_eq!(window.computed_again(&after), 6 + 7);
}

#[derive(Clone, Debug)]
enum Act {
    System,
    Person,
    Calls(usize),
    Result,
    Out(usize),
    Back(usize),
    Fold(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        1 => Just(Act::System),
        3 => Just(Act::Person),
        2 => (0..4usize).prop_map(Act::Calls),
        6 => Just(Act::Result),
        8 => any::<usize>().prop_map(Act::Out),
        2 => any::<usize>().prop_map(Act::Back),
        2 => any::<usize>().prop_map(Act::Fold),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_shown_is_what_is_not_hidden(acts in proptest::collection::vec(act(), 1..80)) {
        let mut window = Window::default();
        let (mut pages, mut calls, mut open) = (0, 0, Vec::new());
        let mut add = |window: &mut Window, speaker| {
            pages += 1;
            window.append(page(pages, speaker), 0);
        };
        for act in acts {
            let count = window.slots().len();
            match act {
                Act::System => add(&mut window, Speaker::System),
                Act::Person => add(&mut window, Speaker::Person),
                Act::Calls(many) => {
                    let first = calls + 1;
                    calls += many as u64;
                    open.extend(first..=calls);
                    let record = |id| CallRecord {
                        id: CallId(id),
                        name: String::new(),
                        arguments: ContentId::of(b""),
                    };
                    let calls = (first..=calls).map(record).collect();
                    add(&mut window, Speaker::Process { calls, reasoning: None });
                }
                Act::Result if !open.is_empty() => {
                    let call = CallId(open.remove(0));
                    add(&mut window, Speaker::Result { call });
                }
                Act::Out(at) if count > 0 => window.send_out(at % count, 0),
                Act::Back(at) if count > 0 => window.bring_in(at % count),
                Act::Fold(at) if count > 0 => {
                    window.fold(window.folded().max(at % (count + 1)));
                }
                _ => {}
            }
        }
        window.fold(window.folded());
        let shown: Vec<usize> = window.shown().map(|(at, _)| at).collect();
        let wanted: Vec<usize> =
            (0..window.slots().len()).filter(|&at| !hidden(&window, at)).collect();
        prop_assert_eq!(shown, wanted);
        let (mut seen, mut tokens) = (0, 0);
        for view in window.views() {
            let (pages, of) = match view {
                View::Slot(slot) => (1, slot.page.tokens),
                View::Range { pages, tokens, .. } => (pages, tokens),
            };
            seen += pages;
            tokens += of;
        }
        let all: u64 = window.slots().iter().map(|slot| slot.page.tokens).sum();
        prop_assert_eq!((seen, tokens), (window.slots().len(), all));
    }
}
