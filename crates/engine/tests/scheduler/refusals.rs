//! What can never be computed is refused at once, by a typed error.

use lucid_engine::sampler::SamplerConfig;
use lucid_engine::{Request, Scheduler, SchedulerOptions, WantedLogProbs};

use crate::fixture::{MODEL, Model, greedy, prompt, scheduler, still};

fn check(change: impl FnOnce(&mut Request), message: &str) {
    let mut scheduler = scheduler(128, 1);
    let mut request = greedy(prompt(1, 10), 5);
    change(&mut request);
    let error = scheduler.submit(request).unwrap_err().to_string();
    assert!(error.contains(message), "{error} does not say {message}");
    assert!(scheduler.idle());
}

#[test]
fn a_request_that_cannot_be_served_is_refused() {
    check(|r| r.prompt.clear(), "prompt is empty");
    check(|r| r.prompt = vec![0; 128], "129 tokens do not fit into a context of 128");
    check(|r| r.prompt = vec![0; 64], "take at least 2 KV blocks, and there are 1");
    check(|r| r.prompt.push(131), "token 131 is out of range");
    check(|r| r.stop_tokens.push(999), "token 999 is out of range");
    check(|r| r.samples = 0, "0 samples were asked for, expected 1 to 128");
    check(|r| r.samples = 129, "129 samples");
    let wanted = WantedLogProbs { alternatives: 21, prompt: false };
    check(|r| r.log_probs = Some(wanted), "21 alternatives per token");
    check(|r| r.sampler.temperature = -1.0, "`temperature` is -1");
    let bias = SamplerConfig { logit_bias: vec![(131, 1.0)], ..SamplerConfig::greedy() };
    check(|r| r.sampler = bias, "names token 131");
}

#[test]
fn the_largest_request_is_served() {
    let mut scheduler = scheduler(128, 1);
    scheduler.submit(greedy(prompt(1, 63), 5)).unwrap();
    assert_eq!(crate::fixture::drain(&mut scheduler).len(), 2);
}

#[test]
fn an_engine_in_use_is_refused() {
    let mut engine = Model::golden(MODEL).engine(1, 128, 1);
    let sequence = engine.open();
    let made = |engine| Scheduler::new(engine, SchedulerOptions::default(), still());
    let Err(error) = made(engine) else { panic!("it was taken over") };
    assert!(error.to_string().contains("1 open sequences"), "{error}");
    let mut engine = Model::golden(MODEL).engine(1, 128, 1);
    let another = engine.open();
    assert_eq!(another, sequence);
    engine.close(another).unwrap();
    made(engine).unwrap();
}
