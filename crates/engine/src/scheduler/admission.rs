//! Who runs: taking in what waits, and making room.
//!
//! Fairness: a client that runs nothing goes before those that run something, and if its first run
//! does not fit, clients that run several give up their newest, and nobody overtakes it meanwhile.
//! Among others turns go round. So one client's crowd cannot keep another's request out, and a long
//! prompt is not overtaken for ever by short ones.
//!
//! Termination: a run is taken in only if all its tokens fit, with room for those that run already,
//! so that a run has to make room only when others have come further.

use std::collections::BTreeMap;

use lucid_tensor::{KV_BLOCK_LEN, KvBlockId};

use super::run::Refusal;
use super::{Active, Scheduler};
use crate::kv_blocks_for;
use crate::prefix::ClientId;

impl Scheduler {
    /// Takes in as many runs as fit.
    pub(super) fn admit(&mut self) {
        while self.admit_one() {}
    }

    fn admit_one(&mut self) -> bool {
        let waiting = self.queue.in_turn();
        let runs = |client: ClientId| self.running.iter().any(|active| active.client() == client);
        let Some(client) = waiting.iter().copied().find(|&client| !runs(client)) else {
            return waiting.into_iter().any(|client| self.try_admit(client));
        };
        loop {
            if self.try_admit(client) {
                return true;
            }
            // Nobody gives way to what would not fit even then.
            if !self.fits_beside_first_runs(client) {
                return false;
            }
            let Some(index) = self.newest_of_a_crowd() else { return false };
            self.preempt(index);
        }
    }

    /// Whether a client's first run would fit if each client that runs had its oldest run alone.
    /// (What they share is counted for each, so this may say no too early.)
    fn fits_beside_first_runs(&self, client: ClientId) -> bool {
        let Some(run) = self.queue.front(client) else { return false };
        let mut first: BTreeMap<ClientId, (_, usize)> = BTreeMap::new();
        for active in &self.running {
            let held = self.engine.table(active.sequence).len() + self.promised(active);
            let entry = first.entry(active.client()).or_insert((active.age(), held));
            if active.age() < entry.0 {
                *entry = (active.age(), held);
            }
        }
        let needed = kv_blocks_for((run.target() + 1).min(run.terms.capacity));
        let held: usize = first.values().map(|(_, blocks)| blocks).sum();
        first.len() < self.options.sequences_max && needed + held <= self.engine.options().kv_blocks
    }

    /// Takes in a client's first run if it fits.
    fn try_admit(&mut self, client: ClientId) -> bool {
        let Some(run) = self.queue.front(client) else { return false };
        let alone = self.running.is_empty();
        // A run of many samples is one sequence until its prompt is computed.
        if self.running.len() >= self.options.sequences_max && !alone {
            return false;
        }
        // Nothing has changed since it did not fit.
        if run.refusal.is_some_and(|refusal| refusal.change == self.changes) && !alone {
            return false;
        }
        // What is known of it need not be taken anew.
        let sequence = run.adopt(&mut self.engine);
        let known = self.computed(sequence);
        let blocks = kv_blocks_for((run.target() + 1).min(run.terms.capacity));
        let needed = blocks - self.engine.table(sequence).len();
        let promised: usize = self.running.iter().map(|active| self.promised(active)).sum();
        if needed + promised > self.engine.available_blocks() && !alone {
            self.engine.close(sequence).expect("it was opened just now");
            let refusal = Refusal { change: self.changes, known };
            if let Some(run) = self.queue.front_mut(client) {
                run.refusal = Some(refusal);
            }
            // What stands still gives way to what could go on.
            return self.take_from_aside() && self.try_admit(client);
        }
        let Some(mut run) = self.queue.pop(client) else { return false };
        if run.admission.is_none() {
            run.admission = Some(self.admissions);
            self.admissions += 1;
        }
        run.refusal = None;
        let mut active = Active::new(run, sequence);
        active.on_disk = self.look_on_disk();
        self.look_ahead(&mut active, known);
        self.running.push(active);
        true
    }

    /// Looks for an older sequence that is going to compute what this one would, `known` tokens of
    /// which are known. Waiting for it costs little: half of a client's parts go to its oldest
    /// prompt, and that one waits for nobody.
    fn look_ahead(&self, active: &mut Active, known: usize) {
        let Active { run, leader, .. } = active;
        if !run.fed {
            run.cached = known.min(run.terms.prompt_tokens);
            // What was read before it made room, and has gone since, will be read again.
            run.from_disk = run.from_disk.min(run.cached);
        }
        // Its last token is computed in any case.
        let own = &run.tokens[..run.adoptable().saturating_sub(1)];
        let age = (run.admission, run.sample);
        let ahead = |other: &Active| {
            let theirs = &other.run.tokens[..other.run.target()];
            let pairs = own.iter().zip(theirs);
            let shared = pairs.take_while(|(own, theirs)| own == theirs).count();
            (other.sequence, shared / KV_BLOCK_LEN * KV_BLOCK_LEN)
        };
        let leads = |other: &&Active| {
            // Prompts that are told token by token are slow.
            let slow = other.run.terms.log_probs.is_some_and(|wanted| wanted.prompt);
            other.age() < age && !slow && other.run.terms.scope == run.terms.scope
        };
        let leaders = self.running.iter().filter(leads).map(ahead);
        let leaders = leaders
            .filter(|&(sequence, shared)| shared > known && self.computed(sequence) < shared);
        *leader = leaders.max_by_key(|&(_, shared)| shared);
    }

    /// A sequence that waited for another's blocks takes them once they are there, or once they
    /// will not come.
    pub(super) fn find_again(&mut self, index: usize) {
        let Some((leader, shared)) = self.running[index].leader else { return };
        if self.engine.tokens(leader).is_ok_and(|tokens| tokens.len() < shared) {
            return;
        }
        let Active { run, sequence: old, .. } = &self.running[index];
        let old = *old;
        let sequence = run.adopt(&mut self.engine);
        self.engine.close(old).expect("a running sequence is open");
        self.changes += 1;
        let mut active = self.running.remove(index);
        active.sequence = sequence;
        active.on_disk = self.look_on_disk();
        self.look_ahead(&mut active, self.computed(sequence));
        self.running.insert(index, active);
    }

    /// Lets later sequences adopt the full blocks of this one. Who waits with the same beginning is
    /// looked at again.
    pub(super) fn publish(&mut self, active: &Active) {
        let Active { run, sequence, .. } = active;
        let published = self.engine.publish(*sequence, &run.terms.scope);
        published.expect("a running sequence is open");
        let waits = self.queue.front(run.terms.scope.client());
        let waits = waits.filter(|waits| waits.terms.scope == run.terms.scope);
        let Some((waits, refusal)) = waits.and_then(|waits| Some((waits, waits.refusal?))) else {
            return;
        };
        let known = run.tokens.iter().zip(&waits.tokens[..waits.adoptable()]);
        let shared = known.take_while(|(own, theirs)| own == theirs).count();
        self.changes += u64::from(shared / KV_BLOCK_LEN > refusal.known / KV_BLOCK_LEN);
    }

    /// Blocks that a running sequence will take for its known tokens, and one to grow into.
    fn promised(&self, active: &Active) -> usize {
        let held = self.engine.table(active.sequence).len();
        kv_blocks_for(active.run.target()).saturating_sub(held) + 1
    }

    /// Makes room: of the client that holds most blocks, the run that was taken in last waits again
    /// and is computed anew.
    pub(super) fn make_room(&mut self) {
        if let Some(index) = self.newest_of_the_largest(1) {
            self.preempt(index);
        }
    }

    /// The same, of the clients that run more than one.
    fn newest_of_a_crowd(&self) -> Option<usize> {
        self.newest_of_the_largest(2)
    }

    /// The index of the newest run of the client that holds most blocks, of those clients that run
    /// at least `runs_min`.
    fn newest_of_the_largest(&self, runs_min: usize) -> Option<usize> {
        let mut held: BTreeMap<ClientId, (usize, Vec<KvBlockId>)> = BTreeMap::new();
        for active in &self.running {
            let (runs, blocks) = held.entry(active.client()).or_default();
            *runs += 1;
            blocks.extend_from_slice(self.engine.table(active.sequence));
        }
        held.retain(|_, (runs, blocks)| {
            blocks.sort_unstable();
            blocks.dedup();
            *runs >= runs_min
        });
        let newest = |client: ClientId| {
            let runs = self.running.iter().enumerate();
            runs.filter(|(_, active)| active.client() == client).map(|(i, a)| (a.age(), i)).max()
        };
        let clients = held.iter().map(|(&client, (_, blocks))| (blocks.len(), newest(client)));
        let (_, newest) = clients.max()?;
        newest.map(|(_, index)| index)
    }

    /// Takes a running sequence's blocks away; it waits before all others of its client. Its
    /// sampler stays as it is, so it will go on with the same tokens.
    fn preempt(&mut self, index: usize) {
        let active = self.running.remove(index);
        self.close(&active);
        self.queue.push_front(active.run);
        self.stats.preemptions += 1;
    }
}
