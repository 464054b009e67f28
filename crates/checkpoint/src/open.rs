//! Recognises what lies at a path, by its bytes rather than its name, and opens it.

use crate::gguf;
use crate::llama2c;
use crate::safetensors::folder::{self, INDEX_SUFFIX};
use crate::{Checkpoint, CheckpointError};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

const ADVICE_FORMATS: &str =
    "Lucid reads GGUF, safetensors with a config.json, and llama2.c checkpoints";
const ADVICE_PICKLE: &str = "pickles can run any program and are never opened: get the model's \
    safetensors or GGUF files instead, or convert it with the tools of its makers";

pub(crate) fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let info = std::fs::metadata(path).map_err(|source| io_error(path, "cannot open", source))?;
    if info.is_dir() { open_folder(path) } else { open_file(path) }
}

fn open_file(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let start = first_bytes(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    if start.starts_with(&gguf::MAGIC) || extension == "gguf" {
        return Checkpoint::from_gguf_set(gguf::split::open(path)?);
    }
    if name.ends_with(INDEX_SUFFIX) {
        return folder::open_index(path);
    }
    if extension == "safetensors" || start.get(8) == Some(&b'{') {
        return match folder::index_of(path)? {
            Some(index) => folder::open_index(&index),
            None => folder::open_file(path),
        };
    }
    if let Some(found) = pickle(&start, extension) {
        return Err(unsupported(path, found, ADVICE_PICKLE));
    }
    if extension == "bin" || llama2c::recognises(&start) {
        return llama2c::open(path);
    }
    let found = format!("an unknown format (it starts with `{}`)", start.escape_ascii());
    Err(unsupported(path, found, ADVICE_FORMATS))
}

/// PyTorch's files: zip archives of pickles, or pickles.
fn pickle(start: &[u8], extension: &str) -> Option<&'static str> {
    if start.starts_with(b"PK\x03\x04") {
        return Some("a zip archive, as PyTorch writes its pickles");
    }
    // The opcode PROTO with a version from 2 to 5.
    if matches!(start, [0x80, 2..=5, ..]) {
        return Some("a pickle");
    }
    matches!(extension, "pt" | "pth" | "pkl" | "ckpt").then_some("a file named as pickles are")
}

/// The model in a folder, if it is one and clear which.
fn open_folder(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let listing = std::fs::read_dir(path).map_err(|e| io_error(path, "cannot list", e))?;
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in listing {
        files.push(entry.map_err(|e| io_error(path, "cannot list", e))?.path());
    }
    files.sort();
    let ending = |suffix: &str| -> Vec<PathBuf> {
        let ends = |file: &&PathBuf| file.to_string_lossy().ends_with(suffix) && file.is_file();
        files.iter().filter(ends).cloned().collect()
    };
    let index = path.join(format!("model{INDEX_SUFFIX}"));
    if index.is_file() {
        return folder::open_index(&index);
    }
    let single = path.join("model.safetensors");
    if single.is_file() {
        return folder::open_file(&single);
    }
    let kinds = [ending(INDEX_SUFFIX), ending(".safetensors"), ending(".gguf")];
    for candidates in kinds {
        match &candidates[..] {
            [] => {}
            [only] => return open_file(only),
            [first, ..] if gguf::split::are_one_set(&candidates) => return open_file(first),
            several => {
                let found = format!("{} weights files", several.len());
                let advice = format!("name one of them, for instance {}", several[0].display());
                return Err(unsupported(path, found, &advice));
            }
        }
    }
    // Vocabularies of llama2.c are .bin files too.
    let mut bins = ending(".bin");
    bins.retain(|file| !file.file_name().unwrap_or_default().to_string_lossy().starts_with("tok"));
    match &bins[..] {
        [only] => open_file(only),
        [first, ..] => {
            let found = format!("{} files named .bin", bins.len());
            let advice = format!("name one of them, for instance {}", first.display());
            Err(unsupported(path, found, &advice))
        }
        [] => {
            let pickles = [".pt", ".pth", ".pkl", ".ckpt"].iter().any(|e| !ending(e).is_empty());
            let advice = if pickles { ADVICE_PICKLE } else { ADVICE_FORMATS };
            Err(unsupported(path, "a folder without weights that Lucid reads", advice))
        }
    }
}

/// Up to the first 16 bytes.
fn first_bytes(path: &Path) -> Result<Vec<u8>, CheckpointError> {
    let mut start = Vec::with_capacity(16);
    let read = File::open(path).and_then(|file| file.take(16).read_to_end(&mut start));
    read.map(|_| start).map_err(|source| io_error(path, "cannot read", source))
}

fn io_error(file: &Path, action: &'static str, source: std::io::Error) -> CheckpointError {
    CheckpointError::Io { file: file.to_owned(), action, source }
}

fn unsupported(file: &Path, found: impl Into<String>, advice: &str) -> CheckpointError {
    let (file, found, advice) = (file.to_owned(), found.into(), advice.to_owned());
    CheckpointError::Unsupported { file, found, advice }
}
