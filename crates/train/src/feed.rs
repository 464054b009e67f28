//! What a run learns from, or is measured on: running text, conversations, or comparisons.

use std::sync::{Arc, OnceLock};

use crate::TrainError;
use crate::conversation::{Examples, Rows};
use crate::data::{Batch, Batches, PackOptions, Packing, Position, Shards, Share};
use crate::plan::Plan;

/// Tokens with what is to be predicted of them.
#[derive(Clone)]
pub enum Material {
    /// Text, each token of which is predicted.
    Text(Arc<Shards>),
    /// Conversations, of which the answers are.
    Conversations(Arc<Examples>),
    /// Answers that were compared.
    Comparisons(Compared),
}

/// Answers that were compared, and how probable they were before the run.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The answers.
    pub examples: Arc<Examples>,
    /// Log-probability of each sequence's answer, nats; see `Trainer::measure_reference`.
    reference: Arc<OnceLock<Vec<f32>>>,
}

impl Compared {
    /// Answers, nothing being known of a reference yet.
    pub fn new(examples: Arc<Examples>) -> Self {
        Self { examples, reference: Arc::default() }
    }

    /// Log-probabilities of the sequences' answers before the run; empty while they are not known.
    pub fn reference(&self) -> &[f32] {
        self.reference.get().map_or(&[], Vec::as_slice)
    }

    /// Says what they were.
    ///
    /// # Errors
    /// `Setting`: there is not one for each sequence.
    pub fn set_reference(&self, reference: Vec<f32>) -> Result<(), TrainError> {
        if reference.len() != self.examples.len() {
            return Err(TrainError::Setting {
                what: "log-probabilities of the reference".to_owned(),
                found: reference.len().to_string(),
                expected: format!("{}, one for each sequence", self.examples.len()),
            });
        }
        // Who says it twice says the same.
        let _ = self.reference.set(reference);
        Ok(())
    }
}

impl Material {
    /// Tokens of all of it.
    pub fn tokens(&self) -> u64 {
        match self {
            Self::Text(shards) => shards.tokens(),
            Self::Conversations(examples) => examples.tokens(),
            Self::Comparisons(compared) => compared.examples.tokens(),
        }
    }
}

/// Micro-batches of a material.
pub(crate) enum Feed {
    Text(Batches),
    Conversations(Rows),
}

impl Feed {
    /// Without end, in the order of a plan. Conversations have no packing but their own.
    pub(crate) fn endless(
        material: &Material,
        packing: PackOptions,
        plan: &Plan,
    ) -> Result<Self, TrainError> {
        let (rows, row_tokens) = (plan.rows_per_micro_batch, plan.network.context_length);
        match material {
            Material::Text(shards) => {
                let packing = PackOptions { row_tokens: row_tokens as u32, ..packing };
                let shards = Arc::clone(shards);
                Ok(Self::Text(Batches::new(shards, packing, rows as u32, Share::ALL)?))
            }
            Material::Conversations(examples)
            | Material::Comparisons(Compared { examples, .. }) => {
                let examples = Arc::clone(examples);
                Ok(Self::Conversations(Rows::endless(examples, row_tokens, rows, plan.seed)?))
            }
        }
    }

    /// Once, for measuring: all of it, or about `targets_max` tokens spread over it, always the
    /// same ones.
    pub(crate) fn once(
        material: &Material,
        plan: &Plan,
        targets_max: Option<u64>,
    ) -> Result<Self, TrainError> {
        let (rows, row_tokens) = (plan.rows_per_micro_batch, plan.network.context_length);
        let shards = match material {
            Material::Text(shards) => shards,
            Material::Conversations(examples)
            | Material::Comparisons(Compared { examples, .. }) => {
                let examples = Arc::clone(examples);
                let rows = Rows::once(examples, row_tokens, rows, targets_max)?;
                return Ok(Self::Conversations(rows));
            }
        };
        let packing = PackOptions {
            row_tokens: row_tokens as u32,
            packing: Packing::InOrder,
            seed: 0,
            end: None,
        };
        let once = |share| Batches::once(Arc::clone(shards), packing, rows as u32, share);
        let batches = once(Share::ALL)?;
        let Some(most) = targets_max else { return Ok(Self::Text(batches)) };
        let tokens = batches.epoch_rows().saturating_mul(u64::from(packing.row_tokens));
        let ranks = u32::try_from(tokens / most.max(1)).unwrap_or(u32::MAX).max(1);
        Ok(Self::Text(once(Share { rank: 0, ranks })?))
    }

    /// Fills `batch`; false at the end of a single pass.
    pub(crate) fn next_batch(&mut self, batch: &mut Batch) -> Result<bool, TrainError> {
        match self {
            Self::Text(batches) => batches.next_batch(batch),
            Self::Conversations(rows) => Ok(rows.next_batch(batch)),
        }
    }

    pub(crate) fn position(&self) -> Position {
        match self {
            Self::Text(batches) => batches.position(),
            Self::Conversations(rows) => rows.position(),
        }
    }

    pub(crate) fn seek(&mut self, position: &Position) -> Result<(), TrainError> {
        match self {
            Self::Text(batches) => batches.seek(position),
            Self::Conversations(rows) => rows.seek(position),
        }
    }
}
