//! A pass, and what becomes of it: rows are computed, runs take in their logits side by side on the
//! engine's threads, and what they say is told in their order.

use std::slice::ChunksExact;
use std::sync::Arc;

use lucid_tensor::{KV_BLOCK_LEN, TokenId};

use super::request::Event;
use super::run::{Desk, Run};
use super::{Active, Scheduler};
use crate::EngineError;
use crate::engine::{Feed, Logits};

/// A run and the logits that it takes in.
struct Part<'a> {
    run: &'a mut Run,
    /// The place of the token before the first row.
    first: usize,
    rows: ChunksExact<'a, f32>,
    proposal: &'a [TokenId],
    events: Vec<Event>,
}

impl Active {
    /// The tokens of the pass: settled ones, then what may follow.
    fn feed(&self) -> Vec<TokenId> {
        let settled = &self.run.tokens[self.computed..self.computed + self.rows];
        [settled, &self.proposal].concat()
    }

    /// From the pass on that they split in answers end each for itself; if the one failed before it
    /// came to what they split at, so have the others.
    fn part(&mut self) {
        let Self { run, split, .. } = self;
        if split.is_empty() || std::mem::take(&mut run.siblings) == 0 {
            return;
        }
        for other in split {
            other.ending.clone_from(&run.ending);
        }
    }
}

impl Scheduler {
    /// Runs the planned pass and lets every run take in its logits.
    pub(super) fn compute(&mut self) -> Result<(), EngineError> {
        let began = (self.clock)();
        let Self { engine, running, desks, events, .. } = self;
        for active in running.iter_mut() {
            active.computed = engine.tokens(active.sequence).map_or(0, <[_]>::len);
            active.settled = active.run.tokens.len();
        }
        let fed = || running.iter().filter(|active| active.rows > 0);
        let tokens: Vec<Vec<TokenId>> = fed().map(Active::feed).collect();
        let feed = |(active, tokens)| -> Feed<'_> {
            let (active, tokens): (&Active, &Vec<TokenId>) = (active, tokens);
            let wanted = active.run.wanted(active.computed, active.computed + tokens.len());
            Feed { sequence: active.sequence, tokens, wanted }
        };
        let feeds: Vec<Feed<'_>> = fed().zip(&tokens).map(feed).collect();
        let decoding = feeds.iter().filter(|feed| feed.tokens.len() == 1).count();
        let rows: usize = feeds.iter().map(|feed| feed.tokens.len()).sum();
        let pool = Arc::clone(engine.pool());
        let computes = (self.clock)();
        let logits = engine.forward(&feeds)?;
        let computed = (self.clock)();
        self.stats.passing += computed.saturating_sub(computes);
        drop(feeds);
        let mut parts = parts(running, logits);
        pool.for_each_with(desks, &mut parts, |desk: &mut Desk, _, part| {
            let Part { run, first, rows, proposal, events } = part;
            run.take(*first, rows, proposal, desk, events);
        });
        for part in &mut parts {
            events.append(&mut part.events);
        }
        let took = (self.clock)().saturating_sub(began);
        self.pace.record(took, decoding, rows - decoding);
        self.stats.passes += 1;
        self.stats.rows += rows as u64;
        Ok(())
    }

    /// After a pass: what did not come true is forgotten, what is full can be adopted, what split
    /// goes its own ways, what is over ends.
    pub(super) fn settle(&mut self) {
        self.tell_pooled();
        for mut active in std::mem::take(&mut self.running) {
            self.keep_what_came_true(&mut active);
            let computed = self.computed(active.sequence);
            if computed / KV_BLOCK_LEN > active.computed / KV_BLOCK_LEN {
                self.publish(&active);
            }
            let mut forks = Vec::new();
            active.part();
            for run in std::mem::take(&mut active.split) {
                if run.is_over() {
                    run.finish(&mut self.events);
                } else {
                    let fork = self.engine.fork(active.sequence);
                    forks.push(Active::new(run, fork.expect("a running sequence is open")));
                }
            }
            if active.run.is_over() {
                self.close(&active);
                active.run.finish(&mut self.events);
            } else {
                self.running.push(active);
            }
            self.running.append(&mut forks);
        }
    }

    /// Takes back what was computed for a proposal that turned out otherwise.
    fn keep_what_came_true(&mut self, active: &mut Active) {
        let Active { run, sequence, proposal, settled, .. } = active;
        if proposal.is_empty() {
            return;
        }
        let accepted = run.agreed(*settled, proposal);
        run.speculator.learn(proposal.len(), accepted);
        self.stats.proposed_tokens += proposal.len() as u64;
        self.stats.accepted_tokens += accepted as u64;
        let truncated = self.engine.truncate(*sequence, *settled + accepted);
        truncated.expect("a running sequence is open");
        proposal.clear();
    }
}

/// Who takes in which logits; those that split are parts of their own.
fn parts<'a>(running: &'a mut [Active], logits: Logits<'a>) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    let fed = running.iter_mut().filter(|active| active.rows > 0);
    for (index, active) in fed.enumerate() {
        let Active { run, proposal, split, computed, rows: settled, .. } = active;
        run.fed = true;
        run.take_states(*computed, logits.hidden_of(index));
        let (end, rows) = (*computed + *settled, logits.of(index));
        if rows.len() == 0 {
            continue;
        }
        if run.siblings > 0 && run.ending.is_none() && end == run.tokens.len() {
            *split = run.split();
        }
        let first = end + proposal.len() - rows.len();
        parts.push(Part { run, first, rows: rows.clone(), proposal, events: Vec::new() });
        for run in split {
            let mut last = rows.clone();
            last.by_ref().take(rows.len() - 1).for_each(drop);
            parts.push(Part { run, first: end - 1, rows: last, proposal: &[], events: Vec::new() });
        }
    }
    parts
}
