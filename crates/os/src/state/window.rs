//! A window: which pages a process has, and which of them are in.
//!
//! A process may have read far more pages than its window shows. What is shown (texts and stubs of
//! their own) is known by place, so that a turn costs what is shown and not what was ever read.
//!
//! Invariant: the numbers of the pages ascend, for numbers are given in the order of reading.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::PageId;
use crate::page::{Page, Speaker};

/// For how many turns a page that was touched stays, unless that was too few.
pub(crate) const WORKING_SET_TURNS: u32 = 2;
/// Turns within which a page that comes back was sent out too early.
const FAULT_TURNS: u64 = 4;
/// Faults that are remembered.
const FAULTS_KEPT: usize = 16;

/// The pages of a process, in the order in which they were read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// What was read.
    slots: Vec<Slot>,
    /// The places of what is shown by itself, ascending; the rest is shown in ranges.
    shown: Vec<usize>,
    /// What is held without having been read.
    pub held: BTreeMap<PageId, Arc<Page>>,
    /// For how many turns a page that was touched stays.
    pub working_set: u32,
    /// Tokens that were computed again on account of paging.
    pub again: u64,
    /// How many slots from the beginning show what is out in ranges, not each by a stub.
    folded: usize,
    /// The turns in which pages had to come back soon after they went, the last ones.
    pub faults: Vec<u64>,
    /// The turn in which the working set became another one.
    pub(super) widened: Option<u64>,
}

/// A page's place in a window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// The page. Forked processes share it.
    pub page: Arc<Page>,
    /// Whether its text is in the window, or a stub.
    pub place: Place,
    /// Whether it is to stay.
    pub pinned: bool,
    /// The turn in which it was last read, called for or referred to.
    pub touched: u64,
    /// How often.
    pub touches: u32,
    /// The turn in which it last went out.
    pub left: Option<u64>,
    /// The tokens of the pages before it.
    before: u64,
}

/// What a window shows at a place.
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    /// A page: its text, or its stub.
    Slot(&'a Slot),
    /// Pages that follow each other and are all out.
    Range {
        /// The first of them.
        first: &'a Page,
        /// The last.
        last: &'a Page,
        /// How many.
        pages: usize,
        /// Their tokens.
        tokens: u64,
    },
}

/// Where a page's text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In the window.
    In,
    /// Beside it; a stub stands in its place.
    Out,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            shown: Vec::new(),
            held: BTreeMap::new(),
            working_set: WORKING_SET_TURNS,
            again: 0,
            folded: 0,
            faults: Vec::new(),
            widened: None,
        }
    }
}

impl Window {
    pub(super) fn append(&mut self, page: Page, turn: u64) {
        self.push(Slot {
            page: Arc::new(page),
            place: Place::In,
            pinned: false,
            touched: turn,
            touches: 0,
            left: None,
            before: 0,
        });
    }

    fn push(&mut self, slot: Slot) {
        let before = self.slots.last().map_or(0, |last| last.before + last.page.tokens);
        self.shown.push(self.slots.len());
        self.slots.push(Slot { before, ..slot });
    }

    /// Keeps only some pages, all of them shown; what is held stays.
    pub(super) fn retain(&mut self, stays: impl Fn(&Page) -> bool) {
        let held = std::mem::take(&mut self.held);
        let old = std::mem::replace(self, Self { held, ..Self::default() });
        old.slots.into_iter().filter(|slot| stays(&slot.page)).for_each(|slot| self.push(slot));
    }

    /// A page is wanted again that was in the window before. It was a fault to send it out if that
    /// was only now.
    pub(super) fn miss(&mut self, at: usize, turn: u64) {
        let slot = &mut self.slots[at];
        slot.touched = turn;
        slot.touches += 1;
        if slot.left.is_some_and(|left| turn.saturating_sub(left) <= FAULT_TURNS) {
            self.faults.push(turn);
            let many = self.faults.len().saturating_sub(FAULTS_KEPT);
            self.faults.drain(..many);
        }
    }

    /// What was read, in that order.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The place of a page that was read.
    pub fn place_of(&self, id: PageId) -> Option<usize> {
        self.slots.binary_search_by_key(&id, |slot| slot.page.id).ok()
    }

    pub(super) fn is_sound(&self) -> bool {
        let ascends = |pair: &[Slot]| pair[0].page.id < pair[1].page.id;
        let shown = self.shown.windows(2).all(|pair| pair[0] < pair[1]);
        shown
            && self.shown.last().is_none_or(|&last| last < self.slots.len())
            && self.slots.windows(2).all(ascends)
    }

    /// The working set from now on. A turn that is begun anew finds the one that it had.
    pub(crate) fn working_set_now(&self, turn: u64) -> u32 {
        if self.widened == Some(turn) {
            return self.working_set;
        }
        crate::paging::working_set(self.working_set, WORKING_SET_TURNS, &self.faults, turn)
    }

    /// A page that was read.
    pub fn slot(&self, id: PageId) -> Option<&Slot> {
        self.place_of(id).map(|at| &self.slots[at])
    }

    pub(super) fn slot_mut(&mut self, id: PageId) -> Option<&mut Slot> {
        self.place_of(id).map(|at| &mut self.slots[at])
    }

    /// A page, read or held.
    pub fn page(&self, id: PageId) -> Option<&Arc<Page>> {
        self.slot(id).map(|slot| &slot.page).or_else(|| self.held.get(&id))
    }

    /// What is shown by itself, each with its place.
    pub fn shown(&self) -> impl DoubleEndedIterator<Item = (usize, &Slot)> {
        self.shown.iter().map(|&at| (at, &self.slots[at]))
    }

    /// How many slots from the beginning show what is out in ranges, not each by a stub.
    pub fn folded(&self) -> usize {
        self.folded
    }

    /// All that is shown, from the beginning.
    pub fn views(&self) -> Vec<View<'_>> {
        let mut views = Vec::with_capacity(self.shown.len());
        let mut next = 0;
        let ends = self.shown.iter().copied().chain(std::iter::once(self.slots.len()));
        for at in ends {
            if at > next {
                let (first, last) = (&self.slots[next], &self.slots[at - 1]);
                views.push(View::Range {
                    first: &first.page,
                    last: &last.page,
                    pages: at - next,
                    tokens: last.before + last.page.tokens - first.before,
                });
            }
            views.extend(self.slots.get(at).map(View::Slot));
            next = at + 1;
        }
        views
    }

    /// Tokens that stand behind the first place in which another window shows something else than
    /// this one: they are computed again.
    pub(crate) fn computed_again(&self, after: &Self) -> u64 {
        let sign = |view: &View<'_>| match *view {
            View::Slot(slot) => (slot.page.id, slot.page.id, slot.place == Place::In),
            View::Range { first, last, .. } => (first.id, last.id, false),
        };
        let (before, after) = (self.views(), after.views());
        let same = before.iter().zip(&after).take_while(|(a, b)| sign(a) == sign(b)).count();
        let inside = after[same..].iter().filter_map(|view| match view {
            View::Slot(slot) if slot.place == Place::In => Some(slot.page.tokens),
            _ => None,
        });
        inside.sum()
    }

    /// The tokens of what is in, without stubs.
    pub fn tokens_in(&self) -> u64 {
        let inside = self.shown().filter(|(_, slot)| slot.place == Place::In);
        inside.map(|(_, slot)| slot.page.tokens).sum()
    }

    /// Sends a page out.
    pub(crate) fn send_out(&mut self, at: usize, turn: u64) {
        let slot = &mut self.slots[at];
        (slot.place, slot.left) = (Place::Out, Some(turn));
    }

    /// Brings a page in. With it the calls and results that it belongs to are shown by themselves.
    pub(super) fn bring_in(&mut self, at: usize) {
        self.slots[at].place = Place::In;
        let mut group = vec![at];
        if let Some(caller) = self.caller_of(at) {
            group.push(caller);
            group.extend(self.results_of(caller));
        }
        for at in group {
            if let Err(place) = self.shown.binary_search(&at) {
                self.shown.insert(place, at);
            }
        }
    }

    /// Shows what is out in ranges, up to a place: all but calls and results that belong to
    /// something that is in, or that have not come back.
    pub(crate) fn fold(&mut self, folded: usize) {
        self.folded = folded;
        let end = self.shown.partition_point(|&at| at < folded);
        let out = |at: usize| at < folded && self.slots[at].place == Place::Out;
        let mut hidden: BTreeSet<usize> =
            self.shown[..end].iter().copied().filter(|&at| out(at)).collect();
        for &at in &self.shown[..end] {
            match &self.slots[at].page.speaker {
                Speaker::System => {
                    hidden.remove(&at);
                }
                Speaker::Process { calls, .. } if !calls.is_empty() => {
                    let mut group = self.results_of(at);
                    let whole = group.len() == calls.len();
                    group.push(at);
                    if !whole || !group.iter().all(|at| hidden.contains(at)) {
                        hidden.retain(|at| !group.contains(at));
                    }
                }
                Speaker::Person | Speaker::Process { .. } | Speaker::Result { .. } => {}
            }
        }
        self.shown.retain(|at| !hidden.contains(at));
    }

    /// Calls that are in, among what is shown in ranges, though all their results are out.
    pub(crate) fn calls_without_results(&self) -> Vec<usize> {
        let end = self.shown.partition_point(|&at| at < self.folded);
        let among = self.shown[..end].iter().copied().filter(|&at| {
            let slot = &self.slots[at];
            let Speaker::Process { calls, .. } = &slot.page.speaker else { return false };
            let results = self.results_of(at);
            let out = |&at: &usize| at < self.folded && self.slots[at].place == Place::Out;
            slot.place == Place::In
                && !calls.is_empty()
                && results.len() == calls.len()
                && results.iter().all(out)
        });
        among.collect()
    }

    /// The place of the calls that a page is one of, or the result of one.
    fn caller_of(&self, at: usize) -> Option<usize> {
        let result = match &self.slots[at].page.speaker {
            Speaker::Process { .. } => return Some(at),
            Speaker::Result { call } => *call,
            Speaker::System | Speaker::Person => return None,
        };
        let made = |at: &usize| match &self.slots[*at].page.speaker {
            Speaker::Process { calls, .. } => calls.iter().any(|call| call.id == result),
            _ => false,
        };
        (0..at).rev().find(made)
    }

    /// The places of the results of a slot's calls.
    fn results_of(&self, at: usize) -> Vec<usize> {
        let Speaker::Process { calls, .. } = &self.slots[at].page.speaker else {
            return Vec::new();
        };
        let results = self.slots.iter().enumerate().skip(at);
        let is_one = |slot: &Slot| match slot.page.speaker {
            Speaker::Result { call } => calls.iter().any(|own| own.id == call),
            _ => false,
        };
        // They follow soon, so a long window is not walked through for each of its calls.
        results.filter(|(_, slot)| is_one(slot)).map(|(at, _)| at).take(calls.len()).collect()
    }

    /// Whether a page may leave at all.
    pub fn may_leave(&self, at: usize) -> bool {
        let slot = &self.slots[at];
        !slot.page.kind.stays() && !slot.pinned && !self.is_open(at)
    }

    /// The places of what leaves together with a page so that nothing of it is shown by itself: a
    /// call and its results, or the page alone. None if some of it has to stay.
    pub(crate) fn group_of(&self, at: usize) -> Option<Vec<usize>> {
        let mut group = vec![at];
        if let Some(caller) = self.caller_of(at) {
            group = self.results_of(caller);
            group.push(caller);
        }
        let leaves =
            |&at: &usize| self.slots[at].page.speaker != Speaker::System && self.may_leave(at);
        group.iter().all(leaves).then_some(group)
    }

    /// Whether a slot's calls have not all come back.
    pub fn is_open(&self, at: usize) -> bool {
        let Speaker::Process { calls, .. } = &self.slots[at].page.speaker else { return false };
        self.results_of(at).len() < calls.len()
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
