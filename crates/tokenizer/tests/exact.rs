//! Exactness against the `tokenizers` crate: the same `tokenizer.json`, built here from the
//! vocabularies at hand, the same ids, over prose, documentation, code and generated text of many
//! scripts. More than 5 MB for each vocabulary with `LUCID_TEST_MEGABYTES=5`; a share of it
//! otherwise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test may panic, and says why it skips"
)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::Random;
use lucid_tokenizer::{AddSpecial, ParseSpecial, ShowSpecial, Tokenizer, Vocabulary};
use serde_json::{Value, json};

/// Texts of every kind, about `bytes` in all.
fn corpus(data: &Path, bytes: usize) -> Vec<String> {
    let mut texts = Vec::new();
    let files = |folder: &str| {
        let mut files: Vec<_> = std::fs::read_dir(data.join("text").join(folder))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        files.sort();
        files
    };
    for (folder, share) in [("docs", 3), ("books-novels", 6), ("books-young", 6)] {
        let mut total = 0;
        for file in files(folder).iter().step_by(7) {
            if total > bytes / share {
                break;
            }
            let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
            let end = boundary(&text, 100_000);
            total += end;
            texts.push(text[..end].to_owned());
        }
    }
    texts.extend((0..200).map(|count| format!("a{}b", " ".repeat(count))));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut total = 0;
    while total < bytes / 3 {
        let text = generated(&mut random);
        total += text.len();
        texts.push(text);
    }
    texts
}

/// The last boundary of characters at or before `at`.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

const BLOCKS: &[(u32, u32)] = &[
    (0x20, 0x7F),
    (0x20, 0x7F),
    (0x30, 0x3A),
    (0xA0, 0x180),
    (0x300, 0x370),
    (0x370, 0x400),
    (0x400, 0x500),
    (0x590, 0x600),
    (0x600, 0x700),
    (0x900, 0x980),
    (0xE00, 0xE60),
    (0x1100, 0x1200),
    (0x1E00, 0x1F00),
    (0x2000, 0x2070),
    (0x20A0, 0x20C0),
    (0x2190, 0x2200),
    (0x2460, 0x24A0),
    (0x2580, 0x2600),
    (0x2E80, 0x2F00),
    (0x3000, 0x3100),
    (0x4E00, 0x5200),
    (0xAC00, 0xB000),
    (0xE000, 0xE010),
    (0xFE00, 0xFE10),
    (0xFF00, 0xFFF0),
    (0x1F300, 0x1F650),
    (0x1F3FB, 0x1F400),
    (0x1D400, 0x1D480),
    (0x20000, 0x20100),
    (0x0, 0x20),
    (0x7F, 0xA0),
];
const SNIPPETS: &[&str] = &[
    "👩\u{200d}👩\u{200d}👧\u{200d}👦",
    "e\u{301}",
    "'s",
    "'LL",
    "I'm",
    "\r\n",
    "\n\n\n",
    "    ",
    "\t",
    " \n ",
    "  x",
    "3.14159",
    "fn main() { let x = 1; }",
    "שלום",
    "مرحبا",
    "中文字",
    "한국어",
    "\u{feff}",
    "\u{200b}",
    "https://a.b/c?d=e&f=1",
    "100000000",
    "½",
    "ſ",
    "İ",
    "ǅ",
    "\u{2581}",
    "😀😀",
    "…",
    "—",
    "``",
    "def f(self):\n        return None\n",
];

/// Mixed scripts, emoji, marks, controls, broken UTF-8 (made whole again), runs of white space.
fn generated(random: &mut Random) -> String {
    let mut bytes = Vec::new();
    let block = BLOCKS[random.below(BLOCKS.len())];
    for _ in 0..=random.below(400) {
        let (low, high) =
            if random.below(3) == 0 { BLOCKS[random.below(BLOCKS.len())] } else { block };
        match random.below(12) {
            0 => bytes.extend_from_slice(SNIPPETS[random.below(SNIPPETS.len())].as_bytes()),
            1 => bytes.push(b' '),
            2 if random.below(8) == 0 => bytes.push(0x80 + random.below(0x80) as u8),
            _ => {
                let c = char::from_u32(low + random.below((high - low) as usize) as u32);
                // Not assigned in the peer's Unicode 9: tables differ, not tokenizers.
                let c = c.filter(|c| !matches!(*c as u32, 0x5C8..=0x5CF | 0x61D)).unwrap_or('?');
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Ours and theirs give the same ids for every text; ours read the same file. So does what a
/// conversion to GGUF would write, for the texts that `same` names.
fn check(name: &str, same: fn(&str) -> bool, build: impl FnOnce(&Path) -> Value) {
    let Some(data) = common::data() else { return };
    let megabytes = std::env::var("LUCID_TEST_MEGABYTES")
        .ok()
        .and_then(|m| m.parse::<f64>().ok())
        .unwrap_or(0.6);
    let json = build(&data.join("tokenizers")).to_string();
    let ours = Tokenizer::from_tokenizer_json(json.as_bytes(), None).unwrap();
    let theirs: tokenizers::Tokenizer = json.parse().unwrap();
    let vocabulary = ours.vocabulary();
    let merges = vocabulary.merges.texts(&vocabulary.tokens).collect();
    let converted = Tokenizer::new(Vocabulary { merges, ..vocabulary.clone() }).unwrap();
    assert!(converted.warnings().is_empty(), "{name}: {:?}", converted.warnings());
    if name == "llama2" {
        assert!(ours.warnings().is_empty(), "{name}: {:?}", ours.warnings());
    }
    let texts = corpus(&data, (megabytes * 1e6) as usize);
    let (mut bytes, mut compared, mut mine, mut peer) = (0, 0, 0.0, 0.0);
    for text in &texts {
        let start = std::time::Instant::now();
        let ids = ours.encode(text.as_bytes(), &[], AddSpecial::No, ParseSpecial::Yes);
        mine += start.elapsed().as_secs_f64();
        let start = std::time::Instant::now();
        let expected = theirs.encode(text.as_str(), false).unwrap();
        peer += start.elapsed().as_secs_f64();
        bytes += text.len();
        if same(text) {
            let again = converted.encode(text.as_bytes(), &[], AddSpecial::No, ParseSpecial::Yes);
            let at = ids.iter().zip(&again).position(|(a, b)| a != b);
            assert!(ids == again, "{name}: as GGUF, token {at:?} of {text:?}");
            compared += text.len();
            let [ids, again] = [&ours, &converted]
                .map(|tokenizer| tokenizer.encode(b"a", &[], AddSpecial::Yes, ParseSpecial::Yes));
            assert_eq!(ids, again, "{name}: around {text:?}");
        }
        if ids != expected.get_ids() {
            let at = ids.iter().zip(expected.get_ids()).position(|(a, b)| a != b).unwrap_or(0);
            let near = &expected.get_offsets()[at.saturating_sub(3)..];
            let from = boundary(text, near.first().map_or(0, |o| o.0));
            let to = boundary(text, from + 60);
            let window = |ids: &[u32]| ids[at.saturating_sub(3)..(at + 6).min(ids.len())].to_vec();
            panic!(
                "{name}: near {:?}: {:?}, expected {:?}",
                &text[from..to],
                window(&ids),
                window(expected.get_ids())
            );
        }
    }
    assert!(compared > bytes / 9, "{name}: only {compared} bytes compared as GGUF");
    println!(
        "{name}: {bytes} bytes equal, {compared} as GGUF; {:.1} MB/s, `tokenizers` {:.1} MB/s",
        bytes as f64 / mine / 1e6,
        bytes as f64 / peer / 1e6
    );
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn vocab_object(vocabulary: &Vocabulary) -> BTreeMap<String, usize> {
    vocabulary.tokens.iter().enumerate().map(|(id, token)| (text(token), id)).collect()
}

fn merges(vocabulary: &Vocabulary) -> Vec<Vec<String>> {
    let merges = vocabulary.merges.texts(&vocabulary.tokens);
    merges.map(|merge| text(&merge).split(' ').map(str::to_owned).collect()).collect()
}

fn added(vocabulary: &Vocabulary) -> Vec<Value> {
    let ids = 0..vocabulary.tokens.len() as u32;
    let special = ids.filter(|&id| vocabulary.kind(id) == lucid_tokenizer::TokenKind::Control);
    special
        .map(|id| {
            json!({"id": id, "content": text(&vocabulary.tokens[id as usize]),
            "single_word": false, "lstrip": false,
                   "rstrip": false, "normalized": false, "special": true})
        })
        .collect()
}

fn byte_level(
    vocabulary: &Vocabulary,
    pre: &Value,
    normalizer: &Value,
    ignore_merges: bool,
) -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added(vocabulary),
        "normalizer": normalizer,
        "pre_tokenizer": pre, "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
        "use_regex": false},
        "model": {"type": "BPE", "dropout": null, "unk_token": null,
        "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": ignore_merges,
            "vocab": vocab_object(vocabulary), "merges": merges(vocabulary)}
    })
}

fn split(pattern: &str) -> Value {
    json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
        "use_regex": false}]})
}

#[test]
fn gpt2() {
    check(
        "gpt2",
        |_| true,
        |folder| {
            let read = |name: &str| std::fs::read(folder.join("gpt2").join(name)).unwrap();
            let tokenizer = Tokenizer::from_vocab_and_merges(
                &read("encoder.json"),
                &read("vocab.bpe"),
                "gpt-2",
                None,
            )
            .unwrap();
            let pre = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
        "use_regex": true});
            byte_level(tokenizer.vocabulary(), &pre, &Value::Null, false)
        },
    );
}

#[test]
fn qwen2() {
    // GGUF cannot say NFC.
    check("qwen2", str::is_ascii, |folder| {
        let read = |name: &str| std::fs::read(folder.join("qwen2").join(name)).unwrap();
        let config = read("tokenizer_config.json");
        let tokenizer = Tokenizer::from_vocab_and_merges(
            &read("vocab.json"),
            &read("merges.txt"),
            "qwen2",
            Some(&config),
        )
        .unwrap();
        let pattern = concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        );
        byte_level(tokenizer.vocabulary(), &split(pattern), &json!({"type": "NFC"}), false)
    });
}

#[test]
fn llama3() {
    check(
        "llama3",
        |_| true,
        |folder| {
            let file = std::fs::read(folder.join("llama3/llama3/tokenizer.model")).unwrap();
            let tokenizer = Tokenizer::from_tiktoken(&file, "llama3").unwrap();
            let pattern = concat!(
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
                r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            );
            byte_level(tokenizer.vocabulary(), &split(pattern), &Value::Null, true)
        },
    );
}

#[test]
fn o200k() {
    check(
        "o200k",
        |_| true,
        |folder| {
            let file = std::fs::read(folder.join("openai/o200k_base.tiktoken")).unwrap();
            let tokenizer = Tokenizer::from_tiktoken(&file, "gpt-4o").unwrap();
            let pattern = concat!(
                r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?",
                r"i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+",
                r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}",
                r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            );
            byte_level(tokenizer.vocabulary(), &split(pattern), &Value::Null, true)
        },
    );
}

/// The vocabulary of Llama 2 and its merges, from scores.
fn llama2_merges(folder: &Path) -> (Vocabulary, BTreeMap<String, usize>, Vec<Vec<String>>) {
    let file = std::fs::read(folder.join("llama2/tokenizer.model")).unwrap();
    let tokenizer = Tokenizer::from_sentencepiece(&file).unwrap();
    let vocabulary = tokenizer.vocabulary().clone();
    let ids = vocab_object(&vocabulary);
    let mut merges = Vec::new();
    for (piece, &id) in &ids {
        let cuts = piece.char_indices().skip(1).map(|(at, _)| piece.split_at(at));
        for (left, right) in cuts {
            if let (Some(&l), Some(&r)) = (ids.get(left), ids.get(right)) {
                merges.push((
                    -vocabulary.score(id as u32) as i64,
                    l,
                    r,
                    vec![left.to_owned(), right.to_owned()],
                ));
            }
        }
    }
    merges.sort();
    let merges: Vec<Vec<String>> = merges.into_iter().map(|merge| merge.3).collect();
    (vocabulary, ids, merges)
}

/// As `transformers` writes Llama 2: U+2581 by normalizers.
#[test]
fn llama2() {
    check(
        "llama2",
        |_| true,
        |folder| {
            let (vocabulary, ids, merges) = llama2_merges(folder);
            json!({
                "version": "1.0", "truncation": null, "padding": null,
                "added_tokens": added(&vocabulary),
                "normalizer": {"type": "Sequence", "normalizers": [
                    {"type": "Prepend", "prepend": "▁"},
                    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
                "pre_tokenizer": null, "post_processor": null,
                "decoder": {"type": "Sequence", "decoders": [
                    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                    {"type": "ByteFallback"},
                    {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
                "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>",
                "continuing_subword_prefix": null,
                    "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true,
                    "ignore_merges": false,
                    "vocab": ids, "merges": merges}
            })
        },
    );
}

/// As Gemma: no space before a text, user-defined runs of white space.
#[test]
fn gemma() {
    check(
        "gemma",
        |_| true,
        |folder| {
            let (vocabulary, mut ids, merges) = llama2_merges(folder);
            let mut added = added(&vocabulary);
            for (content, special) in [("\n\n", false), ("▁▁▁▁", false), ("<start_of_turn>", true)]
            {
                let next = ids.len();
                let id = *ids.entry(content.to_owned()).or_insert(next);
                added.push(json!({"id": id, "content": content, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false, "special": special}));
            }
            json!({
                "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
                "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
                "pre_tokenizer": null, "post_processor": null,
                "decoder": {"type": "Sequence", "decoders": [
                    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                    {"type": "ByteFallback"}, {"type": "Fuse"}]},
                "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>",
                    "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true,
                    "byte_fallback": true, "ignore_merges": false, "vocab": ids, "merges": merges}
            })
        },
    );
}

/// A unigram model over Llama 2's pieces, with scores that fall with the rank.
#[test]
fn unigram() {
    // SentencePiece puts a space before a space, Metaspace does not.
    let same = |text: &str| !text.starts_with([' ', '\u{2581}']);
    check("unigram", same, |folder| {
        let file = std::fs::read(folder.join("llama2/tokenizer.model")).unwrap();
        let tokenizer = Tokenizer::from_sentencepiece(&file).unwrap();
        let vocabulary = tokenizer.vocabulary();
        let mut random = Random(77);
        let vocab: Vec<Value> = (0..vocabulary.tokens.len())
            .map(|id| {
                json!([
                    text(&vocabulary.tokens[id]),
                    if id < 259 {
                        0.0
                    } else {
                        -(((id + 1) as f64).ln() + random.below(1000) as f64 / 997.0) as f32 as f64
                    }
                ])
            })
            .collect();
        json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": added(vocabulary), "normalizer": null,
            "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
            "split": true},
            "post_processor": null,
            "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
            "split": true},
            "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": true, "vocab": vocab}
        })
    });
}

#[test]
fn bert() {
    check(
        "bert",
        |_| true,
        |folder| {
            let file = std::fs::read_to_string(folder.join("bert/bert-vocab.txt")).unwrap();
            let vocab: BTreeMap<&str, usize> =
                file.lines().enumerate().map(|(id, piece)| (piece, id)).collect();
            let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(|content| {
            json!({"id": vocab[content], "content": content, "single_word": false, "lstrip": false,
            "rstrip": false,
                   "normalized": false, "special": true})
        });
            json!({
                "version": "1.0", "truncation": null, "padding": null, "added_tokens": special,
                "normalizer": {"type": "BertNormalizer", "clean_text": true,
                "handle_chinese_chars": true,
                    "strip_accents": null, "lowercase": true},
                "pre_tokenizer": {"type": "BertPreTokenizer"},
                "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 102], "cls": ["[CLS]",
                101]},
                "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
                "model": {"type": "WordPiece", "unk_token": "[UNK]",
                    "continuing_subword_prefix": "##",
                    "max_input_chars_per_word": 100, "vocab": vocab}
            })
        },
    );
}

/// tiktoken's own rule (the lowest rank among neighbours) and a list of merges agree; bytes come
/// back.
#[test]
fn bytes_come_back() {
    let Some(data) = common::data() else { return };
    let folder = data.join("tokenizers");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let tokenizers = [
        Tokenizer::from_tiktoken(&read("openai/cl100k_base.tiktoken"), "cl100k").unwrap(),
        Tokenizer::from_tiktoken(&read("gpt2/gpt2.tiktoken"), "gpt-2").unwrap(),
        Tokenizer::from_sentencepiece(&read("llama2/tokenizer.model")).unwrap(),
        Tokenizer::from_sentencepiece(&read("mistral/mistral_instruct_tokenizer_240323.model.v3"))
            .unwrap(),
        Tokenizer::from_llama2c(&read("llama2/tokenizer.bin"), 32000).unwrap(),
        Tokenizer::from_llama2c(
            &std::fs::read(data.join("models/stories260K/tok512.bin")).unwrap(),
            512,
        )
        .unwrap(),
    ];
    let mut random = Random(0x0dd_ba11);
    for tokenizer in &tokenizers {
        for _ in 0..300 {
            let mut bytes = generated(&mut random).into_bytes();
            for _ in 0..random.below(8) {
                let at = random.below(bytes.len());
                bytes[at] = random.below(256) as u8;
            }
            // U+2581 itself means a space to SentencePiece.
            let bytes: Vec<u8> =
                String::from_utf8_lossy(&bytes).contains('▁').then(Vec::new).unwrap_or(bytes);
            let whole = bytes.len();
            let ids = tokenizer.encode(
                &bytes,
                std::slice::from_ref(&(0..whole)),
                AddSpecial::No,
                ParseSpecial::Yes,
            );
            assert_eq!(
                tokenizer.decode(&ids, ShowSpecial::Yes),
                bytes,
                "{:?}",
                String::from_utf8_lossy(&bytes)
            );
            assert!(ids.iter().all(|&id| !tokenizer.is_control(id)));
            let mut stream = tokenizer.stream_decoder(ShowSpecial::Yes);
            let mut streamed = String::new();
            for &id in &ids {
                streamed.push_str(stream.push(id));
            }
            streamed.push_str(stream.finish());
            assert_eq!(streamed, String::from_utf8_lossy(&bytes));
        }
    }
}
