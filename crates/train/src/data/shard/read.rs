//! Reading shards. Each size is checked against the file before it is used; what a checksum does
//! not cover at opening (the tokens, unless all is to be checked) is checked against the vocabulary
//! when it is read.

use std::ops::Range;
use std::path::{Path, PathBuf};

use lucid_sys::{Access, Bytes, MapError};
use lucid_tokenizer::TokenId;

use super::write::{ShardEntry, hexadecimal};
use super::{
    DOCUMENT_TOKENS_MAX, HEADER_BYTES, HEADER_HASH, MAGIC, NO_TOKEN, TOKENS_HASH, VERSION,
};
use crate::TrainError;
use crate::data::VocabularyId;
use crate::data::vocabulary_id::digits;

/// How much of a shard is checked when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Header and table: reads little. A damaged token is noticed when it is no token of the
    /// vocabulary.
    Table,
    /// The tokens' checksum too: reads the whole file.
    All,
}

/// The documents of several shards, numbered through. Cheap to share: nothing is copied.
#[derive(Debug)]
pub struct Shards {
    files: Vec<Shard>,
    /// The number of the first document of each shard, and that of all.
    first: Vec<u32>,
    vocabulary: VocabularyId,
    identity: [u8; 32],
}

impl Shards {
    /// Maps the shards of a list, which lie in `folder`.
    ///
    /// # Errors
    /// A shard is gone, damaged, of another version, another vocabulary, or not the one in the
    /// list.
    pub fn open(
        folder: &Path,
        entries: &[ShardEntry],
        vocabulary: &VocabularyId,
        check: Check,
    ) -> Result<Self, TrainError> {
        let mut shards = Vec::new();
        for entry in entries {
            let shard = Shard::open(folder.join(&entry.file), vocabulary, check)?;
            let found = shard.checksum();
            if found != entry.checksum {
                let what = format!(
                    "it is another one than was prepared (checksum {} instead of {})",
                    found.get(..12).unwrap_or_default(),
                    entry.checksum.get(..12).unwrap_or_default()
                );
                return Err(TrainError::ShardDamaged { path: shard.path, what });
            }
            shards.push(shard);
        }
        Self::of(shards, vocabulary)
    }

    /// Documents in memory, for tests and for text that is not worth a file.
    ///
    /// # Errors
    /// More documents than u32 counts.
    pub fn in_memory(
        documents: &[Vec<TokenId>],
        vocabulary: &VocabularyId,
    ) -> Result<Self, TrainError> {
        let mut body = super::write::Body::new(vocabulary.token_bytes());
        for document in documents.iter().filter(|document| !document.is_empty()) {
            body.push(document, 0);
        }
        let mut bytes = Vec::new();
        let path = PathBuf::from("memory");
        body.write(&body.header(vocabulary), &mut bytes)
            .map_err(|source| TrainError::Write { path: path.clone(), source })?;
        Self::of(
            vec![Shard::parse(path, Bytes::from(bytes), vocabulary, Check::Table)?],
            vocabulary,
        )
    }

    fn of(shards: Vec<Shard>, vocabulary: &VocabularyId) -> Result<Self, TrainError> {
        let mut first = vec![0];
        let mut hasher = blake3::Hasher::new_derive_key("lucid shards identity 1");
        for shard in &shards {
            let total = u64::from(first[first.len() - 1]) + shard.documents as u64;
            let limit = u64::from(u32::MAX) - 1;
            if total > limit {
                return Err(TrainError::Limit { what: "documents", found: total, limit });
            }
            first.push(total as u32);
            hasher.update(&shard.bytes[HEADER_HASH..HEADER_BYTES]);
        }
        let identity = *hasher.finalize().as_bytes();
        Ok(Self { files: shards, first, vocabulary: *vocabulary, identity })
    }

    /// Number of documents.
    pub fn documents(&self) -> u32 {
        self.first[self.first.len() - 1]
    }

    /// Tokens in all.
    pub fn tokens(&self) -> u64 {
        self.files.iter().map(|shard| shard.tokens as u64).sum()
    }

    /// Bytes of text behind them.
    pub fn text_bytes(&self) -> u64 {
        self.files.iter().map(|shard| shard.text_bytes).fold(0, u64::saturating_add)
    }

    /// The vocabulary of the tokens.
    pub fn vocabulary(&self) -> &VocabularyId {
        &self.vocabulary
    }

    /// What tells these documents, in this order, from all others.
    pub fn identity(&self) -> &[u8; 32] {
        &self.identity
    }

    /// Tokens of a document.
    ///
    /// # Panics
    /// There is no such document.
    pub fn document_len(&self, document: u32) -> u32 {
        let (shard, index) = self.locate(document);
        let range = shard.document(index);
        (range.end - range.start) as u32
    }

    /// Tokens of each document, in order.
    pub fn document_lens(&self) -> Vec<u32> {
        let lens = |shard: &Shard| -> Vec<u32> {
            (0..shard.documents).map(|index| shard.document(index).len() as u32).collect()
        };
        self.files.iter().flat_map(lens).collect()
    }

    /// Appends tokens `range` of a document.
    ///
    /// # Errors
    /// The file changed under its map, or holds a token that the vocabulary does not have.
    ///
    /// # Panics
    /// There is no such document, or it is shorter.
    pub fn read(
        &self,
        document: u32,
        range: Range<u32>,
        out: &mut Vec<TokenId>,
    ) -> Result<(), TrainError> {
        let (shard, index) = self.locate(document);
        let whole = shard.document(index);
        assert!(range.start <= range.end && range.end as usize <= whole.len(), "past the end");
        let tokens = whole.start + range.start as usize..whole.start + range.end as usize;
        shard.read(tokens, self.vocabulary.size, out)
    }

    /// Whether the files are still what was opened. To be asked before each piece of work: reading
    /// a part that a truncation has cut off would end the process. A file that was only deleted or
    /// replaced lives on until its map goes.
    ///
    /// # Errors
    /// `ShardChanged` with the file's name.
    pub fn check_unchanged(&self) -> Result<(), TrainError> {
        for shard in &self.files {
            if shard.bytes.changed_on_disk() {
                return Err(TrainError::ShardChanged { path: shard.path.clone() });
            }
        }
        Ok(())
    }

    fn locate(&self, document: u32) -> (&Shard, usize) {
        assert!(document < self.documents(), "document {document} of {}", self.documents());
        let shard = self.first.partition_point(|&first| first <= document) - 1;
        (&self.files[shard], (document - self.first[shard]) as usize)
    }
}

/// One file. Invariant: the table ascends within the tokens, which lie within the bytes.
#[derive(Debug)]
struct Shard {
    path: PathBuf,
    bytes: Bytes,
    width: usize,
    documents: usize,
    tokens: usize,
    text_bytes: u64,
    /// The byte at which the tokens begin.
    start: usize,
}

impl Shard {
    fn open(path: PathBuf, vocabulary: &VocabularyId, check: Check) -> Result<Self, TrainError> {
        match Bytes::map(&path) {
            Ok(bytes) => Self::parse(path, bytes, vocabulary, check),
            Err(MapError { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Err(TrainError::ShardGone { path, source })
            }
            Err(MapError { source, .. }) => Err(TrainError::Read { path, source }),
        }
    }

    fn parse(
        path: PathBuf,
        bytes: Bytes,
        vocabulary: &VocabularyId,
        check: Check,
    ) -> Result<Self, TrainError> {
        let damaged = |what: String| TrainError::ShardDamaged { path: path.clone(), what };
        if bytes.len() < HEADER_BYTES {
            return Err(damaged(format!("{} bytes; a header has {HEADER_BYTES}", bytes.len())));
        }
        if bytes[..8] != MAGIC {
            return Err(damaged("it does not begin with LUCIDTOK".to_owned()));
        }
        let found = u32_at(&bytes, 8);
        if found != VERSION {
            return Err(TrainError::ShardVersion { path, found, known: VERSION });
        }
        let layout = Layout::read(&bytes).map_err(damaged)?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes[..HEADER_HASH]).update(&bytes[HEADER_BYTES..layout.start]);
        if hasher.finalize().as_bytes()[..] != bytes[HEADER_HASH..HEADER_BYTES] {
            return Err(damaged("header and table do not have their checksum".to_owned()));
        }
        let begin = Some(u32_at(&bytes, 44)).filter(|&token| token != NO_TOKEN);
        let same = bytes[48..80] == vocabulary.fingerprint
            && u32_at(&bytes, 40) == vocabulary.size
            && begin == vocabulary.begin;
        if !same {
            let found = digits(&bytes[48..80]);
            return Err(TrainError::ForeignVocabulary {
                path,
                expected: vocabulary.to_string(),
                found,
            });
        }
        let Layout { width, documents, tokens, start } = layout;
        let text_bytes = u64_at(&bytes, 32);
        let shard = Self { path, bytes, width, documents, tokens, text_bytes, start };
        shard.check_table()?;
        if check == Check::All {
            shard.check_tokens()?;
        }
        shard.bytes.advise(Access::Random);
        Ok(shard)
    }

    fn check_table(&self) -> Result<(), TrainError> {
        let damaged = |what| TrainError::ShardDamaged { path: self.path.clone(), what };
        let mut before = 0;
        for index in 0..=self.documents {
            let place = u64_at(&self.bytes, HEADER_BYTES + 8 * index);
            let fits = if index == 0 { place == 0 } else { place > before };
            if !fits || place > self.tokens as u64 || place - before > DOCUMENT_TOKENS_MAX {
                return Err(damaged(format!(
                    "document {index} begins at token {place}, the one before at {before}, of {}",
                    self.tokens
                )));
            }
            before = place;
        }
        if before != self.tokens as u64 {
            return Err(damaged(format!("documents end at {before} of {} tokens", self.tokens)));
        }
        Ok(())
    }

    fn check_tokens(&self) -> Result<(), TrainError> {
        self.bytes.advise(Access::Sequential);
        let mut hasher = blake3::Hasher::new();
        // In pieces, with a look at the file between them: a truncation would end the process.
        for piece in self.bytes[self.start..].chunks(1 << 26) {
            if self.bytes.changed_on_disk() {
                return Err(TrainError::ShardChanged { path: self.path.clone() });
            }
            hasher.update(piece);
        }
        if hasher.finalize().as_bytes()[..] != self.bytes[TOKENS_HASH..HEADER_HASH] {
            let what = "the tokens do not have their checksum".to_owned();
            return Err(TrainError::ShardDamaged { path: self.path.clone(), what });
        }
        Ok(())
    }

    fn checksum(&self) -> String {
        hexadecimal(&self.bytes[HEADER_HASH..HEADER_BYTES])
    }

    /// The tokens of a document.
    fn document(&self, index: usize) -> Range<usize> {
        let place = |index| u64_at(&self.bytes, HEADER_BYTES + 8 * index) as usize;
        // Looked at again: a file that was written to since must not make a wrong slice.
        let end = place(index + 1).min(self.tokens);
        place(index).min(end)..end
    }

    fn read(
        &self,
        tokens: Range<usize>,
        size: u32,
        out: &mut Vec<TokenId>,
    ) -> Result<(), TrainError> {
        let at = |token: usize| self.start + token * self.width;
        let bytes = &self.bytes[at(tokens.start)..at(tokens.end)];
        let before = out.len();
        if self.width == 2 {
            let pairs = bytes.as_chunks::<2>().0;
            out.extend(pairs.iter().map(|&pair| u32::from(u16::from_le_bytes(pair))));
        } else {
            out.extend(bytes.as_chunks::<4>().0.iter().map(|&four| u32::from_le_bytes(four)));
        }
        let Some(bad) = out[before..].iter().position(|&token| token >= size) else {
            return Ok(());
        };
        let token = out[before + bad];
        out.truncate(before);
        let byte = at(tokens.start + bad);
        let what = format!("token {token} at byte {byte}; the vocabulary has {size}");
        Err(TrainError::ShardDamaged { path: self.path.clone(), what })
    }
}

/// Sizes that were checked against the file's.
struct Layout {
    width: usize,
    documents: usize,
    tokens: usize,
    start: usize,
}

impl Layout {
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let width = u32_at(bytes, 12);
        if width != 2 && width != 4 {
            return Err(format!("byte 12: tokens of {width} bytes, expected 2 or 4"));
        }
        let (documents, tokens) = (u64_at(bytes, 16), u64_at(bytes, 24));
        let len = |documents: u64, tokens: u64| {
            let table = documents.checked_add(1)?.checked_mul(8)?;
            let start = table.checked_add(HEADER_BYTES as u64)?;
            Some((start, tokens.checked_mul(u64::from(width))?.checked_add(start)?))
        };
        match len(documents, tokens) {
            Some((start, end)) if end == bytes.len() as u64 => Ok(Self {
                width: width as usize,
                documents: documents as usize,
                tokens: tokens as usize,
                start: start as usize,
            }),
            _ => Err(format!(
                "{documents} documents and {tokens} tokens of {width} bytes do not make {} bytes",
                bytes.len()
            )),
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}
