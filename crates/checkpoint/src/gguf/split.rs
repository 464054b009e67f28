//! GGUF in several files, `NAME-00001-of-00003.gguf`. Source: llama.cpp's `tools/gguf-split` and
//! `llama_split_path`: the first file holds the metadata, each holds `split.no` (from 0),
//! `split.count` and `split.tensors.count`.

use super::read::{Description, read};
use crate::CheckpointError;
use crate::budget::Budget;
use crate::cursor::brief;
use crate::table::Entry;
use lucid_sys::Bytes;
use lucid_tensor::Metadata;
use std::path::{Path, PathBuf};

/// More files than any model has; bounds what a file name can make us open.
const SHARDS_MAX: u32 = 10_000;

/// What the name of a file says about the set it belongs to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ShardName {
    prefix: String,
    /// From 1, as in the name.
    number: u32,
    count: u32,
}

impl ShardName {
    /// `None` if the name does not follow the pattern, and for a set of one, which is a plain file.
    pub(crate) fn parse(path: &Path) -> Option<Self> {
        let stem = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (prefix, number) = rest.rsplit_once('-')?;
        let parse = |text: &str| -> Option<u32> {
            let digits = text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        let (number, count) = (parse(number)?, parse(count)?);
        let plausible = (2..=SHARDS_MAX).contains(&count) && (1..=count).contains(&number);
        plausible.then(|| Self { prefix: prefix.to_owned(), number, count })
    }

    /// The paths of the whole set, in order.
    fn paths(&self, beside: &Path) -> Vec<PathBuf> {
        let name = |number| format!("{}-{number:05}-of-{:05}.gguf", self.prefix, self.count);
        (1..=self.count).map(|number| beside.with_file_name(name(number))).collect()
    }
}

/// Whether all of these files are parts of one set.
pub(crate) fn are_one_set(files: &[PathBuf]) -> bool {
    let key = |file: &PathBuf| ShardName::parse(file).map(|shard| (shard.prefix, shard.count));
    let first = files.first().and_then(key);
    first.is_some() && files.iter().all(|file| key(file) == first)
}

/// One checkpoint read from one or several files.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) maps: Vec<Bytes>,
    pub(crate) metadata: Metadata,
    pub(crate) entries: Vec<Entry>,
    pub(crate) memory_left: u64,
}

/// Opens the file, or the whole set that it is a part of.
pub(crate) fn open(path: &Path) -> Result<Set, CheckpointError> {
    let files = match ShardName::parse(path) {
        Some(shard) => shard.paths(path),
        None => vec![path.to_owned()],
    };
    let maps = files.iter().map(|file| Bytes::map(file)).collect::<Result<Vec<_>, _>>()?;
    from_maps(files, maps)
}

/// Reads the descriptions of mapped files and joins them.
pub(crate) fn from_maps(files: Vec<PathBuf>, maps: Vec<Bytes>) -> Result<Set, CheckpointError> {
    let mut budget = Budget::for_files(maps.iter().map(|map| map.len() as u64).sum());
    let mut parts = Vec::with_capacity(files.len());
    for (number, (file, map)) in files.iter().zip(&maps).enumerate() {
        let part = read(file, number as u32, map, &mut budget)?;
        check_place(file, &part, number as u64, files.len() as u64)?;
        parts.push(part);
    }
    let tensor_count: u64 = parts.iter().map(|part| part.entries.len() as u64).sum();
    let mut parts = parts.into_iter();
    let Some(first) = parts.next() else { unreachable!("there is at least one file") };
    let Description { metadata, mut entries } = first;
    if files.len() > 1 {
        check(&files[0], &metadata, "split.tensors.count", tensor_count)?;
    }
    for part in parts {
        entries.extend(part.entries);
    }
    Ok(Set { files, maps, metadata, entries, memory_left: budget.left() })
}

/// Whether a file is the part of the set that its name says.
fn check_place(
    file: &Path,
    part: &Description,
    number: u64,
    count: u64,
) -> Result<(), CheckpointError> {
    if count > 1 {
        check(file, &part.metadata, "split.count", count)?;
        return check(file, &part.metadata, "split.no", number);
    }
    let claimed = unsigned(file, &part.metadata, "split.count")?.unwrap_or(1);
    if claimed > 1 {
        return Err(CheckpointError::Unsupported {
            file: file.to_owned(),
            found: format!("one of {claimed} parts of a model (the metadata key `split.count`)"),
            advice: format!(
                "name the parts NAME-00001-of-{claimed:05}.gguf and so on, as they were published"
            ),
        });
    }
    Ok(())
}

fn unsigned(file: &Path, from: &Metadata, key: &str) -> Result<Option<u64>, CheckpointError> {
    from.unsigned(key).map_err(|source| CheckpointError::Metadata { file: file.to_owned(), source })
}

fn check(file: &Path, from: &Metadata, key: &str, expected: u64) -> Result<(), CheckpointError> {
    let found = unsigned(file, from, key)?;
    if found == Some(expected) {
        return Ok(());
    }
    Err(CheckpointError::Malformed {
        file: file.to_owned(),
        item: format!("the metadata key `{}`", brief(key)),
        offset: from.offset(key).unwrap_or_default(),
        expected: format!("{expected}, as the names of the files and their tensors have it"),
        found: found.map_or_else(|| "nothing".to_owned(), |found| found.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts() {
        let check = |name: &str, expected: Option<(u32, u32)>| {
            let found = ShardName::parse(Path::new(name)).map(|s| (s.number, s.count));
            assert_eq!(found, expected, "{name}");
        };
        check("m/qwen-00002-of-00003.gguf", Some((2, 3)));
        check("m/qwen-00004-of-00003.gguf", None);
        check("m/qwen-00000-of-00003.gguf", None);
        check("m/qwen-00001-of-00001.gguf", None);
        check("m/qwen-1-of-3.gguf", None);
        check("m/qwen-00001-of-00003.safetensors", None);
        check("m/qwen.gguf", None);
        check("-of-.gguf", None);
    }
}
