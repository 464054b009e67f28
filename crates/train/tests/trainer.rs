//! A run learns, gives the same bits with any number of threads, and goes on from a checkpoint as
//! if nothing had happened.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::rc::Rc;

use lucid_kernels::Level;
use lucid_tensor::Metadata;
use lucid_train::data::{PackOptions, Packing, TokenBytes};
use lucid_train::{
    Alone, Dial, Limits, Material, Overrides, Pace, Plan, Precision, Rule, Saved, Setup,
    StepReport, Trainer, Verdict, save,
};

use support::{Folder, shards};

const VOCABULARY: u32 = 64;

fn plan(rule: Rule, precision: Precision) -> Plan {
    let overrides = Overrides {
        rule: Some(rule),
        precision: Some(precision),
        width: Some(32),
        head_dim: Some(16),
        context_length: Some(32),
        batch_tokens: Some(16 * 32),
        steps: Some(60),
        lanes: Some(3),
        learning_rate: Some(0.01),
        ..Overrides::default()
    };
    let limits = Limits { corpus_tokens: 3000, time: None };
    let mut plan = Plan::new(Dial::Depth(2), VOCABULARY as usize, &limits, &overrides).unwrap().0;
    plan.rows_per_micro_batch = 3;
    plan.lanes = 3;
    plan
}

fn setup(threads: usize) -> Setup {
    Setup {
        threads,
        level: Level::detect(),
        material: Material::Text(shards(VOCABULARY, 0)),
        packing: PackOptions { row_tokens: 32, packing: Packing::InOrder, seed: 5, end: Some(0) },
        bytes: TokenBytes::from(vec![1; VOCABULARY as usize]),
        group: Rc::new(Alone),
    }
}

fn steps(trainer: &mut Trainer, count: usize) -> Vec<StepReport> {
    (0..count).map(|_| trainer.step().unwrap()).collect()
}

#[test]
fn a_run_learns_what_the_text_does() {
    for (rule, precision) in
        [(Rule::AdamW, Precision::F32), (Rule::Muon, Precision::F32), (Rule::Muon, Precision::Bf16)]
    {
        let mut trainer = Trainer::new(plan(rule, precision), setup(2)).unwrap();
        let before = trainer.validate(&Material::Text(shards(VOCABULARY, 100)), None).unwrap();
        let reports = steps(&mut trainer, 60);
        let after = trainer.validate(&Material::Text(shards(VOCABULARY, 100)), None).unwrap();
        assert!(reports.iter().all(|report| report.verdict == Verdict::Taken), "{rule:?}");
        // Nothing is known at first: every token is as likely.
        assert!((before.loss - f64::from(VOCABULARY).ln()).abs() < 0.1, "{}", before.loss);
        // What follows is certain from the third token on.
        assert!(after.loss < 0.7 * before.loss, "{rule:?} {precision:?}: {}", after.loss);
        assert!((after.bits_per_byte - after.loss / 2.0_f64.ln()).abs() < 1e-9);
    }
}

#[test]
fn the_pace_of_steps_is_measured() {
    let plan = plan(Rule::Muon, Precision::Bf16);
    let pace = Pace::measure(&plan, setup(2)).unwrap();
    assert!(pace.operations_per_second(&plan).is_finite(), "{pace:?}");
    let pace = Pace { step_seconds: 1.0, row_seconds: 0.5 };
    let seconds = 1.0 + 0.5 * plan.rows_per_step as f64;
    let operations = plan.network.flops_per_token() * plan.batch_tokens() as f64;
    assert!((pace.operations_per_second(&plan) * seconds / operations - 1.0).abs() < 1e-12);
}

#[test]
fn threads_change_no_bit() {
    let run = |threads| {
        let mut trainer = Trainer::new(plan(Rule::Muon, Precision::Bf16), setup(threads)).unwrap();
        let reports = steps(&mut trainer, 8);
        let text = trainer.sample(&[1, 2, 3], 8, 0.9, None);
        (reports, trainer.validate(&Material::Text(shards(VOCABULARY, 100)), None).unwrap(), text)
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(5));
}

#[test]
fn threads_that_share_a_lane_change_no_bit() {
    for precision in [Precision::F32, Precision::Bf16] {
        let run = |threads| {
            let plan = Plan { lanes: 1, ..plan(Rule::Muon, precision) };
            let mut trainer = Trainer::new(plan, setup(threads)).unwrap();
            let reports = steps(&mut trainer, 4);
            (reports, trainer.validate(&Material::Text(shards(VOCABULARY, 100)), None).unwrap())
        };
        let one = run(1);
        assert_eq!(one, run(2));
        assert_eq!(one, run(3));
    }
}

#[test]
fn a_run_goes_on_from_a_checkpoint_to_the_bit() {
    let folder = Folder::new("resume");
    let mut trainer = Trainer::new(plan(Rule::Muon, Precision::Bf16), setup(2)).unwrap();
    steps(&mut trainer, 5);
    save(&trainer, &folder.0, &Metadata::default(), 1).unwrap();
    let expected = steps(&mut trainer, 10);
    let (saved, wrong) = Saved::newest(&folder.0).unwrap();
    assert!(wrong.is_empty());
    let mut resumed = saved.unwrap().resume(setup(3)).unwrap();
    assert_eq!(resumed.steps_done(), 5);
    assert_eq!(steps(&mut resumed, 10), expected);
}

#[test]
fn a_damaged_checkpoint_is_told_and_the_one_before_is_taken() {
    let folder = Folder::new("damage");
    let mut trainer = Trainer::new(plan(Rule::AdamW, Precision::F32), setup(1)).unwrap();
    for _ in 0..3 {
        steps(&mut trainer, 1);
        save(&trainer, &folder.0, &Metadata::default(), 1).unwrap();
    }
    assert!(!folder.0.join("step-00000001").exists(), "only the newest and one before are kept");
    // One that was never finished is nothing.
    std::fs::create_dir(folder.0.join("step-00000009")).unwrap();
    let file = folder.0.join("step-00000003/optimiser.gguf");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let (saved, wrong) = Saved::newest(&folder.0).unwrap();
    assert_eq!(saved.unwrap().step(), 2);
    assert_eq!(wrong.len(), 1);
    assert!(wrong[0].to_string().contains("content"), "{}", wrong[0]);
    bytes.truncate(middle);
    std::fs::write(&file, &bytes).unwrap();
    let error = Saved::open(file.parent().unwrap()).unwrap_err();
    assert!(error.to_string().contains("bytes"), "{error}");
}

#[test]
fn what_was_never_finished_goes_and_is_not_counted() {
    let folder = Folder::new("half");
    let mut trainer = Trainer::new(plan(Rule::AdamW, Precision::F32), setup(1)).unwrap();
    steps(&mut trainer, 1);
    save(&trainer, &folder.0, &Metadata::default(), 1).unwrap();
    std::fs::create_dir(folder.0.join("step-00000002")).unwrap();
    std::fs::write(folder.0.join("step-00000002/model.gguf"), b"half").unwrap();
    steps(&mut trainer, 2);
    save(&trainer, &folder.0, &Metadata::default(), 1).unwrap();
    let left = |step: &str| folder.0.join(step).exists();
    assert!(left("step-00000001") && !left("step-00000002") && left("step-00000003"));
}

#[test]
fn a_run_that_goes_back_has_its_weights_and_its_own_place() {
    let folder = Folder::new("back");
    let mut trainer = Trainer::new(plan(Rule::Muon, Precision::F32), setup(2)).unwrap();
    steps(&mut trainer, 4);
    let saved = save(&trainer, &folder.0, &Metadata::default(), 1).unwrap();
    let then = trainer.validate(&Material::Text(shards(VOCABULARY, 100)), None).unwrap();
    steps(&mut trainer, 6);
    let position = trainer.position();
    assert_ne!(trainer.validate(&Material::Text(shards(VOCABULARY, 100)), None).unwrap(), then);
    saved.roll_back(&mut trainer).unwrap();
    assert_eq!(trainer.validate(&Material::Text(shards(VOCABULARY, 100)), None).unwrap(), then);
    assert_eq!(trainer.position(), position);
    assert_eq!(trainer.steps_done(), 10);
    steps(&mut trainer, 1);
}
