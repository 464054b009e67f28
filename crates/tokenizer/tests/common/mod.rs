//! Shared by the tests: where the data lies, and a reader of vocabulary-only GGUF files. Source:
//! ggml's `docs/gguf.md`.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::HashMap;
use std::path::PathBuf;

use lucid_tokenizer::{TokenKind, Vocabulary};

/// The folder of shared data, or none (and a note) where it is absent.
pub(crate) fn data() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let path =
        std::env::var_os("LUCID_SHARED").map_or_else(|| PathBuf::from(default), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: ../shared/data is absent");
    None
}

/// A value of GGUF's metadata, as far as vocabularies need it.
pub(crate) enum Value {
    Number(i64),
    Float(f32),
    Bool(bool),
    Text(Vec<u8>),
    Array(Vec<Value>),
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let bytes = self.bytes[self.at..self.at + N].try_into().unwrap();
        self.at += N;
        bytes
    }

    fn text(&mut self) -> Vec<u8> {
        let length = u64::from_le_bytes(self.take()) as usize;
        self.at += length;
        self.bytes[self.at - length..self.at].to_vec()
    }

    fn value(&mut self, kind: u32) -> Value {
        match kind {
            0 => Value::Number(i64::from(self.take::<1>()[0])),
            1 => Value::Number(i64::from(i8::from_le_bytes(self.take()))),
            2 => Value::Number(i64::from(u16::from_le_bytes(self.take()))),
            3 => Value::Number(i64::from(i16::from_le_bytes(self.take()))),
            4 => Value::Number(i64::from(u32::from_le_bytes(self.take()))),
            5 => Value::Number(i64::from(i32::from_le_bytes(self.take()))),
            6 => Value::Float(f32::from_le_bytes(self.take())),
            7 => Value::Bool(self.take::<1>()[0] != 0),
            8 => Value::Text(self.text()),
            9 => {
                let kind = u32::from_le_bytes(self.take());
                let count = u64::from_le_bytes(self.take());
                Value::Array((0..count).map(|_| self.value(kind)).collect())
            }
            10 | 11 => Value::Number(i64::from_le_bytes(self.take())),
            _ => Value::Float(f64::from_le_bytes(self.take()) as f32),
        }
    }
}

/// The metadata of a GGUF file.
pub(crate) fn metadata(bytes: &[u8]) -> HashMap<String, Value> {
    assert_eq!(&bytes[..4], b"GGUF");
    let mut reader = Reader { bytes, at: 16 };
    let count = u64::from_le_bytes(reader.take());
    (0..count)
        .map(|_| {
            let key = String::from_utf8(reader.text()).unwrap();
            let kind = u32::from_le_bytes(reader.take());
            (key, reader.value(kind))
        })
        .collect()
}

/// The vocabulary in a GGUF file.
pub(crate) fn vocabulary(bytes: &[u8]) -> Vocabulary {
    let all = metadata(bytes);
    let get = |key: &str| all.get(&format!("tokenizer.ggml.{key}"));
    let text = |key: &str| match get(key) {
        Some(Value::Text(text)) => Some(String::from_utf8(text.clone()).unwrap()),
        _ => None,
    };
    let texts = |key: &str| -> Vec<&Vec<u8>> {
        let Some(Value::Array(items)) = get(key) else { return Vec::new() };
        items
            .iter()
            .map(|item| if let Value::Text(text) = item { text } else { panic!("{key}") })
            .collect()
    };
    let floats = |key: &str| match get(key) {
        Some(Value::Array(items)) => {
            items.iter().map(|i| if let Value::Float(f) = i { *f } else { 0.0 }).collect()
        }
        _ => Vec::new(),
    };
    let kinds = match get("token_type") {
        Some(Value::Array(items)) => items
            .iter()
            .enumerate()
            .map(|(i, item)| {
                if let Value::Number(n) = item {
                    TokenKind::from_gguf(*n, i).unwrap()
                } else {
                    panic!()
                }
            })
            .collect(),
        _ => Vec::new(),
    };
    let id = |key: &str| match get(key) {
        Some(Value::Number(id)) => Some(*id as u32),
        _ => None,
    };
    let flag = |key: &str| match get(key) {
        Some(Value::Bool(flag)) => Some(*flag),
        _ => None,
    };
    Vocabulary {
        model: text("model").unwrap(),
        pre: text("pre"),
        tokens: texts("tokens").into_iter().collect(),
        scores: floats("scores"),
        kinds,
        merges: texts("merges").into_iter().collect(),
        bos: id("bos_token_id"),
        eos: id("eos_token_id"),
        unk: id("unknown_token_id"),
        sep: id("seperator_token_id"),
        pad: id("padding_token_id"),
        cls: id("cls_token_id"),
        mask: id("mask_token_id"),
        add_bos: flag("add_bos_token"),
        add_eos: flag("add_eos_token"),
        add_space_prefix: flag("add_space_prefix"),
        ..Vocabulary::default()
    }
}

/// A small generator of pseudo-random numbers (xorshift).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}
