//! How fast texts are encoded, one by one on one thread: `cargo run --release -p lucid-tokenizer
//! --example encode -- TOKENIZER.json IDS REPETITIONS LIST`, where LIST names a text file a line.
//! Prints bytes, tokens and the seconds of each repetition as JSON; ids go to the file IDS, four
//! little-endian bytes each. Figures for LOG.md, never an assertion; `bench/tokenizer.py` runs it.
#![allow(clippy::print_stdout, reason = "a program for a person")]
#![allow(clippy::unwrap_used, reason = "it ends with what went wrong")]

use std::time::Instant;

use lucid_tokenizer::{AddSpecial, ParseSpecial, TokenId, Tokenizer};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [tokenizer, ids_path, repetitions, list] = arguments.as_slice() else {
        panic!("needs TOKENIZER.json IDS REPETITIONS LIST")
    };
    let json = std::fs::read(tokenizer).unwrap();
    let tokenizer = Tokenizer::from_tokenizer_json(&json, None).unwrap();
    let list = std::fs::read_to_string(list).unwrap();
    let texts: Vec<Vec<u8>> = list.lines().map(|path| std::fs::read(path).unwrap()).collect();
    let mut ids: Vec<TokenId> = Vec::new();
    let seconds: Vec<f64> = (0..repetitions.parse::<usize>().unwrap())
        .map(|_| {
            ids.clear();
            let mut encoder = tokenizer.encoder();
            let started = Instant::now();
            for text in &texts {
                encoder.encode(text, &[], AddSpecial::No, ParseSpecial::Yes, &mut ids);
            }
            started.elapsed().as_secs_f64()
        })
        .collect();
    let bytes: usize = texts.iter().map(Vec::len).sum();
    let written: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    std::fs::write(ids_path, written).unwrap();
    println!("{}", serde_json::json!({ "bytes": bytes, "tokens": ids.len(), "seconds": seconds }));
}
