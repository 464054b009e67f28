//! Low-rank adapters (Hu et al., arXiv:2106.09685): what is added to a model's matrices, from a
//! GGUF file of llama.cpp's `convert_lora_to_gguf.py` or a folder that PEFT wrote.
//!
//! Whatever the file, matrices have GGUF's names and a product's factors are `a` `[rank, in]` and
//! `b` `[out, rank]`; the token embedding's are `a` `[vocab, rank]` and `b` `[width, rank]`. Rows
//! of queries and keys stay in the order of the file, which `AdapterFile::pairing` tells. Whether a
//! factor suits a model is for those to check who have the model.

mod gguf;
mod peft;

use crate::checkpoint::Format;
use crate::cursor::brief;
use crate::table::Table;
use crate::{Checkpoint, CheckpointError, TokenizerSource};
use lucid_sys::Bytes;
use lucid_tensor::{Metadata, RotaryPairing, TensorView, WeightSource};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What GGUF calls the matrix whose rows are looked up instead of multiplied.
const EMBEDDING: &str = "token_embd.weight";

/// More tensors than the adapter of any network has; bounds what reading one takes.
const TENSORS_MAX: usize = 1 << 14;

/// An opened adapter: checked descriptions of its factors over a mapped file.
#[derive(Clone, Debug)]
pub struct AdapterFile {
    file: PathBuf,
    architecture: Option<String>,
    pairing: RotaryPairing,
    parts: Vec<AdapterPart>,
}

/// What is added to one matrix: `scale * b a`; to the embedding `scale * a b^T`.
#[derive(Clone, Debug)]
pub struct AdapterPart {
    /// The matrix, by its name in GGUF: `blk.0.attn_q.weight`.
    pub tensor: String,
    /// The first factor; see the module's text for shapes.
    pub a: TensorView,
    /// The second factor.
    pub b: TensorView,
    /// The adapter's own scaling, finite.
    pub scale: f32,
}

impl AdapterPart {
    /// The rank, and the shape of the matrix that it is added to.
    pub fn shape(&self) -> (usize, [usize; 2]) {
        let (a, b) = (&self.a.shape, &self.b.shape);
        if self.is_embedding() { (b[1], [a[0], b[0]]) } else { (b[1], [b[0], a[1]]) }
    }

    /// Whether it is added to rows that are looked up.
    pub fn is_embedding(&self) -> bool {
        self.tensor == EMBEDDING
    }
}

impl AdapterFile {
    /// Opens a GGUF file, or what PEFT wrote: the folder or one of its two files.
    ///
    /// # Errors
    /// The file cannot be read, is no adapter, is not what its format says, or asks for something
    /// that Lucid does not compute, which is named.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let io =
            |action| move |source| CheckpointError::Io { file: path.to_owned(), action, source };
        if std::fs::metadata(path).map_err(io("cannot open"))?.is_dir() {
            return peft::open(path);
        }
        let mut start = Vec::with_capacity(4);
        std::fs::File::open(path)
            .and_then(|file| file.take(4).read_to_end(&mut start))
            .map_err(io("cannot read"))?;
        if start == crate::gguf::MAGIC {
            return gguf::open(path);
        }
        match path.file_name().and_then(|name| name.to_str()) {
            Some(peft::CONFIG | peft::WEIGHTS) => {
                peft::open(path.parent().unwrap_or(Path::new("")))
            }
            _ => Err(unsupported(path, "no adapter that Lucid reads", ADVICE)),
        }
    }

    /// Reads a GGUF adapter that is already in memory; `name` stands for the path in errors.
    ///
    /// # Errors
    /// As `open`.
    pub fn from_gguf_bytes(name: &Path, bytes: Bytes) -> Result<Self, CheckpointError> {
        gguf::read(name, &Checkpoint::from_gguf_bytes(name, bytes)?)
    }

    /// Reads an adapter of PEFT that is already in memory: its `adapter_config.json` and its
    /// safetensors file, for which `name` stands.
    ///
    /// # Errors
    /// As `open`.
    pub fn from_peft_bytes(
        name: &Path,
        config: &[u8],
        bytes: Bytes,
    ) -> Result<Self, CheckpointError> {
        peft::read(name, config, bytes)
    }

    /// The file that holds the factors.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The architecture of its model, where the file says it.
    pub fn architecture(&self) -> Option<&str> {
        self.architecture.as_deref()
    }

    /// Which elements of a query or key head rotate together, as its rows are ordered.
    pub fn pairing(&self) -> RotaryPairing {
        self.pairing
    }

    /// What it adds, in the order of names.
    pub fn parts(&self) -> &[AdapterPart] {
        &self.parts
    }
}

const ADVICE: &str = "Lucid reads GGUF adapters of llama.cpp and folders of PEFT with an \
    adapter_config.json and an adapter_model.safetensors";

/// Which factor a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    A,
    B,
}

/// The two factors of a matrix, as they are found.
#[derive(Default)]
struct Pair {
    a: Option<TensorView>,
    b: Option<TensorView>,
}

/// The pairs of factors of a file, by the names of their matrices. `name` says which matrix and
/// factor a tensor belongs to, or what is wrong with it.
fn pairs(
    checkpoint: &Checkpoint,
    name: impl Fn(&str) -> Result<(String, Side), String>,
) -> Result<BTreeMap<String, (TensorView, TensorView)>, CheckpointError> {
    let file = &checkpoint.files()[0];
    let names = checkpoint.tensor_names();
    if names.is_empty() || names.len() > TENSORS_MAX {
        let found = format!("{} tensors", names.len());
        return Err(malformed(file, "the adapter", 0, &format!("1 to {TENSORS_MAX}"), &found));
    }
    let mut found: BTreeMap<String, Pair> = BTreeMap::new();
    for tensor in names {
        let Some(view) = checkpoint.tensor(&tensor) else { continue };
        let (matrix, side) = name(&tensor).map_err(|found| {
            let found = format!("the tensor `{}` at byte {}: {found}", brief(&tensor), view.offset);
            unsupported(file, &found, "only low-rank additions to matrices are applied")
        })?;
        let pair = found.entry(matrix).or_default();
        let slot = if side == Side::A { &mut pair.a } else { &mut pair.b };
        if let Some(first) = slot.replace(view) {
            let expected = format!("one factor of its kind (there is `{}`)", brief(&first.name));
            return Err(malformed(file, &item(&tensor), first.offset, &expected, "a second one"));
        }
    }
    let both = |(matrix, pair): (String, Pair)| match (pair.a, pair.b) {
        (Some(a), Some(b)) => Ok((matrix, (a, b))),
        (a, b) => {
            let one = a.or(b);
            let offset = one.as_ref().map_or(0, |view| view.offset);
            let name = one.map(|view| view.name).unwrap_or_default();
            Err(malformed(file, &item(&name), offset, "both factors of its matrix", "one alone"))
        }
    };
    found.into_iter().map(both).collect()
}

/// A part whose factors fit each other.
fn part(
    file: &Path,
    tensor: String,
    (a, b): (TensorView, TensorView),
    scale: impl FnOnce(usize) -> f64,
) -> Result<AdapterPart, CheckpointError> {
    for view in [&a, &b] {
        if view.shape.len() != 2 {
            let found = format!("the shape {:?}", view.shape);
            return Err(malformed(file, &item(&view.name), view.offset, "a matrix", &found));
        }
    }
    let rank = if tensor == EMBEDDING { a.shape[1] } else { a.shape[0] };
    if b.shape[1] != rank {
        let expected = format!("{rank} columns, the rank of `{}`", brief(&a.name));
        let found = format!("the shape {:?}", b.shape);
        return Err(malformed(file, &item(&b.name), b.offset, &expected, &found));
    }
    let scale = scale(rank) as f32;
    if !scale.is_finite() {
        let found = scale.to_string();
        return Err(malformed(file, &item(&a.name), a.offset, "a finite scaling", &found));
    }
    Ok(AdapterPart { tensor, a, b, scale })
}

/// A checkpoint of one safetensors file under its own names.
fn raw_safetensors(file: &Path, map: Bytes) -> Result<Checkpoint, CheckpointError> {
    use crate::safetensors::header::{self, Named};
    let mut budget = crate::budget::Budget::for_files(map.len() as u64);
    let keep = |name: &str| Named::Tensor(name.to_owned());
    let entries = header::read(file, 0, &map, &mut budget, &keep)?;
    let files = vec![file.to_owned()];
    let table =
        Table::new(entries).map_err(|pair| crate::checkpoint::twice(&files, &pair.0, &pair.1))?;
    let (metadata, tokenizer) = (Metadata::default(), TokenizerSource::None);
    let (format, maps) = (Format::Safetensors, vec![map]);
    Ok(Checkpoint { format, files, maps, table, metadata, tokenizer, memory_left: 0 })
}

fn item(tensor: &str) -> String {
    format!("the tensor `{}`", brief(tensor))
}

fn malformed(file: &Path, item: &str, offset: u64, expected: &str, found: &str) -> CheckpointError {
    CheckpointError::Malformed {
        file: file.to_owned(),
        item: item.to_owned(),
        offset,
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}

fn unsupported(file: &Path, found: &str, advice: &str) -> CheckpointError {
    CheckpointError::Unsupported {
        file: file.to_owned(),
        found: found.to_owned(),
        advice: advice.to_owned(),
    }
}
