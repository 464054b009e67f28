//! What the tests of training share: a folder that goes away, and documents to learn.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::sync::Arc;

use lucid_train::data::{Shards, VocabularyId};

/// A folder of its own, removed at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lucid-train-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Documents of 63 tokens of a vocabulary of so many, which count on by a step of their own: easy
/// to predict, impossible to guess.
pub(crate) fn shards(size: u32, first: u32) -> Arc<Shards> {
    let documents: Vec<Vec<u32>> = (first..first + 60)
        .map(|document| {
            let (start, step) = (document * 7 % 60, 1 + document % 3);
            (0..40 + document % 30).map(|i| 1 + (start + i * step) % 62).collect()
        })
        .collect();
    let vocabulary = VocabularyId { fingerprint: [7; 32], size, begin: Some(63) };
    Arc::new(Shards::in_memory(&documents, &vocabulary).unwrap())
}
