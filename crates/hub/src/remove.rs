//! Deletes a model from Lucid's own cache. What lies in another program's cache is that program's:
//! its index would not know, so the error says how that program does it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::resolve::{Closeness, best_matches, suggestions};
use crate::{HubConfig, HubError, LocalModel, PullSpec, Source, installed};

/// What was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Bytes that were freed.
    pub bytes: u64,
    /// The file or folder that is gone.
    pub path: PathBuf,
}

/// What can be deleted, for a person to look at first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removable {
    /// The model's full name, or that of a repository with an unfinished download.
    pub name: String,
    /// The file or folder that would go.
    pub path: PathBuf,
    /// Bytes that would be freed.
    pub bytes: u64,
    /// The files; `None` where the whole folder goes.
    files: Option<Vec<PathBuf>>,
    cache: PathBuf,
}

impl Removable {
    /// Deletes it.
    ///
    /// # Errors
    /// [`HubError::Io`].
    pub fn delete(self) -> Result<Removed, HubError> {
        let mut bytes = 0;
        if let Some(files) = &self.files {
            for file in files {
                bytes += delete(file)?;
            }
        } else {
            fs::remove_dir_all(&self.path)
                .map_err(|source| HubError::io("delete", &self.path, source))?;
            bytes = self.bytes;
        }
        remove_empty_parents(&self.path, &self.cache);
        Ok(Removed { bytes, path: self.path })
    }
}

/// Deletes what [`removable`] finds.
///
/// # Errors
/// As [`removable`], and [`HubError::Io`].
pub fn remove(config: &HubConfig, name: &str) -> Result<Removed, HubError> {
    removable(config, name)?.delete()
}

/// Finds the installed model `name` (a full name, or a part that fits exactly one; never a mere
/// prefix) with all its shards. For `ORG/REPO` of which only an unfinished download lies in
/// the cache, that is found.
///
/// # Errors
/// [`HubError::NotOurs`] for another program's model, [`HubError::Ambiguous`],
/// [`HubError::NotInstalled`].
pub fn removable(config: &HubConfig, name: &str) -> Result<Removable, HubError> {
    let models = installed(config);
    let by_path = models.iter().find(|model| model.path == Path::new(name)).cloned();
    let mut found = match by_path {
        Some(model) => vec![model],
        None => best_matches(&models, name.trim(), Closeness::Part),
    };
    match found.len() {
        0 => {
            return leftovers(config, name).ok_or_else(|| {
                let suggestions = suggestions(&models, name);
                HubError::NotInstalled { name: name.to_owned(), suggestions }
            });
        }
        1 => {}
        _ => {
            let matches = found.into_iter().map(|model| model.name).collect();
            return Err(HubError::Ambiguous { name: name.to_owned(), matches });
        }
    }
    let model = found.remove(0);
    if model.source != Source::Lucid {
        return Err(not_ours(model));
    }
    let mut files = model.files;
    let packed: Vec<_> = files.iter().map(|file| packed_beside(file)).collect();
    files.extend(packed.into_iter().filter(|file| file.symlink_metadata().is_ok()));
    let size = |file: &PathBuf| file.symlink_metadata().map_or(0, |data| data.len());
    let bytes = files.iter().map(size).fold(0, u64::saturating_add);
    let (cache, files) = (config.cache.clone(), Some(files));
    Ok(Removable { name: model.name, path: model.path, bytes, files, cache })
}

/// Where packed weights of a model's file are kept, if a run was asked to keep them.
pub fn packed_beside(file: &Path) -> PathBuf {
    let mut path = file.to_owned().into_os_string();
    path.push(".lucid-packed");
    path.into()
}

/// The folder of a repository that holds no complete model. `None` if there is none.
fn leftovers(config: &HubConfig, name: &str) -> Option<Removable> {
    let repo = name.trim().parse::<PullSpec>().ok().filter(|spec| spec.file.is_none())?.repo;
    let path = config.cache.join(repo.organisation()).join(repo.name());
    if !path.symlink_metadata().ok()?.is_dir() || holds_a_model(config, &path) {
        return None;
    }
    let bytes = folder_bytes(&path, 8);
    let cache = config.cache.clone();
    Some(Removable { name: repo.to_string(), path, bytes, files: None, cache })
}

fn holds_a_model(config: &HubConfig, folder: &Path) -> bool {
    installed(config).iter().any(|model| model.path.starts_with(folder))
}

fn folder_bytes(folder: &Path, depth: usize) -> u64 {
    let Ok(entries) = folder.read_dir() else { return 0 };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() && depth > 0 => folder_bytes(&entry.path(), depth - 1),
        Ok(data) if data.is_file() => data.len(),
        _ => 0,
    };
    entries.filter_map(Result::ok).map(size).fold(0, u64::saturating_add)
}

/// Deletes a file; of a link, the link. A file that is gone already frees nothing.
fn delete(path: &Path) -> Result<u64, HubError> {
    let bytes = path.symlink_metadata().map_or(0, |data| data.len());
    match fs::remove_file(path) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(HubError::io("delete", path, error)),
    }
}

/// Deletes the folders between `path` and the cache that are empty now.
fn remove_empty_parents(path: &Path, cache: &Path) {
    for folder in path.ancestors().take_while(|folder| *folder != cache) {
        if !folder.starts_with(cache) || (folder.is_dir() && fs::remove_dir(folder).is_err()) {
            return; // not empty: something else lives here
        }
    }
}

fn not_ours(model: LocalModel) -> HubError {
    let repo = model.name.split(':').next().unwrap_or_default();
    let (program, command) = match model.source {
        Source::Ollama => ("Ollama", format!("run `ollama rm {}`", model.name)),
        Source::LmStudio => ("LM Studio", "delete it in My Models".to_owned()),
        Source::HuggingFace | Source::Lucid => {
            ("Hugging Face's cache", format!("run `hf cache rm model/{repo}`"))
        }
    };
    HubError::NotOurs { name: model.name, path: model.path, program, command }
}
