//! Writing shards. A shard is gathered in memory (bounded) and written in one go, so that a process
//! that is killed leaves whole shards only.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lucid_sys::write_atomic;
use lucid_tokenizer::TokenId;
use serde::{Deserialize, Serialize};

use super::{
    DOCUMENT_TOKENS_MAX, HEADER_BYTES, HEADER_HASH, MAGIC, NO_TOKEN, TOKENS_HASH, VERSION,
};
use crate::TrainError;
use crate::data::VocabularyId;

/// A shard in the list of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardEntry {
    /// The file's name within the set's folder.
    pub file: String,
    /// Its documents.
    pub documents: u64,
    /// Its tokens.
    pub tokens: u64,
    /// Bytes of text behind them.
    pub text_bytes: u64,
    /// BLAKE3 of its header and table, which hold that of its tokens; hexadecimal.
    pub checksum: String,
}

/// Writes documents into shards of a bounded size.
#[derive(Debug)]
pub struct ShardWriter {
    folder: PathBuf,
    name: String,
    vocabulary: VocabularyId,
    tokens_max: u64,
    body: Body,
    written: Vec<ShardEntry>,
}

impl ShardWriter {
    /// A shard has about this many tokens; it is also what is held in memory.
    pub const TOKENS_MAX: u64 = 1 << 24;

    /// Shards will be `folder/NAME-00000.tokens` and so on. The folder exists.
    pub fn new(folder: &Path, name: &str, vocabulary: VocabularyId, tokens_max: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
            vocabulary,
            tokens_max,
            body: Body::new(vocabulary.token_bytes()),
            written: Vec::new(),
        }
    }

    /// Adds a document as it will be read: with the token that begins it, if there is one.
    /// A document without tokens is left out.
    ///
    /// # Errors
    /// A shard was full and could not be written; a token that the vocabulary does not have, or too
    /// many of them.
    pub fn push(&mut self, tokens: &[TokenId], text_bytes: u64) -> Result<(), TrainError> {
        let found = tokens.len() as u64;
        if found > DOCUMENT_TOKENS_MAX {
            let what = "tokens of a document";
            return Err(TrainError::Limit { what, found, limit: DOCUMENT_TOKENS_MAX });
        }
        if let Some(&token) = tokens.iter().find(|&&token| token >= self.vocabulary.size) {
            let limit = u64::from(self.vocabulary.size) - 1;
            return Err(TrainError::Limit { what: "token", found: token.into(), limit });
        }
        if tokens.is_empty() {
            return Ok(());
        }
        if !self.body.is_empty() && self.body.tokens + found > self.tokens_max {
            self.flush()?;
        }
        self.body.push(tokens, text_bytes);
        Ok(())
    }

    /// Documents in all so far.
    pub fn documents(&self) -> u64 {
        let written: u64 = self.written.iter().map(|entry| entry.documents).sum();
        written + self.body.documents()
    }

    /// Writes what is left, and lists all shards.
    ///
    /// # Errors
    /// The last shard could not be written.
    pub fn finish(mut self) -> Result<Vec<ShardEntry>, TrainError> {
        if !self.body.is_empty() {
            self.flush()?;
        }
        Ok(self.written)
    }

    fn flush(&mut self) -> Result<(), TrainError> {
        let fresh = Body::new(self.vocabulary.token_bytes());
        let body = std::mem::replace(&mut self.body, fresh);
        let file = format!("{}-{:05}.tokens", self.name, self.written.len());
        let path = self.folder.join(&file);
        let header = body.header(&self.vocabulary);
        write_atomic(&path, |writer| body.write(&header, writer))
            .map_err(|source| TrainError::Write { path, source })?;
        self.written.push(ShardEntry {
            file,
            documents: body.documents(),
            tokens: body.tokens,
            text_bytes: body.text_bytes,
            checksum: hexadecimal(&header[HEADER_HASH..]),
        });
        Ok(())
    }
}

pub(in crate::data) fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('?');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The documents of one shard.
#[derive(Debug)]
pub(super) struct Body {
    width: u32,
    /// Little-endian.
    bytes: Vec<u8>,
    tokens: u64,
    table: Vec<u64>,
    text_bytes: u64,
}

impl Body {
    pub(super) fn new(width: u32) -> Self {
        Self { width, bytes: Vec::new(), tokens: 0, table: vec![0], text_bytes: 0 }
    }

    fn is_empty(&self) -> bool {
        self.tokens == 0
    }

    fn documents(&self) -> u64 {
        self.table.len() as u64 - 1
    }

    pub(super) fn push(&mut self, tokens: &[TokenId], text_bytes: u64) {
        for &token in tokens {
            let bytes = token.to_le_bytes();
            self.bytes.extend_from_slice(&bytes[..self.width as usize]);
        }
        self.tokens += tokens.len() as u64;
        self.table.push(self.tokens);
        self.text_bytes += text_bytes;
    }

    pub(super) fn header(&self, vocabulary: &VocabularyId) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&self.width.to_le_bytes());
        header.extend_from_slice(&self.documents().to_le_bytes());
        header.extend_from_slice(&self.tokens.to_le_bytes());
        header.extend_from_slice(&self.text_bytes.to_le_bytes());
        header.extend_from_slice(&vocabulary.size.to_le_bytes());
        header.extend_from_slice(&vocabulary.begin.unwrap_or(NO_TOKEN).to_le_bytes());
        header.extend_from_slice(&vocabulary.fingerprint);
        assert_eq!(header.len(), TOKENS_HASH, "the fields before it have fixed sizes");
        header.extend_from_slice(blake3::hash(&self.bytes).as_bytes());
        let mut hasher = blake3::Hasher::new();
        hasher.update(&header);
        for place in &self.table {
            hasher.update(&place.to_le_bytes());
        }
        header.extend_from_slice(hasher.finalize().as_bytes());
        header
    }

    pub(super) fn write(&self, header: &[u8], writer: &mut dyn Write) -> io::Result<()> {
        writer.write_all(header)?;
        for place in &self.table {
            writer.write_all(&place.to_le_bytes())?;
        }
        writer.write_all(&self.bytes)
    }
}
