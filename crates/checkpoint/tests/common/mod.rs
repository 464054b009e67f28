//! What the tests of this crate share: the shared data, temporary folders, a small valid GGUF file.
#![allow(dead_code, reason = "each test binary uses a part")]

use lucid_checkpoint::GgufWriter;
use lucid_tensor::{DType, MetaArray, MetaValue};
use std::path::{Path, PathBuf};

/// The folder of shared data, or `None` with a note.
pub(crate) fn shared() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let path = std::env::var_os("LUCID_SHARED").map_or_else(|| default.into(), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: ../shared/data is absent");
    None
}

/// A folder of its own for one test, removed at the end.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lucid-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A description with a key of every kind that the writer makes, and four tensors.
pub(crate) fn small_writer() -> GgufWriter {
    let mut writer = GgufWriter::new();
    let text = |s: &str| MetaValue::Text(s.to_owned());
    writer
        .metadata("general.architecture", text("llama"))
        .metadata("general.alignment", MetaValue::Unsigned(32))
        .metadata("llama.block_count", MetaValue::Unsigned(1))
        .metadata("llama.attention.layer_norm_rms_epsilon", MetaValue::Float(1e-5))
        .metadata("tokenizer.ggml.add_bos_token", MetaValue::Bool(true))
        .metadata("test.signed", MetaValue::Signed(-3))
        .metadata("test.wide", MetaValue::Unsigned(1 << 40))
        .metadata(
            "tokenizer.ggml.tokens",
            MetaValue::Array(MetaArray::texts(vec![b"<s>".to_vec(), vec![], vec![0xff, 0x80]])),
        )
        .metadata(
            "tokenizer.ggml.scores",
            MetaValue::Array(MetaArray::float(vec![0.0, -1.0, -2.5])),
        )
        .metadata("tokenizer.ggml.token_type", MetaValue::Array(MetaArray::signed(vec![3, 1, -6])))
        .metadata("test.flags", MetaValue::Array(MetaArray::Bool(vec![true, false])));
    writer.tensor("token_embd.weight", DType::F32, &[3, 4]).unwrap();
    writer.tensor("output_norm.weight", DType::F32, &[5]).unwrap();
    writer.tensor("blk.0.attn_q.weight", DType::Q4_0, &[2, 64]).unwrap();
    writer.tensor("blk.0.ffn_up.weight", DType::F16, &[2, 3, 2]).unwrap();
    writer
}

/// The bytes of the small file; tensor `n` is filled with `n + 1`.
pub(crate) fn small_file() -> Vec<u8> {
    let writer = small_writer();
    let lengths = writer.layout().unwrap().lengths;
    let data: Vec<Vec<u8>> =
        lengths.iter().enumerate().map(|(n, &len)| vec![n as u8 + 1; len as usize]).collect();
    let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    writer.to_bytes(&data).unwrap()
}

/// A safetensors file with these tensors: (name, dtype, shape, data).
pub(crate) fn safetensors_file(tensors: &[(&str, &str, &[usize], Vec<u8>)]) -> Vec<u8> {
    let mut members = Vec::new();
    let mut data = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let (start, end) = (data.len(), data.len() + bytes.len());
        members.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{end}]}}"#
        ));
        data.extend_from_slice(bytes);
    }
    with_header(&format!("{{{}}}", members.join(",")), &data)
}

/// A safetensors file with this header.
pub(crate) fn with_header(json: &str, data: &[u8]) -> Vec<u8> {
    [&(json.len() as u64).to_le_bytes(), json.as_bytes(), data].concat()
}

pub(crate) fn f32s(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

/// bf16 by truncation; exact for small integers.
pub(crate) fn bf16s(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(|v| ((v.to_bits() >> 16) as u16).to_le_bytes()).collect()
}

/// The configuration of a one-layer Llama: two heads of 4, one for keys.
pub(crate) const LLAMA_CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 8,
    "intermediate_size": 6, "num_attention_heads": 2, "num_key_value_heads": 1,
    "num_hidden_layers": 1, "vocab_size": 5, "rms_norm_eps": 1e-5}"#;

/// A few tensors of that Llama; element n of each is the number n.
pub(crate) fn llama_file() -> Vec<u8> {
    let count = |n: usize| (0..n).map(|n| n as f32);
    safetensors_file(&[
        ("model.embed_tokens.weight", "F32", &[5, 8], f32s(count(40))),
        ("model.layers.0.self_attn.q_proj.weight", "BF16", &[8, 8], bf16s(count(64))),
        ("model.layers.0.self_attn.q_proj.bias", "F32", &[8], f32s(count(8))),
        ("model.layers.0.self_attn.k_proj.weight", "F32", &[4, 8], f32s(count(32))),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", &[2], f32s(count(2))),
        ("model.norm.weight", "BF16", &[8], bf16s(count(8))),
    ])
}
