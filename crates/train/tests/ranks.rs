//! Several ranks make the same model as one, to the bit, and go on from each other's checkpoints.
//! They are threads here, over a group that this file makes of memory and barriers; the same runs
//! over MPI are in the tests of the command, with the feature `mpi`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use lucid_kernels::Level;
use lucid_tensor::Metadata;
use lucid_train::data::{PackOptions, Packing, TokenBytes};
use lucid_train::{
    Alone, Cadence, Dial, Ended, Group, Limits, Material, Overrides, Plan, Precision, Rule, Run,
    Saved, Setup, StepReport, Surroundings, Trainer, Validation, Wish, save,
};

use support::{Folder, shards};

const VOCABULARY: u32 = 1100;

/// What threads pass on to each other: a list of bytes of each rank for all, and one of each for
/// rank 0.
struct Table {
    barrier: Barrier,
    said: Mutex<Vec<Vec<u8>>>,
}

struct Thread {
    rank: usize,
    ranks: usize,
    table: Arc<Table>,
}

impl Thread {
    /// What each rank says, on all.
    fn all(&self, own: Vec<u8>) -> Vec<Vec<u8>> {
        self.table.said.lock().unwrap()[self.rank] = own;
        self.table.barrier.wait();
        let all = self.table.said.lock().unwrap()[..self.ranks].to_vec();
        self.table.barrier.wait();
        all
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

impl Group for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.ranks
    }

    fn name(&self) -> String {
        format!("thread {}", self.rank)
    }

    fn merge(&self, numbers: &mut [f64]) {
        let own = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let all = self.all(own);
        for (at, number) in numbers.iter_mut().enumerate() {
            let of = |said: &Vec<u8>| f64::from_le_bytes(said[8 * at..][..8].try_into().unwrap());
            assert!(all.iter().filter(|said| of(said) != 0.0).count() <= 1, "one rank's each");
            // From the last to the first: the order must not matter.
            *number = all.iter().rev().map(of).sum();
        }
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) {
        *bytes = self.all(bytes.clone()).swap_remove(0);
    }

    fn exchange(&self, outgoing: &[f32], to: &[usize], incoming: &mut [f32], from: &[usize]) {
        assert_eq!(to.iter().sum::<usize>(), outgoing.len());
        let mut own: Vec<u8> = to.iter().flat_map(|&count| (count as u64).to_le_bytes()).collect();
        own.extend(bytes(outgoing));
        let all = self.all(own);
        let mut received = Vec::new();
        for (said, &count) in all.iter().zip(from) {
            let (counts, values) = said.split_at(8 * self.ranks);
            let counts: Vec<usize> = counts
                .chunks(8)
                .map(|eight| u64::from_le_bytes(eight.try_into().unwrap()) as usize)
                .collect();
            assert_eq!(counts[self.rank], count);
            let before: usize = counts[..self.rank].iter().sum();
            received.extend_from_slice(&floats(values)[before..][..count]);
        }
        incoming.copy_from_slice(&received);
    }

    fn gather(&self, own: &[f32], counts: &[usize], all: &mut [f32]) {
        assert_eq!(counts[self.rank], own.len());
        all.copy_from_slice(&floats(&self.all(bytes(own)).concat()));
    }

    fn hand_over(&self, from: usize, values: &mut [f32]) {
        // Only two of them take part: a barrier of all would wait for ever.
        if self.rank == from {
            loop {
                let mut said = self.table.said.lock().unwrap();
                if said[self.ranks + from].is_empty() {
                    said[self.ranks + from] = bytes(values);
                    return;
                }
                drop(said);
                std::thread::yield_now();
            }
        }
        if self.rank > 0 {
            return;
        }
        loop {
            let mut said = self.table.said.lock().unwrap();
            if !said[self.ranks + from].is_empty() {
                values.copy_from_slice(&floats(&std::mem::take(&mut said[self.ranks + from])));
                return;
            }
            drop(said);
            std::thread::yield_now();
        }
    }

    fn abort(&self) -> ! {
        std::process::abort()
    }
}

/// Does the same on so many ranks at once; what each comes to.
fn on<T: Send>(ranks: usize, work: impl Fn(Rc<dyn Group>) -> T + Sync) -> Vec<T> {
    if ranks == 1 {
        return vec![work(Rc::new(Alone))];
    }
    let said = Mutex::new(vec![Vec::new(); 2 * ranks]);
    let table = Arc::new(Table { barrier: Barrier::new(ranks), said });
    std::thread::scope(|scope| {
        let start = |rank| {
            let (table, work) = (Arc::clone(&table), &work);
            scope.spawn(move || {
                // Whoever fails would leave the others waiting.
                let group = Thread { rank, ranks, table };
                let ended = std::panic::AssertUnwindSafe(|| work(Rc::new(group)));
                std::panic::catch_unwind(ended).unwrap_or_else(|_| std::process::abort())
            })
        };
        let threads: Vec<_> = (0..ranks).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Embeddings of more than one part, so that AdamW's are cut.
fn plan(rule: Rule, lanes: usize) -> Plan {
    let overrides = Overrides {
        rule: Some(rule),
        precision: Some(Precision::Bf16),
        width: Some(32),
        head_dim: Some(16),
        context_length: Some(32),
        batch_tokens: Some(16 * 32),
        steps: Some(60),
        lanes: Some(lanes),
        learning_rate: Some(0.01),
        ..Overrides::default()
    };
    let limits = Limits { corpus_tokens: 3000, time: None };
    let mut plan = Plan::new(Dial::Depth(2), VOCABULARY as usize, &limits, &overrides).unwrap().0;
    plan.rows_per_micro_batch = 1;
    plan.lanes = lanes;
    plan
}

fn setup(threads: usize, group: Rc<dyn Group>) -> Setup {
    Setup {
        threads,
        level: Level::detect(),
        material: Material::Text(shards(VOCABULARY, 0)),
        packing: PackOptions { row_tokens: 32, packing: Packing::InOrder, seed: 5, end: Some(0) },
        bytes: TokenBytes::from(vec![1; VOCABULARY as usize]),
        group,
    }
}

type Outcome = (Vec<StepReport>, Validation, Vec<Vec<f32>>);

fn go_on(trainer: &mut Trainer, steps: usize) -> Outcome {
    let reports = (0..steps).map(|_| trainer.step().unwrap()).collect();
    let validation = trainer.validate(&Material::Text(shards(VOCABULARY, 100)), None).unwrap();
    let parameters = trainer.parameters();
    let weights = parameters.ids().map(|id| parameters.values(id).to_vec()).collect();
    drop(parameters);
    (reports, validation, weights)
}

fn check(rule: Rule, lanes: usize, ranks: usize) {
    let run = |group| go_on(&mut Trainer::new(plan(rule, lanes), setup(2, group)).unwrap(), 5);
    let alone = on(1, run);
    for (rank, outcome) in on(ranks, run).iter().enumerate() {
        assert!(*outcome == alone[0], "{rule:?}, {lanes} lanes: rank {rank} of {ranks}");
    }
}

#[test]
fn ranks_change_no_bit() {
    check(Rule::Muon, 8, 2);
    check(Rule::Muon, 8, 4);
    check(Rule::Muon, 5, 3);
    check(Rule::AdamW, 6, 2);
    check(Rule::AdamW, 3, 3);
}

#[test]
fn a_run_goes_on_with_another_number_of_ranks_to_the_bit() {
    let expected = on(1, |group| {
        let mut trainer = Trainer::new(plan(Rule::Muon, 8), setup(2, group)).unwrap();
        go_on(&mut trainer, 3);
        go_on(&mut trainer, 4)
    });
    for (before, after) in [(4, 1), (3, 2), (1, 4)] {
        let folder = Folder::new(&format!("{before}-{after}"));
        let path: &Path = &folder.0;
        on(before, |group| {
            let mut trainer = Trainer::new(plan(Rule::Muon, 8), setup(1, group)).unwrap();
            go_on(&mut trainer, 3);
            save(&trainer, path, &Metadata::default(), 1).unwrap();
        });
        let outcomes = on(after, |group| {
            let saved = Saved::newest(path).unwrap().0.unwrap();
            go_on(&mut saved.resume(setup(1, group)).unwrap(), 4)
        });
        for outcome in outcomes {
            assert!(outcome == expected[0], "{before} ranks, then {after}");
        }
    }
}

#[test]
fn one_rank_that_is_told_to_stop_stops_all_at_the_same_step() {
    let folder = Folder::new("stop");
    let ended = on(3, |group| {
        let rank = group.rank();
        let trainer = Trainer::new(plan(Rule::Muon, 4), setup(1, group)).unwrap();
        let around = Surroundings {
            folder: folder.0.clone(),
            vocabulary: Metadata::default(),
            held_out: Material::Text(shards(VOCABULARY, 100)),
            prompt: vec![1, 2, 3],
            end: None,
            decode: Box::new(|tokens| format!("{tokens:?}")),
        };
        let cadence = Cadence {
            validate_every: 4,
            sample_every: 5,
            save_every: Duration::from_millis(1),
            kept: 1,
            time: Some(Duration::from_secs(60)),
            steps_max: 1_000_000,
        };
        let mut run = Run::new(trainer, None, around, cadence).unwrap();
        let mut seen = 0;
        let ended = run.go(&mut |event| {
            seen += u32::from(matches!(event, lucid_train::record::Event::Step { .. }));
            if rank == 2 && seen == 6 { Wish::Stop } else { Wish::GoOn }
        });
        match ended.unwrap() {
            Ended::Stopped { saved } => (saved.step(), run.trainer().plan().clone()),
            Ended::Finished { .. } => panic!("nobody stopped it"),
        }
    });
    assert_eq!(ended[0].0, 6);
    assert!(ended.iter().all(|one| *one == ended[0]), "all know the same horizon and checkpoint");
}

#[test]
fn more_ranks_than_lanes_are_refused() {
    let errors = on(3, |group| match Trainer::new(plan(Rule::Muon, 2), setup(1, group)) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("a rank without a lane"),
    });
    assert!(errors[1].contains("3 ranks") && errors[1].contains("2 ranks"), "{}", errors[1]);
}
