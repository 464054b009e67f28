//! What sequences have on disk is read between passes, in parts, so that answers under way wait for
//! it no longer than for somebody's prompt.
//!
//! Fairness: who has nothing there waits for nobody's reading; the others take turns by the part,
//! by client and then within a client, from where the step before stopped.

use super::queue::put_in_turn;
use super::{Active, Scheduler};
use crate::engine::Reading;

/// How far a sequence is with what it may have on disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum OnDisk {
    /// Nobody has looked.
    Unknown,
    /// It may go on there.
    Goes(Reading),
    /// Nothing more is there.
    #[default]
    Over,
}

impl OnDisk {
    /// Whether more of the sequence may be there. It is not computed meanwhile.
    pub(super) fn goes_on(self) -> bool {
        !matches!(self, Self::Over)
    }
}

impl Scheduler {
    /// What is known of a new sequence.
    pub(super) fn look_on_disk(&self) -> OnDisk {
        if self.engine.has_disk() { OnDisk::Unknown } else { OnDisk::Over }
    }

    /// Reads what running sequences have on disk: a part in any case, and more while others can
    /// wait.
    pub(super) fn read_disk(&mut self) {
        self.look();
        let mut began = None;
        while let Some(index) = self.next_reader() {
            self.read_part(index);
            let now = (self.clock)();
            if now.saturating_sub(*began.get_or_insert(now)) > self.options.stall {
                return;
            }
        }
    }

    /// Finds out who has anything on disk, which costs little.
    pub(super) fn look(&mut self) {
        let Self { engine, running, .. } = self;
        // Who waits for another one finds its blocks in memory.
        let new = |active: &&mut Active| {
            active.leader.is_none() && matches!(active.on_disk, OnDisk::Unknown)
        };
        for Active { run, sequence, on_disk, .. } in running.iter_mut().filter(new) {
            let known = &run.tokens[..run.adoptable()];
            let reading = engine.begin_reading(*sequence, &run.terms.scope, known);
            *on_disk = reading.map_or(OnDisk::Over, OnDisk::Goes);
        }
    }

    /// Whose turn it is to read.
    fn next_reader(&self) -> Option<usize> {
        let reads =
            |active: &Active| active.leader.is_none() && matches!(active.on_disk, OnDisk::Goes(_));
        let readers = self.running.iter().enumerate().filter(|(_, active)| reads(active));
        let mut readers: Vec<_> = readers.collect();
        readers.sort_by_key(|(_, active)| (active.read_last, active.age()));
        put_in_turn(&mut readers, self.read_last, |(_, active)| active.client());
        readers.first().map(|&(index, _)| index)
    }

    /// Reads the next part of one sequence.
    fn read_part(&mut self, index: usize) {
        let Self { engine, running, stats, changes, .. } = self;
        let active = &mut running[index];
        let OnDisk::Goes(reading) = active.on_disk else { return };
        self.parts_read += 1;
        active.read_last = self.parts_read;
        self.read_last = Some(active.client());
        let (sequence, run) = (active.sequence, &mut active.run);
        let before = engine.tokens(sequence).map_or(0, <[_]>::len);
        let known = &run.tokens[..run.adoptable()];
        let next = engine.read_on(sequence, &run.terms.scope, known, reading);
        active.on_disk = next.map_or(OnDisk::Over, OnDisk::Goes);
        let after = engine.tokens(sequence).map_or(0, <[_]>::len);
        stats.disk_tokens += (after - before) as u64;
        // Somebody who did not fit may share it.
        *changes += u64::from(after > before);
        if !run.fed {
            let prompt = run.terms.prompt_tokens;
            run.cached = run.cached.max(after.min(prompt));
            run.from_disk += after.min(prompt) - before.min(prompt);
        }
    }
}
