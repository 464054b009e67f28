//! The cache of `huggingface_hub`: `models--ORG--REPO/{refs/main, snapshots/REVISION/FILE, blobs}`,
//! where a snapshot's files are links into `blobs` and a partial download is a blob without one.
//! Source: the library's documentation, "Understand caching".

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{LocalModel, REPO_DEPTH, Source, models_in_repo};
use crate::walk::{Walk, read_small};

pub(super) fn models(cache: &Path) -> Vec<LocalModel> {
    let mut walk = Walk::new();
    let mut models = Vec::new();
    for (folder_name, folder) in walk.folders(cache) {
        let Some(repo) = folder_name.strip_prefix("models--") else { continue };
        let repo = repo.replacen("--", "/", 1);
        let mut listed = HashSet::new();
        for snapshot in snapshots(&mut walk, &folder) {
            let files = walk.files(&snapshot, REPO_DEPTH);
            // An older revision counts only for what the newer ones do not have.
            models.extend(
                models_in_repo(&repo, &files, Source::HuggingFace)
                    .into_iter()
                    .filter(|model| listed.insert(model.name.clone())),
            );
        }
    }
    models
}

/// The snapshots of a repository: the one that `refs/main` names, then the others, newest first.
fn snapshots(walk: &mut Walk, repo: &Path) -> Vec<PathBuf> {
    let main = read_small(&repo.join("refs").join("main"), 256);
    let main = main.as_deref().map(str::trim);
    let mut found: Vec<(bool, Option<SystemTime>, PathBuf)> = walk
        .folders(&repo.join("snapshots"))
        .into_iter()
        .map(|(name, path)| {
            let modified = path.metadata().and_then(|data| data.modified()).ok();
            (Some(name.as_str()) == main, modified, path)
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, _, path)| path).collect()
}
