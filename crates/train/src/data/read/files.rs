//! Which files are read, in an order that does not depend on the file system.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Documents, ReadOptions};
use crate::TrainError;

/// Folders within folders, at most.
const DEPTH_MAX: usize = 64;

/// A file that is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// As it was given, or found.
    pub path: PathBuf,
    /// Its length, packed as it is.
    pub bytes: u64,
}

/// Files of a corpus, and how they are read.
#[derive(Clone, Debug)]
pub struct Files {
    files: Vec<SourceFile>,
    options: ReadOptions,
}

impl Files {
    /// Files as they are given; folders with all that is in them, by name. Within folders, names
    /// that begin with a dot and links to folders are passed over.
    ///
    /// # Errors
    /// One of `inputs` cannot be looked at, a folder cannot be listed, there is no file at all, or
    /// an option means nothing.
    pub fn find(inputs: &[PathBuf], options: ReadOptions) -> Result<Self, TrainError> {
        options.check()?;
        let mut files = Vec::new();
        for input in inputs {
            let failed = |source| TrainError::Read { path: input.clone(), source };
            let info = fs::metadata(input).map_err(failed)?;
            if info.is_dir() {
                walk(input, 0, &mut files)?;
            } else if info.is_file() {
                files.push(SourceFile { path: input.clone(), bytes: info.len() });
            } else {
                return Err(failed(io::Error::other("neither a file nor a folder")));
            }
        }
        if files.is_empty() {
            let inputs = inputs.iter().map(|input| input.display().to_string());
            return Err(TrainError::NoFiles { inputs: inputs.collect::<Vec<_>>().join(", ") });
        }
        Ok(Self { files, options })
    }

    /// The files, in the order of reading.
    pub fn list(&self) -> &[SourceFile] {
        &self.files
    }

    /// How they are read.
    pub fn options(&self) -> &ReadOptions {
        &self.options
    }

    /// Bytes of all files, packed as they are.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Their documents, from the beginning.
    pub fn documents(&self) -> Documents<'_> {
        Documents::new(&self.files, &self.options)
    }
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<SourceFile>) -> Result<(), TrainError> {
    let failed = |source| TrainError::Read { path: folder.to_owned(), source };
    if depth > DEPTH_MAX {
        return Err(failed(io::Error::other(format!("more than {DEPTH_MAX} folders deep"))));
    }
    let entries: io::Result<Vec<_>> = fs::read_dir(folder).map_err(failed)?.collect();
    let mut entries = entries.map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            walk(&path, depth + 1, files)?;
        } else if let Ok(info) = fs::metadata(&path)
            && info.is_file()
        {
            files.push(SourceFile { path, bytes: info.len() });
        }
    }
    Ok(())
}
