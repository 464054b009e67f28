//! The endless stream of micro-batches, where it stands, and which of them are whose.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::apart::Apart;
use super::best_fit::BestFit;
use super::in_order::InOrder;
use super::{Batch, Lead, PackOptions, Packing, Plan, Span};
use crate::TrainError;
use crate::data::Shards;
use crate::data::shard::hexadecimal;

/// Which of the micro-batches are taken: number m is that of rank m modulo `ranks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// From 0.
    pub rank: u32,
    /// At least 1.
    pub ranks: u32,
}

impl Share {
    /// All of them.
    pub const ALL: Self = Self { rank: 0, ranks: 1 };
}

/// A place in the data. The same for all ranks after the same number of their batches, and valid
/// for any number of ranks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// From 0.
    pub epoch: u64,
    /// Rows of the epoch that were taken, by all ranks together.
    pub row: u64,
    /// What tells data and settings from all others; hexadecimal.
    pub identity: String,
}

/// Micro-batches, without end: after the last row of an epoch comes the first of the next.
#[derive(Debug)]
pub struct Batches {
    shards: Arc<Shards>,
    options: PackOptions,
    rows: u32,
    share: Share,
    lens: Vec<u32>,
    epoch: u64,
    row: u64,
    plan: Plan,
    spans: Vec<Span>,
    endless: Endless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endless {
    Yes,
    /// One epoch, for measuring.
    No,
}

impl Batches {
    /// From the beginning. `rows` are those of one micro-batch.
    ///
    /// # Errors
    /// Settings that mean nothing, or no documents.
    pub fn new(
        shards: Arc<Shards>,
        options: PackOptions,
        rows: u32,
        share: Share,
    ) -> Result<Self, TrainError> {
        options.check(shards.vocabulary().begin)?;
        Self::start(shards, options, rows, share, Endless::Yes)
    }

    /// One pass over all documents as they come, for validation: each is cut into rows from its
    /// beginning, and `packing` is of no account. The last batch may have fewer rows.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn once(
        shards: Arc<Shards>,
        options: PackOptions,
        rows: u32,
        share: Share,
    ) -> Result<Self, TrainError> {
        let options = PackOptions { packing: Packing::InOrder, ..options };
        options.check(shards.vocabulary().begin)?;
        Self::start(shards, options, rows, share, Endless::No)
    }

    fn start(
        shards: Arc<Shards>,
        options: PackOptions,
        rows: u32,
        share: Share,
        endless: Endless,
    ) -> Result<Self, TrainError> {
        let checked = [
            ("rows of a micro-batch", rows, rows >= 1),
            ("the rank", share.rank, share.rank < share.ranks),
        ];
        for (option, found, fits) in checked {
            if !fits {
                let expected = "at least one row, and a rank below the number of ranks";
                return Err(TrainError::Option { option, found: found.to_string(), expected });
            }
        }
        let lens = shards.document_lens();
        if lens.is_empty() {
            return Err(TrainError::EmptySide { documents: 0, side: "this pass" });
        }
        let plan = plan(&lens, &options, 0, endless, lead(&shards))?;
        let spans = Vec::new();
        Ok(Self { shards, options, rows, share, lens, epoch: 0, row: 0, plan, spans, endless })
    }

    /// Goes to a place that [`position`](Self::position) told.
    ///
    /// # Errors
    /// It was told about other data or settings, or does not exist.
    pub fn seek(&mut self, position: &Position) -> Result<(), TrainError> {
        let expected = self.identity();
        if position.identity != expected {
            let short = |text: &str| text.chars().take(12).collect();
            let found = short(&position.identity);
            return Err(TrainError::ForeignPosition { expected: short(&expected), found });
        }
        if position.epoch != self.epoch {
            self.plan = self.plan(position.epoch)?;
            self.epoch = position.epoch;
        }
        if position.row > self.plan.rows() {
            let limit = self.plan.rows();
            return Err(TrainError::Limit { what: "row of an epoch", found: position.row, limit });
        }
        self.row = position.row;
        Ok(())
    }

    /// Where the stream stands.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, row: self.row, identity: self.identity() }
    }

    /// Rows of the present epoch. Others differ by a few.
    pub fn epoch_rows(&self) -> u64 {
        self.plan.rows()
    }

    /// Fills `batch` with this rank's next micro-batch and steps over those of the others. False
    /// where a pass of one epoch is at its end: a rank whose turn falls behind the end gets none.
    ///
    /// # Errors
    /// A shard changed on disk or is damaged; the batch is then unusable, and the stream stands
    /// where it stood.
    pub fn next_batch(&mut self, batch: &mut Batch) -> Result<bool, TrainError> {
        batch.clear();
        self.shards.check_unchanged()?;
        let before = (self.epoch, self.row);
        let outcome = self.next_round(batch);
        if outcome.is_err() {
            if before.0 != self.epoch {
                self.plan = self.plan(before.0)?;
            }
            (self.epoch, self.row) = before;
        }
        outcome?;
        Ok(!batch.rows.is_empty())
    }

    fn next_round(&mut self, batch: &mut Batch) -> Result<(), TrainError> {
        for rank in 0..self.share.ranks {
            let wanted = u64::from(self.rows);
            if rank != self.share.rank {
                self.step_over(wanted)?;
                continue;
            }
            for _ in 0..wanted {
                if !self.enter_row()? {
                    return Ok(());
                }
                self.spans.clear();
                self.plan.row(self.row, &mut self.spans);
                batch.push_row(&self.spans, &self.shards, self.options.end)?;
                self.row += 1;
            }
        }
        Ok(())
    }

    fn step_over(&mut self, mut rows: u64) -> Result<(), TrainError> {
        while rows > 0 && self.enter_row()? {
            let step = rows.min(self.plan.rows() - self.row);
            self.row += step;
            rows -= step;
        }
        Ok(())
    }

    /// Goes on to the next epoch where this one has no row left. False at the end of a single one.
    fn enter_row(&mut self) -> Result<bool, TrainError> {
        while self.row >= self.plan.rows() {
            if self.endless == Endless::No {
                return Ok(false);
            }
            self.plan = self.plan(self.epoch + 1)?;
            self.epoch += 1;
            self.row = 0;
        }
        Ok(true)
    }

    fn plan(&self, epoch: u64) -> Result<Plan, TrainError> {
        plan(&self.lens, &self.options, epoch, self.endless, lead(&self.shards))
    }

    /// Over the documents and all that the rows' order depends on.
    fn identity(&self) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("lucid position identity 1");
        hasher.update(self.shards.identity());
        hasher.update(&self.options.row_tokens.to_le_bytes());
        hasher.update(&self.options.seed.to_le_bytes());
        hasher.update(format!("{:?} {:?}", self.options.packing, self.endless).as_bytes());
        hexadecimal(&hasher.finalize().as_bytes()[..16])
    }
}

/// What pieces that continue a document can begin with.
fn lead(shards: &Shards) -> Lead {
    if shards.vocabulary().begin.is_some() { Lead::Counted } else { Lead::None }
}

fn plan(
    lens: &[u32],
    options: &PackOptions,
    epoch: u64,
    endless: Endless,
    lead: Lead,
) -> Result<Plan, TrainError> {
    let PackOptions { row_tokens, packing, seed, .. } = *options;
    // Pieces and rows are counted in u32, and cropping adds less than a piece for each row.
    let tokens: u64 = lens.iter().map(|&len| u64::from(len)).sum();
    let found = 2 + tokens.div_ceil(u64::from(row_tokens - 1)) + lens.len() as u64;
    let limit = 1 << 30;
    if found > limit {
        return Err(TrainError::Limit { what: "rows of an epoch", found, limit });
    }
    Ok(match (endless, packing) {
        (Endless::No, _) => Plan::Apart(Apart::new(lens, row_tokens, lead)),
        (Endless::Yes, Packing::InOrder) => {
            Plan::InOrder(InOrder::shuffled(lens, row_tokens, seed, epoch))
        }
        (Endless::Yes, Packing::BestFit(leftover)) => {
            Plan::BestFit(BestFit::new(lens, row_tokens, leftover, seed, epoch))
        }
    })
}
