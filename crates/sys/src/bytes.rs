//! Shared read-only bytes: a mapped file, or a buffer on the heap. Cloning and slicing never copy.
//!
//! Invariant: the bytes of a value never change while it lives. For a mapped file this rests on nobody truncating
//! or rewriting the file meanwhile, which is why Lucid replaces files by renaming and never writes into one.

use std::fs::File;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file could not be mapped.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {}: {source}", path.display())]
pub struct MapError {
    /// The file that was asked for.
    pub path: PathBuf,
    /// What the system said.
    pub source: std::io::Error,
}

#[derive(Debug)]
enum Backing {
    Map(memmap2::Mmap),
    Heap(Vec<u8>),
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
        // SAFETY: the map is read-only and private to this process; that the file is not truncated meanwhile is the
        // documented invariant of this module.
        let map = unsafe { memmap2::MmapOptions::new().map_copy_read_only(&file) }.map_err(fail)?;
        let range = 0..map.len();
        Ok(Self { backing: Arc::new(Backing::Map(map)), range })
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

    /// Whether the bytes are a mapped file (the system may drop and re-read its pages) or heap memory.
    pub fn is_mapped(&self) -> bool {
        matches!(*self.backing, Backing::Map(_))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.backing {
            Backing::Map(map) => &map[self.range.clone()],
            Backing::Heap(buffer) => &buffer[self.range.clone()],
        }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(buffer: Vec<u8>) -> Self {
        let range = 0..buffer.len();
        Self { backing: Arc::new(Backing::Heap(buffer)), range }
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

    #[test]
    fn a_missing_file_is_named() {
        let error = Bytes::map(Path::new("/no/such/file.gguf")).expect_err("missing");
        assert!(error.to_string().contains("/no/such/file.gguf"));
    }
}
