//! A store in memory: for tests, and for runs of which nothing is to remain.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::{ContentId, EventNumber};
use crate::log::{Batch, Durability, Kept, Request, Sealed, Store, StoreError};

/// Clones are the same store, as two programs have the same file.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    events: Vec<Sealed>,
    contents: BTreeMap<ContentId, Option<Arc<[u8]>>>,
    requests: Vec<Request>,
    requested: u64,
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for something, as another program does.
    pub fn ask(&self, body: &[u8]) {
        let mut inside = self.lock();
        inside.requested += 1;
        let number = inside.requested;
        inside.requests.push(Request { number, body: body.to_vec() });
    }

    /// Changes an event behind the log's back.
    pub fn tamper(&self, number: EventNumber, change: impl FnOnce(&mut Sealed)) {
        let mut inside = self.lock();
        if let Some(sealed) = inside.events.iter_mut().find(|sealed| sealed.number == number) {
            change(sealed);
        }
    }

    /// Takes an event out behind the log's back.
    pub fn cut(&self, number: EventNumber) {
        self.lock().events.retain(|sealed| sealed.number != number);
    }
}

impl Store for MemoryStore {
    fn write(&mut self, batch: &Batch, _durability: Durability) -> Result<(), StoreError> {
        let mut inside = self.lock();
        if batch.stale_snapshots {
            let stale: Vec<_> = inside.events.iter().filter_map(|it| it.snapshot).collect();
            for id in stale {
                inside.contents.remove(&id);
            }
        }
        for (id, bytes) in &batch.contents {
            inside.contents.insert(*id, Some(bytes.clone()));
        }
        inside.events.extend(batch.events.iter().cloned());
        inside.requests.retain(|request| !batch.heard.contains(&request.number));
        Ok(())
    }

    fn read(
        &self,
        from: EventNumber,
        visit: &mut dyn FnMut(Sealed) -> bool,
    ) -> Result<(), StoreError> {
        let events = self.lock().events.clone();
        events.into_iter().filter(|sealed| sealed.number >= from).all(visit);
        Ok(())
    }

    fn content(&self, id: ContentId) -> Result<Kept, StoreError> {
        Ok(match self.lock().contents.get(&id) {
            Some(Some(bytes)) => Kept::Here(bytes.to_vec()),
            Some(None) => Kept::Forgotten,
            None => Kept::Missing,
        })
    }

    fn forget(&mut self, id: ContentId) -> Result<bool, StoreError> {
        Ok(self.lock().contents.get_mut(&id).is_some_and(|bytes| bytes.take().is_some()))
    }

    fn requests(&self) -> Result<Vec<Request>, StoreError> {
        Ok(self.lock().requests.clone())
    }
}
