//! Every reader with good, damaged and hostile input.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use super::*;

/// A folder of its own that goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("lucid-train-read-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn with(name: &str, files: &[(&str, &[u8])]) -> Self {
        let folder = Self::new(name);
        for (file, bytes) in files {
            let path = folder.0.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        folder
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn options(split: Split, document_bytes_max: usize) -> ReadOptions {
    ReadOptions { split, document_bytes_max, ..ReadOptions::default() }
}

/// Texts and refusals of files in a folder; each file's bytes are all counted in the end.
fn read(name: &str, files: &[(&str, &[u8])], options: ReadOptions) -> (Vec<String>, ReadTally) {
    let folder = Folder::with(name, files);
    let files = Files::find(std::slice::from_ref(&folder.0), options).unwrap();
    let mut documents = files.documents();
    let texts: Vec<_> = documents.by_ref().map(|document| document.text).collect();
    assert_eq!(documents.bytes_done(), files.bytes());
    assert_eq!(documents.tally().document_count(), texts.len() as u64);
    let tally = documents.tally().clone();
    (texts, tally)
}

/// One file: its texts, and what was refused how often.
fn check(file: &str, bytes: &[u8], texts: &[&str], refused: &[(Refusal, u64)]) -> ReadTally {
    check_with(file, bytes, options(Split::Whole, 1 << 16), texts, refused)
}

fn check_with(
    file: &str,
    bytes: &[u8],
    options: ReadOptions,
    texts: &[&str],
    refused: &[(Refusal, u64)],
) -> ReadTally {
    let unique: String = format!("{:?}", std::thread::current().id());
    let (found, tally) = read(&unique, &[(file, bytes)], options);
    assert_eq!(found, texts, "{file}");
    let counts: Vec<_> = tally.refused.iter().map(|(why, count)| (*why, count.count)).collect();
    assert_eq!(counts, refused, "{file}: {:?}", tally.refused);
    assert!(tally.refused.values().all(|count| count.examples[0].contains(file)));
    tally
}

#[test]
fn folders_are_walked_in_order() {
    let files: [(&str, &[u8]); 6] = [
        ("b.txt", b"b"),
        ("a/2.md", b"a2"),
        ("a/1.txt", b"a1"),
        ("c", b"c"),
        (".hidden/x", b"x"),
        ("a/.x", b"x"),
    ];
    let (texts, tally) = read("walk", &files, ReadOptions::default());
    assert_eq!(texts, ["a1", "a2", "b", "c"]);
    assert_eq!(tally.file_kinds, [(Kind::Text, 3), (Kind::Markdown, 1)].into());
    let folder = Folder::new("empty");
    let none = Files::find(std::slice::from_ref(&folder.0), ReadOptions::default()).unwrap_err();
    assert!(none.to_string().starts_with("no file in "), "{none}");
    let missing = Files::find(&["/no/such/file".into()], ReadOptions::default()).unwrap_err();
    assert!(missing.to_string().contains("/no/such/file"));
    assert!(matches!(missing, TrainError::Read { .. }));
}

#[test]
fn texts_are_whole_or_split() {
    let text = b"one\ntwo\n\n\n  three\n \nfour\n";
    check("a.txt", text, &["one\ntwo\n\n\n  three\n \nfour\n"], &[]);
    let lines = options(Split::BlankLines, 1 << 16);
    check_with("a.txt", text, lines.clone(), &["one\ntwo", "  three", "four\n"], &[]);
    check_with("a.txt", b"\r\n\r\none\r\n\r\ntwo", lines, &["one\r", "two"], &[]);
    let separator = options(Split::Separator("<|end|>".to_owned()), 1 << 16);
    let text = b"one<|end|>two<|en<|end|><|end|>\n<|end|>three";
    check_with("a.txt", text, separator, &["one", "two<|en", "three"], &[]);
}

#[test]
fn separators_and_blank_lines_are_found_wherever_buffers_end() {
    for len in [65_528, 65_533, 65_535, 65_536, 65_537, 131_071] {
        let long = "word ".repeat(30_000)[..len].trim_end().to_owned();
        for (split, gap) in
            [(Split::BlankLines, "\n \t\n"), (Split::Separator("<|end|>".to_owned()), "<|end|>")]
        {
            let text = format!("{long}{gap}b{gap}{long}");
            check_with("a", text.as_bytes(), options(split, 1 << 18), &[&long, "b", &long], &[]);
        }
    }
}

#[test]
fn long_texts_are_cut_at_the_best_place_and_nothing_is_lost() {
    let text = "A line of words that is not long.\n".repeat(100);
    for split in [Split::Whole, Split::BlankLines, Split::Separator("@@".to_owned())] {
        let (texts, tally) = read("cut", &[("a", text.as_bytes())], options(split, 1024));
        assert_eq!(texts.concat(), text);
        assert_eq!(tally.cut as usize, texts.len() - 1);
        let fits = |text: &String| text.len() <= 1024 && text.ends_with(".\n");
        assert!(texts.len() >= 4 && texts.iter().all(fits));
    }
    let paragraphs = text.replace("long.\nA", "long.\n\nA");
    let passages = options(Split::Passages(300), 1 << 16);
    let (texts, tally) = read("passages", &[("a", paragraphs.as_bytes())], passages);
    assert_eq!((texts.concat(), tally.cut), (paragraphs, 0));
    assert!(texts[..texts.len() - 1].iter().all(|text| text.ends_with("\n\n")));
    let dense = "é".repeat(2000);
    let (texts, _) = read("dense", &[("a", dense.as_bytes())], options(Split::Passages(101), 1024));
    assert_eq!(texts.concat(), dense);
}

#[test]
fn an_endless_line_is_passed_over_and_what_follows_is_read() {
    let text = format!("before\n{} after", "x".repeat(200_000));
    let endless = [(Refusal::EndlessWord, 1)];
    let lines = options(Split::BlankLines, 1024);
    let tally = check_with("a", text.as_bytes(), lines, &["before\n", " after"], &endless);
    assert!(tally.refused[&Refusal::EndlessWord].examples[0].contains("200000 bytes"));
    let line = format!("{{\"text\": \"{}\"}}\n{{\"text\": \"b\"}}", "x ".repeat(100_000));
    check("a.jsonl", line.as_bytes(), &["b"], &[(Refusal::TooLong, 1)]);
}

#[test]
fn what_is_no_text_is_refused_by_kind() {
    check("a", b"", &[], &[(Refusal::Empty, 1)]);
    check("a", b" \n\t\n", &[], &[(Refusal::Empty, 1)]);
    check("a", b"\x7fELF\x02\x01\x01\0\0\0", &[], &[(Refusal::Binary, 1)]);
    check("a.txt", b"%PDF-1.7\nendless words", &[], &[(Refusal::Binary, 1)]);
    check("a", &(1..=255).collect::<Vec<u8>>().repeat(9), &[], &[(Refusal::Binary, 1)]);
    check("a", b"\xff\xfeh\0i\0", &[], &[(Refusal::OtherEncoding, 1)]);
    check("a", b"caf\xe9 ol\xe9", &[], &[(Refusal::NotUtf8, 1)]);
    let mostly = [b"word ".repeat(100), b"caf\xe9".to_vec()].concat();
    let expected = format!("{}caf\u{fffd}", "word ".repeat(100));
    let tally = check("a", &mostly, &[&expected], &[]);
    assert_eq!(tally.replaced_bytes, 1);
    check("a", b"\xef\xbb\xbfmarked", &["marked"], &[]);
}

#[test]
fn lines_of_json() {
    let lines = br#"{"text": "one", "id": 1}
{"id": {"text": "deep"}, "text": "t\u00e9xt\n2"}

{"messages": [{"role": "user"}]}
{"title": "no text"}
{"text": 5} 
{"text": ["a", {}]}
{"text": null}
not json
{"text": "unclosed
{"text": "two"} {"text": "values"}
["text"]
{"text": "last"}"#;
    let refused = [(Refusal::NotJson, 4), (Refusal::NoField, 4), (Refusal::Conversation, 1)];
    check("a.jsonl", lines, &["one", "téxt\n2", "last"], &refused);
    check("noname", b"{\"text\": \"a\"}\n{\"text\": \"b\"}\n", &["a", "b"], &[]);
    check("a.txt", b"{ not json\n}", &["{ not json\n}"], &[]);
    check("a.json", b"{\n \"text\": \"a\"\n}", &[], &[(Refusal::NotJsonLines, 1)]);
    let field = ReadOptions { field: "body".to_owned(), ..ReadOptions::default() };
    let both = br#"{"text": "a", "body": "b"}"#;
    check_with("a.jsonl", both, field, &["b"], &[]);
    let deep = format!("{{\"x\": {}", "[".repeat(50_000));
    check("a.jsonl", deep.as_bytes(), &[], &[(Refusal::NotJson, 1)]);
}

const LONG: &str = "A paragraph of a page that has more words than a menu, and so counts as its \
    content by the number of its words alone.";

#[test]
fn pages() {
    let html = format!("<!doctype html><nav>menu</nav><p>{LONG}</p>");
    check("a.html", html.as_bytes(), &[LONG], &[]);
    check("noname", format!("\n<HTML><p>{LONG}").as_bytes(), &[LONG], &[]);
    check("a.htm", b"<p><a href=x>link</a>", &[], &[(Refusal::NoMainText, 1)]);
    let long = format!("<p>{}", "x ".repeat(40_000));
    check("a.html", long.as_bytes(), &[], &[(Refusal::TooLong, 1)]);
}

fn record(kind: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let header = format!(
        "WARC/1.0\r\nWARC-Type: {kind}\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [header.as_bytes(), body, b"\r\n\r\n"].concat()
}

fn response(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
    record("response", "application/http; msgtype=response", &[head.as_bytes(), body].concat())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn web_archives() {
    let html = format!("<p>{LONG}</p>");
    let (first, rest) = html.split_at(5);
    let chunked = format!("5\r\n{first}\r\n{:x};x\r\n{rest}\r\n0\r\n\r\n", rest.len());
    let records = [
        record("warcinfo", "application/warc-fields", b"software: x"),
        response("Content-Type: text/html; charset=utf-8", html.as_bytes()),
        record("request", "application/http", b"GET / HTTP/1.1\r\n\r\n"),
        response("Content-Type: TEXT/HTML\r\nTransfer-Encoding: chunked", chunked.as_bytes()),
        response("Content-Type: text/html\r\nTransfer-Encoding: chunked", html.as_bytes()),
        response("Content-Type: text/html\r\nContent-Encoding: gzip", &gzip(html.as_bytes())),
        record("conversion", "text/plain", b"plain words"),
        response("Content-Type: image/png", b"\x89PNG"),
        response("Content-Type: text/html\r\nContent-Encoding: br", b"packed"),
        record("response", "application/http", b"HTTP/1.1 404 Not Found\r\n\r\n<p>no"),
        record("response", "application/http", b"no message"),
        record("conversion", "text/plain", &b"x ".repeat(40_000)),
        record("conversion", "text/plain", b"last"),
    ];
    let texts = [LONG, LONG, LONG, LONG, "plain words", "last"];
    let refused = [(Refusal::TooLong, 1), (Refusal::BadRecord, 1), (Refusal::OtherRecord, 3)];
    check("a.warc", &records.concat(), &texts, &refused);
    // As crawlers keep them: each record a gzip member of its own.
    let members: Vec<_> = records.iter().map(|record| gzip(record)).collect();
    check("a.warc.gz", &members.concat(), &texts, &refused);
}

#[test]
fn broken_web_archives_end_with_a_count() {
    let good = record("conversion", "text/plain", b"good");
    let broken = |rest: &[u8]| {
        let bytes = [&good, rest].concat();
        check("a.warc", &bytes, &["good"], &[(Refusal::BadRecord, 1)]);
    };
    broken(&good[..good.len() - 6]);
    broken(&good[..40]);
    broken(b"HTTP/1.1 200 OK\r\n\r\n");
    broken(b"WARC/1.0\r\nWARC-Type: conversion\r\n\r\nabc");
    broken(b"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Length: 99999999999999999999\r\n\r\n");
    broken(b"WARC/1.0\r\nWARC-Type: other\r\nContent-Length: 18446744073709551615\r\n\r\nabc");
    broken(&[&b"WARC/1.0\r\n"[..], &b"x".repeat(1 << 17)].concat());
    broken(&[&b"WARC/1.0\r\n"[..], &b"a: b\r\n".repeat(2000)].concat());
}

/// [`text`] as three programs pack it; `gzip`, and 1.5.4 of `zstd` and 5.4 of `xz`.
fn samples() -> [(&'static str, Vec<u8>); 3] {
    [
        ("a.gz", gzip(text().as_bytes())),
        ("a.zst", include_bytes!("samples/words.zst").to_vec()),
        ("a.xz", include_bytes!("samples/words.xz").to_vec()),
    ]
}

fn text() -> String {
    let lines: Vec<_> = (0..400).map(|line| format!("line {line} of the same words\n")).collect();
    lines.concat()
}

#[test]
fn compressed_files_are_told_by_their_bytes() {
    for (file, packed) in samples() {
        check(file, &packed, &[&text()], &[]);
        check("misnamed.txt", &packed, &[&text()], &[]);
        // Files may be joined, as their formats allow.
        let twice = [&packed[..], &packed].concat();
        check(file, &twice, &[&(text() + &text())], &[]);
    }
    let skippable = [&b"\x50\x2a\x4d\x18\x03\0\0\0abc"[..], &samples()[1].1].concat();
    let between = [&samples()[1].1[..], &skippable].concat();
    check("a.zst", &between, &[&(text() + &text())], &[]);
    check("a.jsonl.gz", &gzip(b"{\"text\": \"a\"}\n"), &["a"], &[]);
}

#[test]
fn damaged_compressed_files_are_counted_and_end() {
    for (file, packed) in samples() {
        let folder = Folder::with("cut", &[(file, &packed[..packed.len() - 6])]);
        let files = Files::find(std::slice::from_ref(&folder.0), ReadOptions::default()).unwrap();
        let mut documents = files.documents();
        for document in documents.by_ref() {
            assert!(text().starts_with(&document.text), "{file}");
        }
        assert_eq!(documents.tally().refused[&Refusal::Damaged].count, 1, "{file}");
        for at in (0..packed.len()).step_by(5) {
            let mut broken = packed.clone();
            broken[at] ^= 0x55;
            let folder = Folder::with("flip", &[(file, &broken)]);
            let files =
                Files::find(std::slice::from_ref(&folder.0), ReadOptions::default()).unwrap();
            assert!(files.documents().count() <= 1, "{file} {at}");
        }
    }
}

#[test]
fn bombs_are_bounded() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let block = b"boom ".repeat(1 << 18);
    for _ in 0..80 {
        encoder.write_all(&block).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    let (texts, tally) = read("bomb", &[("a.gz", &bomb), ("b", b"good")], ReadOptions::default());
    assert_eq!(texts.last().unwrap(), "good");
    assert!(texts.iter().map(String::len).sum::<usize>() <= 1 << 27);
    assert_eq!(tally.refused[&Refusal::Bomb].count, 1);
    assert!(tally.refused[&Refusal::Bomb].examples[0].contains("a.gz"));
}

#[test]
fn options_that_mean_nothing_are_refused() {
    let check = |options: ReadOptions, expected: &str| {
        let error = Files::find(&["/".into()], options).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    };
    check(options(Split::Whole, 10), "the longest document is 10");
    check(options(Split::Separator(String::new()), 1 << 20), "the separator is 0 bytes");
    check(options(Split::Passages(1), 1 << 20), "passages is 1");
}

#[cfg(not(feature = "parquet"))]
#[test]
fn a_table_needs_the_feature() {
    check("a.parquet", b"PAR1\0\0", &[], &[(Refusal::NeedsFeature, 1)]);
}

#[cfg(feature = "parquet")]
mod tables {
    use std::sync::Arc;

    use ::parquet::data_type::{ByteArray, ByteArrayType};
    use ::parquet::file::properties::WriterProperties;
    use ::parquet::file::writer::SerializedFileWriter;
    use ::parquet::schema::parser::parse_message_type;

    use super::*;

    fn table(texts: &[&str]) -> Vec<u8> {
        let schema = "message page { REQUIRED INT32 id; REQUIRED BYTE_ARRAY text (UTF8); }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut bytes = Vec::new();
        let properties = Arc::new(WriterProperties::builder().build());
        let mut writer = SerializedFileWriter::new(&mut bytes, schema, properties).unwrap();
        for half in texts.chunks(texts.len().div_ceil(2)) {
            let mut group = writer.next_row_group().unwrap();
            let mut ids = group.next_column().unwrap().unwrap();
            let numbers: Vec<i32> = (0..half.len() as i32).collect();
            let typed = ids.typed::<::parquet::data_type::Int32Type>();
            typed.write_batch(&numbers, None, None).unwrap();
            ids.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let rows: Vec<ByteArray> = half.iter().map(|&text| text.into()).collect();
            column.typed::<ByteArrayType>().write_batch(&rows, None, None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.close().unwrap();
        bytes
    }

    #[test]
    fn a_column_of_text_is_read_in_order() {
        let texts: Vec<String> = (0..300).map(|row| format!("row {row}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        check("a.parquet", &table(&texts), &texts, &[]);
    }

    #[test]
    fn other_tables_and_damaged_ones_are_counted() {
        let good = table(&["a", "b"]);
        let other = ReadOptions { field: "body".to_owned(), ..ReadOptions::default() };
        check_with("a.parquet", &good, other, &[], &[(Refusal::BadTable, 1)]);
        let number = ReadOptions { field: "id".to_owned(), ..ReadOptions::default() };
        check_with("a.parquet", &good, number, &[], &[(Refusal::BadTable, 1)]);
        check("a.parquet", &good[..good.len() - 9], &[], &[(Refusal::BadTable, 1)]);
        for at in (4..good.len()).step_by(3) {
            let mut broken = good.clone();
            broken[at] ^= 0x55;
            let (texts, _) = read("parquet", &[("a.parquet", &broken)], ReadOptions::default());
            assert!(texts.len() <= 2);
        }
    }
}
