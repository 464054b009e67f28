//! Sequences as rows: each row is filled with whole sequences, so none is cut, and attention stays
//! within each.
//!
//! An epoch's rows follow from the seed and the epoch's number: the sequences are shuffled, and
//! each row takes the next one, and then the longest that fits of those that come soon, as often as
//! one does (best fit with a window, so that rows stay random).

use std::sync::Arc;

use super::{Example, Examples};
use crate::TrainError;
use crate::data::{Batch, Position};
use crate::random::Random;

/// Sequences among which the next one for a row is looked for.
const WINDOW: usize = 512;

/// Micro-batches of conversations.
#[derive(Debug)]
pub(crate) struct Rows {
    examples: Arc<Examples>,
    identity: String,
    row_tokens: usize,
    per_batch: usize,
    seed: u64,
    /// None for a single pass in order.
    epoch: Option<u64>,
    row: usize,
    plan: Vec<Vec<u32>>,
}

impl Rows {
    /// Without end: after the last row of an epoch comes the first of the next.
    pub(crate) fn endless(
        examples: Arc<Examples>,
        row_tokens: usize,
        per_batch: usize,
        seed: u64,
    ) -> Result<Self, TrainError> {
        Self::new(examples, row_tokens, per_batch, seed, Some(0))
    }

    /// Once, for measuring: all of them, or every so many.
    pub(crate) fn once(
        examples: Arc<Examples>,
        row_tokens: usize,
        per_batch: usize,
        targets_max: Option<u64>,
    ) -> Result<Self, TrainError> {
        let mut rows = Self::new(examples, row_tokens, per_batch, 0, None)?;
        if let Some(most) = targets_max {
            let every = (rows.examples.answer_tokens() / most.max(1)).max(1) as usize;
            rows.plan = rows.plan.into_iter().step_by(every).collect();
        }
        Ok(rows)
    }

    fn new(
        examples: Arc<Examples>,
        row_tokens: usize,
        per_batch: usize,
        seed: u64,
        epoch: Option<u64>,
    ) -> Result<Self, TrainError> {
        if examples.longest_unit() > row_tokens {
            return Err(TrainError::Setting {
                what: "the length of a row".to_owned(),
                found: row_tokens.to_string(),
                expected: format!("at least the {} tokens of the longest", examples.longest_unit()),
            });
        }
        if examples.is_empty() {
            return Err(TrainError::NothingToPredict);
        }
        let mut hasher = blake3::Hasher::new_derive_key("lucid conversation rows 1");
        hasher.update(&examples.identity()).update(&seed.to_le_bytes());
        hasher.update(&(row_tokens as u64).to_le_bytes());
        let identity = hasher.finalize().to_hex().as_str()[..32].to_owned();
        let plan = plan(&examples, row_tokens, seed, epoch);
        Ok(Self { examples, identity, row_tokens, per_batch, seed, epoch, row: 0, plan })
    }

    pub(crate) fn position(&self) -> Position {
        let epoch = self.epoch.unwrap_or(0);
        Position { epoch, row: self.row as u64, identity: self.identity.clone() }
    }

    pub(crate) fn seek(&mut self, position: &Position) -> Result<(), TrainError> {
        if position.identity != self.identity {
            let short = |text: &str| text.chars().take(12).collect();
            let (expected, found) = (short(&self.identity), short(&position.identity));
            return Err(TrainError::ForeignPosition { expected, found });
        }
        if self.epoch != Some(position.epoch) {
            self.epoch = Some(position.epoch);
            self.plan = plan(&self.examples, self.row_tokens, self.seed, self.epoch);
        }
        let limit = self.plan.len() as u64;
        if position.row > limit {
            return Err(TrainError::Limit { what: "row of an epoch", found: position.row, limit });
        }
        self.row = position.row as usize;
        Ok(())
    }

    /// Fills `batch`; false at the end of a single pass.
    pub(crate) fn next_batch(&mut self, batch: &mut Batch) -> bool {
        batch.clear();
        for _ in 0..self.per_batch {
            if self.row >= self.plan.len() {
                let Some(epoch) = &mut self.epoch else { break };
                *epoch += 1;
                self.row = 0;
                self.plan = plan(&self.examples, self.row_tokens, self.seed, self.epoch);
            }
            let start = batch.tokens.len();
            for &at in &self.plan[self.row] {
                push(batch, &self.examples, at as usize);
            }
            batch.rows.push(start..batch.tokens.len());
            self.row += 1;
        }
        !batch.rows.is_empty()
    }
}

/// Appends a unit.
fn push(batch: &mut Batch, examples: &Examples, unit: usize) {
    let per_unit = examples.unit_len();
    for at in unit * per_unit..(unit + 1) * per_unit {
        push_sequence(batch, examples.get(at));
    }
    if per_unit > 1 {
        batch.units.push(unit as u32);
    }
}

fn push_sequence(batch: &mut Batch, example: Example<'_>) {
    let count = example.tokens.len();
    batch.tokens.extend_from_slice(example.tokens);
    batch.targets.extend_from_slice(&example.tokens[1..]);
    batch.targets.push(0);
    batch.weights.extend(example.learned[1..].iter().map(|&learned| f32::from(u8::from(learned))));
    batch.weights.push(0.0);
    batch.positions.extend(0..count as u32);
    batch.sequences.resize(batch.tokens.len(), batch.sequence_count);
    batch.sequence_count += 1;
}

/// The units of each row of an epoch; without a number, in the order that sequences have.
pub(super) fn plan(
    examples: &Examples,
    row_tokens: usize,
    seed: u64,
    epoch: Option<u64>,
) -> Vec<Vec<u32>> {
    let mut order: Vec<u32> = (0..examples.units() as u32).collect();
    if let Some(epoch) = epoch {
        Random::new("lucid: order of conversations", seed, epoch).shuffle(&mut order);
    }
    let len = |at: u32| examples.tokens_of_unit(at as usize);
    let mut rest = order.into_iter();
    let mut window: Vec<u32> = rest.by_ref().take(WINDOW).collect();
    let mut rows = Vec::new();
    while !window.is_empty() {
        let first = window.remove(0);
        let (mut row, mut left) = (vec![first], row_tokens - len(first));
        window.extend(rest.next());
        loop {
            let fits = window.iter().enumerate().filter(|(_, at)| len(**at) <= left);
            // Of equals the one that came first.
            let best = fits.max_by_key(|(place, at)| (len(**at), std::cmp::Reverse(*place)));
            let Some((place, _)) = best else { break };
            let at = window.remove(place);
            left -= len(at);
            row.push(at);
            window.extend(rest.next());
        }
        rows.push(row);
    }
    rows
}
