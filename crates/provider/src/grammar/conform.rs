//! A grammar at work on one answer: what may come next, after free text where that comes first.
//!
//! Invariant: it fails closed. After an error, whatever it was, no token is allowed any more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use llguidance::Matcher;

use lucid_engine::{Constraint, EngineError, TokenMask};
use lucid_tokenizer::TokenId;

use super::vocabulary::{Vocabulary, end_of_grammar};
use super::watch::{Mark, Watch};

/// A compiled grammar, at its beginning.
pub(super) type Compiled = Arc<Matcher>;

/// What an answer consists of.
pub(super) struct Plan {
    pub(super) vocabulary: Arc<Vocabulary>,
    /// Where reasoning ends, if it may come first.
    pub(super) reasoning: Option<Reasoning>,
    pub(super) body: Body,
}

/// Reasoning before the answer.
pub(super) struct Reasoning {
    /// The prompt has begun it; otherwise this token may.
    pub(super) opener: Option<TokenId>,
    /// What ends it.
    pub(super) closer: Vec<Mark>,
}

/// The answer after the reasoning.
pub(super) enum Body {
    /// Ruled from its first token to its last.
    Ruled(Compiled),
    /// Free, but for calls of tools.
    Free {
        /// What opens a call.
        openers: Vec<Mark>,
        /// What follows each opener.
        calls: Vec<Compiled>,
        /// Whether more may follow a call.
        goes_on: GoesOn,
    },
}

/// Whether more may follow a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GoesOn {
    Yes,
    No,
}

/// The part of the plan that an answer is in.
enum State {
    /// Before the first token, which may open a reasoning.
    Beginning(Box<Matcher>),
    Reasoning(Watch),
    Ruled(Box<Matcher>),
    Free(Watch),
    /// Nothing may follow.
    Over,
}

/// The constraint of one answer.
pub(super) struct Conform {
    plan: Arc<Plan>,
    state: State,
    may_end: bool,
    failed: Option<EngineError>,
}

impl Conform {
    pub(super) fn new(plan: Arc<Plan>) -> Result<Self, EngineError> {
        let mut conform = Self { plan, state: State::Over, may_end: false, failed: None };
        let plan = Arc::clone(&conform.plan);
        conform.state = match (&plan.reasoning, plan.body.begin()) {
            (Some(Reasoning { opener: None, .. }), _) => State::Reasoning(Watch::default()),
            (Some(_), State::Ruled(matcher)) => State::Beginning(matcher),
            (_, state) => state,
        };
        conform.look()?;
        Ok(conform)
    }

    /// What has to be known of the state without changing it.
    fn look(&mut self) -> Result<(), EngineError> {
        self.may_end = match &mut self.state {
            State::Reasoning(_) => false,
            State::Free(_) | State::Over => true,
            State::Beginning(matcher) | State::Ruled(matcher) => {
                matcher.is_stopped() && matcher.stop_reason().is_ok()
                    || matcher.is_accepting().map_err(broken)?
            }
        };
        // A call that is complete gives way to what may follow it.
        if let (State::Ruled(matcher), Body::Free { goes_on, .. }) = (&self.state, &self.plan.body)
            && matcher.is_stopped()
        {
            self.state = match goes_on {
                GoesOn::Yes => State::Free(Watch::default()),
                GoesOn::No => State::Over,
            };
        }
        Ok(())
    }

    fn step(&mut self, token: TokenId) -> Result<(), EngineError> {
        let plan = Arc::clone(&self.plan);
        let vocabulary = &plan.vocabulary;
        let next = match &mut self.state {
            State::Over => return Err(constraint("the grammar lets nothing follow")),
            State::Reasoning(watch) => {
                let closer = plan.reasoning.as_ref().map_or(&[][..], |part| &part.closer);
                watch.accept(token, closer, vocabulary).map(|_| plan.body.begin())
            }
            State::Beginning(_) | State::Free(_) if plan.opens_reasoning(token) => {
                Some(State::Reasoning(Watch::default()))
            }
            State::Beginning(matcher) => {
                matcher.consume_token(token).map_err(broken)?;
                let begun = std::mem::replace(&mut self.state, State::Over);
                let State::Beginning(matcher) = begun else { return Ok(()) };
                Some(State::Ruled(matcher))
            }
            State::Ruled(matcher) => {
                matcher.consume_token(token).map_err(broken)?;
                None
            }
            State::Free(watch) => match &plan.body {
                Body::Free { openers, calls, .. } => watch
                    .accept(token, openers, vocabulary)
                    .map(|met| State::Ruled(Box::new(calls[met].deep_clone()))),
                Body::Ruled(_) => None,
            },
        };
        if let Some(next) = next {
            self.state = next;
        }
        self.look()
    }

    /// Runs `act`, and remembers if it fails or panics: nothing is allowed from then on.
    fn guarded<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| act(self)));
        let outcome = outcome.unwrap_or_else(|_| Err(constraint("the grammar has a defect")));
        outcome.inspect_err(|error| {
            self.failed = Some(error.clone());
            self.may_end = false;
        })
    }
}

impl Plan {
    fn opens_reasoning(&self, token: TokenId) -> bool {
        self.reasoning.as_ref().is_some_and(|part| part.opener == Some(token))
    }
}

impl Body {
    fn begin(&self) -> State {
        match self {
            // Deep: the fuel that an answer takes must not depend on what others have computed.
            Self::Ruled(compiled) => State::Ruled(Box::new(compiled.deep_clone())),
            Self::Free { .. } => State::Free(Watch::default()),
        }
    }
}

impl Constraint for Conform {
    fn forced(&mut self) -> Result<Vec<TokenId>, EngineError> {
        self.guarded(|this| {
            let State::Ruled(matcher) = &mut this.state else { return Ok(Vec::new()) };
            if matcher.is_stopped() {
                return Ok(Vec::new());
            }
            let forced = matcher.compute_ff_tokens();
            match matcher.get_error() {
                Some(error) => Err(broken(error)),
                None => Ok(forced),
            }
        })
    }

    fn mask(&mut self, allowed: &mut TokenMask) -> Result<(), EngineError> {
        self.guarded(|this| {
            let plan = &this.plan;
            match &mut this.state {
                State::Over => {}
                State::Reasoning(watch) => {
                    allowed.words_mut().fill(u32::MAX);
                    let closer = plan.reasoning.as_ref().map_or(&[][..], |part| &part.closer);
                    watch.forbid(closer, allowed);
                }
                State::Free(watch) => {
                    allowed.words_mut().fill(u32::MAX);
                    if let Body::Free { openers, .. } = &plan.body {
                        watch.forbid(openers, allowed);
                    }
                }
                State::Beginning(matcher) | State::Ruled(matcher) => {
                    if matcher.is_stopped() && matcher.stop_reason().is_ok() {
                        return Ok(());
                    }
                    let mask = matcher.compute_mask().map_err(broken)?;
                    for (word, &bits) in allowed.words_mut().iter_mut().zip(mask.as_slice()) {
                        *word = bits;
                    }
                    allowed.forbid(end_of_grammar(plan.vocabulary.tokenizer()));
                }
            }
            if let (State::Beginning(_), Some(Reasoning { opener: Some(opener), .. })) =
                (&this.state, &this.plan.reasoning)
            {
                allowed.allow(*opener);
            }
            Ok(())
        })
    }

    fn accept(&mut self, token: TokenId) -> Result<(), EngineError> {
        self.guarded(|this| this.step(token))
    }

    fn may_end(&self) -> bool {
        self.may_end
    }

    fn conforming(&mut self, tokens: &[TokenId], _: usize) -> Result<usize, EngineError> {
        self.guarded(|this| match &mut this.state {
            State::Over => Ok(0),
            State::Reasoning(_) | State::Free(_) => Ok(tokens.len()),
            State::Beginning(matcher) | State::Ruled(matcher) if matcher.is_stopped() => Ok(0),
            State::Beginning(matcher) | State::Ruled(matcher) => {
                matcher.validate_tokens(tokens).map_err(broken)
            }
        })
    }

    fn duplicate(&self) -> Box<dyn Constraint> {
        let copy = catch_unwind(AssertUnwindSafe(|| match &self.state {
            State::Beginning(matcher) => State::Beginning(Box::new(matcher.deep_clone())),
            State::Reasoning(watch) => State::Reasoning(watch.clone()),
            State::Ruled(matcher) => State::Ruled(Box::new(matcher.deep_clone())),
            State::Free(watch) => State::Free(watch.clone()),
            State::Over => State::Over,
        }));
        let (plan, may_end) = (Arc::clone(&self.plan), self.may_end);
        let (state, failed) = match copy {
            Ok(state) => (state, self.failed.clone()),
            Err(_) => (State::Over, Some(constraint("the grammar has a defect"))),
        };
        Box::new(Self { plan, state, may_end, failed })
    }
}

fn constraint(reason: impl Into<String>) -> EngineError {
    EngineError::Constraint { reason: reason.into() }
}

/// What llguidance says, without what it says for its own authors.
fn broken(error: impl std::fmt::Display) -> EngineError {
    constraint(super::plain(&error.to_string()))
}
