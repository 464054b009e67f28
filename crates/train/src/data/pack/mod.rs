//! Rows of a fixed length from documents, in an order by seed and epoch.
//!
//! An epoch is a plan that follows from the documents' lengths, the settings and the epoch's number
//! alone; which rows it has is known before a token is read. So the place in the data is two
//! numbers ([`Position`]), a run that is resumed continues with the same rows, and any number of
//! ranks sees the same rows in the same order.
//!
//! Attention never crosses documents: a row is a list of [`Span`]s, each a sequence of its own with
//! positions from 0. Invariant: over an epoch each token of each document is an input once, and
//! each but a document's first is a target once, as is the document's end; [`Leftover::Discard`]
//! leaves some out.

mod apart;
mod batch;
mod best_fit;
mod in_order;
mod stream;
#[cfg(test)]
mod tests;

pub use batch::Batch;
pub use stream::{Batches, Position, Share};

use lucid_tokenizer::TokenId;
use serde::{Deserialize, Serialize};

use crate::TrainError;

/// How documents become rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Packing {
    /// One after the other, cut where a row ends. What continues begins the next row at position 0.
    InOrder,
    /// Rows are filled with the largest piece that fits, and the rest with the beginning of the
    /// shortest; every row begins with the token that begins documents.
    ///
    /// Source: nanochat's `dataloader.py` (Karpathy 2025). Departures: (1) attention does not cross
    /// documents; (2) documents longer than a row are cut into whole rows first, from a place that
    /// differs by epoch, instead of losing all but their beginning; (3) what is cut off is kept
    /// unless [`Leftover::Discard`] says otherwise.
    BestFit(Leftover),
}

/// What happens to the rest of a document whose beginning filled a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leftover {
    /// It goes on as a piece of its own, after another begin token (whose target has no weight).
    Keep,
    /// It is left out of this epoch.
    Discard,
}

/// What the rows depend on, besides the documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackOptions {
    /// Tokens of a row, T.
    pub row_tokens: u32,
    /// How documents become rows.
    pub packing: Packing,
    /// Of the order.
    pub seed: u64,
    /// The target after a document's last token: what a model says when it has finished. Without
    /// one the last token has no target.
    pub end: Option<TokenId>,
}

impl PackOptions {
    /// The longest row that is packed.
    pub const ROW_TOKENS_MAX: u32 = 1 << 24;

    fn check(&self, begin: Option<TokenId>) -> Result<(), TrainError> {
        if !(2..=Self::ROW_TOKENS_MAX).contains(&self.row_tokens) {
            return Err(TrainError::Option {
                option: "the length of a row",
                found: self.row_tokens.to_string(),
                expected: "2 to 16777216 tokens",
            });
        }
        if matches!(self.packing, Packing::BestFit(_)) && begin.is_none() {
            return Err(TrainError::Option {
                option: "packing",
                found: "best fit, with a vocabulary that has no begin token".to_owned(),
                expected: "packing in order, or a vocabulary with one",
            });
        }
        Ok(())
    }
}

/// A part of a document in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its number in the shards.
    pub document: u32,
    /// The first token.
    pub start: u32,
    /// Tokens of the document.
    pub len: u32,
    /// What stands before them.
    pub lead: Lead,
}

/// What stands before the tokens of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    /// Nothing.
    None,
    /// The token that begins documents, whose target has no weight.
    Begin,
    /// The same, with a target that counts: for measuring.
    Counted,
}

impl Span {
    /// Tokens that it takes in a row.
    fn width(&self) -> u32 {
        self.len + u32::from(self.lead != Lead::None)
    }
}

/// The rows of one epoch.
#[derive(Debug)]
enum Plan {
    InOrder(in_order::InOrder),
    BestFit(best_fit::BestFit),
    Apart(apart::Apart),
}

impl Plan {
    fn rows(&self) -> u64 {
        match self {
            Self::InOrder(plan) => plan.rows(),
            Self::BestFit(plan) => plan.rows(),
            Self::Apart(plan) => plan.rows(),
        }
    }

    /// Appends the spans of row `row`, in the epoch's order.
    fn row(&self, row: u64, out: &mut Vec<Span>) {
        match self {
            Self::InOrder(plan) => plan.row(row, out),
            Self::BestFit(plan) => plan.row(row, out),
            Self::Apart(plan) => plan.row(row, out),
        }
    }
}
