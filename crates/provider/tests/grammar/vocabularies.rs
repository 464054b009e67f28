//! Vocabularies to answer in.

use std::path::PathBuf;
use std::sync::Arc;

use lucid_tokenizer::{TokenKind, Tokenizer, Vocabulary};

/// Pieces of several characters, as merges make them.
const PIECES: &[&str] = &[
    "▁",
    "▁▁",
    "{\"",
    "\":",
    "\",",
    "\"}",
    "▁\"",
    "},",
    "],",
    "[\"",
    "\"]",
    "▁{",
    "▁[",
    "}}",
    "]]",
    "00",
    "10",
    "19",
    "20",
    "ab",
    "the",
    "▁the",
    "ing",
    "name",
    "true",
    "false",
    "null",
    "▁true",
    "▁null",
    "e+",
    ".0",
    "-0",
    "\\n",
    "\\\"",
    "é",
    "ß",
    "中",
    "日本",
    "😀",
    "number",
    "value",
    "get",
    "weather",
    "tool",
    "call",
    "</",
    "think",
    "function",
    "parameter",
    "arg",
    "_key",
];

/// Control tokens of templates.
const CONTROL: &[&str] = &[
    "<|call|>",
    "<|end|>",
    "<|think|>",
    "<|/think|>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>",
    "<|START_ACTION|>",
    "<|END_ACTION|>",
    "<|python_tag|>",
];

/// A SentencePiece vocabulary of all bytes, pieces and control tokens.
pub(crate) fn bytes() -> Arc<Tokenizer> {
    let mut tokens: Vec<(String, TokenKind)> = vec![
        ("<unk>".to_owned(), TokenKind::Unknown),
        ("<s>".to_owned(), TokenKind::Control),
        ("</s>".to_owned(), TokenKind::Control),
    ];
    tokens.extend((0..=255).map(|byte| (format!("<0x{byte:02X}>"), TokenKind::Byte)));
    let ascii = (b'!'..=b'~').map(|byte| (char::from(byte).to_string(), TokenKind::Normal));
    tokens.extend(ascii);
    tokens.extend(PIECES.iter().map(|piece| ((*piece).to_owned(), TokenKind::Normal)));
    tokens.extend(CONTROL.iter().map(|token| ((*token).to_owned(), TokenKind::Control)));
    tokens.push(("<think>".to_owned(), TokenKind::UserDefined));
    tokens.push(("</think>".to_owned(), TokenKind::UserDefined));
    tokens.push(("<tool_call>".to_owned(), TokenKind::UserDefined));
    tokens.push(("</tool_call>".to_owned(), TokenKind::UserDefined));
    Arc::new(sentencepiece(tokens))
}

/// A SentencePiece vocabulary of exactly `size` tokens, without bytes, for the golden models.
pub(crate) fn small(size: usize) -> Arc<Tokenizer> {
    let mut tokens: Vec<(String, TokenKind)> = vec![
        ("<unk>".to_owned(), TokenKind::Unknown),
        ("<s>".to_owned(), TokenKind::Control),
        ("</s>".to_owned(), TokenKind::Control),
        ("\n".to_owned(), TokenKind::Normal),
    ];
    let ascii = (b'!'..=b'~').map(|byte| (char::from(byte).to_string(), TokenKind::Normal));
    tokens.extend(ascii);
    tokens.extend(PIECES.iter().map(|piece| ((*piece).to_owned(), TokenKind::Normal)));
    tokens.truncate(size);
    Arc::new(sentencepiece(tokens))
}

fn sentencepiece(tokens: Vec<(String, TokenKind)>) -> Tokenizer {
    let scores = (0..tokens.len()).map(|index| -(index as f32)).collect();
    let (texts, kinds): (Vec<_>, Vec<_>) = tokens.into_iter().unzip();
    let end = texts.iter().position(|text| text == "</s>").map(|index| index as u32);
    Tokenizer::new(Vocabulary {
        model: "llama".to_owned(),
        tokens: texts.iter().collect(),
        scores,
        kinds,
        bos: Some(1),
        eos: end,
        add_bos: Some(true),
        add_space_prefix: Some(true),
        ..Vocabulary::default()
    })
    .unwrap()
}

/// Real vocabularies at hand: byte-level BPE and SentencePiece.
pub(crate) fn real() -> Vec<(&'static str, Arc<Tokenizer>)> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let path = std::env::var_os("LUCID_SHARED").map_or_else(|| default.into(), PathBuf::from);
    if !path.is_dir() {
        println!("skipped: ../shared/data is absent");
        return Vec::new();
    }
    let read = |name: &str| std::fs::read(path.join("tokenizers").join(name)).unwrap();
    let llama3 = Tokenizer::from_tiktoken(&read("llama3/llama3/tokenizer.model"), "llama-bpe");
    let llama2 = Tokenizer::from_sentencepiece(&read("llama2/tokenizer.model"));
    vec![("llama 3", Arc::new(llama3.unwrap())), ("llama 2", Arc::new(llama2.unwrap()))]
}
