//! Shards that are good, damaged, foreign, gone, or half written.

use std::fs;
use std::path::{Path, PathBuf};

use lucid_tokenizer::TokenId;

use super::*;
use crate::TrainError;
use crate::data::VocabularyId;

const SMALL: VocabularyId = VocabularyId { fingerprint: [1; 32], size: 1000, begin: Some(3) };
const LARGE: VocabularyId = VocabularyId { fingerprint: [2; 32], size: 100_000, begin: None };

fn documents(vocabulary: &VocabularyId) -> Vec<Vec<TokenId>> {
    let token = |index: u32| index.wrapping_mul(2_654_435_761) % vocabulary.size;
    (1..40_u32).map(|len| (0..len).map(|at| token(len * 100 + at)).collect()).collect()
}

/// A folder of its own that goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("lucid-train-shards-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write(folder: &Path, vocabulary: VocabularyId, tokens_max: u64) -> Vec<ShardEntry> {
    let mut writer = ShardWriter::new(folder, "train", vocabulary, tokens_max);
    for document in documents(&vocabulary) {
        writer.push(&document, document.len() as u64 * 4).unwrap();
    }
    writer.push(&[], 9).unwrap();
    assert_eq!(writer.documents(), 39);
    writer.finish().unwrap()
}

#[test]
fn what_is_written_is_read() {
    for (vocabulary, tokens_max) in [(SMALL, 100), (SMALL, 1 << 20), (LARGE, 1), (LARGE, 333)] {
        let folder = Folder::new(&format!("good-{tokens_max}"));
        let entries = write(&folder.0, vocabulary, tokens_max);
        let shards = Shards::open(&folder.0, &entries, &vocabulary, Check::All).unwrap();
        let documents = documents(&vocabulary);
        assert_eq!(shards.documents() as usize, documents.len());
        assert_eq!(shards.tokens(), 39 * 40 / 2);
        assert_eq!(shards.text_bytes(), 39 * 40 / 2 * 4);
        let mut found = Vec::new();
        for (number, document) in documents.iter().enumerate() {
            let number = number as u32;
            let len = shards.document_len(number);
            assert_eq!(shards.document_lens()[number as usize], len);
            found.clear();
            shards.read(number, 0..len, &mut found).unwrap();
            assert_eq!(&found, document);
            found.clear();
            shards.read(number, len / 3..len, &mut found).unwrap();
            assert_eq!(found, document[len as usize / 3..]);
        }
        let held = Shards::in_memory(&documents, &vocabulary).unwrap();
        assert_eq!(held.document_lens(), shards.document_lens());
    }
}

#[test]
fn tokens_that_the_vocabulary_lacks_are_not_written() {
    let folder = Folder::new("unknown");
    let mut writer = ShardWriter::new(&folder.0, "train", SMALL, 10);
    let error = writer.push(&[5, 1000], 1).unwrap_err();
    assert_eq!(error.to_string(), "token: 1000, at most 999");
}

/// Changes one shard's file and tells what opening says.
fn check(name: &str, change: impl FnOnce(&mut Vec<u8>), expected: &str) {
    let folder = Folder::new(name);
    let entries = write(&folder.0, SMALL, 1 << 20);
    let path = folder.0.join(&entries[0].file);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    let error = Shards::open(&folder.0, &entries, &SMALL, Check::All).unwrap_err().to_string();
    assert!(error.contains("train-00000.tokens") && error.contains(expected), "{error}");
    assert!(error.contains("prepare the data again"), "{error}");
}

#[test]
fn damaged_shards_are_refused_by_name() {
    check("empty", Vec::clear, "0 bytes");
    check("short", |bytes| bytes.truncate(143), "143 bytes");
    check("magic", |bytes| bytes[0] = b'X', "LUCIDTOK");
    check("version", |bytes| bytes[8] = 9, "version 9, known is 1");
    check("width", |bytes| bytes[12] = 3, "tokens of 3 bytes");
    check("cut", |bytes| bytes.truncate(bytes.len() - 1), "do not make");
    check("longer", |bytes| bytes.push(0), "do not make");
    check("huge", |bytes| bytes[16..24].fill(0xff), "do not make");
    check("many", |bytes| bytes[24..32].fill(0xff), "do not make");
    check("table", |bytes| bytes[150] ^= 1, "checksum");
    check("text", |bytes| bytes[33] ^= 1, "checksum");
    let last = |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1;
    check("token", last, "the tokens do not have their checksum");
    let other = |bytes: &mut Vec<u8>| {
        let folder = Folder::new("another");
        let mut writer = ShardWriter::new(&folder.0, "train", SMALL, 100);
        writer.push(&[1, 2, 3], 3).unwrap();
        let entries = writer.finish().unwrap();
        *bytes = fs::read(folder.0.join(&entries[0].file)).unwrap();
    };
    check("other", other, "another one than was prepared");
}

/// A table that has its checksum and lies about where documents are.
#[test]
fn a_table_that_lies_is_refused() {
    let forged = |table: &[u64], expected: &str| {
        let mut body = write::Body::new(2);
        body.push(&[1, 2, 3], 0);
        body.push(&[4], 0);
        let mut bytes = Vec::new();
        body.write(&body.header(&SMALL), &mut bytes).unwrap();
        for (index, place) in table.iter().enumerate() {
            let at = HEADER_BYTES + 8 * index;
            bytes[at..at + 8].copy_from_slice(&place.to_le_bytes());
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes[..HEADER_HASH]).update(&bytes[HEADER_BYTES..HEADER_BYTES + 24]);
        let hash = *hasher.finalize().as_bytes();
        bytes[HEADER_HASH..HEADER_BYTES].copy_from_slice(&hash);
        let folder = Folder::new("forged");
        let file = "train-00000.tokens".to_owned();
        fs::write(folder.0.join(&file), bytes).unwrap();
        let checksum = hexadecimal(&hash);
        let entry = ShardEntry { file, documents: 2, tokens: 4, text_bytes: 0, checksum };
        let opened = Shards::open(&folder.0, &[entry], &SMALL, Check::Table);
        match opened {
            Ok(shards) => assert_eq!((shards.documents(), expected), (2, "good")),
            Err(error) => assert!(error.to_string().contains(expected), "{error}"),
        }
    };
    forged(&[0, 3, 4], "good");
    forged(&[0, 3, 3], "document 2 begins");
    forged(&[0, 5, 4], "document 1 begins");
    forged(&[1, 3, 4], "document 0 begins");
    forged(&[0, 2, 3], "end at 3 of 4");
    forged(&[0, u64::MAX, 4], "document 1 begins");
}

#[test]
fn a_vanished_shard_and_a_foreign_vocabulary_say_what_to_do() {
    let folder = Folder::new("gone");
    let entries = write(&folder.0, SMALL, 300);
    assert!(entries.len() > 1);
    let open = |vocabulary: &VocabularyId| {
        Shards::open(&folder.0, &entries, vocabulary, Check::Table).unwrap_err()
    };
    let other = VocabularyId { fingerprint: [9; 32], ..SMALL };
    let error = open(&other);
    assert!(matches!(error, TrainError::ForeignVocabulary { .. }));
    assert!(error.to_string().contains("010101010101") && error.to_string().contains("0909"));
    fs::remove_file(folder.0.join(&entries[1].file)).unwrap();
    let error = open(&SMALL);
    assert!(
        matches!(&error, TrainError::ShardGone { path, .. } if path.ends_with(&entries[1].file))
    );
}

#[test]
fn a_shard_that_changes_or_lies_while_it_is_used_is_noticed() {
    let folder = Folder::new("changed");
    let entries = write(&folder.0, SMALL, 1 << 20);
    let path = folder.0.join(&entries[0].file);
    let whole = fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    let len = bytes.len();
    bytes[len - 2..].copy_from_slice(&[0xff, 0xff]);
    fs::write(&path, bytes).unwrap();
    let shards = Shards::open(&folder.0, &entries, &SMALL, Check::Table).unwrap();
    let mut out = vec![8];
    let error = shards.read(38, 0..39, &mut out).unwrap_err().to_string();
    assert!(error.contains(&format!("token 65535 at byte {}", len - 2)), "{error}");
    assert_eq!(out, [8]);
    shards.check_unchanged().unwrap();
    fs::write(&path, &whole[..len - 10]).unwrap();
    assert!(matches!(shards.check_unchanged(), Err(TrainError::ShardChanged { .. })));
}
