//! Prompts that are not to be answered: their states are joined as they are computed, and what
//! comes of it is told once.

use super::Scheduler;
use super::request::{Event, FinishReason, Purpose, Request};
use super::run::Run;
use crate::EngineError;
use crate::engine::{Engine, SequenceId};
use crate::pooling::Pool;

/// What a request's prompt is joined in, if it is not to be answered.
pub(super) fn pool(request: &Request, engine: &Engine) -> Result<Option<Pool>, EngineError> {
    let pooling = match request.purpose {
        Purpose::Answer => return Ok(None),
        Purpose::Embed(pooling) => pooling,
        Purpose::Rank if engine.ranks() => engine.pooling(),
        Purpose::Rank => return Err(EngineError::NoRankingHead),
    };
    let asked = [
        (request.samples > 1, "several samples"),
        (request.log_probs.is_some(), "log-probabilities"),
        (request.constraint.is_some(), "a constraint"),
    ];
    if let Some((_, what)) = asked.into_iter().find(|(asked, _)| *asked) {
        return Err(EngineError::NotAnswered { what });
    }
    Ok(Some(Pool::new(pooling, request.prompt.len())))
}

impl Run {
    /// Of how many of its tokens, the last one excepted, keys and values may be known: nothing that
    /// follows them needs to be told any more.
    pub(super) fn adoptable(&self) -> usize {
        let pooled = |pool: &Pool| self.tokens.len().min(pool.taken() + 1);
        self.pool.as_ref().map_or(self.reported, pooled)
    }

    /// A sequence that begins with what is known of it, but on disk.
    pub(super) fn adopt(&self, engine: &mut Engine) -> SequenceId {
        let known = &self.tokens[..self.adoptable()];
        engine.adopt_published(&self.terms.scope, known, self.terms.adapter.clone())
    }

    /// Takes in the states of consecutive positions, the first one being `first`.
    pub(super) fn take_states<'a>(
        &mut self,
        first: usize,
        states: impl Iterator<Item = &'a [f32]>,
    ) {
        if let Some(pool) = &mut self.pool {
            pool.take(first, states);
        }
    }
}

impl Scheduler {
    /// After a pass: tells what prompts came to that are wholly computed and not to be answered.
    pub(super) fn tell_pooled(&mut self) {
        for active in &mut self.running {
            let run = &mut active.run;
            let Some(mut values) = run.pool.as_ref().and_then(Pool::finish) else { continue };
            if run.terms.purpose == Purpose::Rank {
                values = self.engine.rank(&values).into_iter().collect();
            }
            run.ending = Some(FinishReason::Limit);
            self.events.push(Event::Embedded { request: run.terms.id, values });
        }
    }
}
