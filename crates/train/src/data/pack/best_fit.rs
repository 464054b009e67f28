//! Rows filled by best fit; see [`Packing::BestFit`](super::Packing::BestFit). The plan of an epoch
//! takes 16 bytes for each piece and 4 to 8 for each row.

use std::collections::BTreeSet;

use super::{Lead, Leftover, Span};
use crate::random::Random;

/// How many pieces a row can choose from. nanochat's is the same.
const CHOICE: usize = 1000;

/// The rows of one epoch.
#[derive(Debug)]
pub(super) struct BestFit {
    spans: Vec<Span>,
    /// Where each row ends in `spans`.
    ends: Vec<u32>,
    /// The order of the rows.
    rows: Vec<u32>,
}

impl BestFit {
    /// `lens` are the documents' tokens, the one that begins them included.
    pub(super) fn new(
        lens: &[u32],
        row_tokens: u32,
        leftover: Leftover,
        seed: u64,
        epoch: u64,
    ) -> Self {
        let mut random = Random::new("lucid pack best fit 1", seed, epoch);
        let mut plan = Self { spans: Vec::new(), ends: Vec::new(), rows: Vec::new() };
        let mut pieces = pieces(lens, row_tokens, &mut random, &mut plan);
        random.shuffle(&mut pieces);
        let mut open = Open::default();
        let mut pieces = pieces.into_iter();
        loop {
            while open.len() < CHOICE
                && let Some(piece) = pieces.next()
            {
                open.insert(piece);
            }
            if open.is_empty() {
                break;
            }
            fill(&mut open, row_tokens, leftover, &mut plan);
        }
        plan.rows = (0..plan.ends.len() as u32).collect();
        random.shuffle(&mut plan.rows);
        plan
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows.len() as u64
    }

    pub(super) fn row(&self, row: u64, out: &mut Vec<Span>) {
        let row = self.rows[row as usize] as usize;
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        out.extend_from_slice(&self.spans[start..self.ends[row] as usize]);
    }

    fn close_row(&mut self) {
        self.ends.push(self.spans.len() as u32);
    }
}

/// Cuts documents that are longer than a row. Whole rows of one document go into the plan; what is
/// shorter is returned.
fn pieces(lens: &[u32], row_tokens: u32, random: &mut Random, plan: &mut BestFit) -> Vec<Span> {
    let mut short = Vec::new();
    for (document, &len) in lens.iter().enumerate() {
        let document = document as u32;
        if len <= row_tokens {
            short.push(Span { document, start: 0, len, lead: Lead::None });
            continue;
        }
        // The first cut differs by epoch, so that the others do, too.
        let mut cut = 1 + random.below(u64::from(row_tokens)) as u32;
        let mut start = 0;
        while start < len {
            let lead = if start == 0 { Lead::None } else { Lead::Begin };
            let piece = Span { document, start, len: cut.min(len - start), lead };
            start += piece.len;
            cut = row_tokens - 1;
            if piece.width() == row_tokens {
                plan.spans.push(piece);
                plan.close_row();
            } else {
                short.push(piece);
            }
        }
    }
    short
}

/// Pieces to choose from, by width; among equals the earlier one comes first.
#[derive(Default)]
struct Open {
    by_width: BTreeSet<(u32, u32)>,
    pieces: Vec<Span>,
}

impl Open {
    fn len(&self) -> usize {
        self.by_width.len()
    }

    fn is_empty(&self) -> bool {
        self.by_width.is_empty()
    }

    fn insert(&mut self, piece: Span) {
        // Reversed, so that the last entry of a width is the earliest piece.
        let key = u32::MAX - self.pieces.len() as u32;
        self.by_width.insert((piece.width(), key));
        self.pieces.push(piece);
    }

    fn remove(&mut self, entry: (u32, u32)) -> Span {
        self.by_width.remove(&entry);
        self.pieces[(u32::MAX - entry.1) as usize]
    }

    /// The widest piece of at most `width`.
    fn largest_within(&mut self, width: u32) -> Option<Span> {
        let entry = *self.by_width.range(..=(width, u32::MAX)).next_back()?;
        Some(self.remove(entry))
    }

    fn shortest(&mut self) -> Option<Span> {
        let width = self.by_width.first()?.0;
        self.largest_within(width)
    }
}

fn fill(open: &mut Open, row_tokens: u32, leftover: Leftover, plan: &mut BestFit) {
    let mut room = row_tokens;
    while room > 0 {
        if let Some(piece) = open.largest_within(room) {
            room -= piece.width();
            plan.spans.push(piece);
            continue;
        }
        let Some(piece) = open.shortest() else { break };
        let lead = u32::from(piece.lead == Lead::Begin);
        // A begin token alone, which has no target, would only take the place.
        let len = room - lead;
        if len > 0 {
            plan.spans.push(Span { len, ..piece });
        }
        if len == 0 || leftover == Leftover::Keep {
            let (start, rest) = (piece.start + len, piece.len - len);
            let lead = if start == 0 { Lead::None } else { Lead::Begin };
            open.insert(Span { document: piece.document, start, len: rest, lead });
        }
        break;
    }
    plan.close_row();
}
