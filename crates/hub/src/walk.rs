//! A bounded walk over a folder that may be hostile: depth, number of entries and loops of
//! symbolic links are limited, and whatever cannot be read is skipped.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Entries looked at in one cache before the walk stops.
const ENTRY_COUNT_MAX: usize = 100_000;

/// A regular file that was found; a link to a file is followed, a dangling one skipped.
#[derive(Clone, Debug)]
pub(crate) struct FoundFile {
    /// Relative to the folder that was walked, `/`-separated, for people and for matching.
    pub(crate) name: String,
    /// To open it.
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) modified: Option<SystemTime>,
}

/// The bounds, shared by all walks over one cache.
pub(crate) struct Walk {
    entries_left: usize,
    folders_seen: HashSet<PathBuf>,
}

impl Walk {
    pub(crate) fn new() -> Self {
        Self { entries_left: ENTRY_COUNT_MAX, folders_seen: HashSet::new() }
    }

    /// Subfolders of `folder` in order of name, hidden ones left out.
    pub(crate) fn folders(&mut self, folder: &Path) -> Vec<(String, PathBuf)> {
        let entries = self.entries(folder);
        entries.into_iter().filter(|(_, path)| path.is_dir()).collect()
    }

    /// Files below `folder`, at most `depth` folders down, in order of name. Links to folders are
    /// not followed.
    pub(crate) fn files(&mut self, folder: &Path, depth: usize) -> Vec<FoundFile> {
        let mut found = Vec::new();
        self.collect(folder, "", depth, &mut found);
        found
    }

    fn collect(&mut self, folder: &Path, prefix: &str, depth: usize, found: &mut Vec<FoundFile>) {
        // A folder reached twice is a loop, or a second name for models that are listed already.
        let Ok(canonical) = folder.canonicalize() else { return };
        if !self.folders_seen.insert(canonical) {
            return;
        }
        for (name, path) in self.entries(folder) {
            let Ok(metadata) = path.metadata() else { continue };
            let name = format!("{prefix}{name}");
            if metadata.is_dir() {
                if depth > 0 && !path.is_symlink() {
                    self.collect(&path, &format!("{name}/"), depth - 1, found);
                }
            } else if metadata.is_file() {
                let (bytes, modified) = (metadata.len(), metadata.modified().ok());
                found.push(FoundFile { name, path, bytes, modified });
            }
        }
    }

    fn entries(&mut self, folder: &Path) -> Vec<(String, PathBuf)> {
        let Ok(entries) = folder.read_dir() else { return Vec::new() };
        let mut listed: Vec<_> = entries
            .take(self.entries_left)
            .filter_map(Result::ok)
            .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
            .filter(|(name, _)| !name.starts_with('.'))
            .collect();
        self.entries_left = self.entries_left.saturating_sub(listed.len());
        listed.sort();
        listed
    }
}

/// Reads a small text file; `None` if it is absent, larger than `bytes_max` or not UTF-8.
pub(crate) fn read_small(path: &Path, bytes_max: u64) -> Option<String> {
    use std::io::Read as _;
    if !path.metadata().ok()?.is_file() {
        return None; // a pipe would block
    }
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(bytes_max + 1).read_to_string(&mut text).ok()?;
    (text.len() as u64 <= bytes_max).then_some(text)
}
