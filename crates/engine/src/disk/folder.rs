//! Where blocks lie in the folder, how many bytes they take, and which go first.
//!
//! `weights/<state>`: what the weights in files of a state are; see `weights`.
//! `blocks/<identity>/<2 digits>/<62 digits>`: a block, by the 64 hexadecimal digits of its name.
//! The identity stands for everything that keys and values depend on beside the tokens.
//!
//! There is no index: a block is there if its file is, whoever wrote it. Files whose names are not
//! of this form are nobody's business here and stay. A file's time of modification is that of its
//! last use, less a millisecond for each block before it in its sequence, so that of blocks that
//! were used together the last one is given up first: nothing can be found without those before it.

use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::file;
use super::name::Name;

/// What the system gives out space by, nearly everywhere.
const PAGE_BYTES: u64 = 4096;

/// An unfinished file that was not written to for so long is nobody's any more.
const STALE: Duration = Duration::from_secs(600);

/// Of the bytes allowed, so many are left when blocks have been given up, in tenths.
const TENTHS_KEPT: u64 = 9;

/// The blocks of one identity.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
    pub(super) identity: [u8; 32],
}

impl Shelf {
    pub(super) fn new(folder: &Path, identity: [u8; 32]) -> Self {
        let digits = blake3::Hash::from_bytes(identity).to_hex();
        Self { folder: blocks(folder).join(&digits[..32]), identity }
    }

    /// Where a block's file is, if it is.
    pub(super) fn path(&self, name: &Name) -> PathBuf {
        let digits = blake3::Hash::from_bytes(name.0).to_hex();
        let (first, rest) = digits.split_at(2);
        self.folder.join(first).join(rest)
    }
}

/// The folder of records about weights.
pub(super) fn records(folder: &Path) -> PathBuf {
    folder.join("weights")
}

fn blocks(folder: &Path) -> PathBuf {
    folder.join("blocks")
}

/// When the block at `index` of its sequence counts as used, if the sequence is used now.
pub(super) fn used_now(index: usize) -> SystemTime {
    SystemTime::now() - Duration::from_millis(index as u64)
}

/// What a file of so many bytes takes.
pub(super) fn taken(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE_BYTES)
}

/// A block's file.
struct Found {
    used: SystemTime,
    bytes: u64,
    path: PathBuf,
}

/// Bytes that all blocks take; unfinished files that nobody writes are removed.
pub(super) fn bytes(folder: &Path) -> u64 {
    list(folder).iter().map(|found| found.bytes).sum()
}

/// Gives up the least recently used blocks if there are more bytes than `bytes_max` with `room` for
/// more. Returns how many bytes are left, and how many blocks went.
pub(super) fn make_room(folder: &Path, bytes_max: u64, room: u64) -> (u64, u64) {
    let mut found = list(folder);
    let mut bytes: u64 = found.iter().map(|found| found.bytes).sum();
    let mut evicted = 0;
    if bytes + room > bytes_max {
        let kept = (bytes_max / 10 * TENTHS_KEPT).saturating_sub(room);
        found.sort_unstable_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
        for found in found {
            if bytes <= kept {
                break;
            }
            // One that another process removed is gone as well.
            let gone = match fs::remove_file(&found.path) {
                Ok(()) => true,
                Err(error) => error.kind() == std::io::ErrorKind::NotFound,
            };
            bytes -= if gone { found.bytes } else { 0 };
            evicted += u64::from(gone);
        }
    }
    (bytes, evicted)
}

/// Removes all blocks, of every identity. Returns the bytes that are left.
pub(super) fn clear(folder: &Path) -> u64 {
    let mut left = 0;
    for found in list(folder) {
        let removed = fs::remove_file(&found.path);
        if removed.is_err_and(|error| error.kind() != std::io::ErrorKind::NotFound) {
            left += found.bytes;
        }
    }
    left
}

fn list(folder: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    // Records of weights are few and stay, but for those that were left unfinished.
    fs::read_dir(records(folder)).into_iter().flatten().flatten().for_each(|entry| {
        look(&entry);
    });
    for identity in entries(&blocks(folder), 32) {
        for shard in entries(&identity.path(), 2) {
            // A shard is not followed elsewhere.
            if !shard.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            for entry in fs::read_dir(shard.path()).into_iter().flatten().flatten() {
                found.extend(look(&entry));
            }
        }
    }
    found
}

fn look(entry: &DirEntry) -> Option<Found> {
    let name = entry.file_name();
    let temporary = name.to_str().is_some_and(file::is_temporary);
    if !temporary && !is_digits(&name, 62) {
        return None;
    }
    let info = entry.metadata().ok().filter(fs::Metadata::is_file)?;
    let used = info.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    if temporary {
        if used.elapsed().is_ok_and(|age| age > STALE) {
            // Nothing better can be done about a file that cannot be removed.
            let _ = fs::remove_file(entry.path());
        }
        return None;
    }
    Some(Found { used, bytes: taken(info.len()), path: entry.path() })
}

/// The entries of a folder whose names are so many hexadecimal digits.
fn entries(folder: &Path, digits: usize) -> Vec<DirEntry> {
    let all = fs::read_dir(folder).into_iter().flatten().flatten();
    all.filter(|entry| is_digits(&entry.file_name(), digits)).collect()
}

fn is_digits(name: &OsStr, count: usize) -> bool {
    let bytes = name.as_encoded_bytes();
    let digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    bytes.len() == count && bytes.iter().all(digit)
}
