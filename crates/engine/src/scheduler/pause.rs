//! Standing still: a request is set aside at any token, and goes on where it was.
//!
//! Invariant: pausing changes no answer. Everything that an answer depends on is in its `Run`,
//! which is kept as it is; keys and values are kept, or found again, or computed again.

use super::run::Run;
use super::{Active, RequestId, Scheduler};

/// What is kept of a request that stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Its blocks of keys and values, as long as nobody needs them more.
    Blocks,
    /// Its tokens and its sampler. Full blocks go to the cache, and to the disk where there is one.
    Tokens,
}

/// A run that stands still.
pub(super) enum Aside {
    /// With its blocks.
    Held(Box<Active>),
    /// Without.
    Bare(Box<Run>),
}

impl Aside {
    pub(super) fn run(&self) -> &Run {
        match self {
            Self::Held(active) => &active.run,
            Self::Bare(run) => run,
        }
    }
}

impl Scheduler {
    /// Sets a request aside: nothing of it is computed until `resume`. Returns whether there was
    /// one that did not stand still.
    pub fn pause(&mut self, id: RequestId, keep: Keep) -> bool {
        let which = |run: &Run| run.terms.id == id;
        let before = self.aside.len();
        for mut active in std::mem::take(&mut self.running) {
            if !which(&active.run) {
                self.running.push(active);
                continue;
            }
            self.stats.pauses += 1;
            if keep == Keep::Blocks {
                active.leader = None;
                self.aside.push(Aside::Held(Box::new(active)));
            } else {
                self.close(&active);
                self.aside.push(Aside::Bare(Box::new(active.run)));
            }
        }
        // Nobody waits for what stands still.
        let sequences: Vec<_> = self.aside[before..].iter().filter_map(held).collect();
        for other in &mut self.running {
            other.leader = other.leader.filter(|(leader, _)| !sequences.contains(leader));
        }
        self.aside
            .extend(self.queue.remove(which).into_iter().map(|run| Aside::Bare(Box::new(run))));
        self.aside.len() > before
    }

    /// Lets a request go on that was set aside. Returns whether there was one.
    pub fn resume(&mut self, id: RequestId) -> bool {
        let (back, aside) = std::mem::take(&mut self.aside)
            .into_iter()
            .partition::<Vec<_>, _>(|aside| aside.run().terms.id == id);
        self.aside = aside;
        let found = !back.is_empty();
        // What is pushed last comes first.
        for aside in back.into_iter().rev() {
            match aside {
                Aside::Held(active) if self.running.len() < self.options.sequences_max => {
                    self.running.push(*active);
                }
                Aside::Held(active) => {
                    self.close(&active);
                    self.queue.push_front(active.run);
                }
                Aside::Bare(run) => self.queue.push_front(*run),
            }
        }
        found
    }

    /// Takes the blocks of the run that was set aside first. Returns whether there was one.
    pub(super) fn take_from_aside(&mut self) -> bool {
        let Some(at) = self.aside.iter().position(|aside| held(aside).is_some()) else {
            return false;
        };
        if let Aside::Held(active) = self.aside.remove(at) {
            self.close(&active);
            self.aside.insert(at, Aside::Bare(Box::new(active.run)));
        }
        true
    }
}

fn held(aside: &Aside) -> Option<crate::SequenceId> {
    match aside {
        Aside::Held(active) => Some(active.sequence),
        Aside::Bare(_) => None,
    }
}
