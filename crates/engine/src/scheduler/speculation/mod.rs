//! Guessing what follows, so that one pass settles several tokens. Source of checking proposals in
//! one pass: Leviathan et al., arXiv:2211.17192.
//!
//! Departure: a proposed token is taken only if it is the one that the request's own sampler draws
//! from the logits before it, as it would have without a proposal. So the answer, its
//! log-probabilities and the sampler's state are the same to the bit; the price is that a sampled
//! answer accepts less than the paper's rejection sampling would.
//!
//! Proposals come from the text so far (`lookup`) or from a smaller model (`draft`); `confidence`
//! says of each, for each answer, whether it pays.

mod confidence;
mod draft;
mod lookup;

use lucid_tensor::TokenId;

use super::plan::LOGITS_ROWS_MAX;
use super::request::Speculation;
use super::run::Run;
use super::{Active, Scheduler};
use confidence::Confidence;
use draft::Ask;
pub(super) use draft::Draft;
use lookup::Lookup;

/// Tokens of a proposal at most.
const PROPOSAL_MAX: usize = 16;

/// Tokens of all proposals of a pass at most: each is a row of logits as long as the vocabulary.
const PASS_MAX: usize = 64;

/// What speculation knows of an answer, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Speculator {
    lookup: Lookup,
    by_lookup: Confidence,
    by_draft: Confidence,
    /// Where the present proposal stems from.
    source: Source,
    /// Tokens that were computed ahead.
    pub(super) proposed: usize,
    /// Of these, tokens that came true.
    pub(super) accepted: usize,
}

/// Where proposals come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Source {
    #[default]
    Lookup,
    Draft,
}

/// What a token of a proposal costs, as shares of what a token costs without any.
#[derive(Clone, Copy, Debug)]
struct Shares {
    /// From the text so far; none where that is switched off.
    lookup: Option<f64>,
    /// From a draft model, if there is one.
    draft: Option<f64>,
}

impl Speculator {
    /// Learns what became of the proposal.
    pub(super) fn learn(&mut self, proposed: usize, accepted: usize) {
        self.proposed += proposed;
        self.accepted += accepted;
        self.confidence().learn(proposed, accepted);
    }

    /// Learns that the proposal could not come true.
    fn miss(&mut self) {
        self.confidence().learn(1, 0);
    }

    /// In what the present proposal stems from.
    fn confidence(&mut self) -> &mut Confidence {
        match self.source {
            Source::Lookup => &mut self.by_lookup,
            Source::Draft => &mut self.by_draft,
        }
    }

    /// What follows `tokens` if the text repeats itself, and how many tokens a draft is to propose
    /// in its place.
    fn choose(&mut self, tokens: &[TokenId], most: usize, shares: Shares) -> (Vec<TokenId>, usize) {
        let found = shares.lookup.and_then(|share| Some((share, self.lookup.find(tokens)?)));
        let by_lookup = |found: &(f64, (usize, usize))| {
            let (share, (_, agree)) = *found;
            self.by_lookup.length(share, most.min(agree * 2))
        };
        let (mut ahead, lookup_gain) = found.as_ref().map(by_lookup).unwrap_or_default();
        let by_draft = |share| self.by_draft.length(share, most);
        let (mut drafted, draft_gain) = shares.draft.map(by_draft).unwrap_or_default();
        if ahead == 0 && drafted == 0 {
            if found.is_some() {
                ahead = self.by_lookup.trial().min(most);
            } else if shares.draft.is_some() {
                drafted = self.by_draft.trial().min(most);
            }
        }
        self.source = Source::Lookup;
        if ahead > 0 && lookup_gain >= draft_gain {
            drafted = 0;
        }
        let continued = found.map(|(_, (place, _))| lookup::continuation(tokens, place, ahead));
        (continued.unwrap_or_default(), drafted)
    }

    /// What is proposed, where a draft was asked as well: what it says, if it says anything.
    fn prefer(&mut self, drafted: Vec<TokenId>, proposal: &mut Vec<TokenId>) {
        if !drafted.is_empty() {
            self.source = Source::Draft;
            *proposal = drafted;
        }
    }
}

/// How many tokens may be proposed to follow a run at most; none where nothing may.
fn most(active: &Active) -> usize {
    let Active { run, rows, computed, .. } = active;
    let waits = *rows > 0 && computed + rows == run.tokens.len() && run.has_begun();
    let speculates = run.terms.speculation == Speculation::Auto;
    if !waits || !speculates || run.ending.is_some() || run.siblings > 0 {
        return 0;
    }
    let logits = run.tokens.len() - run.wanted_from().max(*computed);
    // The last token of an answer has nothing to be proposed for.
    let useful = run.tokens_left().saturating_sub(1);
    useful.min(LOGITS_ROWS_MAX.saturating_sub(logits)).min(PROPOSAL_MAX)
}

impl Scheduler {
    /// Adds proposals to what `decoding` sequences take, as far as `left` rows of the budget and
    /// `spare` blocks go.
    pub(super) fn speculate(&mut self, decoding: usize, left: usize, spare: usize) {
        if left == 0 || (!self.options.lookup && self.draft.is_none()) {
            return;
        }
        for index in 0..self.running.len() {
            self.running[index].computed = self.computed(self.running[index].sequence);
        }
        let share = self.pace.row_share(decoding);
        let drafting = self
            .draft
            .as_ref()
            .map(|draft| share + draft.token_share(self.pace.token_ms(decoding)));
        let shares = Shares { lookup: self.options.lookup.then_some(share), draft: drafting };
        // Everybody gets the same at most, so that nobody's depends on his place in the row.
        let each = (left.min(PASS_MAX) / decoding.max(1)).max(1);
        let (mut asks, mut chosen) = (Vec::new(), Vec::new());
        for active in &mut self.running {
            let most = most(active).min(each);
            if most == 0 {
                continue;
            }
            let Active { run, draft, proposal, .. } = active;
            let Run { speculator, tokens, sampler, terms, .. } = run;
            let count;
            (*proposal, count) = speculator.choose(tokens, most, shares);
            if count > 0 {
                let (scope, sampler) = (&terms.scope, sampler.clone());
                let drafted = Vec::new();
                asks.push(Ask { scope, tokens, sampler, sequence: draft, count, drafted });
                chosen.push((speculator, proposal));
            }
        }
        let failed = self.draft.as_mut().map(|it| it.propose(&mut asks, &mut self.clock).is_err());
        for (ask, (speculator, proposal)) in asks.into_iter().zip(chosen) {
            speculator.prefer(ask.drafted, proposal);
        }
        if failed == Some(true) {
            // Answers do without.
            self.draft = None;
            self.running.iter_mut().for_each(|active| active.draft = None);
        }
        self.keep_what_fits(left.min(PASS_MAX), spare);
    }

    /// Cuts proposals to what can come true, and to the rows and blocks that are left.
    fn keep_what_fits(&mut self, mut left: usize, mut spare: usize) {
        let Self { running, engine, .. } = self;
        for active in running.iter_mut().filter(|active| !active.proposal.is_empty()) {
            let Active { run, sequence, rows, proposal, .. } = active;
            run.cut(proposal);
            if proposal.is_empty() {
                run.speculator.miss();
            }
            proposal.truncate(left);
            let settled = engine.blocks_for(*sequence, *rows);
            let blocks = engine.blocks_for(*sequence, *rows + proposal.len()) - settled;
            if blocks > spare {
                proposal.clear();
                continue;
            }
            left -= proposal.len();
            spare -= blocks;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A draft is believed more than the text, but has nothing to say as yet.
    #[test]
    fn the_text_is_gone_by_while_a_draft_says_nothing() {
        let mut speculator = Speculator::default();
        (0..20).for_each(|_| speculator.by_draft.learn(8, 8));
        let text = [5, 1, 2, 3, 4, 1, 2];
        let shares = Shares { lookup: Some(0.2), draft: Some(0.2) };
        let (mut proposal, drafted) = speculator.choose(&text, 16, shares);
        assert!(drafted > 0);
        assert_eq!(proposal[..2], [3, 4]);
        speculator.prefer(Vec::new(), &mut proposal);
        assert_eq!((proposal[..2].to_vec(), speculator.source), (vec![3, 4], Source::Lookup));
        speculator.prefer(vec![9], &mut proposal);
        assert_eq!((proposal, speculator.source), (vec![9], Source::Draft));
        // Where the text is believed more nobody asks the draft.
        (0..20).for_each(|_| speculator.by_lookup.learn(8, 8));
        let shares = Shares { draft: Some(0.9), ..shares };
        let (proposal, drafted) = speculator.choose(&text, 16, shares);
        assert_eq!((proposal[..2].to_vec(), drafted), (vec![3, 4], 0));
    }
}
