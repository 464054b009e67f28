//! Opens the file: private to its owner, checked, and of the last version. A damaged one is moved
//! aside, told of, and never written to again.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use super::{Store, StoreError, now_ms, schema};

/// A store that was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The store.
    pub(crate) store: Store,
    /// What people should know: a damaged file was moved aside.
    pub(crate) notice: Option<String>,
}

impl Store {
    /// Opens the store in a file, and makes it where there is none. Only its owner may read it.
    ///
    /// # Errors
    /// The file cannot be made, opened or moved, or is of a newer version. Damage is no error.
    pub(crate) fn open(path: &Path) -> Result<Opened, StoreError> {
        create_private(path).map_err(in_file(path))?;
        let error = match connect(path) {
            Ok(connection) => return Ok(Opened { store: Self::of(connection), notice: None }),
            Err(error) => error,
        };
        if !is_damage(&error) {
            return Err(error);
        }
        let aside = move_aside(path)?;
        let notice = format!(
            "{}: damaged ({error}); it was moved to {} and a new one begun",
            path.display(),
            aside.display()
        );
        create_private(path).map_err(in_file(path))?;
        let store = Self::of(connect(path)?);
        Ok(Opened { store, notice: Some(notice) })
    }

    /// A store that is gone when the server stops.
    ///
    /// # Errors
    /// SQLite says no.
    pub(crate) fn in_memory() -> Result<Self, StoreError> {
        let connection = Connection::open_in_memory().map_err(StoreError::of("opening"))?;
        prepare(connection, Path::new(":memory:")).map(Self::of)
    }

    fn of(connection: Connection) -> Self {
        Self { connection: Mutex::new(connection) }
    }
}

fn in_file(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::File { path: path.to_owned(), source }
}

/// Makes the file with its folder if need be; SQLite gives the files beside it the same mode.
fn create_private(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
    }
    let mut options = fs::OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = file.metadata()?.permissions().mode();
        if mode & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
    }
    Ok(())
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(path).map_err(StoreError::of("opening"))?;
    check(&connection)?;
    prepare(connection, path)
}

/// Walks over the whole file: a conversation that cannot be read is better known of at the start.
fn check(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(BUSY).map_err(StoreError::of("opening"))?;
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(StoreError::of("checking"))?;
    if verdict == "ok" {
        return Ok(());
    }
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    let source = rusqlite::Error::SqliteFailure(code, Some(verdict));
    Err(StoreError::Database { doing: "checking", source })
}

/// How long another process may hold the file.
const BUSY: Duration = Duration::from_secs(5);

fn prepare(mut connection: Connection, path: &Path) -> Result<Connection, StoreError> {
    let opening = |source| StoreError::Database { doing: "opening", source };
    connection.busy_timeout(BUSY).map_err(opening)?;
    // What is deleted is overwritten. Nothing in a damaged schema is run or trusted.
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA secure_delete = ON; PRAGMA trusted_schema = OFF;
             PRAGMA journal_size_limit = 4194304;",
        )
        .map_err(opening)?;
    let found: i64 =
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(opening)?;
    let known = schema::STEPS.len() as i64;
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    schema::migrate(&mut connection, found)?;
    // Whoever was writing when the last server ended writes no more.
    connection
        .execute("UPDATE message SET state = 'interrupted' WHERE state = 'writing'", [])
        .map_err(opening)?;
    Ok(connection)
}

fn is_damage(error: &StoreError) -> bool {
    let StoreError::Database { source, .. } = error else { return false };
    match source.sqlite_error_code() {
        // A table that is missing or strange in a file that says it has it is SQLite's general
        // error, the last of these.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => true,
        _ => false,
    }
}

/// Moves the file and what belongs to it to a name of its own; returns where it is now.
fn move_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let beside = |suffix: &str| {
        let mut name = OsString::from(path);
        name.push(suffix);
        PathBuf::from(name)
    };
    let mut aside = beside(&format!(".damaged-{}", now_ms()));
    while aside.exists() {
        aside.as_mut_os_string().push("x");
    }
    for suffix in ["", "-wal", "-shm"] {
        let (from, mut to) = (beside(suffix), aside.clone());
        to.as_mut_os_string().push(suffix);
        match fs::rename(&from, to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(in_file(&from)(error)),
        }
    }
    Ok(aside)
}
