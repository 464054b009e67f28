//! How processes live: calls, children, messages, timers, signals, budgets, restarts.

use serde_json::json;

use lucid_os::{
    Budget, Event, ExitReason, Kernel, OsError, Pid, ProcessState, Signal, Step, Task, Wish, fold,
};
use lucid_provider::ProviderError;

use crate::fixture::{Say, World, ann, call, result_of, text};

#[test]
fn a_process_calls_a_tool_and_says_what_came() {
    let mut world = World::new("calls").play("main", |seen| match seen.turn {
        0 => call("calculator", json!({"expression": "6*7"})),
        _ => text(format!("it is {}", seen.result())),
    });
    assert_eq!(world.run("what is 6*7?").1, "it is 42");
}

#[test]
fn several_calls_of_a_turn_come_back_in_order() {
    let mut world = World::new("several").play("main", |seen| match seen.turn {
        0 => Say::Calls(vec![
            ("calculator".to_owned(), json!({"expression": "1+1"})),
            (
                "tool_call".to_owned(),
                json!({"tool": "calculator", "arguments": {"expression": "2+2"}}),
            ),
            ("nonsense".to_owned(), json!({})),
            ("calculator".to_owned(), json!("no object")),
            ("calculator".to_owned(), json!({"expression": "1/0"})),
        ]),
        _ => text(
            seen.messages
                .iter()
                .filter(|it| it.role == "tool")
                .map(|it| it.content.clone().unwrap())
                .collect::<Vec<_>>()
                .join("|"),
        ),
    });
    let (_, result) = world.run("count");
    let parts: Vec<_> = result.split('|').collect();
    assert_eq!(parts[..2], ["2", "4"]);
    assert!(parts[2].starts_with("there is no call `nonsense`"), "{result}");
    assert_eq!(parts[3..], ["the arguments are no JSON object", "expression: it divides by zero"]);
}

#[test]
fn a_state_is_what_the_log_tells() {
    let mut world = World::new("fold").play("main", |seen| match seen.turn {
        0..8 => call("write", json!({"path": format!("{}.txt", seen.turn), "text": "x"})),
        _ => text("done"),
    });
    let (kernel, _) = world.run("write");
    let (_, state, _) = fold(Box::new(world.store.clone())).unwrap();
    assert_eq!(&state, kernel.state());
    assert_eq!(state.files["main"].len(), 8);
    // The same from snapshots.
    world.snapshot_events = 5;
    let (kernel, _) = world.run("write again");
    let (_, state, after) = fold(Box::new(world.store.clone())).unwrap();
    assert_eq!(&state, kernel.state());
    assert!(after < 20, "{after} events after the snapshot");
}

#[test]
fn a_child_gives_its_result_to_whoever_waits() {
    let mut world = World::new("children")
        .play("main", |seen| match seen.turn {
            0 => call("spawn", json!({"application": "child", "goal": "double 21"})),
            1 => call("wait", json!({"pid": seen.number_after("process")})),
            2 => call("wait", json!({})),
            _ => text(
                seen.messages
                    .iter()
                    .filter(|it| it.role == "tool")
                    .map(|it| it.content.clone().unwrap())
                    .collect::<Vec<_>>()
                    .join("|"),
            ),
        })
        .play("child", |seen| match seen.turn {
            0 => call("calculator", json!({"expression": "2*21"})),
            1 => call("exit", json!({"value": seen.result()})),
            _ => unreachable!(),
        });
    let (kernel, result) = world.run("have it doubled");
    assert_eq!(result, "process 2|42|there is no such process below this one");
    assert!(kernel.state().process(Pid(2)).is_none(), "it was reaped");
}

#[test]
fn processes_send_messages_and_wait_for_them() {
    let mut world = World::new("messages")
        .play("main", |seen| match seen.turn {
            0 => call("spawn", json!({"application": "echo", "goal": "echo"})),
            1 => call("send", json!({"pid": seen.number_after("process"), "text": "hello"})),
            2 => call("recv", json!({})),
            _ => text(seen.result()),
        })
        .play("echo", |seen| match seen.turn {
            0 => call("recv", json!({})),
            1 => call("send", json!({"pid": 1, "text": format!("<{}>", seen.result())})),
            _ => text("done"),
        });
    assert_eq!(world.run("send").1, "process 2: <process 1: hello>");
}

#[test]
fn timers_wake_and_send() {
    let mut world = World::new("timers").play("main", |seen| match seen.turn {
        0 => call("sleep", json!({"seconds": 3600})),
        1 => call("cron", json!({"seconds": 60, "text": "tick"})),
        2..5 => call("recv", json!({})),
        5 => call("clock", json!({})),
        _ => text(seen.result()),
    });
    // One hour and three minutes after the beginning of 1970.
    assert_eq!(world.run("wait").1, "Thursday, 1970-01-01 01:03:00 (UTC+00:00)");
}

#[test]
fn a_copy_goes_on_beside_its_parent() {
    let mut world = World::new("fork").play("main", |seen| match seen.turn {
        0 => Say::Calls(vec![
            ("fork".to_owned(), json!({})),
            ("calculator".to_owned(), json!({"expression": "40+2"})),
        ]),
        1 if seen.all().contains("you are the copy") => text("from the copy"),
        1 => call("wait", json!({})),
        _ => text(format!("{} and {}", seen.result(), seen.all().contains("42"))),
    });
    let (_, result) = world.run("fork");
    assert_eq!(result, "from the copy and true");
    // Both have the same beginning, so keys and values are found again.
    let turns = world.puppets.as_ref().unwrap().turns.lock().unwrap();
    let prompts: Vec<_> = turns
        .iter()
        .map(|turn| match &turn.prompt {
            lucid_provider::Prompt::Chat { messages, .. } => messages.clone(),
            _ => unreachable!(),
        })
        .collect();
    assert_eq!(prompts[1][..3], prompts[2][..3]);
    assert_ne!(prompts[1], prompts[2]);
}

#[test]
fn a_process_becomes_another_application_and_keeps_its_label() {
    let mut world = World::new("exec")
        .play("main", |seen| match seen.turn {
            0 => call("web", json!({})),
            _ => call("exec", json!({"application": "other", "goal": "go on"})),
        })
        .play("other", |seen| {
            assert!(!seen.all().contains("nothing to be seen"), "the window was emptied");
            text("other")
        });
    let (kernel, result) = world.run("become");
    assert_eq!(result, "other");
    let label = &kernel.state().process(Pid(1)).unwrap().label;
    assert!(!label.integrity().is_trusted());
}

/// Steps until the state is as it should be.
fn until(kernel: &mut Kernel, wanted: impl Fn(&Kernel) -> bool) {
    for _ in 0..1000 {
        if wanted(kernel) {
            return;
        }
        if kernel.step().unwrap() == Step::Waits {
            kernel.wait(std::time::Duration::from_millis(5)).unwrap();
        }
    }
    panic!("it did not come to that");
}

#[test]
fn signals_stop_and_end_processes_and_their_children() {
    let mut world = World::new("signals")
        .play("main", |seen| match seen.turn {
            0 => call("spawn", json!({"application": "child", "goal": "wait"})),
            _ => call("recv", json!({})),
        })
        .play("child", |_| call("recv", json!({})));
    let mut kernel = world.boot();
    let pid = kernel.spawn(&Task::new("main", &ann(), "wait")).unwrap();
    let ipc = |kernel: &Kernel, pid: u64| {
        kernel.state().process(Pid(pid)).is_some_and(|it| it.state.word() == "ipc")
    };
    until(&mut kernel, |kernel| ipc(kernel, 1) && ipc(kernel, 2));
    assert!(kernel.signal(Pid(2), Signal::Stop).unwrap());
    assert_eq!(kernel.state().process(Pid(2)).unwrap().state.word(), "stopped");
    assert!(kernel.signal(Pid(2), Signal::Cont).unwrap());
    assert!(ipc(&kernel, 2));
    // Another program asks for it.
    let wish = Wish::Signal { pid, signal: Signal::Term };
    world.store.ask(&serde_json::to_vec(&wish).unwrap());
    std::thread::sleep(std::time::Duration::from_millis(120));
    assert_eq!(kernel.run().unwrap(), Step::Over);
    let exit = kernel.state().process(pid).unwrap().exit.clone().unwrap();
    assert_eq!(exit.reason, ExitReason::Signal(Signal::Term));
    assert!(kernel.state().process(Pid(2)).is_none(), "it went with its parent");
    assert!(!kernel.signal(pid, Signal::Kill).unwrap());
    assert!(!kernel.signal(Pid(77), Signal::Kill).unwrap());
}

#[test]
fn a_process_rules_only_those_below_it() {
    let mut world = World::new("rules").play("main", |seen| match seen.turn {
        0 => Say::Calls(vec![
            ("kill".to_owned(), json!({"pid": 1})),
            ("kill".to_owned(), json!({"pid": 2})),
            ("kill".to_owned(), json!({"pid": 9})),
        ]),
        _ => text(
            seen.messages
                .iter()
                .filter(|it| it.role == "tool")
                .map(|it| it.content.clone().unwrap())
                .collect::<Vec<_>>()
                .join("|"),
        ),
    });
    let mut kernel = world.boot();
    let one = kernel.spawn(&Task::new("main", &ann(), "kill")).unwrap();
    let two = kernel.spawn(&Task::new("main", &ann(), "kill")).unwrap();
    assert_eq!(kernel.run().unwrap(), Step::Over);
    for pid in [one, two] {
        let want = "there is no process 1 below this one|there is no process 2 below this one|\
                    there is no process 9 below this one";
        assert_eq!(result_of(&kernel, pid), want);
    }
}

#[test]
fn budgets_end_processes_and_are_shared_with_children() {
    let mut world = World::new("budgets")
        .play("main", |seen| match seen.turn {
            0 => call("spawn", json!({"application": "endless", "goal": "go", "tokens": 30})),
            1 => call("wait", json!({})),
            _ => text(seen.result()),
        })
        .play("endless", |_| call("calculator", json!({"expression": "1"})));
    let mut kernel = world.boot();
    let budget = Budget { tokens: Some(100), ..Budget::default() };
    let task = Task { budget, ..Task::new("main", &ann(), "spend") };
    let pid = kernel.spawn(&task).unwrap();
    assert_eq!(kernel.run().unwrap(), Step::Over);
    // Each turn takes ten tokens.
    assert_eq!(result_of(&kernel, pid), "process 2 has ended without a result: Budget");
    let process = kernel.state().process(pid).unwrap();
    assert_eq!(process.left().tokens, Some(100 - 30 - 30));
    let task = Task { budget, ..Task::new("endless", &ann(), "spend") };
    let pid = kernel.spawn(&task).unwrap();
    kernel.run().unwrap();
    let process = kernel.state().process(pid).unwrap();
    assert_eq!((process.turns, process.left().tokens), (10, Some(0)));
}

#[test]
fn a_deadline_ends_a_process() {
    let mut world =
        World::new("deadline").play("main", |_| call("sleep", json!({"seconds": 1000})));
    let mut kernel = world.boot();
    let task = Task { deadline_ms: Some(5000), ..Task::new("main", &ann(), "sleep") };
    let pid = kernel.spawn(&task).unwrap();
    kernel.run().unwrap();
    let exit = kernel.state().process(pid).unwrap().exit.clone().unwrap();
    assert_eq!(exit.reason, ExitReason::Signal(Signal::Deadline));
}

#[test]
fn a_model_that_fails_is_asked_again_and_then_given_up() {
    let mut world = World::new("fails").play("main", |_| {
        let reason = "no route".to_owned();
        Say::Fails(ProviderError::Unreachable { provider: "puppets".to_owned(), reason })
    });
    let (_, result) = world.run("try");
    assert_eq!(result, "puppets cannot be reached: no route");
    assert_eq!(world.puppets.as_ref().unwrap().turns.lock().unwrap().len(), 4);
    let mut world = World::new("fails-at-once")
        .play("main", |_| Say::Fails(ProviderError::invalid("prompt", "too odd")));
    assert_eq!(world.run("try").1, "prompt: too odd");
    assert_eq!(world.puppets.as_ref().unwrap().turns.lock().unwrap().len(), 1);
}

#[test]
fn what_was_under_way_goes_on_after_another_start() {
    let script = |seen: &crate::fixture::Seen<'_>| match seen.turn {
        0 => call("post", json!({"to": "bob", "text": "hello"})),
        _ => text(seen.result()),
    };
    let mut world = World::new("restart").play("main", script);
    let mut kernel = world.boot();
    let pid = kernel.spawn(&Task::new("main", &ann(), "write to bob")).unwrap();
    let intended = |kernel: &Kernel| {
        let process = kernel.state().process(pid).unwrap();
        process.progress.intended.is_some()
    };
    until(&mut kernel, intended);
    // The letter may be on its way; nothing of it was heard.
    std::thread::sleep(std::time::Duration::from_millis(50));
    drop(kernel);
    let mut kernel = world.boot();
    assert_eq!(kernel.run().unwrap(), Step::Over);
    assert_eq!(result_of(&kernel, pid), "sent");
    assert_eq!(world.post.sent.lock().unwrap().len(), 1);
}

#[test]
fn files_go_back_to_what_they_were() {
    let mut world = World::new("rollback").play("main", |seen| match seen.turn {
        0 => call("write", json!({"path": "a.txt", "text": "one"})),
        1 => call("snapshot", json!({"name": "before"})),
        2 => call("write", json!({"path": "a.txt", "text": "two"})),
        3 => call("write", json!({"path": "b/c.txt", "text": "three"})),
        4 => call("rollback", json!({"name": "before"})),
        5 => Say::Calls(vec![
            ("read".to_owned(), json!({"path": "a.txt"})),
            ("read".to_owned(), json!({"path": "b/c.txt"})),
            ("read".to_owned(), json!({"path": "mine.txt"})),
            ("read".to_owned(), json!({"path": "../x"})),
        ]),
        _ => text(
            seen.messages
                .iter()
                .rev()
                .filter(|it| it.role == "tool")
                .take(4)
                .map(|it| it.content.clone().unwrap())
                .collect::<Vec<_>>()
                .join("|"),
        ),
    });
    std::fs::create_dir_all(world.home.0.join("main")).unwrap();
    std::fs::write(world.home.0.join("main/mine.txt"), "a person's").unwrap();
    let (_, result) = world.run("go back");
    let want = "`../x`: it leads out of the application's folder|a person's|\
                there is no file `b/c.txt`|one";
    assert_eq!(result, want);
}

#[test]
fn a_log_that_was_changed_is_not_run() {
    let mut world = World::new("tampered").play("main", |_| text("done"));
    world.run("say");
    world.store.tamper(lucid_os::EventNumber(4), |sealed| sealed.body.push(b' '));
    let settings = world.settings();
    let error = Kernel::open(Box::new(world.store.clone()), settings).err().unwrap();
    assert!(matches!(error, OsError::Log(_)) && error.to_string().contains("event 4"), "{error}");
}

#[test]
fn events_that_do_not_fit_are_refused() {
    let mut world = World::new("fits").play("main", |_| text("done"));
    let (kernel, _) = world.run("say");
    let mut state = kernel.state().clone();
    let unfit = [
        Event::Admitted { pid: Pid(9) },
        Event::TurnBegun { pid: Pid(1), seed: 0 },
        Event::Fired { timer: lucid_os::TimerId(1) },
    ];
    for event in unfit {
        assert!(state.apply(&event, 0).is_err(), "{event:?}");
    }
    assert_eq!(state.process(Pid(1)).unwrap().state, ProcessState::Zombie);
}

#[test]
fn an_answer_that_was_cut_off_is_no_result() {
    let mut world = World::new("cut").play("main", |_| Say::Cut("it is fo".to_owned()));
    let (kernel, result) = world.run("what is it?");
    assert_eq!(result, "it is fo");
    let exit = kernel.state().process(Pid(1)).unwrap().exit.clone().unwrap();
    assert_eq!(exit.reason, ExitReason::Cut);
}

#[test]
fn a_question_is_asked_though_a_deadline_is_set() {
    let mut world = World::new("asked").play("main", |seen| match seen.turn {
        0 => call("ask_human", json!({"question": "which?"})),
        _ => text("done"),
    });
    world.person = true;
    let mut kernel = world.boot();
    let task = Task { deadline_ms: Some(60_000), ..Task::new("main", &ann(), "ask") };
    kernel.spawn(&task).unwrap();
    assert_eq!(kernel.run().unwrap(), Step::Asks);
    assert_eq!(kernel.asked().unwrap().len(), 1);
}

#[test]
fn an_effect_that_nobody_can_tell_of_is_reported_unknown() {
    struct Panics(lucid_tools::ToolCard);
    impl lucid_tools::Tool for Panics {
        fn card(&self) -> &lucid_tools::ToolCard {
            &self.0
        }
        fn call(
            &self,
            _grant: lucid_tools::Grant,
            _arguments: &lucid_tools::Arguments,
            _setting: &lucid_tools::Setting<'_>,
        ) -> Result<lucid_tools::Outcome, lucid_tools::ToolError> {
            panic!("halfway");
        }
    }
    let mut world = World::new("panics").play("main", |seen| match seen.turn {
        0 => call("panics", json!({"to": "bob", "text": "hello"})),
        _ => text(seen.result()),
    });
    let mut card = lucid_tools::Tool::card(&*world.post).clone();
    "panics".clone_into(&mut card.policy.name);
    world.extra = vec![std::sync::Arc::new(Panics(card))];
    let (_, result) = world.run("write to bob");
    assert!(result.starts_with("this was begun, and nobody can tell"), "{result}");
}

#[test]
fn results_follow_their_calls_whatever_was_read_in_between() {
    let mut world = World::new("order").play("main", |seen| match seen.turn {
        0 => call("page_out", json!({"page": 3})),
        1 => Say::Both(
            "what does page#3 say?".to_owned(),
            vec![
                ("calculator".to_owned(), json!({"expression": "1+1"})),
                ("calculator".to_owned(), json!({"expression": "2+2"})),
            ],
        ),
        _ => text(seen.messages.iter().map(|it| it.role.clone()).collect::<Vec<_>>().join(" ")),
    });
    let mut kernel = world.boot();
    let kind = lucid_policy::SourceKind::OwnFile;
    let texts = vec![(kind, "file:first".to_owned(), "the first text".to_owned())];
    let task = Task { texts, ..Task::new("main", &ann(), "look") };
    let pid = kernel.spawn(&task).unwrap();
    kernel.run().unwrap();
    let want = "system user assistant tool assistant tool tool user";
    assert_eq!(result_of(&kernel, pid), want);
}

#[test]
fn what_was_missed_while_nobody_was_there_is_not_made_up_for() {
    let mut world = World::new("missed").play("main", |seen| match seen.turn {
        0 => call("cron", json!({"seconds": 1, "text": "tick"})),
        1 => call("ask_human", json!({"question": "and?"})),
        _ => text("done"),
    });
    world.person = true;
    let mut kernel = world.boot();
    let pid = kernel.spawn(&Task::new("main", &ann(), "wait")).unwrap();
    until(&mut kernel, |kernel| {
        kernel.state().process(pid).is_some_and(|it| it.state.word() == "human")
    });
    world.time.0.store(100_000_000, std::sync::atomic::Ordering::SeqCst);
    kernel.step().unwrap();
    kernel.step().unwrap();
    assert_eq!(kernel.state().process(pid).unwrap().mailbox.len(), 1);
}
