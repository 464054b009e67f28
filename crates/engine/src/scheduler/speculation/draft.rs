//! A smaller model of the same vocabulary that says what the larger one may say next.
//!
//! It draws with a copy of the request's sampler, random numbers included: where the two models
//! agree it draws the same token. Its sequences are kept in step with the answers: what did not
//! come true is cut off, what came otherwise is fed. Nothing depends on it but the time; whatever
//! it lacks, room or blocks, it then proposes nothing.

use lucid_tensor::TokenId;

use crate::EngineError;
use crate::engine::{Engine, Feed, SequenceId, Wanted};
use crate::prefix::Scope;
use crate::sampler::{Sampler, Workspace};
use crate::scheduler::Clock;
use crate::scheduler::pace::{milliseconds, mix};

/// A sequence that lacks more tokens than this proposes nothing yet.
const BEHIND_MAX: usize = 32;

/// Tokens of long texts that are caught up on before a pass.
const CATCH_UP: usize = 128;

/// What a drafted token is taken to cost as long as nothing is known, as a share of a token.
const TOKEN_SHARE: f64 = 0.1;

/// The model. See the module's text.
pub(in crate::scheduler) struct Draft {
    engine: Engine,
    /// Milliseconds that a drafted token takes, once known.
    token_ms: Option<f64>,
    workspaces: Vec<Workspace>,
}

/// An answer that wants a proposal.
pub(super) struct Ask<'a> {
    pub(super) scope: &'a Scope,
    pub(super) tokens: &'a [TokenId],
    /// A copy; it draws what the answer's own would.
    pub(super) sampler: Sampler,
    /// The draft's sequence of the same tokens, once there is one.
    pub(super) sequence: &'a mut Option<SequenceId>,
    /// How many tokens it wants.
    pub(super) count: usize,
    /// What the draft proposes.
    pub(super) drafted: Vec<TokenId>,
}

impl Draft {
    pub(in crate::scheduler) fn new(engine: Engine) -> Self {
        let workspaces = (0..engine.pool().threads()).map(|_| Workspace::default()).collect();
        Self { engine, token_ms: None, workspaces }
    }

    /// What a drafted token costs, as a share of `token_ms`, which is what a token costs.
    pub(super) fn token_share(&self, token_ms: Option<f64>) -> f64 {
        match (self.token_ms, token_ms) {
            (Some(own), Some(token_ms)) => own / token_ms,
            _ => TOKEN_SHARE,
        }
    }

    /// Ends a sequence; what it computed may be found again.
    pub(in crate::scheduler) fn close(&mut self, sequence: SequenceId) {
        // One that is not open any more needs no closing.
        let _ = self.engine.close(sequence);
    }

    /// Proposes what each answer asked for, or less.
    ///
    /// # Errors
    /// The model cannot compute.
    pub(super) fn propose(
        &mut self,
        asks: &mut [Ask<'_>],
        clock: &mut Clock,
    ) -> Result<(), EngineError> {
        for ask in asks.iter_mut() {
            self.keep_in_step(ask)?;
        }
        self.catch_up(asks)?;
        self.keep_what_fits(asks);
        let rounds = asks.iter().map(|ask| ask.count).max().unwrap_or_default();
        for round in 0..rounds {
            let began = clock();
            let drafted = self.draft_one(round, asks)?;
            let took_ms = milliseconds(clock().saturating_sub(began));
            // The first round is also about what was settled meanwhile.
            if round > 0 && drafted > 0 {
                mix(&mut self.token_ms, took_ms / drafted as f64);
            }
        }
        Ok(())
    }

    /// Makes an answer's sequence a beginning of its tokens.
    fn keep_in_step(&mut self, ask: &mut Ask<'_>) -> Result<(), EngineError> {
        if ask.tokens.len() + ask.count > self.engine.options().context {
            ask.count = 0;
            return Ok(());
        }
        let Some(sequence) = *ask.sequence else {
            *ask.sequence = Some(self.engine.adopt(ask.scope, ask.tokens));
            return Ok(());
        };
        let pairs = self.engine.tokens(sequence)?.iter().zip(ask.tokens);
        let agree = pairs.take_while(|(own, settled)| own == settled).count();
        // Something must be left to compute logits from.
        self.engine.truncate(sequence, agree.min(ask.tokens.len() - 1))?;
        self.engine.publish(sequence, ask.scope)
    }

    /// Feeds those that are far behind; they propose nothing in this pass.
    fn catch_up(&mut self, asks: &mut [Ask<'_>]) -> Result<(), EngineError> {
        let mut left = CATCH_UP;
        let mut feeds = Vec::new();
        for ask in asks.iter_mut() {
            let Some(sequence) = *ask.sequence else { continue };
            let computed = self.engine.tokens(sequence)?.len();
            if ask.count == 0 || ask.tokens.len() - computed <= BEHIND_MAX {
                continue;
            }
            ask.count = 0;
            let rows = (ask.tokens.len() - 1 - computed).min(left);
            if rows > 0 {
                left -= rows;
                let tokens = &ask.tokens[computed..computed + rows];
                feeds.push(Feed { sequence, tokens, wanted: Wanted::None });
            }
        }
        let blocks = |feed: &Feed<'_>| self.engine.blocks_for(feed.sequence, feed.tokens.len());
        while feeds.iter().map(blocks).sum::<usize>() > self.engine.available_blocks() {
            feeds.pop();
        }
        if !feeds.is_empty() {
            self.engine.forward(&feeds)?;
        }
        Ok(())
    }

    /// Lets those go that there are no blocks for, the last ones first.
    fn keep_what_fits(&mut self, asks: &mut [Ask<'_>]) {
        let needed = |engine: &Engine, ask: &Ask<'_>| {
            // One that wants nothing may not even be in step.
            let Some(sequence) = ask.sequence.filter(|_| ask.count > 0) else { return 0 };
            let computed = engine.tokens(sequence).map_or(0, <[_]>::len);
            engine.blocks_for(sequence, ask.tokens.len() - computed + ask.count)
        };
        let mut fitting = asks.len();
        while asks[..fitting].iter().map(|ask| needed(&self.engine, ask)).sum::<usize>()
            > self.engine.available_blocks()
        {
            fitting -= 1;
            let ask = &mut asks[fitting];
            ask.count = 0;
            if let Some(sequence) = ask.sequence.take() {
                self.close(sequence);
            }
        }
    }

    /// One more token for each answer that wants one. Returns how many there were.
    fn draft_one(&mut self, round: usize, asks: &mut [Ask<'_>]) -> Result<usize, EngineError> {
        let mut feeds = Vec::new();
        let wants = |ask: &Ask<'_>| ask.count > round && ask.drafted.len() == round;
        for ask in asks.iter().filter(|ask| wants(ask)) {
            let Some(sequence) = *ask.sequence else { continue };
            let computed = self.engine.tokens(sequence)?.len();
            let tokens = match ask.drafted.last_chunk::<1>() {
                Some(last) => &last[..],
                None => &ask.tokens[computed..],
            };
            feeds.push(Feed { sequence, tokens, wanted: Wanted::Last });
        }
        if feeds.is_empty() {
            return Ok(0);
        }
        let drafted = feeds.len();
        let pool = self.engine.pool().clone();
        let logits = self.engine.forward(&feeds)?;
        let asks = asks.iter_mut().filter(|ask| wants(ask) && ask.sequence.is_some());
        let mut parts: Vec<_> = asks.zip(logits.rows()).collect();
        pool.for_each_with(&mut self.workspaces, &mut parts, |workspace, _, (ask, row)| {
            // Logits that nothing can be drawn from end the proposal.
            if let Ok(token) = ask.sampler.choose(row, workspace) {
                ask.sampler.accept(token);
                ask.drafted.push(token);
            }
        });
        Ok(drafted)
    }
}
