//! Constraints: what they allow is chosen, what they force costs no pass, and nothing is chosen
//! without them.

use lucid_engine::{
    Constraint, EngineError, Event, FinishReason, Request, TokenMask, WantedLogProbs,
};
use lucid_tensor::TokenId;

use crate::alone::{alone, copy};
use crate::fixture::{
    Even, MODEL, Model, all_blocks_return, end, greedy, prompt, scheduler, serve, tokens,
};

/// A constraint told by functions of how many tokens it has accepted.
#[derive(Clone)]
struct Toy {
    accepted: usize,
    allowed: fn(usize) -> Vec<TokenId>,
    forced: fn(usize) -> Vec<TokenId>,
    may_end: fn(usize) -> bool,
    fails: fn(usize) -> bool,
}

impl Default for Toy {
    fn default() -> Self {
        Self {
            accepted: 0,
            allowed: |_| (0..131).collect(),
            forced: |_| Vec::new(),
            may_end: |_| true,
            fails: |_| false,
        }
    }
}

impl Constraint for Toy {
    fn forced(&mut self) -> Result<Vec<TokenId>, EngineError> {
        Ok((self.forced)(self.accepted))
    }

    fn mask(&mut self, allowed: &mut TokenMask) -> Result<(), EngineError> {
        if (self.fails)(self.accepted) {
            return Err(EngineError::Constraint { reason: "too many states".to_owned() });
        }
        for token in (self.allowed)(self.accepted) {
            allowed.allow(token);
        }
        Ok(())
    }

    fn accept(&mut self, _: TokenId) -> Result<(), EngineError> {
        self.accepted += 1;
        Ok(())
    }

    fn may_end(&self) -> bool {
        (self.may_end)(self.accepted)
    }

    fn duplicate(&self) -> Box<dyn Constraint> {
        Box::new(self.clone())
    }
}

fn constrained(constraint: impl Constraint + 'static, new_tokens_max: usize) -> Request {
    Request { constraint: Some(Box::new(constraint)), ..greedy(prompt(1, 20), new_tokens_max) }
}

/// Tokens and end of a constrained answer, and the passes that it took.
fn check(request: Request) -> (Vec<TokenId>, FinishReason, u64) {
    let mut scheduler = scheduler(256, 8);
    let (id, events) = serve(&mut scheduler, request);
    let told = (tokens(&events, id, 0), end(&events, id, 0).0, scheduler.stats().passes);
    all_blocks_return(&mut scheduler);
    told
}

#[test]
fn only_what_is_allowed_is_chosen() {
    let mut scheduler = scheduler(256, 32);
    let sampler = lucid_engine::sampler::SamplerConfig::unfiltered();
    let request = Request { samples: 4, sampler, ..constrained(Even::new(10), 60) };
    let (id, events) = serve(&mut scheduler, request);
    for sample in 0..4 {
        let said = tokens(&events, id, sample);
        assert_eq!(said.len(), 60);
        assert!(said.iter().all(|token| token % 2 == 0), "{said:?}");
        let mut runs = said.windows(4).filter(|w| w[0] > 6 && w[0] % 10 == 0);
        assert!(runs.all(|run| run[1..] == [2, 4, 6]), "{said:?}");
    }
    assert_ne!(tokens(&events, id, 0), tokens(&events, id, 1));
}

#[test]
fn forced_tokens_cost_no_pass_each() {
    let toy = Toy {
        forced: |accepted| if accepted == 1 { (40..60).collect() } else { Vec::new() },
        ..Toy::default()
    };
    for log_probs in [None, Some(WantedLogProbs { alternatives: 2, prompt: false })] {
        let (said, reason, passes) = check(Request { log_probs, ..constrained(toy.clone(), 30) });
        assert_eq!((said.len(), reason), (30, FinishReason::Limit));
        assert_eq!(said[1..21], (40..60).collect::<Vec<_>>());
        // The prompt's pass settles 21 tokens; each further one settles one.
        assert_eq!(passes, 1 + 9);
    }
    // From the first token on, and to the end: there is nothing to compute but log-probabilities.
    let toy = Toy { forced: |accepted| (accepted as u32..25).collect(), ..Toy::default() };
    assert_eq!(check(constrained(toy.clone(), 25)), ((0..25).collect(), FinishReason::Limit, 0));
    let log_probs = Some(WantedLogProbs::default());
    let wanted = Request { log_probs, ..constrained(toy, 25) };
    assert_eq!(check(wanted), ((0..25).collect(), FinishReason::Limit, 1));
}

/// What comes before the first choice is computed with the prompt, once for all samples.
#[test]
fn a_forced_opening_goes_with_the_prompt() {
    let toy = Toy {
        forced: |accepted| if accepted == 0 { (40..50).collect() } else { Vec::new() },
        ..Toy::default()
    };
    for log_probs in [None, Some(WantedLogProbs { alternatives: 2, prompt: false })] {
        let sampler = lucid_engine::sampler::SamplerConfig::unfiltered();
        let request = Request { log_probs, samples: 3, sampler, ..constrained(toy.clone(), 13) };
        let (one, mut scheduler) = (copy(&request), scheduler(256, 32));
        let (id, events) = serve(&mut scheduler, request);
        assert_eq!(scheduler.stats().passes, 3);
        assert_eq!(scheduler.stats().rows, 30 + 3 * 2);
        let mut engine = Model::golden(MODEL).engine(1, 256, 8);
        let expected = alone(&mut engine, &one, 256).answers;
        for (sample, expected) in expected.iter().enumerate() {
            let told = events.iter().filter_map(|event| match event {
                Event::Token { sample: of, token, log_prob, .. } if *of == sample => {
                    Some((*token, log_prob.clone()))
                }
                _ => None,
            });
            assert_eq!(told.collect::<Vec<_>>(), expected.tokens, "sample {sample}");
            assert_eq!(end(&events, id, sample).1.new_tokens, 13);
        }
        all_blocks_return(&mut scheduler);
    }
}

#[test]
fn it_fails_closed() {
    let stuck = Toy {
        allowed: |accepted| if accepted < 3 { vec![7] } else { Vec::new() },
        may_end: |_| false,
        ..Toy::default()
    };
    let expected = FinishReason::Error(EngineError::NoTokenAllowed);
    assert_eq!(check(constrained(stuck.clone(), 9)), (vec![7; 3], expected.clone(), 4));
    // What it needs is a stop token, and it may not end.
    let request = Request { stop_tokens: vec![7], ..constrained(stuck, 9) };
    assert_eq!(check(request), (vec![], expected, 1));

    let failing = Toy { fails: |accepted| accepted == 2, ..Toy::default() };
    let (said, reason, _) = check(constrained(failing, 9));
    assert_eq!(said.len(), 2);
    let FinishReason::Error(error) = reason else { panic!("{reason:?}") };
    assert!(error.to_string().contains("too many states"), "{error}");

    // A forced token that there is none of, and one that the constraint itself refuses.
    let unknown = Toy { forced: |_| vec![131], ..Toy::default() };
    let expected = FinishReason::Error(EngineError::Token { token: 131, vocab_size: 131 });
    assert_eq!(check(constrained(unknown, 9)), (vec![], expected, 0));

    // The bias bans all that is allowed.
    let one = Toy { allowed: |_| vec![7], ..Toy::default() };
    let mut request = constrained(one, 9);
    request.sampler.logit_bias = vec![(7, f32::NEG_INFINITY)];
    let (said, reason, _) = check(request);
    assert!(said.is_empty() && matches!(reason, FinishReason::Error(_)), "{reason:?}");
}

#[test]
fn an_answer_ends_only_where_it_may() {
    // All tokens but one end it; it may not before the fifth.
    let toy = Toy { may_end: |accepted| accepted == 5, ..Toy::default() };
    let stop_tokens: Vec<TokenId> = (0..131).filter(|&token| token != 9).collect();
    let request = Request { stop_tokens, ..constrained(toy, 50) };
    let (said, reason, _) = check(request);
    assert_eq!(said, [9; 5]);
    assert!(matches!(reason, FinishReason::EndToken(_)), "{reason:?}");
    // Nothing may follow.
    let met = Toy {
        allowed: |accepted| if accepted < 3 { vec![7] } else { Vec::new() },
        ..Toy::default()
    };
    let (said, reason, _) = check(Request { stop_tokens: Vec::new(), ..constrained(met, 9) });
    assert_eq!((said, reason), (vec![7; 3], FinishReason::Constraint));
}

#[test]
fn a_forced_end_comes_after_what_is_owed() {
    let toy = Toy {
        forced: |accepted| if accepted == 2 { vec![3, 4, 5, 8, 6] } else { Vec::new() },
        may_end: |_| false,
        ..Toy::default()
    };
    for log_probs in [None, Some(WantedLogProbs::default())] {
        let mut scheduler = scheduler(256, 8);
        let request = Request { log_probs, stop_tokens: vec![8], ..constrained(toy.clone(), 50) };
        let (id, events) = serve(&mut scheduler, request);
        assert_eq!(tokens(&events, id, 0)[2..], [3, 4, 5]);
        assert!(matches!(
            events.last(),
            Some(Event::Finished { reason: FinishReason::EndToken(8), .. })
        ));
        let told = |event: &Event| match event {
            Event::Token { log_prob, .. } => log_prob.is_some() == log_probs.is_some(),
            _ => true,
        };
        assert!(events.iter().all(told), "{events:?}");
    }
}
