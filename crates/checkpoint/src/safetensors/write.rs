//! Writes a checkpoint as transformers loads it: a folder with `config.json` and
//! `model.safetensors`. Sources: the safetensors README for the file, transformers'
//! `configuration_llama.py` and `configuration_qwen3.py` for the keys.
//!
//! Rotary frequencies are written twice, as version 4 (`rope_theta`) and as version 5
//! (`rope_parameters`) read them. Invariant: `config.json` is written last and an old one is
//! removed first, so a folder with it is whole.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use lucid_tensor::{
    DType, Level, MetaValue, Metadata, TensorView, WeightSource, dequantize_row, quantize_row,
};
use serde_json::{Map, Value, json};

use super::family::Family;
use crate::cursor::brief;
use crate::{Checkpoint, CheckpointError};

/// The longest side of a header's padding: data begins at a multiple of eight.
const ALIGNMENT: usize = 8;

/// Writes `source` to `folder`, each file replaced only when complete, with the files `beside`
/// (names and contents). Files of the names `stale` are removed: they belong to what stood there.
/// Every tensor is written as `dtype`: F32, F16 or BF16. `progress` is told the bytes of tensors
/// written so far and altogether.
///
/// # Errors
/// The architecture has no such form here, or its rotary positions are scaled; `dtype` is another;
/// nothing was written or removed then. The system refuses.
pub fn export_safetensors(
    source: &Checkpoint,
    dtype: DType,
    beside: &[(&str, &[u8])],
    stale: &[&str],
    folder: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), CheckpointError> {
    let Some(dtype_name) = dtype_name(dtype) else {
        return Err(unwritable("every tensor", "F32, F16 or BF16", dtype.name()));
    };
    let network = Network::read(source)?;
    let config = network.config(source.metadata(), dtype);
    let tensors = network.tensors(source, dtype)?;
    let header = header(&tensors, dtype_name);
    let total = header.len() as u64 + tensors.last().map_or(0, |tensor| tensor.end);
    std::fs::create_dir_all(folder).map_err(|error| io_error(folder, error))?;
    let description = folder.join("config.json");
    remove(&description)?;
    for name in stale {
        remove(&folder.join(name))?;
    }
    for (name, content) in beside {
        write(&folder.join(name), content)?;
    }
    let file = folder.join("model.safetensors");
    let mut done = header.len() as u64;
    let written = lucid_sys::write_atomic(&file, |out| {
        let mut out = BufWriter::with_capacity(1 << 20, out);
        out.write_all(&header)?;
        for tensor in &tensors {
            tensor.write(dtype, &mut out)?;
            done += tensor.end - tensor.start;
            progress(done, total);
        }
        out.flush()
    });
    written.map_err(|error| io_error(&file, error))?;
    write(&description, format!("{config:#}\n").as_bytes())
}

fn remove(file: &Path) -> Result<(), CheckpointError> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let (file, action) = (file.to_owned(), "cannot remove");
            Err(CheckpointError::Io { file, action, source: error })
        }
        _ => Ok(()),
    }
}

fn write(file: &Path, content: &[u8]) -> Result<(), CheckpointError> {
    lucid_sys::write_atomic(file, |out| out.write_all(content))
        .map_err(|error| io_error(file, error))
}

fn io_error(file: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::Io { file: file.to_owned(), action: "cannot write", source }
}

fn unwritable(tensor: &str, expected: &str, found: &str) -> CheckpointError {
    CheckpointError::Unwritable {
        tensor: tensor.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}

fn dtype_name(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::F32 => Some("F32"),
        DType::F16 => Some("F16"),
        DType::BF16 => Some("BF16"),
        _ => None,
    }
}

/// What `config.json` says.
struct Network {
    family: Family,
    width: u64,
    layers: u64,
    heads: u64,
    kv_heads: u64,
    head_dim: u64,
    feed_forward: u64,
    context: u64,
    vocabulary: u64,
    epsilon: f64,
    theta: f64,
    tied: bool,
    biases: bool,
    /// Query and key rows pair neighbours; transformers wants halves.
    neighbours: bool,
}

impl Network {
    fn read(source: &Checkpoint) -> Result<Self, CheckpointError> {
        let metadata = source.metadata();
        let wrong =
            |error| CheckpointError::Metadata { file: source.files()[0].clone(), source: error };
        let architecture = metadata.text("general.architecture").map_err(wrong)?.unwrap_or("");
        let family = match architecture {
            "llama" => Family::Llama,
            "qwen2" => Family::Qwen2,
            "qwen3" => Family::Qwen3,
            other => {
                let expected = "the architecture llama, qwen2 or qwen3";
                return Err(unwritable("config.json", expected, &brief(other)));
            }
        };
        let key = |tail: &str| format!("{architecture}.{tail}");
        for tail in ["rope.scaling.type", "rope.scaling.factor", "rope.scale_linear"] {
            if metadata.value(&key(tail)).is_some_and(|value| *value != none()) {
                return Err(unwritable("config.json", "rotary positions as they are", tail));
            }
        }
        for tail in ["expert_count", "attention.sliding_window"] {
            if metadata.unsigned(&key(tail)).map_err(wrong)?.is_some_and(|count| count > 0) {
                return Err(unwritable("config.json", "dense layers that see everything", tail));
            }
        }
        let optional = |tail: &str| metadata.unsigned(&key(tail)).map_err(wrong);
        let need = |tail: &str| match optional(tail)? {
            Some(value) if value > 0 => Ok(value),
            _ => Err(unwritable("config.json", "a count above 0", &key(tail))),
        };
        let (width, heads) = (need("embedding_length")?, need("attention.head_count")?);
        let rows = source.tensor("token_embd.weight").map(|view| view.shape[0] as u64);
        let float = |tail: &str| metadata.float(&key(tail)).map_err(wrong);
        let pairing = metadata.text("lucid.rope.pairing").map_err(wrong)?;
        Ok(Self {
            family,
            width,
            layers: need("block_count")?,
            heads,
            kv_heads: optional("attention.head_count_kv")?.unwrap_or(heads),
            head_dim: optional("attention.key_length")?.unwrap_or(width / heads),
            feed_forward: need("feed_forward_length")?,
            context: need("context_length")?,
            vocabulary: rows.unwrap_or(0),
            epsilon: float("attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5),
            theta: float("rope.freq_base")?.unwrap_or(10_000.0),
            tied: source.tensor("output.weight").is_none(),
            biases: source.tensor("blk.0.attn_q.bias").is_some(),
            neighbours: match pairing {
                Some(pairing) => pairing == "neighbours",
                None => family == Family::Llama,
            },
        })
    }

    fn config(&self, metadata: &Metadata, dtype: DType) -> Value {
        let (class, model_type) = self.family.class();
        let dtype = match dtype {
            DType::F32 => "float32",
            DType::F16 => "float16",
            _ => "bfloat16",
        };
        let rope = json!({"rope_type": "default", "rope_theta": self.theta});
        let mut config = json!({
            "architectures": [class],
            "model_type": model_type,
            "hidden_size": self.width,
            "intermediate_size": self.feed_forward,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": self.context,
            "rms_norm_eps": self.epsilon,
            "rope_theta": self.theta,
            "rope_parameters": rope,
            "hidden_act": "silu",
            "attention_bias": self.biases,
            "attention_dropout": 0.0,
            "tie_word_embeddings": self.tied,
            "torch_dtype": dtype,
            "dtype": dtype,
        });
        for (name, key) in [("bos_token_id", "bos"), ("eos_token_id", "eos")] {
            // Null where there is none: classes have ids of their own for what is not said.
            let id = metadata.unsigned(&format!("tokenizer.ggml.{key}_token_id"));
            config[name] = id.ok().flatten().into();
        }
        config
    }

    /// Every tensor under its name there, in the order of the file.
    fn tensors(&self, source: &Checkpoint, dtype: DType) -> Result<Vec<Tensor>, CheckpointError> {
        let mut tensors = Vec::new();
        let mut start = 0;
        for name in source.tensor_names() {
            let Some(view) = source.tensor(&name) else { continue };
            let Some(renamed) = self.family.name_in_transformers(&name) else {
                return Err(unwritable(&brief(&name), "a tensor of the family", "it"));
            };
            let heads = match name.rsplit('.').nth(1) {
                Some("attn_q") if self.neighbours => Some(self.heads),
                Some("attn_k") if self.neighbours => Some(self.kv_heads),
                _ => None,
            };
            if let Some(heads) = heads
                && !view.shape[0].is_multiple_of(2 * heads as usize)
            {
                let expected = format!("rows for {heads} heads of an even length");
                return Err(unwritable(&name, &expected, &format!("{} rows", view.shape[0])));
            }
            let bytes = dtype.row_bytes(view.element_count()).unwrap_or(0) as u64;
            let heads = heads.map(|heads| heads as usize);
            tensors.push(Tensor { name: renamed, view, heads, start, end: start + bytes });
            start += bytes;
        }
        Ok(tensors)
    }
}

fn none() -> MetaValue {
    MetaValue::Text("none".to_owned())
}

/// A tensor and its bytes' place behind the header.
struct Tensor {
    name: String,
    view: TensorView,
    /// Of a query or key whose rows pair neighbours: the number of heads.
    heads: Option<usize>,
    start: u64,
    end: u64,
}

impl Tensor {
    fn write(&self, dtype: DType, out: &mut dyn Write) -> io::Result<()> {
        // One element of a bias is moved as a row of a matrix is.
        let cols = match self.view.shape[..] {
            [_] if self.heads.is_some() => 1,
            [.., cols] => cols,
            [] => 1,
        };
        let count = self.view.element_count() / cols;
        let from = self.view.dtype;
        let sizes = from.row_bytes(cols).zip(dtype.row_bytes(cols));
        let Some((from_bytes, to_bytes)) = sizes else { unreachable!("rows are whole") };
        let level = Level::detect();
        let (mut values, mut encoded) = (vec![0.0; cols], vec![0; to_bytes]);
        for row in 0..count {
            let at = self.source_row(row, count) * from_bytes;
            let data = &self.view.data[at..at + from_bytes];
            if from == dtype {
                out.write_all(data)?;
            } else {
                dequantize_row(level, from, data, &mut values);
                quantize_row(dtype, &values, &mut encoded).map_err(io::Error::other)?;
                out.write_all(&encoded)?;
            }
        }
        Ok(())
    }

    /// The row of the source that becomes row `row`: heads that pair neighbours become heads that
    /// pair dimension i with i + half.
    fn source_row(&self, row: usize, count: usize) -> usize {
        let Some(heads) = self.heads else { return row };
        let head_len = count / heads;
        let (head, within) = (row / head_len, row % head_len);
        let half = head_len / 2;
        head * head_len + within % half * 2 + within / half
    }
}

/// The length of the description, and the description, padded with spaces.
fn header(tensors: &[Tensor], dtype: &str) -> Vec<u8> {
    let mut entries = Map::new();
    entries.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    for tensor in tensors {
        let entry = json!({
            "dtype": dtype,
            "shape": tensor.view.shape,
            "data_offsets": [tensor.start, tensor.end],
        });
        entries.insert(tensor.name.clone(), entry);
    }
    let mut text = Value::Object(entries).to_string();
    let padded = text.len().next_multiple_of(ALIGNMENT);
    text.extend(std::iter::repeat_n(' ', padded - text.len()));
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.extend_from_slice(text.as_bytes());
    header
}
