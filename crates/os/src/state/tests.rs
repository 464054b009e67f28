//! How single events change the state.

use lucid_policy::{Integrity, Label, Limits, Party, Readers, SourceName};

use super::*;
use crate::event::{Birth, Budget, Event, Exit, ExitReason, On, Signal, Used};
use crate::ids::ContentId;
use crate::page::{CallRecord, Page, PageKind, Speaker};

fn birth(pid: u64, parent: Option<u64>, budget: Budget) -> Event {
    Event::Spawned(Birth {
        pid: Pid(pid),
        parent: parent.map(Pid),
        application: "main".to_owned(),
        principal: Party::new("ann"),
        provider: "it".to_owned(),
        capabilities: Vec::new(),
        budget,
        priority: 0,
        deadline_ms: None,
        form: None,
        label: Label::unlimited(),
    })
}

fn page(id: u64, speaker: Speaker) -> Page {
    Page {
        id: PageId(id),
        kind: PageKind::Dialogue,
        speaker,
        source: "it".to_owned(),
        source_kind: None,
        content: ContentId::of(b""),
        bytes: 0,
        tokens: 10,
        label: Label::unlimited(),
        copy_of: None,
    }
}

fn untrusted() -> Label {
    let limits = Limits { integrity: Integrity::Untrusted, readers: Readers::Anyone };
    Label::of(SourceName::new("web:example.org"), limits)
}

fn after(events: &[Event]) -> Result<State, FoldError> {
    let mut state = State::default();
    events.iter().try_for_each(|event| state.apply(event, 0))?;
    Ok(state)
}

fn tokens(tokens: u64) -> Budget {
    Budget { tokens: Some(tokens), ..Budget::default() }
}

fn spoke(pid: u64, id: u64, calls: &[u64], spent: u64) -> Event {
    let calls = calls.iter().map(|&call| CallRecord {
        id: CallId(call),
        name: "it".to_owned(),
        arguments: ContentId::of(b""),
    });
    let speaker = Speaker::Process { calls: calls.collect(), reasoning: None };
    let used = Used { tokens: spent, ..Used::default() };
    Event::Spoke { pid: Pid(pid), page: page(id, speaker), used }
}

fn begun(pid: u64) -> Event {
    Event::TurnBegun { pid: Pid(pid), seed: 1 }
}

fn admitted(pid: u64) -> Event {
    Event::Admitted { pid: Pid(pid) }
}

#[test]
fn numbers_are_never_used_again() {
    let exit = Exit { reason: ExitReason::Done, value: None };
    let events = [
        birth(1, None, tokens(5)),
        Event::Exited { pid: Pid(1), exit },
        Event::Reaped { pid: Pid(1) },
    ];
    let mut state = after(&events).unwrap();
    assert_eq!(state.next_pid(), Pid(2));
    let again = state.apply(&birth(1, None, tokens(5)), 0);
    assert_eq!(again, Err(FoldError::Twice { what: "process", number: 1 }));
}

#[test]
fn a_label_keeps_what_was_ever_read() {
    let read = Page { label: untrusted(), ..page(1, Speaker::Person) };
    let events = [
        birth(1, None, Budget::default()),
        Event::Appended { pid: Pid(1), page: read },
        admitted(1),
        Event::Paged {
            pid: Pid(1),
            out: vec![PageId(1)],
            back: Vec::new(),
            again: 3,
            working_set: 2,
            folded: 0,
        },
        Event::Replaced { pid: Pid(1), application: "other".to_owned(), pages: Vec::new() },
        Event::Forked { pid: Pid(2), parent: Pid(1), budget: Budget::default() },
    ];
    let state = after(&events).unwrap();
    for pid in [1, 2] {
        assert_eq!(state.process(Pid(pid)).unwrap().label, untrusted());
    }
    assert!(state.process(Pid(1)).unwrap().window.slots().is_empty());
}

#[test]
fn what_is_held_is_not_read() {
    let held = Page { label: untrusted(), ..page(1, Speaker::Person) };
    let events = [birth(1, None, Budget::default()), Event::Handed { pid: Pid(1), page: held }];
    let state = after(&events).unwrap();
    let process = state.process(Pid(1)).unwrap();
    assert_eq!(process.label, Label::unlimited());
    assert!(process.window.held.contains_key(&PageId(1)));
    assert_eq!(state.next_page(Pid(1), 0), PageId(2));
}

#[test]
fn what_children_do_not_spend_comes_back() {
    let left = |state: &State| state.process(Pid(1)).unwrap().left().tokens;
    let mut state = after(&[
        birth(1, None, tokens(100)),
        admitted(1),
        birth(2, Some(1), tokens(40)),
        admitted(2),
        begun(2),
        spoke(2, 1, &[], 15),
    ])
    .unwrap();
    assert_eq!(left(&state), Some(60));
    let exit = Exit { reason: ExitReason::Done, value: None };
    state.apply(&Event::Exited { pid: Pid(2), exit }, 0).unwrap();
    state.apply(&Event::Reaped { pid: Pid(2) }, 0).unwrap();
    assert_eq!(left(&state), Some(85));
}

#[test]
fn a_start_takes_up_what_was_under_way() {
    let mut state = after(&[
        birth(1, None, Budget::default()),
        admitted(1),
        begun(1),
        birth(2, None, Budget::default()),
        admitted(2),
        begun(2),
        spoke(2, 1, &[1], 1),
        Event::Blocked { pid: Pid(2), on: On::Tool },
        birth(3, None, Budget::default()),
        admitted(3),
        begun(3),
        spoke(3, 2, &[2], 1),
        Event::Blocked { pid: Pid(3), on: On::Message },
    ])
    .unwrap();
    state.apply(&Event::Booted { version: String::new() }, 0).unwrap();
    let words = [1, 2, 3].map(|pid| state.process(Pid(pid)).unwrap().state.word());
    assert_eq!(words, ["ready", "ready", "ipc"]);
}

#[test]
fn one_that_stands_still_goes_on_as_it_was() {
    let mut state = after(&[birth(1, None, Budget::default()), admitted(1), begun(1)]).unwrap();
    let told = |signal| Event::Signalled { pid: Pid(1), signal };
    let word = |state: &State| state.process(Pid(1)).unwrap().state.word();
    state.apply(&told(Signal::Stop), 0).unwrap();
    state.apply(&told(Signal::Stop), 0).unwrap();
    assert_eq!(word(&state), "stopped");
    assert!(state.apply(&begun(1), 0).is_err());
    state.apply(&told(Signal::Cont), 0).unwrap();
    assert_eq!(word(&state), "ready", "its turn was broken off");
    state.apply(&told(Signal::Cont), 0).unwrap();
    assert_eq!(word(&state), "ready");
}

#[test]
fn a_page_that_is_missed_soon_is_a_fault() {
    let paged = |out: &[u64], back: &[u64]| Event::Paged {
        pid: Pid(1),
        out: out.iter().copied().map(PageId).collect(),
        back: back.iter().copied().map(PageId).collect(),
        again: 0,
        working_set: 2,
        folded: 0,
    };
    let mut events = vec![
        birth(1, None, Budget::default()),
        Event::Appended { pid: Pid(1), page: page(1, Speaker::Person) },
        admitted(1),
        paged(&[1], &[]),
        paged(&[], &[1]),
    ];
    let state = after(&events).unwrap();
    assert_eq!(state.process(Pid(1)).unwrap().window.faults, [0]);
    let again = Page { copy_of: Some(PageId(1)), ..page(2, Speaker::Person) };
    events.push(Event::Appended { pid: Pid(1), page: again });
    let state = after(&events).unwrap();
    let window = &state.process(Pid(1)).unwrap().window;
    assert_eq!(window.faults, [0, 0]);
    assert_eq!(window.slots()[0].touches, 2);
    let unknown = after(&[birth(1, None, Budget::default()), paged(&[7], &[])]);
    assert_eq!(unknown.err(), Some(FoldError::NoPage { pid: Pid(1), page: PageId(7) }));
}
