//! When the engine cannot compute: nobody's events are lost.

use lucid_engine::{EngineError, FinishReason, Scheduler, SchedulerOptions};

use crate::fixture::{Model, all_blocks_return, end, greedy, prompt, still};

#[test]
fn what_was_to_be_said_is_said_before_an_error() {
    let model = Model::packed("llama3", "trouble");
    let engine = model.engine(1, 256, 8);
    let mut scheduler = Scheduler::new(engine, SchedulerOptions::default(), still()).unwrap();
    let goes_on = scheduler.submit(greedy(prompt(1, 20), 9)).unwrap();
    let ends = scheduler.submit(greedy(prompt(2, 20), 9)).unwrap();
    scheduler.step().unwrap();
    model.touch();
    scheduler.cancel(ends);
    let events = scheduler.step().unwrap();
    assert_eq!(end(&events, ends, 0).0, FinishReason::Cancelled);
    for _ in 0..2 {
        assert_eq!(scheduler.step(), Err(EngineError::WeightsChanged));
    }
    scheduler.cancel(goes_on);
    let events = scheduler.step().unwrap();
    assert_eq!((events.len(), end(&events, goes_on, 0).1.new_tokens), (1, 1));
    all_blocks_return(&mut scheduler);
    // Nobody is left to be told.
    assert_eq!(scheduler.step(), Ok(Vec::new()));
}
