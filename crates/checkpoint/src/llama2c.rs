//! Checkpoints of llama2.c, float only. Source: karpathy/llama2.c, `export.py` (`legacy_export`,
//! `version1_export`) and `run.c` (`memory_map_weights`, `build_tokenizer`).
//!
//! Version 0: seven i32 (a negative vocabulary size means a separate output matrix), then f32
//! tensors, among them tables of rotations that are computed anew here. Version 1: `ak42`, the
//! version, the seven numbers, whether the output matrix is the embedding, padding to 256 bytes;
//! the tensors in another order. Rows of query and key are laid out for rotating neighbours.

use crate::budget::{Budget, heap_cost};
use crate::checkpoint::{Format, twice};
use crate::table::{Dims, Entry, Place, Table};
use crate::{Checkpoint, CheckpointError, TokenizerSource};
use lucid_sys::Bytes;
use lucid_tensor::{DType, MetaValue, Metadata};
use std::path::{Path, PathBuf};

/// `ak42` as a little-endian number.
const MAGIC: [u8; 4] = 0x616b_3432_u32.to_le_bytes();
const FIELDS: [&str; 7] =
    ["dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len"];
/// Version 0's header.
const V0_HEADER_LEN: usize = 7 * 4;
/// Version 1's header.
const V1_HEADER_LEN: usize = 256;
/// More of any field than any model has; keeps products of three far from overflowing.
const FIELD_MAX: i32 = 1 << 20;

/// Longest name of a tensor here: `blk.1048576.attn_output.weight`.
const NAME_LEN_MAX: usize = 30;

/// Whether a file starts as version 1 or 2 do; version 0 has no mark.
pub(crate) fn recognises(start: &[u8]) -> bool {
    start.starts_with(&MAGIC)
}

pub(crate) fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let mut checkpoint = from_map(path, Bytes::map(path)?)?;
    let vocab_size = checkpoint.metadata.unsigned("llama.vocab_size");
    let vocab_size = vocab_size.ok().flatten().unwrap_or_default();
    checkpoint.tokenizer = tokenizer_beside(path, vocab_size as usize);
    Ok(checkpoint)
}

/// Reads a mapped file.
pub(crate) fn from_map(path: &Path, map: Bytes) -> Result<Checkpoint, CheckpointError> {
    let header = Header::read(path, &map)?;
    let mut layout = Layout { at: header.len as u64, entries: Vec::new() };
    // Every layer takes data, so a file this short cannot have this many; checked before any entry
    // is made.
    let wanted = header.total_bytes();
    if wanted != map.len() as u64 {
        let expected = format!("{wanted} bytes, which the numbers in its header come to");
        let found = format!("{} bytes", map.len());
        return Err(malformed(path, "the checkpoint", 0, expected, found));
    }
    // Layers of one element each take far more memory than file.
    let cost = (Entry::COST + heap_cost(NAME_LEN_MAX)) * header.tensor_count();
    Budget::for_files(map.len() as u64).charge(cost).map_err(|limit| {
        let expected = format!("layers whose description needs at most {limit} bytes of memory");
        let found = header.layer_count.to_string();
        malformed(path, "the header's n_layers", header.fields_at() + 8, expected, found)
    })?;
    header.lay_out(&mut layout);
    let (files, maps) = (vec![path.to_owned()], vec![map]);
    let table = Table::new(layout.entries).map_err(|pair| twice(&files, &pair.0, &pair.1))?;
    let (metadata, tokenizer) = (header.metadata(path), TokenizerSource::None);
    let format = Format::Llama2c;
    Ok(Checkpoint { format, files, maps, table, metadata, tokenizer, memory_left: 0 })
}

fn malformed(
    file: &Path,
    item: &str,
    offset: u64,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> CheckpointError {
    let (file, item) = (file.to_owned(), item.to_owned());
    CheckpointError::Malformed {
        file,
        item,
        offset,
        expected: expected.into(),
        found: found.into(),
    }
}

/// The checked header.
#[derive(Debug)]
struct Header {
    /// Where the tensors start.
    len: usize,
    is_legacy: bool,
    is_tied: bool,
    dim: usize,
    hidden_dim: usize,
    layer_count: usize,
    head_count: usize,
    kv_head_count: usize,
    vocab_size: usize,
    context_len: usize,
}

impl Header {
    fn read(path: &Path, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let is_legacy = !recognises(bytes);
        let (len, fields_at) = if is_legacy { (V0_HEADER_LEN, 0) } else { (V1_HEADER_LEN, 8) };
        if bytes.len() < len {
            let found = format!("{} bytes", bytes.len());
            return Err(malformed(path, "the header", 0, format!("{len} bytes"), found));
        }
        let number = |at: usize| i32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[at + i]));
        if !is_legacy && number(4) != 1 {
            return Err(CheckpointError::Unsupported {
                file: path.to_owned(),
                found: format!("a llama2.c checkpoint of version {} (at byte 4)", number(4)),
                advice: "export it again as version 0 or 1, which hold floats".to_owned(),
            });
        }
        let mut is_tied = is_legacy || bytes[fields_at + V0_HEADER_LEN] != 0;
        let mut fields = [0usize; 7];
        for (index, slot) in fields.iter_mut().enumerate() {
            let at = fields_at + 4 * index;
            let mut value = number(at);
            if is_legacy && FIELDS[index] == "vocab_size" && value < 0 {
                is_tied = false;
                value = value.saturating_neg();
            }
            if !(1..=FIELD_MAX).contains(&value) {
                let item = format!("the header's {}", FIELDS[index]);
                let expected = format!("1 to {FIELD_MAX}");
                return Err(malformed(path, &item, at as u64, expected, value.to_string()));
            }
            *slot = value as usize;
        }
        let [dim, hidden_dim, layer_count, head_count, kv_head_count, vocab_size, context_len] =
            fields;
        if !dim.is_multiple_of(head_count) || !head_count.is_multiple_of(kv_head_count) {
            let at = fields_at as u64 + 12;
            let expected = "head counts that divide dim and each other";
            let found = format!("dim {dim}, n_heads {head_count}, n_kv_heads {kv_head_count}");
            return Err(malformed(path, "the header's n_heads", at, expected, found));
        }
        Ok(Self {
            len,
            is_legacy,
            is_tied,
            dim,
            hidden_dim,
            layer_count,
            head_count,
            kv_head_count,
            vocab_size,
            context_len,
        })
    }

    /// Where the seven numbers start.
    fn fields_at(&self) -> u64 {
        if self.is_legacy { 0 } else { 8 }
    }

    fn tensor_count(&self) -> u64 {
        self.groups().len() as u64 * self.layer_count as u64 + 3
    }

    fn kv_dim(&self) -> usize {
        self.dim / self.head_count * self.kv_head_count
    }

    /// Elements of version 0's two tables of rotations.
    fn rotations(&self) -> u64 {
        let head = self.dim / self.head_count;
        if self.is_legacy { 2 * (self.context_len * (head / 2)) as u64 } else { 0 }
    }

    /// The groups of tensors of one layer, (name, rows, cols), 0 rows for a vector.
    fn groups(&self) -> [(&'static str, usize, usize); 9] {
        let (dim, hidden, kv) = (self.dim, self.hidden_dim, self.kv_dim());
        [
            ("attn_norm", 0, dim),
            ("ffn_norm", 0, dim),
            ("attn_q", dim, dim),
            ("attn_k", kv, dim),
            ("attn_v", kv, dim),
            ("attn_output", dim, dim),
            ("ffn_gate", hidden, dim),
            ("ffn_down", dim, hidden),
            ("ffn_up", hidden, dim),
        ]
    }

    /// Length of the file that these numbers describe. No product of three fields reaches 2^63.
    fn total_bytes(&self) -> u64 {
        let of_layer: u64 =
            self.groups().iter().map(|&(_, rows, cols)| (rows.max(1) * cols) as u64).sum();
        let matrices = if self.is_tied { 1 } else { 2 };
        let elements = u128::from(of_layer) * self.layer_count as u128
            + (matrices * self.vocab_size * self.dim + self.dim) as u128
            + u128::from(self.rotations());
        u64::try_from(4 * elements + self.len as u128).unwrap_or(u64::MAX)
    }

    /// Adds every tensor, in the order of the file.
    fn lay_out(&self, layout: &mut Layout) {
        let embedding = [self.vocab_size, self.dim];
        let [attn_norm, ffn_norm, q, k, v, o, w1, w2, w3] = self.groups();
        if self.is_legacy {
            layout.add("token_embd.weight".into(), &embedding);
            for group in [attn_norm, q, k, v, o, ffn_norm, w1, w2, w3] {
                layout.add_group(group, self.layer_count);
            }
            layout.add("output_norm.weight".into(), &[self.dim]);
            layout.at += 4 * self.rotations();
        } else {
            layout.add_group(attn_norm, self.layer_count);
            layout.add_group(ffn_norm, self.layer_count);
            layout.add("output_norm.weight".into(), &[self.dim]);
            layout.add("token_embd.weight".into(), &embedding);
            for group in [q, k, v, o, w1, w2, w3] {
                layout.add_group(group, self.layer_count);
            }
        }
        if !self.is_tied {
            layout.add("output.weight".into(), &embedding);
        }
    }

    fn metadata(&self, path: &Path) -> Metadata {
        let mut metadata = Metadata::default();
        let mut text = |key: &str, value: &str| {
            metadata.insert(key, MetaValue::Text(value.to_owned()), None);
        };
        text("general.architecture", "llama");
        if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
            text("general.name", name);
        }
        text("lucid.rope.pairing", "neighbours");
        let first = self.fields_at();
        let head = self.dim / self.head_count;
        for (key, value, field) in [
            ("embedding_length", self.dim, 0),
            ("feed_forward_length", self.hidden_dim, 1),
            ("block_count", self.layer_count, 2),
            ("attention.head_count", self.head_count, 3),
            ("attention.head_count_kv", self.kv_head_count, 4),
            ("vocab_size", self.vocab_size, 5),
            ("context_length", self.context_len, 6),
            ("rope.dimension_count", head, 3),
        ] {
            let value = MetaValue::Unsigned(value as u64);
            metadata.insert(format!("llama.{key}"), value, Some(first + 4 * field));
        }
        // Constants of run.c.
        metadata.insert("llama.attention.layer_norm_rms_epsilon", MetaValue::Float(1e-5), None);
        metadata.insert("llama.rope.freq_base", MetaValue::Float(1e4), None);
        metadata
    }
}

/// Tensors one after the other.
struct Layout {
    at: u64,
    entries: Vec<Entry>,
}

impl Layout {
    fn add_group(&mut self, (name, rows, cols): (&str, usize, usize), layer_count: usize) {
        for layer in 0..layer_count {
            let shape = [rows, cols];
            let shape = if rows == 0 { &shape[1..] } else { &shape };
            self.add(format!("blk.{layer}.{name}.weight"), shape);
        }
    }

    fn add(&mut self, name: String, shape: &[usize]) {
        let dims = Dims::new(shape);
        let sized = dims.and_then(|dims| Some((dims, dims.byte_count(DType::F32)?)));
        let Some((dims, len)) = sized else { unreachable!("the file has this many bytes") };
        let (dtype, declared_at) = (DType::F32, 0);
        let place = Place::File { file: 0, offset: self.at, len };
        self.at += len as u64;
        self.entries.push(Entry { name: name.into(), dtype, dims, place, declared_at });
    }
}

/// The `tok*.bin` in the same folder that holds as many pieces as the model, `tokenizer.bin` first.
fn tokenizer_beside(path: &Path, vocab_size: usize) -> TokenizerSource {
    let mut candidates: Vec<PathBuf> = vec![path.with_file_name("tokenizer.bin")];
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let listing = std::fs::read_dir(folder.unwrap_or(Path::new(".")));
    let mut others: Vec<PathBuf> = listing
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let is_bin = file.extension().is_some_and(|extension| extension == "bin");
            name.starts_with("tok") && is_bin && name != "tokenizer.bin"
        })
        .collect();
    others.sort();
    candidates.extend(others);
    let fitting = candidates.iter().filter(|file| file.is_file()).find_map(|file| {
        let map = Bytes::map(file).ok()?;
        (piece_count(&map) == Some(vocab_size)).then_some(map)
    });
    fitting.map_or(TokenizerSource::None, TokenizerSource::Llama2c)
}

/// How many pieces a vocabulary holds: a number, then (score f32, length i32, bytes) until the end.
fn piece_count(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes.get(4..)?;
    let mut count = 0;
    while !rest.is_empty() {
        let (len, tail) = rest.get(4..)?.split_first_chunk::<4>()?;
        rest = tail.get(usize::try_from(i32::from_le_bytes(*len)).ok()?..)?;
        count += 1;
    }
    Some(count)
}
