//! The store in a file of SQLite, in WAL mode. One program writes events (it holds a lock on a file
//! beside it); others read, each all of one moment, and write requests.
//!
//! A commit of [`Durability::Process`] is handed to the system and not waited for; one of
//! [`Durability::Machine`] is forced to the disk, and with it all before it, because the WAL is one
//! file that only grows until it is folded in.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::ids::{ContentId, EventNumber};
use crate::log::{Batch, Durability, Kept, Request, Sealed, Store, StoreError};

/// What `user_version` says.
const VERSION: i64 = 1;
/// How long another program may hold the file.
const BUSY: Duration = Duration::from_secs(10);

const TABLES: &str = "
CREATE TABLE event (
    number INTEGER PRIMARY KEY NOT NULL,
    time_ms INTEGER NOT NULL,
    snapshot BLOB,
    body BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE TABLE content (id BLOB PRIMARY KEY NOT NULL, bytes BLOB) STRICT;
CREATE TABLE request (number INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL) STRICT;
CREATE TABLE synced (one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL) STRICT;
INSERT INTO synced VALUES (1, 0);
PRAGMA user_version = 1;
";

/// A log's file.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    /// Held as long as this lives. None of a reader.
    _lock: Option<File>,
}

impl SqliteStore {
    /// Opens a log to run it, and makes it where there is none. Only its owner may read it.
    ///
    /// # Errors
    /// Another program runs it, it cannot be made or opened, or is of another version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let in_file = |source| StoreError::File { path: path.to_owned(), source };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            lucid_sys::create_private_folder(folder).map_err(in_file)?;
        }
        let lock = lock(path)?;
        match lucid_sys::create_private(path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(in_file(error)),
        }
        let connection = Connection::open(path).map_err(of(path, "opening"))?;
        let store = Self { connection, path: path.to_owned(), _lock: Some(lock) };
        store.prepare()?;
        Ok(store)
    }

    /// Opens a log to look at it and to ask its runner for something.
    ///
    /// # Errors
    /// There is none, it cannot be opened, or is of another version.
    pub fn look_at(path: &Path) -> Result<Self, StoreError> {
        if let Err(source) = path.metadata() {
            return Err(StoreError::File { path: path.to_owned(), source });
        }
        let connection = Connection::open(path).map_err(of(path, "opening"))?;
        let store = Self { connection, path: path.to_owned(), _lock: None };
        store.prepare()?;
        // Everything that is read is of one moment.
        store.connection.execute_batch("BEGIN").map_err(of(path, "opening"))?;
        Ok(store)
    }

    /// Leaves a request for the program that runs the log.
    ///
    /// # Errors
    /// There is no log, or it cannot be written.
    pub fn ask(path: &Path, body: &[u8]) -> Result<(), StoreError> {
        if let Err(source) = path.metadata() {
            return Err(StoreError::File { path: path.to_owned(), source });
        }
        let connection = Connection::open(path).map_err(of(path, "opening"))?;
        let store = Self { connection, path: path.to_owned(), _lock: None };
        store.prepare()?;
        store
            .connection
            .execute("INSERT INTO request (body) VALUES (?1)", [body])
            .map_err(of(path, "asking"))?;
        Ok(())
    }

    /// Whether another program runs this log.
    pub fn is_run(path: &Path) -> bool {
        path.exists() && matches!(lock(path), Err(StoreError::Locked { .. }))
    }

    fn prepare(&self) -> Result<(), StoreError> {
        let opening = |source| of(&self.path, "opening")(source);
        self.connection.busy_timeout(BUSY).map_err(opening)?;
        self.connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
                 PRAGMA secure_delete = ON; PRAGMA trusted_schema = OFF;
                 PRAGMA journal_size_limit = 16777216;",
            )
            .map_err(opening)?;
        let version = || {
            let asked = self.connection.query_row("PRAGMA user_version", [], |row| row.get(0));
            asked.map_err(opening)
        };
        if version()? == 0i64 {
            // Two programs may come here at once; the second one finds the tables.
            let made = self.connection.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} COMMIT;"));
            if made.is_err() {
                let _ = self.connection.execute_batch("ROLLBACK");
            }
        }
        match version()? {
            VERSION => Ok(()),
            found => Err(StoreError::Version { path: self.path.clone(), found, known: VERSION }),
        }
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
        of(&self.path, doing)
    }
}

fn of(path: &Path, doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Database { path, doing, source }
}

/// Locks `path.lock`: one runner for a log. The system lets go of it however the program ends.
fn lock(path: &Path) -> Result<File, StoreError> {
    let mut name = OsString::from(path);
    name.push(".lock");
    let beside = PathBuf::from(name);
    let in_file = |source| StoreError::File { path: beside.clone(), source };
    let file = match lucid_sys::create_private(&beside) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            File::options().write(true).open(&beside).map_err(in_file)?
        }
        Err(error) => return Err(in_file(error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(in_file(error)),
    }
}

impl Store for SqliteStore {
    fn write(&mut self, batch: &Batch, durability: Durability) -> Result<(), StoreError> {
        let path = self.path.clone();
        let failed = || of(&path, "writing");
        let level = match durability {
            Durability::Process => "NORMAL",
            Durability::Machine => "FULL",
        };
        self.connection.pragma_update(None, "synchronous", level).map_err(failed())?;
        let change = self.connection.transaction().map_err(failed())?;
        if batch.stale_snapshots {
            let stale = "DELETE FROM content WHERE id IN (SELECT snapshot FROM event
                         WHERE snapshot IS NOT NULL)";
            change.execute(stale, []).map_err(failed())?;
        }
        {
            let mut add = change
                .prepare_cached(
                    "INSERT INTO content (id, bytes) VALUES (?1, ?2) ON CONFLICT (id)
                     DO UPDATE SET bytes = excluded.bytes WHERE bytes IS NULL",
                )
                .map_err(failed())?;
            for (id, bytes) in &batch.contents {
                add.execute(params![id.as_bytes().as_slice(), &bytes[..]]).map_err(failed())?;
            }
            let mut add = change
                .prepare_cached(
                    "INSERT INTO event (number, time_ms, snapshot, body, hash)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )
                .map_err(failed())?;
            for sealed in &batch.events {
                let snapshot = sealed.snapshot.as_ref().map(|id| id.as_bytes().as_slice());
                let Sealed { number, time_ms, body, hash, .. } = sealed;
                add.execute(params![number.0 as i64, time_ms, snapshot, body, hash.as_slice()])
                    .map_err(failed())?;
            }
            for number in &batch.heard {
                change
                    .execute("DELETE FROM request WHERE number = ?1", [*number as i64])
                    .map_err(failed())?;
            }
        }
        if durability == Durability::Machine {
            // A commit that writes nothing forces nothing.
            let mark = "UPDATE synced SET number = number + 1";
            change.execute(mark, []).map_err(failed())?;
        }
        change.commit().map_err(failed())
    }

    fn read(
        &self,
        from: EventNumber,
        visit: &mut dyn FnMut(Sealed) -> bool,
    ) -> Result<(), StoreError> {
        let asked = "SELECT number, time_ms, snapshot, body, hash FROM event
                     WHERE number >= ?1 ORDER BY number";
        let mut statement =
            self.connection.prepare_cached(asked).map_err(self.failed("reading"))?;
        let mut rows = statement.query([from.0 as i64]).map_err(self.failed("reading"))?;
        while let Some(row) = rows.next().map_err(self.failed("reading"))? {
            if !visit(self.sealed(row)?) {
                break;
            }
        }
        Ok(())
    }

    fn content(&self, id: ContentId) -> Result<Kept, StoreError> {
        let found: Option<Option<Vec<u8>>> = self
            .connection
            .prepare_cached("SELECT bytes FROM content WHERE id = ?1")
            .and_then(|mut statement| {
                statement.query_row([id.as_bytes().as_slice()], |row| row.get(0)).optional()
            })
            .map_err(self.failed("reading"))?;
        Ok(match found {
            Some(Some(bytes)) => Kept::Here(bytes),
            Some(None) => Kept::Forgotten,
            None => Kept::Missing,
        })
    }

    fn forget(&mut self, id: ContentId) -> Result<bool, StoreError> {
        let forgetting = "UPDATE content SET bytes = NULL WHERE id = ?1 AND bytes IS NOT NULL";
        let count = self
            .connection
            .execute(forgetting, [id.as_bytes().as_slice()])
            .map_err(self.failed("forgetting"))?;
        // The WAL has the old pages until it is folded in. A reader may hinder that; then it
        // happens later.
        let _ = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        Ok(count > 0)
    }

    fn requests(&self) -> Result<Vec<Request>, StoreError> {
        let asked = "SELECT number, body FROM request ORDER BY number";
        let mut statement =
            self.connection.prepare_cached(asked).map_err(self.failed("reading"))?;
        let read =
            |row: &Row<'_>| Ok(Request { number: row.get::<_, i64>(0)? as u64, body: row.get(1)? });
        let rows = statement.query_map([], read).map_err(self.failed("reading"))?;
        rows.collect::<Result<_, _>>().map_err(self.failed("reading"))
    }
}

impl SqliteStore {
    fn sealed(&self, row: &Row<'_>) -> Result<Sealed, StoreError> {
        let read = || {
            let snapshot: Option<Vec<u8>> = row.get(2)?;
            Ok((row.get::<_, i64>(0)?, row.get(1)?, snapshot, row.get(3)?, row.get(4)?))
        };
        let (number, time_ms, snapshot, body, hash): (i64, i64, Option<Vec<u8>>, _, Vec<u8>) =
            read().map_err(self.failed("reading"))?;
        let number = EventNumber(number as u64);
        let damaged = || StoreError::Damaged { path: self.path.clone(), number };
        let name = |bytes: Vec<u8>| <[u8; 32]>::try_from(bytes).map_err(|_| damaged());
        let snapshot = snapshot.map(name).transpose()?.map(ContentId::from_bytes);
        Ok(Sealed { number, time_ms, snapshot, body, hash: name(hash)? })
    }
}
