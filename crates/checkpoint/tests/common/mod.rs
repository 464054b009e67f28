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
            MetaValue::Array(MetaArray::Text(vec![b"<s>".to_vec(), vec![], vec![0xff, 0x80]])),
        )
        .metadata(
            "tokenizer.ggml.scores",
            MetaValue::Array(MetaArray::Float(vec![0.0, -1.0, -2.5])),
        )
        .metadata("tokenizer.ggml.token_type", MetaValue::Array(MetaArray::Signed(vec![3, 1, -6])))
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
