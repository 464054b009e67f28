//! `mpirun -n 2 lucid pretrain`: the same model as without it, a lost rank, and going on alone.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Home, Run};

/// A corpus of some hundred short documents.
fn corpus(home: &Home) {
    home.write("texts/all.jsonl", crate::runs::documents(300).as_bytes());
}

/// A small run over it.
fn args<'a>(output: &'a str, steps: &'a str) -> Vec<&'a str> {
    let mut args = vec!["pretrain", "texts", "-o", output, "--steps", steps, "--precision", "f32"];
    args.extend(["--depth", "1", "--vocab-size", "300", "--batch-tokens", "2048", "--lanes", "4"]);
    args.extend(["--threads", "1", "--held-out", "0.1", "--save-every", "1s"]);
    args
}

/// The same command on so many ranks, as OpenMPI's launcher and MPICH's both take it.
fn on_ranks(ranks: &str, alone: &Command) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["-n", ranks]).arg(alone.get_program()).args(alone.get_args());
    command.env_clear();
    let set = alone.get_envs().filter_map(|(name, value)| Some((name, value?)));
    command.envs(set).current_dir(alone.get_current_dir().unwrap());
    // More ranks than cores, and the super-user of a container: OpenMPI wants to be told.
    command
        .env("OMPI_MCA_rmaps_base_oversubscribe", "1")
        .env("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe");
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn there_is_a_launcher() -> bool {
    let found = Command::new("mpirun").arg("--version").output().is_ok();
    if !found {
        println!("skipped: no mpirun");
    }
    found
}

/// Step, loss and norm of each step, and of each look at held-out text.
fn numbers(home: &Home, output: &str) -> Vec<(String, u64, f64, Value)> {
    let text = std::fs::read_to_string(home.path(output).join("events.jsonl")).unwrap();
    let event = |line: &str| {
        let event: Value = serde_json::from_str(line).unwrap();
        let name = event["event"].as_str().unwrap().to_owned();
        let loss = event["loss"].as_f64()?;
        Some((name, event["step"].as_u64().unwrap(), loss, event["norm"].clone()))
    };
    text.lines().filter_map(event).collect()
}

fn same(home: &Home, one: &str, other: &str) {
    let (one, other) = (numbers(home, one), numbers(home, other));
    assert!(one.len() > 10 && one == other, "{one:?}\n{other:?}");
}

fn ended(child: Child) -> Run {
    child.wait_with_output().unwrap().into()
}

#[test]
fn several_ranks_make_the_same_model() {
    if !there_is_a_launcher() {
        return;
    }
    let home = Home::new();
    corpus(&home);
    home.ok(&args("alone", "20"));
    for (ranks, output) in [("2", "two"), ("3", "three")] {
        let run = ended(on_ranks(ranks, &home.command(&args(output, "20"))).spawn().unwrap());
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(run.err.contains(&format!("{ranks} ranks on ")), "{run:?}");
        assert_eq!(run.err.matches("wrote").count(), 1, "one of them speaks: {run:?}");
        same(&home, "alone", output);
        let model = |output: &str| std::fs::read(home.path(output).join("model.gguf")).unwrap();
        assert!(model("alone") == model(output), "{ranks} ranks");
    }
    let run = ended(on_ranks("5", &home.command(&args("five", "20"))).spawn().unwrap());
    assert_ne!(run.code, Some(0));
    assert_eq!(run.err.matches("5 ranks, but the run has 4 lanes").count(), 1, "{run:?}");
}

#[test]
fn a_lost_rank_ends_the_run_by_name_and_one_rank_goes_on() {
    if !there_is_a_launcher() {
        return;
    }
    let home = Home::new();
    corpus(&home);
    let steps = "300";
    let mut command = on_ranks("2", &home.command(&args("lost", steps)));
    let child = command.spawn().unwrap();
    let from = Instant::now();
    let checkpoints = home.path("lost/checkpoints");
    let saved = |folder: &Path| {
        let entries = std::fs::read_dir(folder).ok()?;
        entries.flatten().find(|entry| entry.path().join("checkpoint.json").exists())
    };
    while saved(&checkpoints).is_none() {
        assert!(from.elapsed() < Duration::from_secs(120), "no checkpoint");
        std::thread::sleep(Duration::from_millis(10));
    }
    let lost = rank_1(child.id());
    assert!(Command::new("kill").args(["-9", &lost.to_string()]).status().unwrap().success());
    let run = ended(child);
    assert_ne!(run.code, Some(0), "{run:?}");
    // OpenMPI names the rank, MPICH the process, which was told to be rank 1.
    let told = format!("1 (process {lost})");
    let named = ["process rank 1".to_owned(), format!("PID {lost}")];
    assert!(run.err.contains(&told), "{run:?}");
    assert!(named.iter().any(|name| run.err.contains(name)), "{run:?}");
    home.ok(&["pretrain", "--resume", "-o", "lost", "--threads", "1"]);
    home.ok(&args("whole", steps));
    same(&home, "whole", "lost");
}

/// The process that is rank 1 among those that a launcher started.
fn rank_1(launcher: u32) -> u32 {
    let is = |process: u32| {
        let environment = std::fs::read(format!("/proc/{process}/environ")).ok()?;
        let mut set = environment.split(|&byte| byte == 0);
        let rank = set.any(|one| [&b"OMPI_COMM_WORLD_RANK=1"[..], b"PMI_RANK=1"].contains(&one));
        // MPICH's launcher has a proxy between.
        let parent = parent(process)?;
        let ours = parent == launcher || self::parent(parent) == Some(launcher);
        (rank && ours).then_some(process)
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.find_map(is).expect("rank 1 runs")
}

fn parent(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
