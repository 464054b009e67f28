//! What sequences have on disk is read between passes, in parts, so that answers under way wait for
//! it no longer than for somebody's prompt.

use super::Scheduler;
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
        let mut began = None;
        for index in 0..self.running.len() {
            while self.read_part(index) {
                let now = (self.clock)();
                if now.saturating_sub(*began.get_or_insert(now)) > self.options.stall {
                    return;
                }
            }
        }
    }

    /// Reads the next part of one sequence. Returns whether there is more.
    fn read_part(&mut self, index: usize) -> bool {
        let Self { engine, running, stats, changes, .. } = self;
        let active = &mut running[index];
        // Who waits for another one finds its blocks in memory.
        if active.leader.is_some() {
            return false;
        }
        let (sequence, run) = (active.sequence, &mut active.run);
        let scope = &run.terms.scope;
        let reading = match active.on_disk {
            OnDisk::Unknown => engine.begin_reading(sequence, scope),
            OnDisk::Goes(reading) => Some(reading),
            OnDisk::Over => return false,
        };
        let before = engine.tokens(sequence).map_or(0, <[_]>::len);
        let known = &run.tokens[..run.adoptable()];
        let next = reading.and_then(|from| engine.read_on(sequence, scope, known, from));
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
        next.is_some()
    }
}
