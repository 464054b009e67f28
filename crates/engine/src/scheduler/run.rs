//! An answer on its way: the tokens that are settled, what was said of them, and how the next ones
//! are chosen.
//!
//! Invariant: nothing here depends on when, or in how many passes, the logits were computed. So a
//! run whose keys and values were taken away goes on exactly where it was.

use std::sync::Arc;

use lucid_tensor::TokenId;

use super::constraint::{Constraint, TokenMask};
use super::request::{Event, FinishReason, LogProb, RequestId, Usage, WantedLogProbs};
use crate::EngineError;
use crate::prefix::Scope;
use crate::sampler::{Sampler, Workspace, log_softmax};

/// What all answers to a prompt share.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) id: RequestId,
    pub(super) scope: Scope,
    pub(super) prompt_tokens: usize,
    pub(super) new_tokens_max: usize,
    pub(super) stop_tokens: Vec<TokenId>,
    pub(super) log_probs: Option<WantedLogProbs>,
    pub(super) vocab_size: usize,
    /// Tokens that prompt and answer may have together.
    pub(super) capacity: usize,
}

/// What makes one answer differ from another to the same prompt.
pub(super) struct Sample {
    pub(super) index: usize,
    pub(super) sampler: Sampler,
    pub(super) constraint: Option<Box<dyn Constraint>>,
}

/// An answer, or a prompt that several answers will follow.
pub(super) struct Run {
    pub(super) terms: Arc<Terms>,
    pub(super) sample: Sample,
    /// Other answers, until the prompt is computed and they become runs of their own.
    pub(super) siblings: Vec<Sample>,
    /// The prompt, and what is settled of the answer.
    pub(super) tokens: Vec<TokenId>,
    /// How many of `tokens` need no more events. Those beyond wait for the logits before them.
    pub(super) reported: usize,
    /// Set when no token follows.
    pub(super) ending: Option<FinishReason>,
    /// The number of its first admission; the later, the sooner it makes room for others.
    pub(super) admission: Option<u64>,
    /// Tokens of the prompt that its first admission found known.
    pub(super) cached: usize,
}

/// Working memory that runs take turns in, and where their events go.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) events: Vec<Event>,
    workspace: Workspace,
    mask: TokenMask,
    masked: Vec<f32>,
}

impl Run {
    /// The tokens whose keys and values are to be computed.
    pub(super) fn target(&self) -> usize {
        // After the last token of an answer nothing is asked.
        self.tokens.len() - usize::from(self.ending.is_some())
    }

    /// Whether tokens are settled whose log-probabilities are to be told.
    pub(super) fn owes(&self) -> bool {
        self.reported < self.tokens.len()
    }

    /// Whether nothing more comes of it.
    pub(super) fn is_over(&self) -> bool {
        match self.ending {
            None => false,
            Some(FinishReason::Error(_)) => true,
            Some(_) => !self.owes(),
        }
    }

    /// Takes in logits of consecutive positions, the first one being `first`. Returns the other
    /// answers to the prompt, once it is computed.
    pub(super) fn take<'a>(
        &mut self,
        first: usize,
        rows: impl Iterator<Item = &'a [f32]>,
        desk: &mut Desk,
    ) -> Vec<Self> {
        let mut split = Vec::new();
        for (place, row) in (first + 1..).zip(rows) {
            if self.reported == 0 {
                self.report(None, desk);
            }
            if place < self.tokens.len() {
                if place == self.reported {
                    self.report_with(row, desk);
                }
            } else if self.ending.is_none() {
                let known = self.tokens.len();
                self.continue_with(row, desk);
                for sample in std::mem::take(&mut self.siblings) {
                    let mut run = self.sibling(sample, known);
                    run.continue_with(row, desk);
                    split.push(run);
                }
            }
        }
        split
    }

    /// Says that the answer is over, and so are those that would have followed the same prompt.
    pub(super) fn finish(self, events: &mut Vec<Event>) {
        let reason = self.ending.expect("what is over has a reason");
        for sample in std::iter::once(&self.sample).chain(&self.siblings) {
            let usage = Usage {
                prompt_tokens: self.terms.prompt_tokens,
                cached_tokens: self.cached,
                new_tokens: self.reported.saturating_sub(self.terms.prompt_tokens),
            };
            events.push(Event::Finished {
                request: self.terms.id,
                sample: sample.index,
                reason: reason.clone(),
                usage,
            });
        }
    }

    /// Another answer to the first `known` tokens.
    fn sibling(&self, sample: Sample, known: usize) -> Self {
        Self {
            terms: Arc::clone(&self.terms),
            sample,
            siblings: Vec::new(),
            tokens: self.tokens[..known].to_vec(),
            reported: known,
            ending: None,
            admission: self.admission,
            cached: self.cached,
        }
    }

    /// Settles what follows the last token, `row` being the logits after it.
    fn continue_with(&mut self, row: &[f32], desk: &mut Desk) {
        if self.terms.new_tokens_max == 0 {
            self.ending = Some(FinishReason::Limit);
            return;
        }
        if let Err(error) = self.settle(row, desk) {
            self.ending = Some(FinishReason::Error(error));
        }
        if self.owes() {
            self.report_with(row, desk);
        }
        while self.terms.log_probs.is_none() && self.owes() {
            self.report(None, desk);
        }
    }

    /// Forced tokens if there are any, else a chosen one and those that it forces.
    fn settle(&mut self, row: &[f32], desk: &mut Desk) -> Result<(), EngineError> {
        let known = self.tokens.len();
        self.force()?;
        if self.tokens.len() > known || self.ending.is_some() {
            return Ok(());
        }
        match self.choose(row, desk)? {
            Some(token) => self.push(token)?,
            None => self.ending = Some(FinishReason::Constraint),
        }
        self.force()
    }

    /// Appends what the constraint leaves no choice about.
    fn force(&mut self) -> Result<(), EngineError> {
        while self.ending.is_none() {
            let Some(constraint) = &mut self.sample.constraint else { break };
            let forced = constraint.forced()?;
            if forced.is_empty() {
                break;
            }
            for token in forced {
                if self.ending.is_none() {
                    self.push(token)?;
                }
            }
        }
        Ok(())
    }

    /// A token that the constraint allows; `None` if it is met and lets nothing follow.
    fn choose(&mut self, row: &[f32], desk: &mut Desk) -> Result<Option<TokenId>, EngineError> {
        let Sample { sampler, constraint, .. } = &mut self.sample;
        let Some(constraint) = constraint else {
            return Ok(Some(sampler.choose(row, &mut desk.workspace)?));
        };
        let mask = &mut desk.mask;
        mask.reset(self.terms.vocab_size);
        let may_end = constraint.may_end();
        constraint.mask(mask)?;
        for &token in &self.terms.stop_tokens {
            mask.forbid(token);
        }
        if mask.is_empty() {
            return if may_end { Ok(None) } else { Err(EngineError::NoTokenAllowed) };
        }
        if may_end {
            for &token in &self.terms.stop_tokens {
                mask.allow(token);
            }
        }
        mask.apply(row, &mut desk.masked);
        Ok(Some(sampler.choose(&desk.masked, &mut desk.workspace)?))
    }

    /// The answer goes on with `token`, or ends if it is one that ends it.
    fn push(&mut self, token: TokenId) -> Result<(), EngineError> {
        let Terms { vocab_size, new_tokens_max, prompt_tokens, capacity, .. } = *self.terms;
        if self.terms.stop_tokens.contains(&token) {
            self.ending = Some(FinishReason::EndToken(token));
            return Ok(());
        }
        if token as usize >= vocab_size {
            return Err(EngineError::Token { token, vocab_size });
        }
        if let Some(constraint) = &mut self.sample.constraint {
            constraint.accept(token)?;
        }
        self.sample.sampler.accept(token);
        self.tokens.push(token);
        if self.tokens.len() - prompt_tokens >= new_tokens_max {
            self.ending = Some(FinishReason::Limit);
        } else if self.tokens.len() >= capacity {
            self.ending = Some(FinishReason::ContextFull);
        }
        Ok(())
    }

    /// Tells the next token that is settled, `row` being the logits before it.
    fn report_with(&mut self, row: &[f32], desk: &mut Desk) {
        let Some(wanted) = self.terms.log_probs else { return self.report(None, desk) };
        let token = self.tokens[self.reported];
        match log_softmax(row, token, wanted.alternatives, &mut desk.workspace) {
            Ok((value, alternatives)) => self.report(Some(LogProb { value, alternatives }), desk),
            Err(error) => self.ending = Some(FinishReason::Error(error.into())),
        }
    }

    fn report(&mut self, log_prob: Option<LogProb>, desk: &mut Desk) {
        let (request, index) = (self.terms.id, self.reported);
        let token = self.tokens[index];
        desk.events.push(if index < self.terms.prompt_tokens {
            Event::Prompt { request, index, token, log_prob }
        } else {
            Event::Token { request, sample: self.sample.index, token, log_prob }
        });
        self.reported += 1;
    }
}
