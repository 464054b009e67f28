//! Shared read-only bytes: a mapped file, or memory of our own. Cloning and slicing never copy.
//!
//! Invariant: the bytes of a value never change while it lives. For a mapped file this rests on
//! nobody truncating or rewriting the file meanwhile, which no system can promise to a reader:
//! touching a page that a truncation has cut off ends the process (SIGBUS on Unix), and overwritten
//! pages change under our references. Hence two rules. Lucid itself never writes into a file, it
//! replaces it by renaming ([`write_atomic`](crate::write_atomic)): the old file lives on,
//! unchanged, for as long as it is mapped. Whoever keeps a map for long asks
//! [`changed_on_disk`](Bytes::changed_on_disk) before each piece of work, which turns most
//! accidents into an error.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::Anonymous;

/// A file could not be mapped.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {}", path.display())]
pub struct MapError {
    /// The file that was asked for.
    pub path: PathBuf,
    /// What the system said.
    pub source: std::io::Error,
}

#[derive(Debug)]
enum Backing {
    Map { map: memmap2::Mmap, file: File, modified: Option<SystemTime> },
    Heap(Vec<u8>),
    Anonymous(Anonymous),
}

/// What tells a file's state without reading it. Two equal stamps mean the same file in the same
/// state, as far as its system keeps times; different ones mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    /// Bytes of the file.
    pub len: u64,
    /// When it was last written to, in nanoseconds since 1970.
    pub modified: u64,
    /// When anything about it last changed, in nanoseconds since 1970. No program can set this
    /// back. 0 where there is no such time.
    pub changed: u64,
    /// Its number in its file system, and that system's; 0 where there are none.
    pub number: u64,
    /// See `number`.
    pub device: u64,
}

/// How bytes are about to be read; a hint to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// From front to back: read ahead.
    Sequential,
    /// Here and there: read nothing ahead.
    Random,
    /// All of them, soon: begin to read now.
    WillNeed,
    /// Not again for long: the memory that holds them may be taken back now.
    Done,
}

/// A cheap handle on immutable bytes.
#[derive(Clone, Debug)]
pub struct Bytes {
    backing: Arc<Backing>,
    range: Range<usize>,
}

impl Bytes {
    /// Maps a whole file read-only. Costs no memory until pages are touched.
    ///
    /// # Errors
    /// The file cannot be opened, is not a regular file, or cannot be mapped.
    pub fn map(path: &Path) -> Result<Self, MapError> {
        let fail = |source| MapError { path: path.to_owned(), source };
        let file = File::open(path).map_err(fail)?;
        let info = file.metadata().map_err(fail)?;
        if !info.is_file() {
            return Err(fail(std::io::Error::other("not a regular file")));
        }
        if info.len() == 0 {
            return Ok(Self::from(Vec::new()));
        }
        // SAFETY: the map is read-only; that nobody writes to or truncates the file meanwhile is
        // the invariant of this module, with what is done about it.
        let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file) }.map_err(fail)?;
        let range = 0..map.len();
        let modified = info.modified().ok();
        Ok(Self { backing: Arc::new(Backing::Map { map, file, modified }), range })
    }

    /// A part of these bytes, sharing the same memory. `None` if it does not lie inside.
    pub fn slice(&self, range: Range<usize>) -> Option<Self> {
        if range.start > range.end || range.end > self.len() {
            return None;
        }
        let start = self.range.start + range.start;
        let end = self.range.start + range.end;
        Some(Self { backing: Arc::clone(&self.backing), range: start..end })
    }

    /// Whether both are parts of the same file or buffer.
    pub fn same_memory(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.backing, &other.backing)
    }

    /// Whether the bytes are a mapped file (the system may drop and re-read its pages) or heap
    /// memory.
    pub fn is_mapped(&self) -> bool {
        matches!(*self.backing, Backing::Map { .. })
    }

    /// Whether the mapped file has since been truncated, extended or written to. Replacing it by
    /// another file of the same name is no change: the map keeps the old one. Always false for heap
    /// memory.
    pub fn changed_on_disk(&self) -> bool {
        let Backing::Map { map, file, modified } = &*self.backing else { return false };
        let info = file.metadata();
        !info.is_ok_and(|info| info.len() == map.len() as u64 && info.modified().ok() == *modified)
    }

    /// The state of the file that is mapped; `None` for other memory, and where the system does not
    /// tell or the file is not any more what was mapped.
    pub fn stamp(&self) -> Option<FileStamp> {
        let Backing::Map { map, file, modified } = &*self.backing else { return None };
        let info = file.metadata().ok()?;
        if self.changed_on_disk() {
            return None;
        }
        let since = modified.as_ref()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let modified = u64::try_from(since.as_nanos()).ok()?;
        #[cfg(unix)]
        let (changed, number, device) = {
            use std::os::unix::fs::MetadataExt as _;
            let changed = info.ctime().wrapping_mul(1_000_000_000).wrapping_add(info.ctime_nsec());
            (changed as u64, info.ino(), info.dev())
        };
        #[cfg(not(unix))]
        let (changed, number, device) = {
            let _ = info;
            (0, 0, 0)
        };
        Some(FileStamp { len: map.len() as u64, modified, changed, number, device })
    }

    /// Tells the system how these bytes are about to be read. Only a hint: without effect on heap
    /// memory, and where the system knows no such call or refuses it.
    pub fn advise(&self, access: Access) {
        #[cfg(unix)]
        if let Backing::Map { map, .. } = &*self.backing {
            let advice = match access {
                Access::Sequential => memmap2::Advice::Sequential,
                Access::Random => memmap2::Advice::Random,
                Access::WillNeed => memmap2::Advice::WillNeed,
                Access::Done => {
                    let (start, len) = (self.range.start, self.range.len());
                    // SAFETY: the map is read-only and was never written: what is dropped is read
                    // from the file again when it is next touched.
                    let _ = unsafe {
                        map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, len)
                    };
                    return;
                }
            };
            // A refused hint changes nothing.
            let _ = map.advise_range(advice, self.range.start, self.range.len());
        }
        #[cfg(not(unix))]
        let _ = access;
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.backing {
            Backing::Map { map, .. } => &map[self.range.clone()],
            Backing::Heap(buffer) => &buffer[self.range.clone()],
            Backing::Anonymous(buffer) => &buffer[self.range.clone()],
        }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(buffer: Vec<u8>) -> Self {
        let range = 0..buffer.len();
        Self { backing: Arc::new(Backing::Heap(buffer)), range }
    }
}

impl From<Anonymous> for Bytes {
    fn from(buffer: Anonymous) -> Self {
        let range = 0..buffer.len();
        Self { backing: Arc::new(Backing::Anonymous(buffer)), range }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_share_and_refuse_what_lies_outside() {
        let bytes = Bytes::from(vec![1, 2, 3, 4]);
        let tail = bytes.slice(2..4).expect("inside");
        assert_eq!(&*tail, &[3, 4]);
        assert_eq!(&*tail.slice(1..2).expect("inside"), &[4]);
        assert!(tail.slice(0..3).is_none());
        #[expect(clippy::reversed_empty_ranges, reason = "a reversed range is the case under test")]
        let reversed = bytes.slice(3..1);
        assert!(reversed.is_none());
    }

    /// Maps a file of its own, lets `change` do something to it, and tells whether that counts as a
    /// change.
    fn check(name: &str, change: impl FnOnce(&Path)) -> bool {
        let path = std::env::temp_dir().join(format!("lucid-sys-{name}-{}", std::process::id()));
        std::fs::write(&path, b"some weights").unwrap();
        let bytes = Bytes::map(&path).unwrap();
        assert!(bytes.is_mapped() && !bytes.changed_on_disk());
        assert_eq!(&*bytes, b"some weights");
        let tail = bytes.slice(5..12).unwrap();
        for access in [Access::Sequential, Access::Random, Access::WillNeed, Access::Done] {
            tail.advise(access);
            Bytes::from(vec![1]).advise(access);
        }
        change(&path);
        let changed = tail.changed_on_disk();
        if !changed {
            assert_eq!(&*tail, b"weights");
        }
        std::fs::remove_file(&path).unwrap();
        changed
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri cannot map files")]
    fn a_file_that_changes_is_noticed() {
        let open = |path: &Path| File::options().write(true).open(path).unwrap();
        assert!(!check("same", |_| {}));
        assert!(check("truncated", |path| open(path).set_len(3).unwrap()));
        assert!(check("longer", |path| open(path).set_len(300).unwrap()));
        assert!(check("touched", |path| open(path).set_modified(SystemTime::UNIX_EPOCH).unwrap()));
        assert!(!check("replaced", |path| {
            crate::write_atomic(path, |writer| writer.write_all(b"other")).unwrap();
        }));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Bytes::map(Path::new("/no/such/file.gguf")).expect_err("missing");
        assert!(error.to_string().contains("/no/such/file.gguf"));
    }
}
