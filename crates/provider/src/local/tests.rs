//! What only the thread that computes can be asked.

use std::path::Path;

use lucid_checkpoint::Checkpoint;
use lucid_engine::{EngineError, TokenMask};
use lucid_sys::Bytes;

use super::worker::Task;
use super::*;

#[path = "../../../cli/tests/e2e/tiny.rs"]
#[allow(dead_code, unreachable_pub, reason = "the model of the command line's tests")]
mod tiny;

/// A constraint with a defect.
struct Defective;

impl Constraint for Defective {
    fn forced(&mut self) -> Result<Vec<TokenId>, EngineError> {
        panic!("a defect");
    }

    fn mask(&mut self, _: &mut TokenMask) -> Result<(), EngineError> {
        Ok(())
    }

    fn accept(&mut self, _: TokenId) -> Result<(), EngineError> {
        Ok(())
    }

    fn may_end(&self) -> bool {
        true
    }

    fn duplicate(&self) -> Box<dyn Constraint> {
        Box::new(Self)
    }
}

fn local() -> Local {
    let bytes = Bytes::from(tiny::Tiny::new().bytes());
    let checkpoint = Checkpoint::from_gguf_bytes(Path::new("tiny.gguf"), bytes).unwrap();
    let compute = Compute { threads: Some(1), ..Compute::default() };
    let options = LocalOptions { compute, ..LocalOptions::default() };
    let mut watch = Watch { progress: &mut |_, _| {}, warn: &mut |_| {} };
    Local::load("test", &checkpoint, &options, &mut watch).unwrap()
}

#[test]
fn what_nobody_waits_for_is_not_computed() {
    let local = local();
    let compute = |wanted| {
        let (reply, done) = std::sync::mpsc::channel();
        let request = Request { prompt: vec![97; 300], new_tokens_max: 0, ..Request::default() };
        let task = Task { request, index: 0, reply, wanted };
        local.send(Command::Compute(Box::new(task))).unwrap();
        done.recv()
    };
    let wanted = Arc::new(());
    assert!(compute(Arc::downgrade(&wanted)).is_ok_and(|outcome| outcome.result.is_ok()));
    assert!(compute(std::sync::Weak::new()).is_err());
}

#[test]
fn a_defect_of_one_turn_is_its_own() {
    let local = local();
    local.shared.enter().unwrap();
    let (teller, told) = answers();
    let constraint: Option<Box<dyn Constraint>> = Some(Box::new(Defective));
    let job = Job {
        request: Request { prompt: vec![97], constraint, ..Request::default() },
        begins: Begins::Within,
        stops: Stops::default(),
        stop_tokens: Vec::new(),
        reading: None,
        teller,
        hold: None,
    };
    local.send(Command::Answer(Box::new(job))).unwrap();
    let error = told.gather_here().unwrap_err();
    assert!(error.to_string().contains("a defect"), "{error}");
    let turn = Turn { prompt: Prompt::text("ab"), new_tokens_max: Some(1), ..Turn::default() };
    assert_eq!(local.generate(turn).unwrap().gather_here().unwrap().len(), 1);
}
