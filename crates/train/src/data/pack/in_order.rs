//! Documents one after the other, in an order by seed and epoch, cut into rows. The rows then get
//! an order of their own, so that the rows of a long document do not follow each other.
//!
//! Where the first row ends differs by epoch, so that the cuts fall elsewhere: an epoch's first and
//! last row may be short, all others are full.

use super::{Lead, Span};
use crate::random::Random;

/// The rows of one epoch.
#[derive(Debug)]
pub(super) struct InOrder {
    /// Documents in their order.
    documents: Vec<u32>,
    /// Where each ends, in tokens of the epoch.
    ends: Vec<u64>,
    /// Tokens of the first row.
    first: u64,
    row_tokens: u64,
    /// The order of the rows.
    rows: Vec<u32>,
}

impl InOrder {
    /// `lens` are the documents' tokens.
    pub(super) fn shuffled(lens: &[u32], row_tokens: u32, seed: u64, epoch: u64) -> Self {
        let mut random = Random::new("lucid pack in order 1", seed, epoch);
        let mut documents: Vec<u32> = (0..lens.len() as u32).collect();
        random.shuffle(&mut documents);
        let first = 1 + random.below(u64::from(row_tokens));
        let mut total = 0;
        let ends = documents.iter().map(|&document| {
            total += u64::from(lens[document as usize]);
            total
        });
        let ends = ends.collect();
        let row_tokens = u64::from(row_tokens);
        let row_count = match total {
            0 => 0,
            _ => 1 + total.saturating_sub(first).div_ceil(row_tokens),
        };
        let mut rows: Vec<u32> = (0..row_count as u32).collect();
        random.shuffle(&mut rows);
        Self { documents, ends, first, row_tokens, rows }
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows.len() as u64
    }

    pub(super) fn row(&self, row: u64, out: &mut Vec<Span>) {
        let row = u64::from(self.rows[row as usize]);
        let total = self.ends.last().copied().unwrap_or(0);
        let end = (self.first + row * self.row_tokens).min(total);
        let mut at = if row == 0 { 0 } else { self.first + (row - 1) * self.row_tokens };
        let mut index = self.ends.partition_point(|&end| end <= at);
        while at < end {
            let begins = if index == 0 { 0 } else { self.ends[index - 1] };
            let stops = self.ends[index].min(end);
            out.push(Span {
                document: self.documents[index],
                start: (at - begins) as u32,
                len: (stops - at) as u32,
                lead: Lead::None,
            });
            at = stops;
            index += 1;
        }
    }
}
