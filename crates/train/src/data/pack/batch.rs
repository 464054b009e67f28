//! A micro-batch: the rows that one pass computes.

use std::ops::Range;

use lucid_tokenizer::TokenId;

use super::{Lead, Span};
use crate::TrainError;
use crate::data::{Shards, TokenBytes};

/// Rows of tokens and what is to be predicted. The lists have one entry for each token; rows follow
/// each other, and within a row sequences do, each in ascending order of position.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Inputs.
    pub tokens: Vec<TokenId>,
    /// The token that follows in the same document, or the end token. 0 where there is none.
    pub targets: Vec<TokenId>,
    /// 1 where the target counts, else 0.
    pub weights: Vec<f32>,
    /// Position within the sequence, from 0.
    pub positions: Vec<u32>,
    /// Sequence, numbered through the batch from 0. Attention stays within one.
    pub sequences: Vec<u32>,
    /// The tokens of each row; one of an epoch's first and last may be shorter than the others, and
    /// any where text is measured on.
    pub rows: Vec<Range<usize>>,
    /// Number of sequences.
    pub sequence_count: u32,
    /// Of compared sequences, two of which are a unit, the numbers of the units.
    pub units: Vec<u32>,
}

impl Batch {
    /// How many targets count.
    pub fn target_count(&self) -> usize {
        self.weights.iter().filter(|&&weight| weight > 0.0).count()
    }

    /// Bytes of text that the targets that count stand for. Over a whole pass, nats / (ln 2 x
    /// bytes) are bits per byte.
    pub fn target_bytes(&self, bytes: &TokenBytes) -> u64 {
        let counted = self.targets.iter().zip(&self.weights).filter(|&(_, &weight)| weight > 0.0);
        counted.map(|(&target, _)| u64::from(bytes.len_of(target))).sum()
    }

    /// Empties it; its memory is kept.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.targets.clear();
        self.weights.clear();
        self.positions.clear();
        self.sequences.clear();
        self.rows.clear();
        self.sequence_count = 0;
        self.units.clear();
    }

    /// Appends a row.
    ///
    /// # Errors
    /// A shard is damaged.
    pub(super) fn push_row(
        &mut self,
        spans: &[Span],
        shards: &Shards,
        end: Option<TokenId>,
    ) -> Result<(), TrainError> {
        let start = self.tokens.len();
        for span in spans {
            self.push_span(span, shards, end)?;
        }
        self.rows.push(start..self.tokens.len());
        Ok(())
    }

    fn push_span(
        &mut self,
        span: &Span,
        shards: &Shards,
        end: Option<TokenId>,
    ) -> Result<(), TrainError> {
        let first = self.tokens.len();
        if span.lead != Lead::None
            && let Some(begin) = shards.vocabulary().begin
        {
            self.tokens.push(begin);
            self.weights.push(if span.lead == Lead::Counted { 1.0 } else { 0.0 });
        }
        let stop = span.start + span.len;
        shards.read(span.document, span.start..stop, &mut self.tokens)?;
        let inputs = self.tokens.len();
        self.targets.extend_from_slice(&self.tokens[first + 1..]);
        let mut last_weight = 1.0;
        if stop < shards.document_len(span.document) {
            shards.read(span.document, stop..stop + 1, &mut self.targets)?;
        } else if let Some(end) = end {
            self.targets.push(end);
        } else {
            self.targets.push(0);
            last_weight = 0.0;
        }
        self.weights.resize(inputs - 1, 1.0);
        self.weights.push(last_weight);
        self.positions.extend(0..(inputs - first) as u32);
        self.sequences.resize(inputs, self.sequence_count);
        self.sequence_count += 1;
        Ok(())
    }
}
