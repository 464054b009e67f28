//! `ORG/REPO/files`: the layout of Lucid's own cache and of LM Studio's models folder. Files that
//! lie directly in the root (a converted model, say) are models under their bare name.

use std::path::Path;

use super::{LocalModel, REPO_DEPTH, Source, complete_sets, model, models_in_repo};
use crate::names::is_companion;
use crate::walk::Walk;

pub(super) fn models(root: &Path, source: Source) -> Vec<LocalModel> {
    let mut walk = Walk::new();
    let mut models = Vec::new();
    for (organisation, folder) in walk.folders(root) {
        for (repo, folder) in walk.folders(&folder) {
            let files = walk.files(&folder, REPO_DEPTH);
            models.extend(models_in_repo(&format!("{organisation}/{repo}"), &files, source));
        }
    }
    for (stem, members) in complete_sets(&walk.files(root, 0), "gguf") {
        if !is_companion(&stem) {
            models.push(model(&stem, &members, source));
        }
    }
    models
}
