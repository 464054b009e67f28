//! An answer on its way: the tokens that are settled, what was said of them, and how the next ones
//! are chosen.
//!
//! Invariant: nothing here depends on when, or in how many passes, the logits were computed. So a
//! run whose keys and values were taken away goes on exactly where it was, and logits that follow a
//! proposal are looked at only if the proposal is what was settled anyway.

use std::sync::Arc;

use lucid_tensor::{Adapter, TokenId};

use super::constraint::{Constraint, TokenMask};
use super::request::{
    Event, FinishReason, LogProb, Purpose, RequestId, Speculation, Usage, WantedLogProbs,
};
use super::speculation::Speculator;
use crate::EngineError;
use crate::engine::Wanted;
use crate::pooling::Pool;
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
    pub(super) speculation: Speculation,
    /// What to compute with.
    pub(super) adapter: Option<Arc<Adapter>>,
    pub(super) purpose: Purpose,
}

/// An answer, or a prompt that several answers will follow.
pub(super) struct Run {
    pub(super) terms: Arc<Terms>,
    /// Which of the answers to the prompt.
    pub(super) sample: usize,
    /// How many answers with higher numbers begin where this one's first choice is made.
    pub(super) siblings: usize,
    pub(super) sampler: Sampler,
    pub(super) constraint: Option<Box<dyn Constraint>>,
    /// The prompt, and what is settled of the answer.
    pub(super) tokens: Vec<TokenId>,
    /// How many of `tokens` need no more events. Those beyond wait for the logits before them.
    pub(super) reported: usize,
    /// Set when no token follows.
    pub(super) ending: Option<FinishReason>,
    /// The number of its first admission; the later, the sooner it makes room for others.
    pub(super) admission: Option<u64>,
    /// Why it still waits.
    pub(super) refusal: Option<Refusal>,
    /// Tokens of the prompt that were known when it was first computed.
    pub(super) cached: usize,
    /// Of these, tokens that were read from disk.
    pub(super) from_disk: usize,
    /// Whether any of it was ever computed for it.
    pub(super) fed: bool,
    pub(super) speculator: Speculator,
    /// The joined states of a prompt that is not to be answered.
    pub(super) pool: Option<Pool>,
}

/// That a run was not taken in, as things stood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    /// The scheduler's count of changes then.
    pub(super) change: u64,
    /// Tokens of it that were known then.
    pub(super) known: usize,
}

/// Working memory that runs of one thread take turns in.
#[derive(Default)]
pub(super) struct Desk {
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

    /// Whether a first token of the answer was told.
    pub(super) fn has_begun(&self) -> bool {
        self.reported > self.terms.prompt_tokens
    }

    /// The first of `tokens` after which logits are wanted.
    pub(super) fn wanted_from(&self) -> usize {
        let place = match self.terms.log_probs {
            Some(_) => self.reported.max(1),
            None => self.tokens.len(),
        };
        place - 1
    }

    /// Which logits it wants of a feed of the tokens from `computed` to `end`.
    pub(super) fn wanted(&self, computed: usize, end: usize) -> Wanted {
        if let Some(pool) = &self.pool {
            return pool.wanted(end);
        }
        let from = self.wanted_from();
        if from < end { Wanted::From(from.saturating_sub(computed)) } else { Wanted::None }
    }

    /// Settles what the constraint has to say before anything is computed, so that it is computed
    /// with the prompt. Where that is all there is, it is told at once.
    pub(super) fn open(&mut self, events: &mut Vec<Event>) {
        if self.terms.new_tokens_max == 0 {
            return;
        }
        if let Err(error) = self.force() {
            self.ending = Some(FinishReason::Error(error));
        }
        if self.ending.is_some() {
            self.report_unasked(events);
        }
    }

    /// The other answers, each of which goes on from the logits that this one goes on from next.
    pub(super) fn split(&self) -> Vec<Self> {
        let sibling = |offset: usize| Self {
            terms: Arc::clone(&self.terms),
            sample: self.sample + offset,
            siblings: 0,
            sampler: self.sampler.with_seed(self.seed(offset)),
            constraint: self.constraint.as_ref().map(|constraint| constraint.duplicate()),
            tokens: self.tokens.clone(),
            reported: self.tokens.len(),
            ending: None,
            admission: self.admission,
            refusal: None,
            cached: self.cached,
            from_disk: self.from_disk,
            fed: true,
            speculator: Speculator::default(),
            pool: None,
        };
        (1..=self.siblings).map(sibling).collect()
    }

    fn seed(&self, offset: usize) -> u64 {
        self.sampler.config().seed.wrapping_add(offset as u64)
    }

    /// Takes in logits of consecutive positions, the first one being `first`. Those beyond the
    /// settled tokens were computed as if `proposal` followed.
    pub(super) fn take<'a>(
        &mut self,
        first: usize,
        rows: impl Iterator<Item = &'a [f32]>,
        proposal: &[TokenId],
        desk: &mut Desk,
        events: &mut Vec<Event>,
    ) {
        let settled = self.tokens.len();
        for (place, row) in (first + 1..).zip(rows) {
            // What follows a token that was not settled is of no use.
            if place > settled && self.tokens.get(place - 1) != Some(&proposal[place - 1 - settled])
            {
                break;
            }
            if self.reported == 0 {
                self.report(None, events);
            }
            if place < self.tokens.len() {
                if place == self.reported {
                    self.report_with(row, desk, events);
                }
            } else if self.ending.is_none() {
                self.continue_with(row, desk, events);
            }
        }
    }

    /// How much of a proposal after the first `settled` tokens came true.
    pub(super) fn agreed(&self, settled: usize, proposal: &[TokenId]) -> usize {
        let said = self.tokens[settled..].iter().zip(proposal);
        said.take_while(|(said, proposed)| said == proposed).count()
    }

    /// Cuts a proposal off where it cannot come true: at a stop token, at what the constraint
    /// forbids.
    pub(super) fn cut(&mut self, proposal: &mut Vec<TokenId>) {
        let Terms { vocab_size, stop_tokens, .. } = &*self.terms;
        let stops = |token: &TokenId| stop_tokens.contains(token) || *token as usize >= *vocab_size;
        proposal.truncate(proposal.iter().position(stops).unwrap_or(proposal.len()));
        if let Some(constraint) = &mut self.constraint
            && !proposal.is_empty()
        {
            // If it fails it will say so again when it is asked what may follow.
            proposal.truncate(constraint.conforming(proposal, *vocab_size).unwrap_or(0));
        }
    }

    /// How many tokens may follow at most.
    pub(super) fn tokens_left(&self) -> usize {
        let Terms { new_tokens_max, prompt_tokens, capacity, .. } = *self.terms;
        let said = self.tokens.len() - prompt_tokens;
        (new_tokens_max - said).min(capacity - self.tokens.len())
    }

    /// Says that the answer is over, and so are those that would have followed the same prompt.
    pub(super) fn finish(self, events: &mut Vec<Event>) {
        let reason = self.ending.expect("what is over has a reason");
        for sample in self.sample..=self.sample + self.siblings {
            let usage = Usage {
                prompt_tokens: self.terms.prompt_tokens,
                cached_tokens: self.cached,
                disk_tokens: self.from_disk,
                new_tokens: self.reported.saturating_sub(self.terms.prompt_tokens),
                proposed_tokens: self.speculator.proposed,
                accepted_tokens: self.speculator.accepted,
            };
            let (request, reason) = (self.terms.id, reason.clone());
            events.push(Event::Finished { request, sample, reason, usage });
        }
    }

    /// Settles what follows the last token, `row` being the logits after it. From here on siblings
    /// are runs of their own.
    fn continue_with(&mut self, row: &[f32], desk: &mut Desk, events: &mut Vec<Event>) {
        self.report_unasked(events);
        self.siblings = 0;
        if self.terms.new_tokens_max == 0 {
            self.ending = Some(FinishReason::Limit);
            return;
        }
        if let Err(error) = self.settle(row, desk) {
            self.ending = Some(FinishReason::Error(error));
        }
        if self.owes() {
            self.report_with(row, desk, events);
        }
        self.report_unasked(events);
    }

    /// A chosen token, and those that it forces.
    fn settle(&mut self, row: &[f32], desk: &mut Desk) -> Result<(), EngineError> {
        match self.choose(row, desk)? {
            Some(token) => self.push(token)?,
            None => self.ending = Some(FinishReason::Constraint),
        }
        self.force()
    }

    /// Appends what the constraint leaves no choice about.
    fn force(&mut self) -> Result<(), EngineError> {
        while self.ending.is_none() {
            let Some(constraint) = &mut self.constraint else { break };
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
        let Self { sampler, constraint, .. } = self;
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
        if let Some(constraint) = &mut self.constraint {
            constraint.accept(token)?;
        }
        self.sampler.accept(token);
        self.tokens.push(token);
        if self.tokens.len() - prompt_tokens >= new_tokens_max {
            self.ending = Some(FinishReason::Limit);
        } else if self.tokens.len() >= capacity {
            self.ending = Some(FinishReason::ContextFull);
        }
        Ok(())
    }

    /// Tells the tokens that are settled where no log-probabilities are asked for.
    fn report_unasked(&mut self, events: &mut Vec<Event>) {
        while self.terms.log_probs.is_none() && self.owes() {
            self.report(None, events);
        }
    }

    /// Tells the next token that is settled, `row` being the logits before it.
    fn report_with(&mut self, row: &[f32], desk: &mut Desk, events: &mut Vec<Event>) {
        let Some(wanted) = self.terms.log_probs else { return self.report(None, events) };
        let token = self.tokens[self.reported];
        match log_softmax(row, token, wanted.alternatives, &mut desk.workspace) {
            Ok((value, alternatives)) => self.report(Some(LogProb { value, alternatives }), events),
            Err(error) => self.ending = Some(FinishReason::Error(error.into())),
        }
    }

    /// Tells the next token: one of the prompt once, one of an answer for each that has it so far.
    fn report(&mut self, log_prob: Option<LogProb>, events: &mut Vec<Event>) {
        let (request, index) = (self.terms.id, self.reported);
        let token = self.tokens[index];
        self.reported += 1;
        if index < self.terms.prompt_tokens {
            events.push(Event::Prompt { request, index, token, log_prob });
            return;
        }
        for sample in self.sample..=self.sample + self.siblings {
            events.push(Event::Token { request, sample, token, log_prob: log_prob.clone() });
        }
    }
}
