//! Reading llama2.c checkpoints: the real one, both float versions, and wrong ones.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use common::{TempDir, shared};
use lucid_checkpoint::{Checkpoint, Format, TokenizerSource};
use lucid_sys::Bytes;
use lucid_tensor::WeightSource;
use std::path::Path;

const LEGACY_FIELDS: [i32; 7] = [8, 12, 2, 4, 2, 10, 6];

/// A checkpoint whose element `n` is the number n.
fn file(header: &[u8], elements: usize) -> Vec<u8> {
    let mut bytes = header.to_vec();
    bytes.extend((0..elements).flat_map(|n| (n as f32).to_le_bytes()));
    bytes
}

fn legacy(fields: [i32; 7], elements: usize) -> Vec<u8> {
    file(&fields.map(i32::to_le_bytes).concat(), elements)
}

fn first(checkpoint: &Checkpoint, name: &str) -> f32 {
    let data = checkpoint.tensor(name).unwrap().data;
    f32::from_le_bytes([data[0], data[1], data[2], data[3]])
}

#[test]
fn stories260k_opens() {
    let Some(shared) = shared() else { return };
    let path = shared.join("models/stories260K/stories260K.bin");
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.format(), Format::Llama2c);
    let metadata = checkpoint.metadata();
    let check = |key: &str, value| assert_eq!(metadata.unsigned(key), Ok(Some(value)), "{key}");
    check("llama.embedding_length", 64);
    check("llama.feed_forward_length", 172);
    check("llama.block_count", 5);
    check("llama.attention.head_count", 8);
    check("llama.attention.head_count_kv", 4);
    check("llama.vocab_size", 512);
    check("llama.context_length", 512);
    assert_eq!(checkpoint.tensor("blk.4.ffn_down.weight").unwrap().shape, [64, 172]);
    assert!(checkpoint.tensor("output.weight").is_none());
    let TokenizerSource::Llama2c(bytes) = checkpoint.tokenizer() else { panic!("no vocabulary") };
    assert_eq!(bytes.len(), 6227);
    assert!(Checkpoint::open(&shared.join("models/stories260K")).is_ok(), "as a folder");
}

#[test]
fn both_versions_and_both_heads() {
    let layer = 2 * 8 + 2 * 8 * 8 + 2 * 4 * 8 + 3 * 8 * 12;
    let (embedding, rotations) = (80, 2 * 6);
    let open = |bytes: Vec<u8>| {
        Checkpoint::from_llama2c_bytes(Path::new("x.bin"), Bytes::from(bytes)).unwrap()
    };
    let tied = open(legacy(LEGACY_FIELDS, embedding + 2 * layer + 8 + rotations));
    assert_eq!(first(&tied, "token_embd.weight"), 0.0);
    assert_eq!(first(&tied, "blk.1.attn_norm.weight"), 88.0);
    assert_eq!(first(&tied, "blk.0.attn_q.weight"), 96.0);
    assert_eq!(first(&tied, "blk.0.attn_k.weight"), 96.0 + 128.0);
    assert_eq!(tied.tensor("blk.0.attn_k.weight").unwrap().shape, [4, 8]);
    assert_eq!(first(&tied, "output_norm.weight"), (embedding + 2 * layer) as f32);
    let mut fields = LEGACY_FIELDS;
    fields[5] = -10;
    let untied = open(legacy(fields, 2 * embedding + 2 * layer + 8 + rotations));
    let output = (embedding + 2 * layer + 8 + rotations) as f32;
    assert_eq!(first(&untied, "output.weight"), output);

    let mut header = 0x616b_3432_u32.to_le_bytes().to_vec();
    header.extend([1, 8, 12, 2, 4, 2, 10, 6].map(i32::to_le_bytes).concat());
    header.resize(256, 0);
    let v1 = open(file(&header, 2 * embedding + 2 * layer + 8));
    assert_eq!(first(&v1, "blk.1.ffn_norm.weight"), 24.0);
    assert_eq!(first(&v1, "output_norm.weight"), 32.0);
    assert_eq!(first(&v1, "token_embd.weight"), 40.0);
    assert_eq!(first(&v1, "blk.0.attn_q.weight"), 120.0);
    assert_eq!(first(&v1, "output.weight"), (embedding + 2 * layer + 8) as f32);
    header[36] = 1;
    assert!(open(file(&header, embedding + 2 * layer + 8)).tensor("output.weight").is_none());
}

#[test]
fn hostile_headers_are_errors() {
    let layer = 2 * 8 + 2 * 8 * 8 + 2 * 4 * 8 + 3 * 8 * 12;
    let elements = 80 + 2 * layer + 8 + 12;
    let whole = legacy(LEGACY_FIELDS, elements);
    let open = |bytes: &[u8]| {
        let checkpoint =
            Checkpoint::from_llama2c_bytes(Path::new("x.bin"), Bytes::from(bytes.to_vec()));
        checkpoint.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(open(&whole), Ok(()));
    for len in 0..whole.len() {
        let error = open(&whole[..len]).unwrap_err();
        assert!(error.contains("x.bin") && error.contains(" byte "), "{error}");
    }
    for field in 0..7 {
        for value in [0, -1, 3, i32::MIN, i32::MAX, 1 << 20, 1 << 16] {
            let mut fields = LEGACY_FIELDS;
            fields[field] = value;
            let error = open(&legacy(fields, elements)).unwrap_err();
            assert!(error.contains("x.bin") && error.contains(" byte "), "{error}");
        }
    }
    let mut quantised = 0x616b_3432_u32.to_le_bytes().to_vec();
    quantised.extend(2i32.to_le_bytes());
    quantised.resize(300, 0);
    assert!(open(&quantised).unwrap_err().contains("version 2"));
}

#[test]
fn pickles_are_refused_with_advice() {
    let folder = TempDir::new("pickle");
    for (name, bytes) in [
        ("pytorch_model.bin", &b"PK\x03\x04rest of an archive"[..]),
        ("old.bin", b"\x80\x02}q\x00."),
        ("model.pth", b"anything at all"),
    ] {
        let path = folder.write(name, bytes);
        let error = Checkpoint::open(&path).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("safetensors"), "{error}");
    }
}
