//! The log over both stores: what holds after another start, and what is refused.

use super::*;

/// A folder that goes when the test is over.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lucid-os-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> std::path::PathBuf {
        self.0.join("log.sqlite")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn bodies(start: &Start) -> Vec<&[u8]> {
    start.events.iter().map(|sealed| sealed.body.as_slice()).collect()
}

fn reopened(store: &MemoryStore) -> Result<(Log, Start), LogError> {
    Log::open(Box::new(store.clone()))
}

fn filled(store: &MemoryStore) -> ContentId {
    let (mut log, _) = reopened(store).unwrap();
    let id = log.put(b"a text");
    for body in [b"one", b"two"] {
        log.append(7, body.to_vec());
    }
    log.append_snapshot(8, b"one and two").unwrap();
    log.append(9, b"three".to_vec());
    log.flush().unwrap();
    id
}

#[test]
fn a_log_goes_on_after_another_start() {
    let folder = Folder::new("goes-on");
    let id = {
        let (mut log, start) =
            Log::open(Box::new(SqliteStore::open(&folder.file()).unwrap())).unwrap();
        assert_eq!(start, Start { snapshot: None, events: Vec::new() });
        let id = log.put(b"a text");
        log.append(7, b"one".to_vec());
        log.sync().unwrap();
        log.append(8, b"two".to_vec());
        log.flush().unwrap();
        // This one is lost, as nobody was told of it.
        log.append(9, b"three".to_vec());
        id
    };
    let (log, start) = Log::open(Box::new(SqliteStore::open(&folder.file()).unwrap())).unwrap();
    assert_eq!(bodies(&start), [b"one", b"two"]);
    assert_eq!(log.head().0, EventNumber(2));
    assert_eq!(log.content(id).unwrap(), Content::Here(b"a text".as_slice().into()));
    let unknown = ContentId::of(b"another");
    assert!(matches!(log.content(unknown), Err(LogError::Missing { id }) if id == unknown));
}

#[test]
fn one_program_runs_a_log_and_others_look_and_ask() {
    let folder = Folder::new("one-program");
    assert!(matches!(SqliteStore::look_at(&folder.file()), Err(StoreError::File { .. })));
    let (mut log, _) = Log::open(Box::new(SqliteStore::open(&folder.file()).unwrap())).unwrap();
    log.append(1, b"one".to_vec());
    log.flush().unwrap();
    assert!(matches!(SqliteStore::open(&folder.file()), Err(StoreError::Locked { .. })));
    assert!(SqliteStore::is_run(&folder.file()));
    let (_, seen) = Log::open(Box::new(SqliteStore::look_at(&folder.file()).unwrap())).unwrap();
    assert_eq!(bodies(&seen), [b"one"]);
    SqliteStore::ask(&folder.file(), b"stop").unwrap();
    let requests = log.requests().unwrap();
    assert_eq!(requests.iter().map(|it| it.body.as_slice()).collect::<Vec<_>>(), [b"stop"]);
    log.heard(&requests[0]);
    log.append(2, b"stopped".to_vec());
    log.flush().unwrap();
    assert_eq!(log.requests().unwrap(), []);
    drop(log);
    assert!(!SqliteStore::is_run(&folder.file()));
}

#[test]
fn a_changed_event_is_named() {
    type Change = fn(&mut Sealed);
    let changes: [Change; 4] = [
        |sealed| sealed.body = b"two!".to_vec(),
        |sealed| sealed.time_ms += 1,
        |sealed| sealed.snapshot = Some(ContentId::of(b"")),
        |sealed| sealed.hash[31] ^= 1,
    ];
    for change in changes {
        let store = MemoryStore::default();
        filled(&store);
        store.tamper(EventNumber(2), change);
        let error = reopened(&store).err().unwrap();
        assert!(matches!(error, LogError::Tampered { number: EventNumber(2) }), "{error}");
        assert!(error.to_string().contains("event 2"));
    }
    let store = MemoryStore::default();
    filled(&store);
    store.cut(EventNumber(3));
    assert!(matches!(reopened(&store).err(), Some(LogError::Gap { number: EventNumber(3) })));
}

#[test]
fn an_event_that_was_made_anew_breaks_the_next_one() {
    let store = MemoryStore::default();
    filled(&store);
    store.tamper(EventNumber(1), |sealed| {
        *sealed = seal(&chain::GENESIS, EventNumber(1), 7, None, b"another".to_vec());
    });
    let error = reopened(&store).err();
    assert!(matches!(error, Some(LogError::Tampered { number: EventNumber(2) })));
}

#[test]
fn a_start_is_the_newest_snapshot_and_what_follows() {
    let store = MemoryStore::default();
    filled(&store);
    let (mut log, start) = reopened(&store).unwrap();
    assert_eq!(start.snapshot, Some((EventNumber(3), b"one and two".as_slice().into())));
    assert_eq!(bodies(&start), [b"three"]);
    let all = log.events_from(EventNumber(1)).unwrap();
    assert_eq!(all.len(), 3);
    log.append_snapshot(10, b"all three").unwrap();
    let (log, start) = reopened(&store).unwrap();
    assert_eq!(start.snapshot, Some((EventNumber(5), b"all three".as_slice().into())));
    assert!(start.events.is_empty());
    // The state before is nobody's any more.
    assert!(log.content(ContentId::of(b"one and two")).is_err());
}

#[test]
fn what_is_forgotten_is_gone_and_the_chain_holds() {
    let folder = Folder::new("forgotten");
    let secret = b"the combination is 12-34-56-78";
    let (mut log, _) = Log::open(Box::new(SqliteStore::open(&folder.file()).unwrap())).unwrap();
    let id = log.put(secret);
    log.append(1, id.to_string().into_bytes());
    log.sync().unwrap();
    let on_disk = || {
        let files = std::fs::read_dir(&folder.0).unwrap();
        let bytes = files.map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        bytes.into_iter().any(|bytes| bytes.windows(secret.len()).any(|it| it == secret))
    };
    assert!(on_disk());
    assert!(log.forget(id).unwrap());
    assert!(!on_disk());
    assert_eq!(log.content(id).unwrap(), Content::Forgotten);
    assert_eq!(log.content(id).unwrap().text(), FORGOTTEN);
    assert!(!log.forget(id).unwrap());
    drop(log);
    let (mut log, start) = Log::open(Box::new(SqliteStore::open(&folder.file()).unwrap())).unwrap();
    assert_eq!(start.events.len(), 1);
    // Said again, it is known again.
    log.put(secret);
    log.flush().unwrap();
    assert_eq!(log.content(id).unwrap().text().as_bytes(), secret);
}

#[test]
fn a_changed_content_is_found_out() {
    struct Liar(MemoryStore);
    impl Store for Liar {
        fn write(&mut self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
            self.0.write(batch, durability)
        }
        fn read(
            &self,
            from: EventNumber,
            visit: &mut dyn FnMut(Sealed) -> bool,
        ) -> Result<(), StoreError> {
            self.0.read(from, visit)
        }
        fn content(&self, _id: ContentId) -> Result<Kept, StoreError> {
            Ok(Kept::Here(b"something else".to_vec()))
        }
        fn forget(&mut self, id: ContentId) -> Result<bool, StoreError> {
            self.0.forget(id)
        }
        fn requests(&self) -> Result<Vec<Request>, StoreError> {
            self.0.requests()
        }
    }
    let (log, _) = Log::open(Box::new(Liar(MemoryStore::default()))).unwrap();
    let id = ContentId::of(b"a text");
    assert!(matches!(log.content(id), Err(LogError::Altered { id: named }) if named == id));
}

#[test]
fn after_a_failed_write_nothing_goes_on() {
    struct Full(MemoryStore);
    impl Store for Full {
        fn write(&mut self, _batch: &Batch, _durability: Durability) -> Result<(), StoreError> {
            Err(StoreError::Told)
        }
        fn read(
            &self,
            from: EventNumber,
            visit: &mut dyn FnMut(Sealed) -> bool,
        ) -> Result<(), StoreError> {
            self.0.read(from, visit)
        }
        fn content(&self, id: ContentId) -> Result<Kept, StoreError> {
            self.0.content(id)
        }
        fn forget(&mut self, id: ContentId) -> Result<bool, StoreError> {
            self.0.forget(id)
        }
        fn requests(&self) -> Result<Vec<Request>, StoreError> {
            self.0.requests()
        }
    }
    let (mut log, _) = Log::open(Box::new(Full(MemoryStore::default()))).unwrap();
    log.append(1, b"one".to_vec());
    assert!(matches!(log.sync(), Err(LogError::Store(StoreError::Told))));
    log.append(2, b"two".to_vec());
    assert!(matches!(log.flush(), Err(LogError::Broken)));
}
