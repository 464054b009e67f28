//! API keys: 256 random bits, shown once, of which the file keeps the blake3 hash. (A slow hash is
//! for what people think up; there is nothing to guess here.) The file is read anew when it has
//! changed.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Instant, SystemTime};

use lucid_provider::ClientId;
use serde::{Deserialize, Serialize};

use crate::identifiers;

/// With what a key begins, so that one that leaks is recognised.
const PREFIX: &str = "lucid-";
/// How often the file is looked at.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
/// Bytes of a file of keys.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What a key may use up. None is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Requests in a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Tokens of prompts and answers in a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// Requests at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
}

/// A key as the file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// Its name, for people.
    pub name: String,
    /// blake3 of the key, in hex.
    hash: String,
    /// When it was made: seconds since 1970.
    pub created: u64,
    /// What it may use up.
    #[serde(default)]
    pub limits: Limits,
}

#[derive(Default, Serialize, Deserialize)]
struct Content {
    keys: Vec<KeyInfo>,
}

/// A file of keys, as `lucid key` changes it.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    keys: Vec<KeyInfo>,
}

/// A file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is not what `lucid key` writes.
    #[error("{path} is not a file of API keys: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Others can read it.
    #[error("{path} can be read by others; `chmod 600 {path}` closes it")]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// There is a key of this name.
    #[error("there is a key `{0}` already; `lucid key rm {0}` removes it")]
    Exists(String),
    /// A name that is no name.
    #[error("`{0}` is no name for a key: 1 to 64 letters, digits, `-`, `_` and `.`")]
    Name(String),
}

impl KeyFile {
    /// Reads a file of keys; one that does not exist has none.
    ///
    /// # Errors
    /// It cannot be read, or is not what it must be.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        Ok(Self { path: path.to_owned(), keys: read(path)? })
    }

    /// The keys.
    pub fn list(&self) -> &[KeyInfo] {
        &self.keys
    }

    /// Makes a key and returns it: it is not kept anywhere.
    ///
    /// # Errors
    /// There is one of this name, or the file cannot be written.
    pub fn add(&mut self, name: &str, limits: Limits) -> Result<String, KeyError> {
        let fits = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
        if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
            return Err(KeyError::Name(name.to_owned()));
        }
        if self.keys.iter().any(|key| key.name == name) {
            return Err(KeyError::Exists(name.to_owned()));
        }
        let mut bytes = [0_u8; 32];
        identifiers::fill(&mut bytes);
        // Its hexadecimal form is easily written by the hash's own type.
        let key = format!("{PREFIX}{}", blake3::Hash::from_bytes(bytes).to_hex());
        let hash = blake3::hash(key.as_bytes()).to_hex().to_string();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let created = now.map_or(0, |age| age.as_secs());
        self.keys.push(KeyInfo { name: name.to_owned(), hash, created, limits });
        self.write()?;
        Ok(key)
    }

    /// Removes a key. Returns whether there was one.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn remove(&mut self, name: &str) -> Result<bool, KeyError> {
        let before = self.keys.len();
        self.keys.retain(|key| key.name != name);
        if self.keys.len() == before {
            return Ok(false);
        }
        self.write().map(|()| true)
    }

    fn write(&self) -> Result<(), KeyError> {
        let failed = |error| KeyError::File { path: self.path.clone(), error };
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        // Made with its permissions before anything is in it: an existing file passes them on.
        let mut open = OpenOptions::new();
        open.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
        open.open(&self.path).map_err(failed)?;
        let content = Content { keys: self.keys.clone() };
        let text = serde_json::to_string_pretty(&content).unwrap_or_default();
        lucid_sys::write_atomic(&self.path, |file| writeln!(file, "{text}")).map_err(failed)
    }
}

fn read(path: &Path) -> Result<Vec<KeyInfo>, KeyError> {
    let failed = |error| KeyError::File { path: path.to_owned(), error };
    let info = match fs::metadata(path) {
        Ok(info) => info,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&info.permissions()) & 0o077 != 0 {
        return Err(KeyError::Open { path: path.to_owned() });
    }
    let wrong = |reason: String| KeyError::Content { path: path.to_owned(), reason };
    if info.len() > FILE_BYTES_MAX {
        return Err(wrong(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let content: Content = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    for key in &content.keys {
        blake3::Hash::from_hex(&key.hash)
            .map_err(|_| wrong(format!("the hash of `{}` is not one", key.name)))?;
    }
    Ok(content.keys)
}

/// A key that opens.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Whose requests these are: the same over restarts.
    pub(crate) client: ClientId,
    /// What it may use up.
    pub(crate) limits: Limits,
    hash: blake3::Hash,
}

/// The keys of a running server.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    path: Option<PathBuf>,
    known: RwLock<Arc<[Key]>>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    looked: Option<Instant>,
    stamp: Option<(SystemTime, u64)>,
}

impl Keys {
    /// The keys of a file.
    ///
    /// # Errors
    /// It cannot be read, or is not what it must be.
    pub(crate) fn open(path: Option<PathBuf>) -> Result<Self, KeyError> {
        let keys = Self { path, ..Self::default() };
        keys.reload()?;
        Ok(keys)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.current().is_empty()
    }

    /// The key of these characters. Takes the same time for each that is not known.
    pub(crate) fn find(&self, key: &str) -> Option<Key> {
        let hash = blake3::hash(key.as_bytes());
        let mut found = None;
        for known in self.current().iter() {
            // blake3 compares its hashes in constant time.
            if known.hash == hash {
                found = Some(known.clone());
            }
        }
        found
    }

    /// Reads the file anew if it has changed since it was last looked at. A file that cannot be
    /// read leaves the keys as they were, and the error is returned once.
    ///
    /// # Errors
    /// See `open`.
    pub(crate) fn refresh(&self) -> Result<(), KeyError> {
        let Some(path) = &self.path else { return Ok(()) };
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
                return Ok(());
            }
            seen.looked = Some(Instant::now());
            if seen.stamp == stamp(path) {
                return Ok(());
            }
        }
        self.reload()
    }

    /// Reads the file anew.
    ///
    /// # Errors
    /// See `open`.
    pub(crate) fn reload(&self) -> Result<(), KeyError> {
        let Some(path) = &self.path else { return Ok(()) };
        let now = stamp(path);
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).stamp = now;
        let keys: Arc<[Key]> = read(path)?.into_iter().filter_map(Key::of).collect();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    fn current(&self) -> Arc<[Key]> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Key {
    fn of(info: KeyInfo) -> Option<Self> {
        let hash = blake3::Hash::from_hex(&info.hash).ok()?;
        // Of the hash's hash, because a client's number is written to the disk.
        let number = blake3::hash(hash.as_bytes());
        let (first, _) = number.as_bytes().split_first_chunk::<8>()?;
        let client = ClientId(u64::from_le_bytes(*first).max(1));
        Some(Self { name: info.name.into(), client, limits: info.limits, hash })
    }
}

/// By what it is seen that a file has changed.
fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let info = fs::metadata(path).ok()?;
    Some((info.modified().ok()?, info.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_open_until_they_are_removed() {
        let folder = std::env::temp_dir().join(identifiers::identifier("lucid-keys-"));
        let path = folder.join("keys.json");
        let keys = Keys::open(Some(path.clone())).unwrap();
        assert!(keys.is_empty());
        let mut file = KeyFile::open(&path).unwrap();
        let limits = Limits { requests_per_minute: Some(3), ..Limits::default() };
        let first = file.add("first", limits).unwrap();
        let second = file.add("second", Limits::default()).unwrap();
        assert!(matches!(file.add("first", limits), Err(KeyError::Exists(_))));
        assert!(matches!(file.add("a/b", limits), Err(KeyError::Name(_))));
        assert_eq!(first.len(), PREFIX.len() + 64);
        keys.reload().unwrap();
        let found = keys.find(&first).unwrap();
        assert_eq!((&*found.name, found.limits), ("first", limits));
        assert_ne!(found.client, keys.find(&second).unwrap().client);
        assert_ne!(found.client, ClientId(0));
        assert!(keys.find(&first[..first.len() - 1]).is_none());
        assert!(keys.find("").is_none());
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&first[PREFIX.len()..]), "the key itself is not kept");
        assert!(file.remove("first").unwrap());
        assert!(!file.remove("first").unwrap());
        keys.reload().unwrap();
        assert!(keys.find(&first).is_none());
        assert!(keys.find(&second).is_some());
        fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = std::env::temp_dir().join(identifiers::identifier("lucid-keys-"));
        let path = folder.join("keys.json");
        KeyFile::open(&path).unwrap().add("one", Limits::default()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(KeyFile::open(&path), Err(KeyError::Open { .. })));
        fs::remove_dir_all(folder).unwrap();
    }
}
