//! A window: which pages a process has, and which of them are in.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::PageId;
use crate::page::{Page, Speaker};

/// For how many turns a page that was touched stays, unless that was too few.
pub(crate) const WORKING_SET_TURNS: u32 = 2;
/// Faults that are remembered.
const FAULTS_KEPT: usize = 16;

/// The pages of a process, in the order in which they were read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// What was read.
    pub slots: Vec<Slot>,
    /// What is held without having been read.
    pub held: BTreeMap<PageId, Arc<Page>>,
    /// For how many turns a page that was touched stays.
    pub working_set: u32,
    /// Tokens that were computed again on account of paging.
    pub again: u64,
    /// How many slots from the beginning show what is out in ranges, not each by a stub.
    pub folded: usize,
    /// The turns in which pages had to come back soon after they went, the last ones.
    pub faults: Vec<u64>,
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
            held: BTreeMap::new(),
            working_set: WORKING_SET_TURNS,
            again: 0,
            folded: 0,
            faults: Vec::new(),
        }
    }
}

impl Window {
    pub(super) fn append(&mut self, page: Page, turn: u64) {
        self.slots.push(Slot {
            page: Arc::new(page),
            place: Place::In,
            pinned: false,
            touched: turn,
            touches: 0,
            left: None,
        });
    }

    pub(super) fn fault(&mut self, turn: u64) {
        self.faults.push(turn);
        let many = self.faults.len().saturating_sub(FAULTS_KEPT);
        self.faults.drain(..many);
    }

    /// A page that was read.
    pub fn slot(&self, id: PageId) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.page.id == id)
    }

    pub(super) fn slot_mut(&mut self, id: PageId) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.page.id == id)
    }

    /// A page, read or held.
    pub fn page(&self, id: PageId) -> Option<&Arc<Page>> {
        self.slot(id).map(|slot| &slot.page).or_else(|| self.held.get(&id))
    }

    /// The tokens of what is in, without stubs.
    pub fn tokens_in(&self) -> u64 {
        let inside = self.slots.iter().filter(|slot| slot.place == Place::In);
        inside.map(|slot| slot.page.tokens).sum()
    }

    /// Of each slot, whether it is shown as a part of a range: it is out, and no result of it, or
    /// call of it, is shown elsewhere.
    pub fn folded_slots(&self) -> Vec<bool> {
        let out = |at: usize| at < self.folded && self.slots[at].place == Place::Out;
        let mut folded: Vec<bool> = (0..self.slots.len()).map(out).collect();
        for (at, slot) in self.slots.iter().enumerate() {
            match &slot.page.speaker {
                Speaker::System => folded[at] = false,
                Speaker::Process { calls, .. } if !calls.is_empty() => {
                    let mut group = self.results_of(at);
                    let whole = group.len() == calls.len();
                    group.push(at);
                    if !whole || !group.iter().all(|&at| folded[at]) {
                        for at in group {
                            folded[at] = false;
                        }
                    }
                }
                Speaker::Person | Speaker::Process { .. } | Speaker::Result { .. } => {}
            }
        }
        folded
    }

    /// Calls that are in, among what is shown in ranges, though all their results are out.
    pub fn calls_without_results(&self) -> Vec<usize> {
        let among = (0..self.folded.min(self.slots.len())).filter(|&at| {
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

    /// Whether a slot's calls have not all come back.
    pub fn is_open(&self, at: usize) -> bool {
        let Speaker::Process { calls, .. } = &self.slots[at].page.speaker else { return false };
        self.results_of(at).len() < calls.len()
    }
}
