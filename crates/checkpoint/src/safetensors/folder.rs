//! Opens a Hugging Face model: finds the files that belong together, and joins them into one
//! checkpoint.

use super::config::Config;
use super::family::Family;
use super::{header, index};
use crate::budget::{Budget, heap_cost};
use crate::checkpoint::{Format, twice};
use crate::cursor::brief;
use crate::floats;
use crate::table::{Dims, Entry, Place, Table};
use crate::{Checkpoint, CheckpointError, TokenizerFiles, TokenizerSource};
use lucid_sys::Bytes;
use lucid_tensor::{DType, MetaValue};
use std::path::{Path, PathBuf};

/// What the name of an index ends with.
pub(crate) const INDEX_SUFFIX: &str = ".safetensors.index.json";

/// Opens the model whose weights are one file.
pub(crate) fn open_file(file: &Path) -> Result<Checkpoint, CheckpointError> {
    let map = Bytes::map(file)?;
    Ok(open(vec![file.to_owned()], vec![map])?.0)
}

/// Opens the model whose weights an index lists; each tensor must be where the index has it.
pub(crate) fn open_index(index_file: &Path) -> Result<Checkpoint, CheckpointError> {
    let text = Bytes::map(index_file)?;
    let shards = index::shards(index_file, &text)?;
    let files: Vec<PathBuf> = shards.iter().map(|shard| index_file.with_file_name(shard)).collect();
    let maps = files.iter().map(|file| Bytes::map(file)).collect::<Result<Vec<_>, _>>()?;
    let (checkpoint, naming) = open(files, maps)?;
    let holds = |shard: &str, tensor: &str| match naming.rename(tensor) {
        header::Named::Skip => true,
        header::Named::Unknown => false,
        header::Named::Tensor(name) => {
            let number = shards.binary_search_by(|known| known.as_str().cmp(shard)).ok();
            checkpoint.table.find(&name).is_some_and(|entry| entry.file() == number)
        }
    };
    index::check(index_file, &text, &holds)?;
    Ok(checkpoint)
}

/// The index beside a file that lists it, if there is one.
pub(crate) fn index_of(file: &Path) -> Result<Option<PathBuf>, CheckpointError> {
    let beside = file.with_file_name(format!("model{INDEX_SUFFIX}"));
    if !beside.is_file() {
        return Ok(None);
    }
    let text = Bytes::map(&beside)?;
    let shards = index::shards(&beside, &text)?;
    let name = file.file_name().and_then(|name| name.to_str());
    Ok(name.filter(|name| shards.iter().any(|shard| shard == name)).map(|_| beside))
}

/// How this model's tensors are renamed.
struct Naming {
    family: Family,
    tied: bool,
}

impl Naming {
    fn rename(&self, tensor: &str) -> header::Named {
        self.family.rename(tensor, self.tied)
    }
}

fn open(files: Vec<PathBuf>, maps: Vec<Bytes>) -> Result<(Checkpoint, Naming), CheckpointError> {
    let config_file = files[0].with_file_name("config.json");
    if !config_file.is_file() {
        return Err(CheckpointError::Unsupported {
            file: files[0].clone(),
            found: "safetensors without a config.json beside them".to_owned(),
            advice: "put the model's config.json into the same folder".to_owned(),
        });
    }
    let text = Bytes::map(&config_file)?;
    let config = Config::read(&config_file, &text)?;
    let naming = Naming { family: config.family, tied: config.tied };
    let mut checkpoint = join(files, maps, config)?;
    checkpoint.tokenizer = tokenizer_files(&config_file, text);
    if checkpoint.metadata.value("general.name").is_none() {
        let folder = std::path::absolute(&config_file).ok();
        let folder = folder.as_deref().and_then(Path::parent).and_then(Path::file_name);
        if let Some(name) = folder.and_then(|name| name.to_str()) {
            let name = MetaValue::Text(name.to_owned());
            checkpoint.metadata.insert("general.name", name, None);
        }
    }
    Ok((checkpoint, naming))
}

/// Joins mapped files under their configuration.
pub(crate) fn join(
    files: Vec<PathBuf>,
    maps: Vec<Bytes>,
    config: Config,
) -> Result<Checkpoint, CheckpointError> {
    let mut budget = Budget::for_files(maps.iter().map(|map| map.len() as u64).sum());
    let rename = |name: &str| config.family.rename(name, config.tied);
    let mut entries = Vec::new();
    for (number, (file, map)) in files.iter().zip(&maps).enumerate() {
        entries.extend(header::read(file, number as u32, map, &mut budget, &rename)?);
    }
    if config.family == Family::Gemma3 {
        for entry in entries.iter_mut().filter(|entry| entry.name.ends_with("norm.weight")) {
            add_one(entry, &files, &maps, &mut budget)?;
        }
    }
    if let Some(factors) = &config.rope_factors {
        entries.push(rope_freqs(factors));
    }
    let table = Table::new(entries).map_err(|pair| twice(&files, &pair.0, &pair.1))?;
    let (metadata, tokenizer) = (config.metadata, TokenizerSource::None);
    let format = Format::Safetensors;
    Ok(Checkpoint { format, files, maps, table, metadata, tokenizer, memory_left: 0 })
}

/// Gemma multiplies by 1 + weight; GGUF holds the sum, in f32.
fn add_one(
    entry: &mut Entry,
    files: &[PathBuf],
    maps: &[Bytes],
    budget: &mut Budget,
) -> Result<(), CheckpointError> {
    let Place::File { file, offset, len } = entry.place else { return Ok(()) };
    let malformed = |expected: String, found: String| CheckpointError::Malformed {
        file: files[file as usize].clone(),
        item: format!("the tensor `{}`", brief(&entry.name)),
        offset: entry.declared_at,
        expected,
        found,
    };
    let [count] = *entry.dims.as_slice() else {
        let found = format!("the shape {:?}", entry.dims.as_slice());
        return Err(malformed("one dimension".to_owned(), found));
    };
    let over = |limit| malformed(format!("norms of at most {limit} bytes"), "more".to_owned());
    // The sums and, for a moment, the decoded weights.
    budget.charge(2 * heap_cost(count).saturating_mul(4)).map_err(over)?;
    let data = &maps[file as usize][offset as usize..offset as usize + len];
    let sums = floats::decode(entry.dtype, data).into_iter().map(|weight| weight + 1.0);
    let data = Bytes::from(sums.flat_map(f32::to_le_bytes).collect::<Vec<u8>>());
    entry.place = Place::Memory { file: Some(file), data };
    entry.dtype = DType::F32;
    Ok(())
}

fn rope_freqs(factors: &[f32]) -> Entry {
    let Some(dims) = Dims::new(&[factors.len()]) else { unreachable!("the table is not empty") };
    let bytes: Vec<u8> = factors.iter().flat_map(|factor| factor.to_le_bytes()).collect();
    Entry {
        name: "rope_freqs.weight".into(),
        dtype: DType::F32,
        dims,
        place: Place::Memory { file: None, data: Bytes::from(bytes) },
        declared_at: 0,
    }
}

/// Maps what lies beside the weights. A file that is absent or cannot be read is left out.
fn tokenizer_files(config_file: &Path, config: Bytes) -> TokenizerSource {
    let map = |name: &str| {
        let path = config_file.with_file_name(name);
        if path.is_file() { Bytes::map(&path).ok() } else { None }
    };
    let files = TokenizerFiles {
        tokenizer_json: map("tokenizer.json"),
        tokenizer_config: map("tokenizer_config.json"),
        sentencepiece: map("tokenizer.model"),
        vocab_json: map("vocab.json"),
        merges_txt: map("merges.txt"),
        special_tokens_map: map("special_tokens_map.json"),
        chat_template_jinja: map("chat_template.jinja"),
        chat_template_json: map("chat_template.json"),
        generation_config: map("generation_config.json"),
        config: Some(config),
    };
    let has_vocabulary = files.tokenizer_json.is_some()
        || files.sentencepiece.is_some()
        || (files.vocab_json.is_some() && files.merges_txt.is_some());
    if has_vocabulary { TokenizerSource::Files(Box::new(files)) } else { TokenizerSource::None }
}
