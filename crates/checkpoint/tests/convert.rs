//! Converting to GGUF: what comes out is read again.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use common::{LLAMA_CONFIG, TempDir, bf16s, f32s, llama_file, shared};
use lucid_checkpoint::{Checkpoint, Format, convert};
use lucid_sys::Bytes;
use lucid_tensor::{DType, MetaArray, MetaValue, Metadata, WeightSource};
use std::path::Path;

fn vocabulary() -> Metadata {
    let mut vocabulary = Metadata::default();
    vocabulary.insert("tokenizer.ggml.model", MetaValue::Text("llama".into()), None);
    let tokens = MetaValue::Array(MetaArray::texts(vec![b"a".to_vec(); 5]));
    vocabulary.insert("tokenizer.ggml.tokens", tokens, None);
    vocabulary
}

fn llama() -> Checkpoint {
    let (name, config) = (Path::new("model.safetensors"), LLAMA_CONFIG.as_bytes());
    Checkpoint::from_safetensors_bytes(name, config, Bytes::from(llama_file())).unwrap()
}

#[test]
fn rows_are_reordered_and_types_kept() {
    let folder = TempDir::new("convert");
    let out = folder.path().join("out.gguf");
    let mut reports = Vec::new();
    convert(&llama(), &vocabulary(), None, &out, &mut |done, total| reports.push((done, total)))
        .unwrap();
    assert!(reports.is_sorted());
    let bytes = std::fs::metadata(&out).unwrap().len();
    assert_eq!(reports.last(), Some(&(bytes, bytes)));

    let made = Checkpoint::open(&out).unwrap();
    assert_eq!(made.format(), Format::Gguf);
    let view = |name: &str| made.tensor(name).unwrap();
    assert_eq!(view("token_embd.weight").dtype, DType::F32);
    assert_eq!(view("output_norm.weight").data[..], f32s((0..8).map(|n| n as f32)));
    // Two heads of four rows: halves (0, 2), (1, 3) become neighbours.
    let order = [0, 2, 1, 3, 4, 6, 5, 7];
    let q = view("blk.0.attn_q.weight");
    assert_eq!(q.dtype, DType::BF16);
    let rows = order.iter().flat_map(|row| (0..8).map(move |col| (row * 8 + col) as f32));
    assert_eq!(q.data[..], bf16s(rows));
    assert_eq!(view("blk.0.attn_q.bias").data[..], f32s(order.map(|n| n as f32)));
    let rows = order[..4].iter().flat_map(|row| (0..8).map(move |col| (row * 8 + col) as f32));
    assert_eq!(view("blk.0.attn_k.weight").data[..], f32s(rows));

    let metadata = made.metadata();
    assert!(metadata.value("lucid.rope.pairing").is_none());
    assert_eq!(metadata.text("tokenizer.ggml.model"), Ok(Some("llama")));
    assert_eq!(metadata.unsigned("general.file_type"), Ok(Some(0)), "most weights are F32");
    assert_eq!(metadata.unsigned("llama.block_count"), Ok(Some(1)));
}

#[test]
fn other_types() {
    let folder = TempDir::new("convert-types");
    let out = folder.path().join("out.gguf");
    let made = |dtype: DType| {
        convert(&llama(), &vocabulary(), Some(dtype), &out, &mut |_, _| {}).unwrap();
        let made = Checkpoint::open(&out).unwrap();
        let file_type = made.metadata().unsigned("general.file_type").unwrap();
        (made.tensor("blk.0.attn_q.weight").unwrap().dtype, file_type)
    };
    assert_eq!(made(DType::F32), (DType::F32, Some(0)));
    assert_eq!(made(DType::F16), (DType::F16, Some(1)));
    assert_eq!(made(DType::BF16), (DType::BF16, Some(32)));
    assert_eq!(made(DType::Q8_0), (DType::F16, Some(1)), "rows of 8 are no whole blocks");
    let refused = convert(&llama(), &vocabulary(), Some(DType::Q5_K), &out, &mut |_, _| {});
    assert!(refused.unwrap_err().to_string().contains("Q5_K"));
    let nowhere = Path::new("/no/such/folder/x.gguf");
    let error = convert(&llama(), &vocabulary(), None, nowhere, &mut |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("/no/such/folder/x.gguf"));
}

#[test]
fn stories260k_is_the_same_afterwards() {
    let Some(shared) = shared() else { return };
    let source = Checkpoint::open(&shared.join("models/stories260K/stories260K.bin")).unwrap();
    let folder = TempDir::new("convert-stories");
    let out = folder.path().join("stories.gguf");
    convert(&source, &Metadata::default(), None, &out, &mut |_, _| {}).unwrap();
    let made = Checkpoint::open(&out).unwrap();
    assert_eq!(made.tensor_names(), source.tensor_names());
    for name in source.tensor_names() {
        let (a, b) = (source.tensor(&name).unwrap(), made.tensor(&name).unwrap());
        assert_eq!((a.dtype, a.shape, &*a.data), (b.dtype, b.shape, &*b.data), "{name}");
    }
    convert(&source, &Metadata::default(), Some(DType::Q8_0), &out, &mut |_, _| {}).unwrap();
    let made = Checkpoint::open(&out).unwrap();
    assert_eq!(made.tensor("blk.0.attn_q.weight").unwrap().dtype, DType::Q8_0);
    assert_eq!(made.tensor("blk.0.ffn_down.weight").unwrap().dtype, DType::F16);
    assert_eq!(made.metadata().unsigned("general.quantization_version"), Ok(Some(2)));
    // Rows of 64 are no whole blocks of 256, but of 32.
    convert(&source, &Metadata::default(), Some(DType::Q4_K), &out, &mut |_, _| {}).unwrap();
    let made = Checkpoint::open(&out).unwrap();
    assert_eq!(made.tensor("blk.0.attn_q.weight").unwrap().dtype, DType::Q8_0);
}
