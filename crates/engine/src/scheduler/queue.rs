//! Who waits, by client, and whose turn it is.

use std::collections::{BTreeMap, VecDeque};

use super::run::Run;
use crate::prefix::ClientId;

/// Runs that wait for blocks. Of each client the oldest comes first, but what had to make room goes
/// before all that never began.
#[derive(Default)]
pub(super) struct Queue {
    waiting: BTreeMap<ClientId, VecDeque<Run>>,
    /// Who was served last.
    last: Option<ClientId>,
}

impl Queue {
    pub(super) fn push_back(&mut self, run: Run) {
        self.waiting.entry(run.terms.scope.client()).or_default().push_back(run);
    }

    pub(super) fn push_front(&mut self, run: Run) {
        self.waiting.entry(run.terms.scope.client()).or_default().push_front(run);
    }

    /// The clients that wait, in the order of their turns.
    pub(super) fn in_turn(&self) -> Vec<ClientId> {
        let mut clients: Vec<_> = self.waiting.keys().copied().collect();
        put_in_turn(&mut clients, self.last, |client| *client);
        clients
    }

    pub(super) fn front(&self, client: ClientId) -> Option<&Run> {
        self.waiting.get(&client)?.front()
    }

    pub(super) fn front_mut(&mut self, client: ClientId) -> Option<&mut Run> {
        self.waiting.get_mut(&client)?.front_mut()
    }

    /// Takes a client's first run: it had its turn.
    pub(super) fn pop(&mut self, client: ClientId) -> Option<Run> {
        let runs = self.waiting.get_mut(&client)?;
        let run = runs.pop_front();
        if runs.is_empty() {
            self.waiting.remove(&client);
        }
        self.last = Some(client);
        run
    }

    /// Takes all runs that `which` says.
    pub(super) fn remove(&mut self, which: impl Fn(&Run) -> bool) -> Vec<Run> {
        let mut removed = Vec::new();
        for runs in self.waiting.values_mut() {
            for run in std::mem::take(runs) {
                if which(&run) {
                    removed.push(run);
                } else {
                    runs.push_back(run);
                }
            }
        }
        self.waiting.retain(|_, runs| !runs.is_empty());
        removed
    }

    /// Runs that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }
}

/// Sorts by client, those after `last` first.
pub(super) fn put_in_turn<T>(
    items: &mut [T],
    last: Option<ClientId>,
    client: impl Fn(&T) -> ClientId,
) {
    items.sort_by_key(|item| (last.is_some_and(|last| client(item) <= last), client(item)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_round() {
        for (last, expected) in
            [(None, [1, 4, 7]), (Some(1), [4, 7, 1]), (Some(5), [7, 1, 4]), (Some(9), [1, 4, 7])]
        {
            let mut clients = [7, 1, 4].map(ClientId);
            put_in_turn(&mut clients, last.map(ClientId), |client| *client);
            assert_eq!(clients, expected.map(ClientId), "after {last:?}");
        }
    }
}
