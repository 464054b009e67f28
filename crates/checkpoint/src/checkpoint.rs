//! One interface to every weights file: recognises the format, opens it, and answers for tensors
//! and metadata.

use crate::table::{Entry, Place, Table};
use crate::{CheckpointError, TokenizerSource};
use crate::{gguf, llama2c, safetensors};
use lucid_sys::Bytes;
use lucid_tensor::{Metadata, TensorView, WeightSource};
use std::fmt;
use std::path::{Path, PathBuf};

/// The format that the weights are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// GGUF, in one file or several.
    Gguf,
    /// Safetensors with a `config.json`, in one file or several.
    Safetensors,
    /// A llama2.c checkpoint.
    Llama2c,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gguf => "GGUF",
            Self::Safetensors => "safetensors",
            Self::Llama2c => "llama2.c",
        })
    }
}

/// An opened model: checked descriptions of its tensors over mapped files. Opening touches only the
/// headers.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub(crate) format: Format,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) maps: Vec<Bytes>,
    pub(crate) table: Table,
    pub(crate) metadata: Metadata,
    pub(crate) tokenizer: TokenizerSource,
    /// Memory that the files justify beside what their description took.
    pub(crate) memory_left: u64,
}

impl Checkpoint {
    /// Opens a weights file, any part of a set of them, or a folder that holds a model.
    ///
    /// # Errors
    /// The file cannot be read, is of a kind that Lucid does not read, or is not what its
    /// format says.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        crate::open::open(path)
    }

    /// Reads a GGUF file that is already in memory; `name` stands for the path in errors.
    ///
    /// # Errors
    /// The bytes are not what the format says.
    pub fn from_gguf_bytes(name: &Path, bytes: Bytes) -> Result<Self, CheckpointError> {
        Self::from_gguf_set(gguf::split::from_maps(vec![name.to_owned()], vec![bytes])?)
    }

    /// Reads a safetensors file and its `config.json` that are already in memory.
    ///
    /// # Errors
    /// The bytes are not what the formats say, or the architecture is not known.
    pub fn from_safetensors_bytes(
        name: &Path,
        config: &[u8],
        bytes: Bytes,
    ) -> Result<Self, CheckpointError> {
        let config_file = name.with_file_name("config.json");
        let config = safetensors::config::Config::read(&config_file, config)?;
        safetensors::folder::join(vec![name.to_owned()], vec![bytes], config)
    }

    /// Reads a llama2.c checkpoint that is already in memory.
    ///
    /// # Errors
    /// The bytes are not what the format says.
    pub fn from_llama2c_bytes(name: &Path, bytes: Bytes) -> Result<Self, CheckpointError> {
        llama2c::from_map(name, bytes)
    }

    /// The format of the weights.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The files that hold the weights, in order.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The length of those files altogether.
    pub fn file_bytes(&self) -> u64 {
        self.maps.iter().map(|map| map.len() as u64).sum()
    }

    /// Where the vocabulary is.
    pub fn tokenizer(&self) -> TokenizerSource {
        self.tokenizer.clone()
    }

    /// How much memory a vocabulary made of the metadata may take: what is left of twice the files
    /// plus 16 MiB, after the metadata and the table of tensors; two of the 16 MiB are kept for
    /// what does not grow with the files. 0 where the metadata hold no vocabulary.
    pub fn vocabulary_bytes_max(&self) -> u64 {
        self.memory_left
    }

    pub(crate) fn from_gguf_set(set: gguf::split::Set) -> Result<Self, CheckpointError> {
        let gguf::split::Set { files, maps, metadata, entries, memory_left } = set;
        let table = Table::new(entries).map_err(|pair| twice(&files, &pair.0, &pair.1))?;
        let has_vocabulary = metadata.value("tokenizer.ggml.model").is_some()
            || metadata.value("tokenizer.ggml.tokens").is_some();
        let tokenizer =
            if has_vocabulary { TokenizerSource::Metadata } else { TokenizerSource::None };
        let format = Format::Gguf;
        Ok(Self { format, files, maps, table, metadata, tokenizer, memory_left })
    }

    fn view(&self, entry: &Entry) -> TensorView {
        let (data, offset) = match &entry.place {
            Place::Memory { data, .. } => (data.clone(), 0),
            Place::File { file, offset, len } => {
                let start = *offset as usize;
                // Checked against the length of the map when the entry was made.
                let slice = self.maps[*file as usize].slice(start..start + len);
                let Some(data) = slice else { unreachable!("an entry lies inside its file") };
                (data, *offset)
            }
        };
        let shape = entry.dims.as_slice().to_vec();
        TensorView { name: entry.name.to_string(), dtype: entry.dtype, shape, data, offset }
    }
}

/// The error for two tensors of one name, at the later one.
pub(crate) fn twice(files: &[PathBuf], first: &Entry, second: &Entry) -> CheckpointError {
    CheckpointError::Malformed {
        file: files[second.file().unwrap_or(0)].clone(),
        item: format!("the tensor `{}`", crate::cursor::brief(&second.name)),
        offset: second.declared_at,
        expected: "one tensor of each name".to_owned(),
        found: format!("a second one (the first is declared at byte {})", first.declared_at),
    }
}

impl WeightSource for Checkpoint {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn tensor(&self, name: &str) -> Option<TensorView> {
        self.table.find(name).map(|entry| self.view(entry))
    }

    fn tensor_names(&self) -> Vec<String> {
        self.table.entries().iter().map(|entry| entry.name.to_string()).collect()
    }
}
