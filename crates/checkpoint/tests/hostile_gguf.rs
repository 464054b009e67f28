//! Hostile GGUF files: every truncation, every bit, every field. Nothing panics or hangs, every
//! error names the file and the byte, and the key or tensor where there is one.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod common;

use common::{small_file, small_writer};
use lucid_checkpoint::{Checkpoint, GgufWriter};
use lucid_sys::Bytes;
use lucid_tensor::{DType, MetaArray, MetaValue, WeightSource};
use std::path::Path;

const HOSTILE: [u64; 14] = [
    0,
    1,
    3,
    7,
    255,
    65_536,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX - 31,
    u64::MAX,
];

/// Opens the bytes; looks at everything that can be looked at.
fn open(bytes: Vec<u8>) -> Result<(), String> {
    let len = bytes.len();
    let checkpoint = Checkpoint::from_gguf_bytes(Path::new("small.gguf"), Bytes::from(bytes))
        .map_err(|error| error.to_string())?;
    for name in checkpoint.tensor_names() {
        let view = checkpoint.tensor(&name).unwrap();
        assert!(view.offset as usize + view.data.len() <= len);
        let (cols, rows) = view.shape.split_last().unwrap();
        let bytes = view.dtype.row_bytes(*cols).unwrap() * rows.iter().product::<usize>();
        assert_eq!(view.data.len(), bytes);
    }
    assert!(checkpoint.metadata().iter().all(|(key, _)| !key.is_empty()));
    Ok(())
}

/// Whatever comes out, an error says where.
fn check_any(bytes: Vec<u8>) {
    if let Err(error) = open(bytes) {
        assert!(error.contains("small.gguf") && error.contains("byte "), "{error}");
    }
}

fn check_refused(bytes: Vec<u8>, expected: &[&str]) {
    let error = open(bytes).unwrap_err();
    for expected in expected.iter().chain(&["small.gguf", "byte "]) {
        assert!(error.contains(expected), "expected `{expected}` in: {error}");
    }
}

fn header_len() -> usize {
    small_writer().layout().unwrap().header.len()
}

/// The position behind a name.
fn after(bytes: &[u8], name: &str) -> usize {
    bytes.windows(name.len()).position(|w| w == name.as_bytes()).unwrap() + name.len()
}

/// The small file with bytes written over it, `skip` bytes behind a name.
fn patched(name: &str, skip: usize, patch: &[u8]) -> Vec<u8> {
    let mut bytes = small_file();
    let at = after(&bytes, name) + skip;
    bytes[at..at + patch.len()].copy_from_slice(patch);
    bytes
}

#[test]
fn truncation_at_every_byte() {
    let whole = small_file();
    let layout = small_writer().layout().unwrap();
    let end = layout.offsets[3] + layout.lengths[3];
    for len in 0..whole.len() {
        let cut = whole[..len].to_vec();
        if len as u64 >= end {
            assert_eq!(open(cut), Ok(()), "only padding is missing");
        } else {
            check_refused(cut, &[]);
        }
    }
}

#[test]
fn every_bit_of_the_header() {
    let whole = small_file();
    for bit in 0..8 * header_len() {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        check_any(bytes);
    }
}

#[test]
fn every_field_with_hostile_numbers() {
    let whole = small_file();
    for at in 0..header_len() - 8 {
        for value in HOSTILE {
            let mut bytes = whole.clone();
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            check_any(bytes);
            let mut bytes = whole.clone();
            bytes[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
            check_any(bytes);
        }
    }
}

#[test]
fn the_fixed_header() {
    let with = |at: usize, patch: &[u8]| {
        let mut bytes = small_file();
        bytes[at..at + patch.len()].copy_from_slice(patch);
        bytes
    };
    check_refused(Vec::new(), &["magic", "byte 0"]);
    check_refused(with(0, b"GGML"), &["magic", "byte 0", "GGML"]);
    check_refused(with(4, &[0, 0, 0, 3]), &["big-endian", "byte 4"]);
    check_refused(with(4, &[1, 0, 0, 0]), &["version 1", "byte 4"]);
    for version in [0, 4, 1 << 31, u32::MAX] {
        check_refused(with(4, &version.to_le_bytes()), &["version", "byte 4"]);
    }
    assert_eq!(open(with(4, &[2, 0, 0, 0])), Ok(()), "version 2 is laid out as 3");
    for count in [1 << 20, 1 << 31, 1 << 63, u64::MAX] {
        check_refused(with(8, &count.to_le_bytes()), &["tensor count", "byte 8"]);
        check_refused(with(16, &count.to_le_bytes()), &["key count", "byte 16"]);
    }
}

#[test]
fn metadata() {
    let refused = |key: &str, skip: usize, patch: &[u8]| {
        check_refused(patched(key, skip, patch), &[key]);
    };
    // Type, array type, array length, element length.
    for kind in [13u32, 99, u32::MAX] {
        refused("llama.block_count", 0, &kind.to_le_bytes());
        refused("tokenizer.ggml.tokens", 4, &kind.to_le_bytes());
    }
    check_refused(patched("tokenizer.ggml.tokens", 4, &[9]), &["array of arrays"]);
    for count in [1 << 31, 1 << 63, u64::MAX] {
        for key in ["tokens", "scores", "token_type"] {
            refused(&format!("tokenizer.ggml.{key}"), 8, &u64::to_le_bytes(count));
        }
        refused("test.flags", 8, &count.to_le_bytes());
        let element = ["element 0", "tokenizer.ggml.tokens"];
        let bytes = patched("tokenizer.ggml.tokens", 16, &count.to_le_bytes());
        check_refused(bytes, &element);
        refused("general.architecture", 4, &count.to_le_bytes());
    }
    refused("tokenizer.ggml.add_bos_token", 4, &[2]);
    check_refused(patched("test.flags", 16, &[7]), &["element 0", "test.flags"]);
    check_refused(patched("general.architecture", 12, &[0xff]), &["UTF-8"]);
    let mut bytes = small_file();
    let at = after(&bytes, "test.signed") - 1;
    bytes[at] = 0xc0;
    check_refused(bytes, &["key number", "UTF-8", &format!("byte {at}")]);
    let empty = GgufWriter::new().metadata("", MetaValue::Bool(true)).to_bytes(&[]).unwrap();
    check_refused([&empty[..], &[0; 32]].concat(), &["key number 0", "byte 24"]);

    let mut writer = GgufWriter::new();
    writer.metadata("test.aa", MetaValue::Bool(true)).metadata("test.ab", MetaValue::Bool(true));
    let mut twice = writer.to_bytes(&[]).unwrap();
    let at = after(&twice, "test.ab") - 1;
    twice[at] = b'a';
    check_refused(twice, &["test.aa", &format!("byte {}", at - 14)]);
}

#[test]
fn alignments() {
    for alignment in [0u32, 3, 48, 1 << 31, u32::MAX] {
        let bytes = patched("general.alignment", 4, &alignment.to_le_bytes());
        check_refused(bytes, &["general.alignment", &alignment.to_string()]);
    }
    for value in [MetaValue::Signed(32), MetaValue::Float(32.0), MetaValue::Text("32".into())] {
        let mut writer = small_writer();
        let bytes = writer.metadata("general.alignment", MetaValue::Bool(true)).layout();
        assert!(bytes.is_err(), "the writer refuses too");
        let mut plain = GgufWriter::new();
        plain.metadata("general.alignmenx", value);
        let mut bytes = plain.to_bytes(&[]).unwrap();
        let at = after(&bytes, "general.alignmenx") - 1;
        bytes[at] = b't';
        check_refused(bytes, &["general.alignment"]);
    }
    let mut writer = small_writer();
    writer.metadata("general.alignment", MetaValue::Unsigned(256));
    let lengths = writer.layout().unwrap().lengths;
    let data: Vec<Vec<u8>> = lengths.iter().map(|&len| vec![0; len as usize]).collect();
    let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    assert_eq!(open(writer.to_bytes(&data).unwrap()), Ok(()));
}

#[test]
fn tensors() {
    // Behind the name: dimension count u32, dimensions u64, type u32, offset u64.
    let name = "blk.0.attn_q.weight";
    let (dims, kind, offset) = (4, 20, 24);
    for count in [0u32, 5, 1 << 31, u32::MAX] {
        check_refused(patched(name, 0, &count.to_le_bytes()), &[name, "dimensions"]);
    }
    for size in [0, 3, 1 << 31, 1 << 62, 1 << 63, u64::MAX] {
        check_refused(patched(name, dims, &size.to_le_bytes()), &[name]);
        if size != 3 {
            check_refused(patched(name, dims + 8, &size.to_le_bytes()), &[name]);
        }
    }
    // Products that wrap in elements, and in bytes alone.
    for pair in [[1u64 << 32, 1 << 32], [1 << 33, 1 << 32], [1 << 40, 1 << 25], [1 << 32, 1 << 31]]
    {
        let sizes = pair.map(u64::to_le_bytes).concat();
        check_refused(patched(name, dims, &sizes), &[name]);
        check_refused(patched("token_embd.weight", dims, &sizes), &["token_embd.weight"]);
    }
    for (id, shown) in [(4u32, "4"), (16, "IQ2_XXS"), (24, "I8"), (99, "99"), (u32::MAX, "429")] {
        check_refused(patched(name, kind, &id.to_le_bytes()), &[name, shown, "Q4_K"]);
    }
    for wrong in [1u64, 16, 33, 1 << 20, 1 << 31, 1 << 63, u64::MAX, u64::MAX - 31] {
        check_refused(patched(name, offset, &wrong.to_le_bytes()), &[name]);
    }
    check_refused(patched(name, offset, &0u64.to_le_bytes()), &[name, "overlaps"]);
    let mut writer = GgufWriter::new();
    for _ in 0..2 {
        writer.tensor("same.weight", DType::F32, &[8]).unwrap();
    }
    check_refused(writer.to_bytes(&[&[0; 32], &[0; 32]]).unwrap(), &["same.weight", "second"]);
    let mut writer = GgufWriter::new();
    writer.tensor("", DType::F32, &[8]).unwrap();
    check_refused(writer.to_bytes(&[&[0; 32]]).unwrap(), &["tensor number 0"]);
}

/// Names with control characters or megabytes of text do not reach the terminal as they are.
#[test]
fn errors_stay_printable() {
    let key = format!("\u{1b}[31m{}", "x".repeat(5000));
    let mut writer = GgufWriter::new();
    writer.metadata(key, MetaValue::Array(MetaArray::Bool(vec![true])));
    let mut bytes = writer.to_bytes(&[]).unwrap();
    let at = bytes.iter().rposition(|&b| b == 1).unwrap();
    bytes[at] = 9;
    let error = open(bytes).unwrap_err();
    assert!(error.len() < 400 && !error.contains('\u{1b}'), "{error}");
}
