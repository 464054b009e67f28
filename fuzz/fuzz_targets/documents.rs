//! Training data are hostile input: any bytes as a file of text, JSONL, HTML, WARC or parquet, and
//! as a compressed one, must be read to the end without a panic, within the fuzzer's time and
//! memory; documents are not empty, not longer than the limit, and the same each time.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use lucid_train::data::{Document, Files, ReadOptions, Split};

/// What a file is follows from its name where its first bytes leave it open.
const ENDS: [&str; 8] = ["txt", "md", "jsonl", "html", "warc", "parquet", "gz", "zst"];
const DOCUMENT_BYTES_MAX: usize = 1 << 12;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("lucid-fuzz-documents-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary folder");
    folder
});

fuzz_target!(|data: &[u8]| {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let end = ENDS[usize::from(choice) % ENDS.len()];
    let split = match usize::from(choice) / ENDS.len() % 4 {
        0 => Split::Whole,
        1 => Split::BlankLines,
        2 => Split::Separator("--".to_owned()),
        _ => Split::Passages(64),
    };
    let path = FOLDER.join(format!("file.{end}"));
    fs::write(&path, bytes).expect("a file of ours");
    let options =
        ReadOptions { split, document_bytes_max: DOCUMENT_BYTES_MAX, ..ReadOptions::default() };
    let files = Files::find(&[path], options).expect("the file is there");
    let mut reading = files.documents();
    let documents: Vec<Document> = reading.by_ref().collect();
    for document in &documents {
        assert!(!document.text.trim().is_empty());
        assert!(document.text.len() <= 3 * DOCUMENT_BYTES_MAX, "{}", document.text.len());
    }
    assert!(documents.windows(2).all(|two| two[0].number < two[1].number));
    assert_eq!(reading.bytes_done(), bytes.len() as u64);
    assert_eq!(files.documents().collect::<Vec<_>>(), documents);
});
