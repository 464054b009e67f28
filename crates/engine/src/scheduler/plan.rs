//! What a pass computes: one row of every sequence that waits for its next token, and parts of
//! prompts as far as the budget goes.

use std::collections::VecDeque;

use super::Scheduler;
use super::pace::PREFILL_MIN;
use super::queue::put_in_turn;
use crate::prefix::ClientId;

/// Rows of one sequence whose logits are all wanted, at most: a row of logits is as long as the
/// vocabulary.
const LOGITS_ROWS_MAX: usize = 32;

/// A client's share in the budget of a pass.
struct Line {
    client: ClientId,
    /// Indices of its sequences and the rows they lack: those that have begun to answer first, then
    /// the oldest.
    lacking: VecDeque<(usize, usize)>,
}

impl Scheduler {
    /// Says how many rows of each sequence the next pass takes, and makes room for them.
    pub(super) fn plan(&mut self) {
        loop {
            let last = self.grant();
            let rows = self.running.iter();
            let needed: usize = rows.map(|a| self.engine.blocks_for(a.sequence, a.rows)).sum();
            if needed <= self.engine.available_blocks() || self.running.len() <= 1 {
                self.prefilled_last = last;
                return;
            }
            self.make_room();
        }
    }

    /// Grants rows. Returns the client that had the last part of the budget.
    fn grant(&mut self) -> Option<ClientId> {
        let mut lines: Vec<Line> = Vec::new();
        let mut order: Vec<usize> = (0..self.running.len()).collect();
        order.sort_by_key(|&index| self.running[index].prefill_order());
        let mut decoding = 0;
        for index in order {
            let lacks = self.lacks(index);
            let active = &mut self.running[index];
            active.rows = usize::from(lacks == 1);
            decoding += active.rows;
            if lacks <= 1 {
                continue;
            }
            let rows = if active.run.owes() { lacks.min(LOGITS_ROWS_MAX) } else { lacks };
            let client = active.client();
            match lines.iter_mut().find(|line| line.client == client) {
                Some(line) => line.lacking.push_back((index, rows)),
                None => lines.push(Line { client, lacking: [(index, rows)].into() }),
            }
        }
        put_in_turn(&mut lines, self.prefilled_last, |line| line.client);
        self.share_out(lines.into(), self.pace.budget(decoding))
    }

    /// Gives the clients in turn a part each until nothing is left or lacking.
    fn share_out(&mut self, mut lines: VecDeque<Line>, mut budget: usize) -> Option<ClientId> {
        let mut last = self.prefilled_last;
        while budget > 0
            && let Some(mut line) = lines.pop_front()
        {
            let Some((index, lacking)) = line.lacking.pop_front() else { continue };
            let part = lacking.min(PREFILL_MIN).min(budget);
            self.running[index].rows += part;
            budget -= part;
            last = Some(line.client);
            if lacking > part {
                line.lacking.push_front((index, lacking - part));
            }
            lines.push_back(line);
        }
        last
    }

    /// Rows that a running sequence lacks.
    fn lacks(&self, index: usize) -> usize {
        let active = &self.running[index];
        active.run.target() - self.computed(active.sequence)
    }
}
