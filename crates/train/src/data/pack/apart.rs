//! One pass over documents as they come, for measuring: each is cut into rows from its beginning,
//! every row predicts from the token that begins documents on, and short ones share a row in order.
//!
//! Invariant: each token of a document but its first is a target once. So what is measured depends
//! on the documents and the length of a row, and not on which documents stand next to each other.

use super::{Lead, Span};

/// The rows of the pass.
#[derive(Debug, Default)]
pub(super) struct Apart {
    spans: Vec<Span>,
    /// Where each row ends in `spans`.
    ends: Vec<u32>,
}

impl Apart {
    /// `lens` are the documents' tokens, the one that begins them included. `lead` is what pieces
    /// that continue a document begin with; where there is nothing, it is the last token before.
    pub(super) fn new(lens: &[u32], row_tokens: u32, lead: Lead) -> Self {
        let mut plan = Self::default();
        let mut room = row_tokens;
        for (document, &len) in lens.iter().enumerate() {
            // The next token to predict.
            let mut target = 1;
            while target < len {
                let targets = row_tokens.min(len - target);
                let (start, lead) = match lead {
                    _ if target == 1 => (0, Lead::None),
                    Lead::None => (target - 1, Lead::None),
                    lead => (target, lead),
                };
                if targets > room {
                    plan.close_row();
                    room = row_tokens;
                }
                room -= targets;
                target += targets;
                // The last token is predicted, and nothing from it.
                let len = target - 1 - start;
                plan.spans.push(Span { document: document as u32, start, len, lead });
            }
        }
        if !plan.spans.is_empty() {
            plan.close_row();
        }
        plan
    }

    pub(super) fn rows(&self) -> u64 {
        self.ends.len() as u64
    }

    pub(super) fn row(&self, row: u64, out: &mut Vec<Span>) {
        let row = row as usize;
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        out.extend_from_slice(&self.spans[start..self.ends[row] as usize]);
    }

    fn close_row(&mut self) {
        self.ends.push(self.spans.len() as u32);
    }
}
