//! The list of models that lie on this machine: Lucid's cache and those of other programs, which
//! are read in place. A download that is not complete is not a model.

mod huggingface;
mod ollama;
mod publisher;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::HubConfig;
use crate::names::{is_companion, parse_shard, printable, split_extension};
use crate::walk::FoundFile;

/// Which program's cache a model lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Lucid's own.
    Lucid,
    /// `huggingface_hub` and everything built on it.
    HuggingFace,
    /// LM Studio.
    LmStudio,
    /// Ollama.
    Ollama,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Lucid => "Lucid",
            Self::HuggingFace => "Hugging Face",
            Self::LmStudio => "LM Studio",
            Self::Ollama => "Ollama",
        })
    }
}

/// A model on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalModel {
    /// `ORG/REPO:STEM` for a GGUF, `ORG/REPO` for a folder of safetensors, `NAME:TAG` in Ollama.
    pub name: String,
    /// What to open: the file (the first shard of a split one) or the folder.
    pub path: PathBuf,
    /// Whose cache it lies in.
    pub source: Source,
    /// Size on disk, all shards together.
    pub bytes: u64,
    /// The newest of its files.
    pub modified: Option<SystemTime>,
    /// All its files.
    pub files: Vec<PathBuf>,
}

/// Lists the models on this machine, sorted by source and name. What cannot be read is left out.
pub fn installed(config: &HubConfig) -> Vec<LocalModel> {
    let mut models = publisher::models(&config.cache, Source::Lucid);
    for cache in &config.huggingface_caches {
        models.extend(huggingface::models(cache));
    }
    for root in &config.lm_studio {
        models.extend(publisher::models(root, Source::LmStudio));
    }
    for root in &config.ollama {
        models.extend(ollama::models(root));
    }
    models.sort_by(|a, b| (a.source, &a.name, &a.path).cmp(&(b.source, &b.name, &b.path)));
    models.dedup_by(|a, b| a.source == b.source && a.name == b.name);
    models
}

/// Folders of a repository that are searched below its root.
const REPO_DEPTH: usize = 4;

/// The models in one repository's files, named after `repo`.
fn models_in_repo(repo: &str, files: &[FoundFile], source: Source) -> Vec<LocalModel> {
    let mut models = Vec::new();
    for (stem, members) in complete_sets(files, "gguf") {
        if !is_companion(&stem) {
            models.push(model(&format!("{repo}:{stem}"), &members, source));
        }
    }
    let at_root = |file: &&FoundFile| !file.name.contains('/');
    let root_files: Vec<FoundFile> = files.iter().filter(at_root).cloned().collect();
    if let Some(config) = root_files.iter().find(|file| file.name == "config.json") {
        let weights: Vec<_> = complete_sets(&root_files, "safetensors")
            .into_iter()
            .filter(|(stem, _)| !stem.contains("adapter"))
            .flat_map(|(_, members)| members)
            .collect();
        if !weights.is_empty() {
            let mut whole = model(repo, &weights, source);
            if let Some(folder) = config.path.parent() {
                folder.clone_into(&mut whole.path);
            }
            let others = root_files.iter().filter(|file| is_companion_of_safetensors(&file.name));
            whole.files.extend(others.map(|file| file.path.clone()));
            models.push(whole);
        }
    }
    if source == Source::Lucid {
        // llama2.c checkpoints; elsewhere a `.bin` is a pickle or a tokenizer.
        for file in root_files.iter().filter(|file| is_llama2c(&file.name)) {
            let (stem, _) = split_extension(&file.name);
            models.push(model(&format!("{repo}:{stem}"), &[file], source));
        }
    }
    models
}

fn is_companion_of_safetensors(name: &str) -> bool {
    let (_, extension) = split_extension(name);
    matches!(extension.as_str(), "json" | "txt" | "model" | "jinja")
}

fn is_llama2c(name: &str) -> bool {
    split_extension(name).1 == "bin" && name != "tokenizer.bin"
}

/// Groups files of an extension into sets: single files, and split files with no shard missing.
fn complete_sets<'a>(files: &'a [FoundFile], extension: &str) -> Vec<(String, Vec<&'a FoundFile>)> {
    let mut sets: BTreeMap<(&str, u32), BTreeMap<u32, &FoundFile>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.bytes > 0) {
        let (stem, found) = split_extension(&file.name);
        if found != extension {
            continue;
        }
        match parse_shard(stem) {
            Some(shard) => sets.entry((shard.stem, shard.count)).or_default(),
            None => sets.entry((stem, 0)).or_default(),
        }
        .insert(parse_shard(stem).map_or(0, |shard| shard.index), file);
    }
    sets.into_iter()
        .filter(|((_, count), members)| members.len() as u64 >= u64::from(*count))
        .map(|((stem, _), members)| (stem.to_owned(), members.into_values().collect()))
        .collect()
}

fn model(name: &str, files: &[&FoundFile], source: Source) -> LocalModel {
    LocalModel {
        name: printable(name),
        path: files.first().map(|file| file.path.clone()).unwrap_or_default(),
        source,
        bytes: files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes)),
        modified: files.iter().filter_map(|file| file.modified).max(),
        files: files.iter().map(|file| file.path.clone()).collect(),
    }
}
