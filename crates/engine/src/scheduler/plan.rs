//! What a pass computes: the rows of every sequence that waits for its next token, parts of prompts
//! as far as the budget goes, and with what is left of it proposals.

use std::collections::{BTreeMap, VecDeque};

use super::Scheduler;
use super::pace::{PREFILL_MAX, PREFILL_MIN};
use super::queue::put_in_turn;
use crate::prefix::ClientId;

/// Rows of one sequence whose logits are all wanted, at most: a row of logits is as long as the
/// vocabulary.
pub(super) const LOGITS_ROWS_MAX: usize = 32;

/// Rows of one answer that go before all prompts, at most: its next token and what a constraint
/// forced after it.
const ANSWER_ROWS_MAX: usize = 32;

/// A client's share in the budget of a pass.
struct Line {
    client: ClientId,
    /// Its sequences that lack rows: those that have begun to answer first, then the oldest.
    lacking: Vec<Lacking>,
}

/// A sequence that lacks rows.
#[derive(Clone, Copy)]
struct Lacking {
    index: usize,
    /// What the pass may take of it.
    rows: usize,
    /// All that it lacks.
    all: usize,
}

impl Line {
    /// The place of the sequence that lacks least, the first among equals.
    fn shortest(&self) -> Option<usize> {
        let places = self.lacking.iter().enumerate();
        Some(places.min_by_key(|&(place, lacking)| (lacking.all, place))?.0)
    }
}

/// What a plan comes to before anything is proposed.
#[derive(Clone, Debug, Default)]
struct Granted {
    /// Sequences that wait for their next token.
    decoding: usize,
    /// What is left of the budget.
    left: usize,
    /// The client that had the last part of it.
    last: Option<ClientId>,
    /// Of each client, the rows that its first sequence had more than its shortest.
    lead: BTreeMap<ClientId, usize>,
}

impl Scheduler {
    /// Says how many rows of each sequence the next pass takes, and makes room for them.
    pub(super) fn plan(&mut self) {
        (0..self.running.len()).for_each(|index| self.find_again(index));
        self.look();
        loop {
            let granted = self.grant();
            let rows = self.running.iter();
            let needed: usize = rows.map(|a| self.engine.blocks_for(a.sequence, a.rows)).sum();
            let available = self.engine.available_blocks();
            let short = needed > available;
            // One that runs alone needs no room, unless what stands still has it.
            if short && self.take_from_aside() {
                continue;
            }
            if !short || self.running.len() <= 1 {
                self.prefilled_last = granted.last;
                self.lead = granted.lead;
                let spare = available.saturating_sub(needed);
                self.speculate(granted.decoding, granted.left, spare);
                return;
            }
            self.make_room();
        }
    }

    /// Grants rows: first to answers, then to prompts.
    fn grant(&mut self) -> Granted {
        let mut lines: Vec<Line> = Vec::new();
        let mut order: Vec<usize> = (0..self.running.len()).collect();
        order.sort_by_key(|&index| self.running[index].prefill_order());
        let (mut decoding, mut forced) = (0, 0);
        for index in order {
            let computed = self.computed(self.running[index].sequence);
            let active = &mut self.running[index];
            let run = &active.run;
            active.rows = 0;
            active.proposal.clear();
            if active.leader.is_some() || active.on_disk.goes_on() {
                continue;
            }
            let lacks = run.target().saturating_sub(computed);
            let rows = lacks.min(run.wanted_from().saturating_sub(computed) + LOGITS_ROWS_MAX);
            if lacks <= 1 || run.has_begun() && computed >= run.terms.prompt_tokens {
                let bound = if forced < PREFILL_MAX { ANSWER_ROWS_MAX } else { 1 };
                active.rows = rows.min(bound);
                decoding += usize::from(rows > 0);
                forced += active.rows.saturating_sub(1);
                continue;
            }
            let (client, lacking) = (active.client(), Lacking { index, rows, all: lacks });
            match lines.iter_mut().find(|line| line.client == client) {
                Some(line) => line.lacking.push(lacking),
                None => lines.push(Line { client, lacking: vec![lacking] }),
            }
        }
        put_in_turn(&mut lines, self.prefilled_last, |line| line.client);
        // What answers take beyond a row each holds others up like a prompt.
        let budget = self.pace.budget(decoding).saturating_sub(forced);
        let mut granted = Granted {
            decoding,
            left: budget.max(PREFILL_MIN),
            last: self.prefilled_last,
            lead: self.lead.clone(),
        };
        granted.lead.retain(|client, _| lines.iter().any(|line| line.client == *client));
        self.share_out(lines.into(), &mut granted);
        granted
    }

    /// Gives the clients in turn a part each until nothing is left or lacking. Of a client's part
    /// its first sequence and the one that lacks least have as much as each other, so that a short
    /// prompt is not held up by a long one, nor a long one by ever more short ones. Where a long
    /// one would fill the pass and nobody is answered yet, the pass ends with the first prompt that
    /// is complete: its answer can begin.
    fn share_out(&mut self, mut lines: VecDeque<Line>, granted: &mut Granted) {
        let mut lacking = lines.iter().flat_map(|line| &line.lacking);
        let fills = granted.decoding == 0 && lacking.any(|lacking| lacking.all > PREFILL_MAX);
        while granted.left > 0
            && let Some(mut line) = lines.pop_front()
        {
            let Some(shortest) = line.shortest() else { continue };
            let lead = granted.lead.entry(line.client).or_default();
            let place = if *lead > 0 { shortest } else { 0 };
            let lacking = &mut line.lacking[place];
            let mut part = lacking.rows.min(PREFILL_MIN).min(granted.left);
            if shortest == 0 {
                *lead = 0;
            } else if place == 0 {
                *lead = part;
            } else {
                part = part.min(*lead);
                *lead -= part;
            }
            self.running[lacking.index].rows += part;
            lacking.rows -= part;
            lacking.all -= part;
            granted.left -= part;
            granted.last = Some(line.client);
            if fills && lacking.all == 0 {
                granted.left = 0;
            }
            if lacking.rows == 0 {
                line.lacking.remove(place);
            }
            lines.push_back(line);
        }
    }
}
