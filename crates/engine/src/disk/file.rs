//! One block in one file.
//!
//! Little-endian: magic, version u32, count of tokens u32, bytes of the payload u64, the identity
//! of what computed it and the block's name (32 bytes each), its tokens (u32 each); the payload as
//! the executor keeps it; a keyed blake3 of all before. A file is read only where every byte of
//! this header is as expected, and used only if the checksum agrees.
//!
//! A file is written beside its place and renamed, so that a process that is killed leaves the
//! whole block or none. It is not forced to the disk: after a loss of power a block may be damaged,
//! which the checksum tells.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use lucid_sys::{create_private, create_private_folder};
use lucid_tensor::{KV_BLOCK_LEN, TokenId};

use super::name::Name;

const MAGIC: &[u8; 8] = b"LUCIDKVB";
/// Raised when the layout of a file, or of a block in memory, changes.
pub(super) const VERSION: u32 = 1;
const HEADER_BYTES: usize = 8 + 4 + 4 + 8 + 32 + 32 + 4 * KV_BLOCK_LEN;
const CHECKSUM_BYTES: usize = 32;

/// A file's last use is noted when it was used this long after the use that is known.
const USE_NOTED_AFTER: Duration = Duration::from_secs(60);

/// What a file must be, to be the one that is wanted.
pub(super) struct Header([u8; HEADER_BYTES]);

impl Header {
    pub(super) fn new(
        identity: &[u8; 32],
        name: &Name,
        tokens: &[TokenId; KV_BLOCK_LEN],
        payload_bytes: usize,
    ) -> Self {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend((tokens.len() as u32).to_le_bytes());
        header.extend((payload_bytes as u64).to_le_bytes());
        header.extend(identity);
        header.extend(name.0);
        header.extend(tokens.iter().flat_map(|token| token.to_le_bytes()));
        Self(header.try_into().expect("the parts of a header have its length"))
    }
}

/// Bytes of a file.
pub(super) fn file_bytes(payload_bytes: usize) -> u64 {
    (HEADER_BYTES + payload_bytes + CHECKSUM_BYTES) as u64
}

/// What became of reading a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is there.
    Read,
    /// There is no such file, or it cannot be opened.
    Missing,
    /// There is a file, but not of this block as it was written.
    Damaged,
}

/// Reads a block's payload, whose contents are arbitrary unless the outcome is `Read`.
pub(super) fn read(
    path: &Path,
    key: &[u8; 32],
    header: &Header,
    payload: &mut [u8],
    used: SystemTime,
) -> Outcome {
    // Neither a link nor a pipe, which would be waited for.
    let info = match fs::symlink_metadata(path) {
        Ok(info) if info.is_file() => info,
        Ok(_) => return Outcome::Damaged,
        Err(_) => return Outcome::Missing,
    };
    if info.len() != file_bytes(payload.len()) {
        return Outcome::Damaged;
    }
    let Ok(mut file) = File::open(path) else { return Outcome::Missing };
    match read_whole(&mut file, key, header, payload) {
        Ok(true) => {}
        Ok(false) | Err(_) => return Outcome::Damaged,
    }
    let known = info.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    if used.duration_since(known).is_ok_and(|since| since > USE_NOTED_AFTER) {
        // That it was used is worth no error.
        let _ = file.set_modified(used);
    }
    Outcome::Read
}

fn read_whole(
    file: &mut File,
    key: &[u8; 32],
    header: &Header,
    payload: &mut [u8],
) -> io::Result<bool> {
    let mut found = [0; HEADER_BYTES];
    file.read_exact(&mut found)?;
    if found != header.0 {
        return Ok(false);
    }
    file.read_exact(payload)?;
    let mut stated = [0; CHECKSUM_BYTES];
    file.read_exact(&mut stated)?;
    Ok(checksum(key, header, payload) == stated)
}

fn checksum(key: &[u8; 32], header: &Header, payload: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&header.0).update(payload);
    hasher.finalize()
}

/// Writes a block's file, and its folder where that is missing. `used` is when it counts as used.
pub(super) fn write(
    path: &Path,
    key: &[u8; 32],
    header: &Header,
    payload: &[u8],
    used: SystemTime,
) -> io::Result<()> {
    write_beside(path, |file| {
        file.write_all(&header.0)?;
        file.write_all(payload)?;
        file.write_all(checksum(key, header, payload).as_bytes())?;
        file.set_modified(used)
    })
}

/// Writes a file that only its owner may open, and its folder where that is missing: whole or not
/// at all.
pub(super) fn write_beside(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let folder = path.parent().ok_or(ErrorKind::InvalidInput)?;
    let (mut file, temporary) = match create_beside(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create_private_folder(folder)?;
            create_beside(folder)?
        }
        created => created?,
    };
    let written = write(&mut file);
    drop(file);
    written.and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
        // Nothing better can be done about a file that cannot be removed.
        let _ = fs::remove_file(&temporary);
    })
}

/// Whether a name is one of those that `write_beside` begins with.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with(".tmp-")
}

fn create_beside(folder: &Path) -> io::Result<(File, PathBuf)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let process = std::process::id();
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".tmp-{process}-{number}"));
        match create_private(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            created => return created.map(|file| (file, path)),
        }
    }
}
