//! The bound on hostile files: "no panic, no hang, and peak allocation under twice the file plus 16
//! MiB", for the whole way from a file to a vocabulary that `show` and `tokenize` use. Allocations
//! are counted, so mapped pages are not.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use lucid_checkpoint::Checkpoint;
use lucid_sys::{Bytes, CountingAllocator};
use lucid_tokenizer::{AddSpecial, ParseSpecial, TokenKind, Tokenizer, TokenizerError};
use serde_json::{Value, json};

use crate::args::ShowArgs;
use crate::commands::show;
use crate::load;
use crate::style::Paint;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// About the length of each hostile file: what it may take is then mostly its own.
const FILE_BYTES: usize = 12 << 20;

const TEXT: &str = "Hello, w\u{f6}rld 123 \u{4e2d} <|im_end|></s> x1\n";

/// Runs `read` on a file, and holds what it took to the bound.
fn check<T>(name: &str, file_bytes: usize, read: impl FnOnce() -> Result<T>) -> Result<T, String> {
    let (outcome, peak) = CountingAllocator::peak_of(|| read().map_err(|e| format!("{e:#}")));
    let refused = outcome.as_ref().err().map(|error| error.chars().take(200).collect::<String>());
    println!("{name}: a file of {file_bytes}, {peak} bytes, {refused:?}");
    let bound = 2 * file_bytes + (16 << 20);
    assert!(peak < bound, "{name}: {peak} bytes for a file of {file_bytes}, {refused:?}");
    assert!(peak > 0, "nothing is counted");
    outcome
}

/// Number of tokens, through what `show` and `tokenize` do.
fn gguf(name: &str, path: &Path) -> Result<usize, String> {
    let file_bytes = std::fs::metadata(path).unwrap().len() as usize;
    check(name, file_bytes, || {
        for json in [false, true] {
            let facts = show::gather(Checkpoint::open(path)?)?;
            let model = path.display().to_string();
            let (tensors, metadata, template) = (true, true, true);
            let args = ShowArgs { model, ctx: None, tensors, metadata, template, json };
            let mut written = Count(0);
            show::write(&facts, &args, Paint::new(false), &mut written)?;
            assert!(written.0 > 0, "nothing is shown");
        }
        let tokenizer = load::tokenizer(&Checkpoint::open(path)?, None)?;
        Ok(use_it(&tokenizer))
    })
}

/// Number of tokens of any other file.
fn other(
    name: &str,
    file: &[u8],
    read: impl FnOnce(&[u8]) -> Result<Tokenizer, TokenizerError>,
) -> Result<usize, String> {
    check(name, file.len(), || Ok(use_it(&read(file)?)))
}

/// How much is written.
struct Count(usize);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn use_it(tokenizer: &Tokenizer) -> usize {
    let ids = tokenizer.encode(TEXT.as_bytes(), &[], AddSpecial::Yes, ParseSpecial::Yes);
    assert!(ids.iter().all(|&id| tokenizer.piece(id).is_some()));
    tokenizer.len()
}

/// A GGUF file in the making, which need not be sane.
#[derive(Default)]
struct Gguf {
    tensors: u64,
    keys: u64,
    body: Vec<u8>,
}

impl Gguf {
    fn key(mut self, name: &str, head: &[u32]) -> Self {
        self.keys += 1;
        self.body.extend((name.len() as u64).to_le_bytes());
        self.body.extend(name.as_bytes());
        self.body.extend(head.iter().flat_map(|number| number.to_le_bytes()));
        self
    }

    fn text(self, name: &str, text: &str) -> Self {
        let mut it = self.key(name, &[8]);
        it.body.extend((text.len() as u64).to_le_bytes());
        it.body.extend(text.as_bytes());
        it
    }

    fn texts(self, name: &str, count: usize, text: impl Fn(usize) -> String) -> Self {
        let mut it = self.key(name, &[9, 8]);
        it.body.extend((count as u64).to_le_bytes());
        for index in 0..count {
            let text = text(index);
            it.body.extend((text.len() as u64).to_le_bytes());
            it.body.extend(text.as_bytes());
        }
        it
    }

    /// An array of numbers of this kind, each with these bytes.
    fn numbers(self, name: &str, kind: u32, count: usize, bytes: &[u8]) -> Self {
        let mut it = self.key(name, &[9, kind]);
        it.body.extend((count as u64).to_le_bytes());
        it.body.extend(bytes.repeat(count));
        it
    }

    /// Tensors of one number each, after all keys.
    fn tensors(mut self, count: usize) -> Self {
        self.tensors = count as u64;
        for index in 0..count {
            let name = format!("{index:05}");
            self.body.extend((name.len() as u64).to_le_bytes());
            self.body.extend(name.as_bytes());
            // Dimensions, f32, place.
            self.body.extend([&[1, 0, 0, 0][..], &1u64.to_le_bytes(), &[0; 4]].concat());
            self.body.extend((index as u64 * 32).to_le_bytes());
        }
        let head = 24;
        self.body.resize((head + self.body.len()).next_multiple_of(32) - head + count * 32, 0);
        self
    }

    fn write(self, name: &str) -> TempFile {
        let (tensors, keys) = (self.tensors.to_le_bytes(), self.keys.to_le_bytes());
        let head = [&b"GGUF\x03\0\0\0"[..], &tensors, &keys].concat();
        TempFile::new(&format!("{name}.gguf"), &[head, self.body].concat())
    }
}

struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let name = format!("lucid-memory-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name.replace(' ', "-"));
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A vocabulary of a model with texts of its own.
fn vocabulary(model: &str, count: usize, text: impl Fn(usize) -> String) -> Gguf {
    let it = Gguf::default().text("tokenizer.ggml.model", model);
    it.text("tokenizer.ggml.pre", "llama-bpe").texts("tokenizer.ggml.tokens", count, text)
}

const KINDS: &str = "tokenizer.ggml.token_type";
const CONTROL: [u8; 4] = [3, 0, 0, 0];

#[test]
fn hostile_gguf_vocabularies_stay_within_the_bound() {
    let run = |name: &str, file: Gguf| gguf(name, &file.write(name).0);
    let short = |index: usize| format!("{index:x}");
    for model in ["gpt2", "llama", "t5", "bert", "gemma4"] {
        let count = FILE_BYTES / 20;
        let file = |count, text: fn(usize) -> String| {
            let file = vocabulary(model, count, text);
            file.numbers("tokenizer.ggml.scores", 6, count, &[0; 4])
        };
        let name = |what: &str| format!("{model} {what}");
        let tokens = run(&name("short tokens"), file(count, |i| format!("{i:x}")));
        assert_eq!(tokens, Ok(count), "{model}");
        let equal = run(&name("one-byte tokens"), file(1_000_000, |_| "a".to_owned()));
        assert!(equal.unwrap_err().contains("tokens 0 and 1 are both"), "{model}");
        let _ = run(&name("empty tokens"), file(1_000_000, |_| String::new()));
        let giant = |i: usize| "ab".repeat(if i == 1 { FILE_BYTES / 2 } else { i });
        let _ = run(&name("a giant token"), vocabulary(model, 3, giant));
        let control = vocabulary(model, 20_000, |i| format!("{i:05}{}", "x".repeat(1000)));
        let control = control.numbers(KINDS, 5, 20_000, &CONTROL);
        assert_eq!(run(&name("long control tokens"), control), Ok(20_000));
        let shared = vocabulary(model, 500_000, |i| format!("<|reserved_{i}|>"));
        let shared = shared.numbers(KINDS, 5, 500_000, &CONTROL);
        assert_eq!(run(&name("many control tokens"), shared), Ok(500_000));
        let tiny = vocabulary(model, 1_000_000, short).numbers(KINDS, 1, 1_000_000, &[3]);
        let refused = run(&name("a million short control tokens"), tiny).unwrap_err();
        assert!(refused.contains(KINDS) && refused.contains("byte "), "{refused}");
        let giant = giant_control(model);
        assert!(run(&name("a giant control token"), giant).unwrap_err().contains("added token"));
    }
}

fn giant_control(model: &str) -> Gguf {
    let file = vocabulary(model, 2, |i| "ab".repeat(i * FILE_BYTES / 2));
    file.numbers(KINDS, 5, 2, &CONTROL)
}

#[test]
fn hostile_gguf_settings_stay_within_the_bound() {
    let run = |name: &str, file: Gguf| gguf(name, &file.write(name).0);
    let letters = |i: usize| ["a", "b", "ab"][i].to_owned();
    let small = |model: &str| vocabulary(model, 3, letters);
    let many = FILE_BYTES / 11;
    let merges = "tokenizer.ggml.merges";
    let file = small("gpt2").texts(merges, many, |_| "a b".to_owned());
    assert_eq!(run("equal merges", file), Ok(3));
    let file = small("gpt2").texts(merges, FILE_BYTES / 8, |_| String::new());
    assert!(run("empty merges", file).unwrap_err().contains("merge"));
    let file = small("gpt2").texts(merges, 1, |_| format!("a {}", "b".repeat(FILE_BYTES)));
    assert!(run("a giant merge", file).unwrap_err().contains("merge 0"));
    // As many pairs as there can be, of tokens that are not repeated.
    let pairs = |i: usize| char::from_u32(0x4E00 + i as u32).unwrap();
    let file = vocabulary("gpt2", 600 * 600 + 600, |i| match i.checked_sub(600) {
        None => pairs(i).to_string(),
        Some(i) => [pairs(i / 600), pairs(i % 600)].iter().collect(),
    });
    let file = file.texts(merges, 600 * 600, |i| format!("{} {}", pairs(i / 600), pairs(i % 600)));
    assert_eq!(run("many merges", file), Ok(600 * 601));
    for key in ["tokenizer.chat_template", "tokenizer.ggml.pre", "tokenizer.ggml.model"] {
        let it = Gguf::default().text(key, &"x ".repeat(FILE_BYTES / 2));
        let it = if key.ends_with("model") { it } else { it.text("tokenizer.ggml.model", "gpt2") };
        let error = run(key, it.texts("tokenizer.ggml.tokens", 3, letters)).unwrap_err();
        assert!(error.contains(key) && error.contains("byte "), "{error}");
    }
    for key in ["general.name", "general.architecture", "llama.rope.scaling.type"] {
        let long = "\u{1b}".repeat(FILE_BYTES);
        assert_eq!(run(key, small("gpt2").text(key, &long)), Ok(3), "{key}");
    }
    let map = "tokenizer.ggml.precompiled_charsmap";
    let _ = run("a charsmap of zeros", small("t5").numbers(map, 0, FILE_BYTES, &[0]));
    let file = small("llama").numbers("tokenizer.ggml.scores", 12, FILE_BYTES / 8, &[0; 8]);
    assert!(run("too many scores", file).unwrap_err().contains("scores"));
    let file = small("llama").numbers(KINDS, 1, FILE_BYTES, &[1]);
    assert!(run("too many kinds", file).unwrap_err().contains("token_type"));
}

/// Whatever `show` prints, it prints as it reads.
#[test]
fn hostile_gguf_lists_stay_within_the_bound() {
    let run = |name: &str, file: Gguf| gguf(name, &file.write(name).0);
    let letters = |i: usize| ["a", "b", "ab"][i].to_owned();
    let small = || vocabulary("gpt2", 3, letters);
    for (kind, bytes) in [(0, 1), (1, 1), (3, 2), (4, 4), (6, 4), (7, 1), (10, 8), (12, 8)] {
        let file = small().numbers("list", kind, FILE_BYTES / bytes, &vec![1; bytes]);
        assert_eq!(run(&format!("a list of kind {kind}"), file), Ok(3));
    }
    let file = small().texts("list", FILE_BYTES / 9, |i| ["\u{1}", "\""][i % 2].to_owned());
    assert_eq!(run("a list of texts", file), Ok(3));
    let file = small().text("text", &"\u{1}".repeat(FILE_BYTES));
    assert_eq!(run("a text", file), Ok(3));
    let _ = run("a key", small().key(&"\u{1}".repeat(FILE_BYTES), &[4, 0]));
    let keys = |count| (0..count).fold(small(), |it, i| it.key(&format!("{i:08x}"), &[4, 0]));
    let texts = |count| (0..count).fold(small(), |it, i| it.text(&format!("{i:08x}"), ""));
    let tensors = |count| small().tensors(count);
    let kinds: [(_, &dyn Fn(usize) -> Gguf, bool); 3] =
        [("keys", &keys, false), ("texts", &texts, false), ("tensors", &tensors, true)];
    for (name, file, fits) in kinds {
        assert_eq!(run(&format!("50,000 {name}"), file(50_000)), Ok(3));
        let many = run(&format!("500,000 {name}"), file(500_000));
        assert!(many.map_or_else(|error| !fits && error.contains("memory"), |_| fits), "{name}");
    }
    for name in ["attention.head_count_kv", "attention.head_count", "feed_forward_length"] {
        let key = format!("llama.{name}");
        let numbers = [("block_count", 1_000_000), ("embedding_length", 64), ("vocab_size", 3)];
        let file = small().text("general.architecture", "llama");
        let numbers = numbers.into_iter().chain([("attention.head_count", 4)]);
        let numbers = numbers.filter(|(other, _)| *other != name);
        let file =
            numbers.fold(file, |it, (name, number)| it.key(&format!("llama.{name}"), &[4, number]));
        let file = file.numbers(&key, 0, FILE_BYTES, &[1]);
        assert_eq!(run(&key, file), Ok(3));
    }
}

/// The folder of shared vocabularies, or `None` with a note.
fn shared() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let data = std::env::var_os("LUCID_SHARED").map_or_else(|| default.into(), PathBuf::from);
    let folder = data.join("tokenizers");
    if !folder.is_dir() {
        println!("skipped: ../shared/data is absent");
        return None;
    }
    Some(folder)
}

/// `tokenizer.json` as it is written most tightly.
fn tokenizer_json(tokenizer: &Tokenizer) -> Option<Vec<u8>> {
    let v = tokenizer.vocabulary();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let ids = || (0..v.tokens.len() as u32).filter(|&id| v.kind(id) == TokenKind::Control);
    let added: Vec<Value> = ids()
        .map(|id| json!({"id": id, "content": text(&v.tokens[id as usize]), "special": true}))
        .collect();
    let entries = v.tokens.iter().enumerate().map(|(id, token)| (text(token), json!(id)));
    let model = match v.model.as_str() {
        "gpt2" => {
            let merges: Vec<_> = v.merges.texts(&v.tokens).map(|merge| text(&merge)).collect();
            json!({"type": "BPE", "vocab": Value::Object(entries.collect()), "merges": merges})
        }
        "llama" => {
            let piece = |(id, token): (usize, &[u8])| json!([text(token), v.score(id as u32)]);
            let vocab: Vec<Value> = v.tokens.iter().enumerate().map(piece).collect();
            json!({"type": "Unigram", "unk_id": 0, "vocab": vocab})
        }
        _ => return None,
    };
    let file = json!({
        "added_tokens": added, "model": model,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    });
    Some(serde_json::to_vec(&file).unwrap())
}

#[test]
fn real_vocabularies_stay_within_the_bound() {
    let Some(folder) = shared() else { return };
    let mut count = 0;
    let mut as_json = |name: &str, tokenizer: &Tokenizer| {
        let Some(json) = tokenizer_json(tokenizer) else { return };
        let name = format!("{name} as tokenizer.json");
        let tokens = other(&name, &json, |json| Tokenizer::from_tokenizer_json(json, None));
        assert_eq!(tokens, Ok(tokenizer.len()));
        count += 1;
    };
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "gguf") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let tokens = gguf(&name, &path).unwrap();
            let tokenizer = load::tokenizer(&Checkpoint::open(&path).unwrap(), None).unwrap();
            assert_eq!(tokenizer.len(), tokens);
            as_json(&name, &tokenizer);
        }
    }
    for (file, family) in [
        ("llama3/llama3/tokenizer.model", "llama3"),
        ("openai/cl100k_base.tiktoken", "cl100k"),
        ("openai/o200k_base.tiktoken", "gpt-4o"),
    ] {
        let bytes = Bytes::map(&folder.join(file)).unwrap();
        other(file, &bytes, |bytes| Tokenizer::from_tiktoken(bytes, family)).unwrap();
        as_json(file, &Tokenizer::from_tiktoken(&bytes, family).unwrap());
    }
    for file in ["llama2/tokenizer.model", "mistral/tokenizer.model.v1"] {
        let bytes = Bytes::map(&folder.join(file)).unwrap();
        other(file, &bytes, Tokenizer::from_sentencepiece).unwrap();
    }
    let bytes = Bytes::map(&folder.join("llama2/tokenizer.bin")).unwrap();
    other("tokenizer.bin", &bytes, |bytes| Tokenizer::from_llama2c(bytes, 32_000)).unwrap();
    let bytes = Bytes::map(&folder.join("bert/bert-vocab.txt")).unwrap();
    other("vocab.txt", &bytes, |bytes| Tokenizer::from_bert_vocab(bytes, true)).unwrap();
    let [vocab, merges] = ["qwen2/vocab.json", "qwen2/merges.txt"]
        .map(|file| Bytes::map(&folder.join(file)).unwrap());
    check("vocab.json and merges.txt", vocab.len() + merges.len(), || {
        Ok(use_it(&Tokenizer::from_vocab_and_merges(&vocab, &merges, "qwen2", None)?))
    })
    .unwrap();
    assert!(count >= 10, "{count} vocabularies written as JSON");
}

/// A JSON file: `head`, then what `unit` writes of the running number until it is long enough,
/// commas between, then `tail`.
fn json_file(head: &str, tail: &str, unit: impl Fn(&mut String, usize)) -> Vec<u8> {
    let mut file = head.to_owned();
    let mut number = 0;
    while file.len() < FILE_BYTES {
        file.push_str(if number > 0 { "," } else { "" });
        unit(&mut file, number);
        number += 1;
    }
    file.push_str(tail);
    file.into_bytes()
}

#[test]
fn hostile_tokenizer_json_stays_within_the_bound() {
    let run = |name: &str, file: &[u8]| {
        other(name, file, |json| Tokenizer::from_tokenizer_json(json, None))
    };
    let bpe = r#""model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": []}}"#;
    for kind in ["BPE", "WordPiece", "WordLevel"] {
        let head = format!(r#"{{"model": {{"type": "{kind}", "merges": [], "vocab": {{"#);
        let file = json_file(&head, "}}}", |out, i| write!(out, r#""{i:x}":{i}"#).unwrap());
        let _ = run(&format!("{kind}: short tokens"), &file);
        let giant = "x".repeat(FILE_BYTES);
        let _ =
            run(&format!("{kind}: a giant token"), format!("{head}\"{giant}\":0}}}}}}").as_bytes());
        let escaped = "\\n".repeat(FILE_BYTES / 2);
        let file = format!("{head}\"{escaped}\":0}}}}}}");
        let error = run(&format!("{kind}: a giant escaped token"), file.as_bytes()).unwrap_err();
        assert!(error.contains("escapes"), "{error}");
    }
    let head = r#"{"model": {"type": "BPE", "vocab": {"a":0,"aa":1}, "merges": ["#;
    let file = json_file(head, "]}}", |out, _| out.push_str(r#""a a""#));
    let _ = run("short merges", &file);
    let file = json_file(head, "]}}", |out, _| out.push_str(r#"["a","a"]"#));
    let _ = run("pairs of pieces", &file);
    let head = r#"{"model": {"type": "Unigram", "vocab": ["#;
    let file = json_file(head, "]}}", |out, i| write!(out, r#"["{i:x}",0]"#).unwrap());
    let _ = run("unigram: short pieces", &file);
    let file = json_file(head, "]}}", |out, _| out.push_str(r#"["",0]"#));
    let _ = run("unigram: empty pieces", &file);
    for normalized in [false, true] {
        let normalizer = r#"{"type": "Prepend", "prepend": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}"#;
        let head = format!(r#"{{"normalizer": {normalizer}, "added_tokens": ["#);
        let tail = format!("], {bpe}");
        for length in [1, 1000] {
            let file = json_file(&head, &tail, |out, i| {
                let (id, text) = (i + 3, format!("<|{i:0length$}|>"));
                let entry = r#""special":true,"normalized":"#;
                write!(out, r#"{{"id":{id},"content":"{text}",{entry}{normalized}}}"#).unwrap();
            });
            let _ = run(&format!("added tokens of {length}, {normalized}"), &file);
        }
    }
}

/// Parts that become trees.
#[test]
fn hostile_components_stay_within_the_bound() {
    let bpe = r#""model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": []}}"#;
    let trees = ["normalizer", "pre_tokenizer", "post_processor", "decoder"].map(|part| {
        let values = "{\"a\":[0]},".repeat(7000);
        format!(r#""{part}": {{"type": "Sequence", "x": [{values}0]}}"#)
    });
    let file = format!("{{{}, {bpe}", trees.join(","));
    let run = |name: &str, file: &str| {
        other(name, file.as_bytes(), |json| Tokenizer::from_tokenizer_json(json, None))
    };
    let _ = run("four trees", &file);
}

/// A small `tokenizer.json` that splits by these patterns, one after the other.
fn patterns_json(sources: &[String]) -> Vec<u8> {
    let split =
        |source| json!({"type": "Split", "pattern": {"Regex": source}, "behavior": "Isolated"});
    let splits: Vec<Value> = sources.iter().map(split).collect();
    let file = json!({
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": splits},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": []},
    });
    serde_json::to_vec(&file).unwrap()
}

/// Compiled patterns are not in proportion to their source. The text makes every engine's caches
/// grow.
#[test]
fn hostile_patterns_stay_within_the_bound() {
    let scripts = |c: char| c.is_alphabetic();
    let text: String =
        ('\u{20}'..'\u{3000}').filter(|c| scripts(*c)).flat_map(|c| [c, ' ']).collect();
    let run = |name: &str, sources: &[String]| {
        let file = patterns_json(sources);
        check(name, file.len(), || {
            let tokenizer = Tokenizer::from_tokenizer_json(&file, None)?;
            tokenizer.encode(text.as_bytes(), &[], AddSpecial::Yes, ParseSpecial::Yes);
            Ok(use_it(&tokenizer))
        })
    };
    let one = |name: &str, source: String| run(name, &[source]);
    let many = |name: &str, source: &dyn Fn(usize) -> String| {
        run(name, &(0..50).map(source).collect::<Vec<_>>())
    };
    assert_eq!(one("a letter", r"\p{L}".to_owned()), Ok(3));
    assert_eq!(one("ten letters", r"\p{L}{10}".to_owned()), Ok(3));
    assert_eq!(one("a lookahead", r"\p{L}+(?=x)|\s(?!\p{N}{3})".to_owned()), Ok(3));
    assert_eq!(run("real patterns", &vec![REAL.to_owned(); 5]), Ok(3));
    for (name, source) in [
        ("300 letters", r"\p{L}{300}"),
        ("300 letters, folded", r"(?i)\p{L}{300}"),
        ("nested repeats", r"((\w{50}){50}){50}"),
        ("nested repeats of a letter", r"((a{100}){100}){100}"),
        ("dots", r"(.{1000}){10}"),
        ("optional letters", r"(?:\p{L}?){1000}"),
        ("300 letters and a lookahead", r"\p{L}{300}(?=x)"),
        ("nested lookaheads", r"(?:(?:\p{L}{100}(?=\w{100})){30}){30}"),
    ] {
        assert!(one(name, source.to_owned()).unwrap_err().contains("limit"), "{name}");
    }
    // Refused or not: within the bound.
    for unit in [r"\p{L}", r"[\p{L}]", "[^a]", r"[\p{L}a&&\w]", "()", "(a)", "$", r"\b", "é|", "k"]
    {
        for (flags, head) in [("", ""), ("folded", "(?i)")] {
            for length in [1000, 2000, 16_000] {
                let source = format!("{head}{}a", unit.repeat(length / unit.len()));
                let _ = one(&format!("{length} of {unit}, {flags}"), source.clone());
                let _ = one(&format!("{length} of {unit}, {flags}, ahead"), source + "(?=x)");
            }
            let class = format!("{head}[{}]", unit.repeat(2000));
            let _ = one(&format!("a class of {unit}, {flags}"), class);
        }
    }
    let _ = one("open classes", format!("{}a{}", "[".repeat(200), "]".repeat(200)));
    for part in [r"a(?=x)", r"\p{L}a(?!x)", r"(?<=\p{L})b", r"(?>\w\d)c", r"[a\p{N}]+(?=\w)|"] {
        for count in [8, 16, 60, 200] {
            let parts = |i: usize| part.replace('a', &format!("a{{{i}}}"));
            let source: String = (0..count).map(parts).collect();
            let _ = one(&format!("{count} of {part}"), source + "b");
        }
    }
    let _ = many("50 letters", &|_| r"\p{L}".to_owned());
    let _ = many("50 of many letters", &|i| format!(r"\p{{L}}{{{}}}", i + 1));
    let _ = many("50 of 40 letters", &|_| r"\w{40}".to_owned());
    let _ = many("50 lookaheads", &|i| format!(r"\p{{L}}{{{}}}(?=x)", i + 1));
    let _ = many("50 classes", &|_| r"[\p{L}\p{N}]+".repeat(8));
    let _ = many("50 folded classes", &|_| format!("(?i){}", r"[\p{L}\p{N}]+".repeat(8)));
}

/// As large as patterns in the wild are.
const REAL: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"(?i:'s|'t|'re|'ve)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);

/// The patterns of families go through the same compiler.
#[test]
fn families_stay_within_the_bound() {
    for family in
        ["deepseek-v3", "deepseek-llm", "jais-2", "afmoe", "chameleon", "youtu", "kimi-k2"]
    {
        let file = Gguf::default().text("tokenizer.ggml.model", "gpt2");
        let file = file.text("tokenizer.ggml.pre", family);
        let file = file.texts("tokenizer.ggml.tokens", 256, |i| format!("{i}"));
        assert_eq!(gguf(family, &file.write(family).0), Ok(256), "{family}");
    }
}

#[test]
fn hostile_lists_stay_within_the_bound() {
    let _ = other("empty pieces", &[0x0A, 0].repeat(FILE_BYTES / 2), Tokenizer::from_sentencepiece);
    let piece = |i: usize| {
        let text = format!("{i:05x}");
        [&[0x0A, 7, 0x0A, 5][..], text.as_bytes()].concat()
    };
    let pieces: Vec<u8> = (0..FILE_BYTES / 9).flat_map(piece).collect();
    let _ = other("short pieces", &pieces, Tokenizer::from_sentencepiece);
    let spaces =
        [&[0; 4][..], &[0; 4], &(FILE_BYTES as u32).to_le_bytes(), &vec![b' '; FILE_BYTES]];
    let bin = |bytes: &[u8]| Tokenizer::from_llama2c(bytes, usize::MAX);
    let _ = other("a piece of spaces", &spaces.concat(), bin);
    let _ = other("llama2.c zeros", &vec![0; FILE_BYTES], |b| {
        Tokenizer::from_llama2c(b, b.len() / 8 - 1)
    });
    let lines = (0..FILE_BYTES / 7).map(|i| format!("{i:x}\n")).collect::<Vec<_>>().concat();
    let _ = other("vocab.txt", lines.as_bytes(), |lines| Tokenizer::from_bert_vocab(lines, true));
    let empty = "\n".repeat(FILE_BYTES);
    let _ = other("lines", empty.as_bytes(), |lines| Tokenizer::from_bert_vocab(lines, true));
    let ranks = (0..FILE_BYTES / 16).map(|i| format!("{i:08} {i}\n"));
    let ranks = ranks.collect::<Vec<_>>().concat();
    let _ = other("ranks", ranks.as_bytes(), |ranks| Tokenizer::from_tiktoken(ranks, "gpt-2"));
    let zeros = (1..1025).map(|i| format!("{} {}\n", zeros_base64(i), i - 1));
    let zeros = zeros.collect::<Vec<_>>().concat();
    let _ = other("long ranks", zeros.as_bytes(), |it| Tokenizer::from_tiktoken(it, "gpt-2"));
    let merges = "a b\n".repeat(FILE_BYTES / 4);
    let vocab = br#"{"a": 0, "b": 1, "ab": 2}"#;
    let _ = check("merges.txt", vocab.len() + merges.len(), || {
        Ok(use_it(&Tokenizer::from_vocab_and_merges(vocab, merges.as_bytes(), "gpt-2", None)?))
    });
}

/// So many zero bytes.
fn zeros_base64(count: usize) -> String {
    let tail = ["", "AA==", "AAA="][count % 3];
    format!("{}{tail}", "AAAA".repeat(count / 3))
}
