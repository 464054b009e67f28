//! Between GGUF's metadata (`tokenizer.ggml.*`) and the tokenizer's `Vocabulary`, both ways.
//!
//! Source of the keys: ggml's `docs/gguf.md`, llama.cpp's `src/llama-arch.cpp`.

use std::sync::Arc;

use lucid_sys::Bytes;
use lucid_tensor::{MetaArray, MetaValue, Metadata, MetadataError, Texts};
use lucid_tokenizer::{
    Merges, TextList, TokenId, TokenKind, Tokenizer, TokenizerError, Vocabulary,
};

const PREFIX: &str = "tokenizer.ggml.";

/// Longest single text of a vocabulary's settings: the chat template, in the first place.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// What is wrong with a vocabulary in metadata.
#[derive(Debug)]
enum Fault {
    Metadata(MetadataError),
    Tokenizer(TokenizerError),
    Other(String),
}

impl From<MetadataError> for Fault {
    fn from(error: MetadataError) -> Self {
        Self::Metadata(error)
    }
}

impl From<TokenizerError> for Fault {
    fn from(error: TokenizerError) -> Self {
        Self::Tokenizer(error)
    }
}

impl Fault {
    /// For a person: the place, if it is known, and the cause.
    fn tell(self, metadata: &Metadata) -> String {
        match self {
            Self::Metadata(error) => error.to_string(),
            Self::Other(reason) => reason,
            Self::Tokenizer(error) => match place(metadata, &error) {
                Some(place) => format!("{place}: {error}"),
                None => error.to_string(),
            },
        }
    }
}

/// The tokenizer that metadata describe; `None` where they hold none. An error names the key and
/// its place in the file.
///
/// Fewer tokens than `rows` of the embedding are padding; more could not be computed. The
/// vocabulary takes at most `memory_bytes` beside the texts, which stay where they are.
pub(super) fn tokenizer(
    metadata: &Metadata,
    rows: usize,
    memory_bytes: u64,
) -> Result<Option<Tokenizer>, String> {
    build(metadata, rows, memory_bytes).map_err(|fault| fault.tell(metadata))
}

fn build(metadata: &Metadata, rows: usize, memory_bytes: u64) -> Result<Option<Tokenizer>, Fault> {
    let Some(vocabulary) = from_metadata(metadata)? else { return Ok(None) };
    if vocabulary.tokens.len() > rows && rows > 0 {
        let (key, tokens) = (key("tokens"), vocabulary.tokens.len());
        let place = metadata.offset(&key).map_or(String::new(), |byte| format!(" at byte {byte}"));
        return Err(Fault::Other(format!(
            "the metadata key `{key}`{place}: expected at most {rows} tokens, as many as \
             `token_embd.weight` has rows, found {tokens}"
        )));
    }
    Ok(Some(Tokenizer::within(vocabulary, memory_bytes)?))
}

/// Where in the metadata that stands which the tokenizer refused.
fn place(metadata: &Metadata, error: &TokenizerError) -> Option<String> {
    let part = match error {
        TokenizerError::Length { key, .. } | TokenizerError::IdOutOfRange { key, .. } => key,
        TokenizerError::BadMerge { .. } | TokenizerError::UnknownMergePiece { .. } => "merges",
        TokenizerError::DuplicateToken { .. } => "tokens",
        TokenizerError::BadEntry { what, .. }
        | TokenizerError::Missing { what, .. }
        | TokenizerError::Unsupported { what, .. } => what,
        TokenizerError::Limit { what, .. } if what.contains("added token") => "tokens",
        TokenizerError::Limit { what, .. } => what.strip_prefix("memory for ").unwrap_or("tokens"),
        _ => return None,
    };
    let part = part.trim_start_matches(PREFIX).split(' ').next()?;
    let key = key(part);
    let offset = metadata.offset(&key)?;
    Some(format!("the metadata key `{key}` at byte {offset}"))
}

/// Reads the vocabulary that metadata hold; `None` where they hold none.
fn from_metadata(metadata: &Metadata) -> Result<Option<Vocabulary>, Fault> {
    let Some(model) = text(metadata, &key("model"))? else { return Ok(None) };
    if matches!(&*model, "none" | "no_vocab") {
        return Ok(None);
    }
    let tokens = texts(metadata, "tokens")?
        .ok_or_else(|| Fault::Other(format!("the metadata key `{}` is missing", key("tokens"))))?;
    Ok(Some(Vocabulary {
        model,
        pre: text(metadata, &key("pre"))?,
        tokens,
        scores: floats(metadata, "scores")?.unwrap_or_default(),
        kinds: integers(metadata, "token_type", TokenKind::from_gguf)?.unwrap_or_default(),
        merges: Merges::Texts(texts(metadata, "merges")?.unwrap_or_default()),
        bos: id(metadata, "bos_token_id")?,
        eos: id(metadata, "eos_token_id")?,
        eot: id(metadata, "eot_token_id")?,
        eom: id(metadata, "eom_token_id")?,
        unk: id(metadata, "unknown_token_id")?,
        // The specification spells it so.
        sep: id(metadata, "seperator_token_id")?,
        pad: id(metadata, "padding_token_id")?,
        cls: id(metadata, "cls_token_id")?,
        mask: id(metadata, "mask_token_id")?,
        add_bos: metadata.bool(&key("add_bos_token"))?,
        add_eos: metadata.bool(&key("add_eos_token"))?,
        add_sep: metadata.bool(&key("add_sep_token"))?,
        add_space_prefix: metadata.bool(&key("add_space_prefix"))?,
        remove_extra_whitespaces: metadata.bool(&key("remove_extra_whitespaces"))?,
        precompiled_charsmap: bytes(metadata, "precompiled_charsmap")?,
        chat_template: text(metadata, "tokenizer.chat_template")?,
        ..Vocabulary::default()
    }))
}

/// Drops the tokens for which the embedding has no row: some tokenizer.json list more than the
/// model knows.
pub fn fit(vocabulary: &mut Vocabulary, rows: usize) {
    if rows > 0 {
        vocabulary.tokens.truncate(rows);
        vocabulary.scores.truncate(rows);
        vocabulary.kinds.truncate(rows);
    }
}

/// Writes a vocabulary as metadata.
pub fn to_metadata(vocabulary: &Vocabulary) -> Metadata {
    let mut metadata = Metadata::default();
    let mut put = |name: &str, value: MetaValue| metadata.insert(key(name), value, None);
    put("model", MetaValue::Text(vocabulary.model.clone()));
    if let Some(pre) = &vocabulary.pre {
        put("pre", MetaValue::Text(pre.clone()));
    }
    put("tokens", MetaValue::Array(MetaArray::texts(vocabulary.tokens.iter())));
    if !vocabulary.scores.is_empty() {
        put("scores", MetaValue::Array(MetaArray::float(vocabulary.scores.clone())));
    }
    if !vocabulary.kinds.is_empty() {
        let kinds = vocabulary.kinds.iter().map(|&kind| kind as i64).collect();
        put("token_type", MetaValue::Array(MetaArray::signed(kinds)));
    }
    if !vocabulary.merges.is_empty() {
        let merges = vocabulary.merges.texts(&vocabulary.tokens);
        put("merges", MetaValue::Array(MetaArray::texts(merges)));
    }
    let ids = [
        ("bos_token_id", vocabulary.bos),
        ("eos_token_id", vocabulary.eos),
        ("eot_token_id", vocabulary.eot),
        ("eom_token_id", vocabulary.eom),
        ("unknown_token_id", vocabulary.unk),
        ("seperator_token_id", vocabulary.sep),
        ("padding_token_id", vocabulary.pad),
        ("cls_token_id", vocabulary.cls),
        ("mask_token_id", vocabulary.mask),
    ];
    for (name, id) in ids {
        if let Some(id) = id {
            put(name, MetaValue::Unsigned(u64::from(id)));
        }
    }
    let flags = [
        ("add_bos_token", vocabulary.add_bos),
        ("add_eos_token", vocabulary.add_eos),
        ("add_sep_token", vocabulary.add_sep),
        ("add_space_prefix", vocabulary.add_space_prefix),
        ("remove_extra_whitespaces", vocabulary.remove_extra_whitespaces),
    ];
    for (name, flag) in flags {
        if let Some(flag) = flag {
            put(name, MetaValue::Bool(flag));
        }
    }
    if let Some(map) = &vocabulary.precompiled_charsmap {
        let map = map.iter().map(|&byte| u64::from(byte)).collect();
        put("precompiled_charsmap", MetaValue::Array(MetaArray::unsigned(map)));
    }
    if let Some(template) = &vocabulary.chat_template {
        metadata.insert("tokenizer.chat_template", MetaValue::Text(template.clone()), None);
    }
    metadata
}

fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

fn id(metadata: &Metadata, name: &str) -> Result<Option<TokenId>, Fault> {
    let key = key(name);
    // Some writers put -1 for "none".
    if let Some(MetaValue::Signed(-1)) = metadata.value(&key) {
        return Ok(None);
    }
    let Some(value) = metadata.unsigned(&key)? else { return Ok(None) };
    if value == u64::from(u32::MAX) {
        return Ok(None);
    }
    match u32::try_from(value) {
        Ok(id) => Ok(Some(id)),
        Err(_) => {
            Err(metadata.wrong(&key, "a token id below 2^32", &MetaValue::Unsigned(value)).into())
        }
    }
}

/// A setting. It is copied, and so it is bounded.
fn text(metadata: &Metadata, key: &str) -> Result<Option<String>, Fault> {
    let Some(text) = metadata.text(key)? else { return Ok(None) };
    if text.len() > TEXT_BYTES_MAX {
        let found = MetaValue::Text(text.chars().take(40).collect());
        return Err(metadata.wrong(key, "a text of at most 1 MiB", &found).into());
    }
    Ok(Some(text.to_owned()))
}

/// A file's bytes as the tokenizer shares them.
struct Shared(Bytes);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Texts where they lie in the file.
fn texts(metadata: &Metadata, name: &str) -> Result<Option<TextList>, Fault> {
    match metadata.value(&key(name)) {
        None => Ok(None),
        Some(MetaValue::Array(MetaArray::Text(texts))) => {
            let (bytes, starts) = texts.parts();
            let bytes = Arc::new(Shared(bytes.clone()));
            let list = TextList::shared(bytes, Arc::clone(starts), Texts::LENGTH_BYTES);
            let list = list.ok_or_else(|| Fault::Other("texts outside their file".to_owned()))?;
            Ok(Some(list))
        }
        Some(other) => Err(metadata.wrong(&key(name), "an array of texts", other).into()),
    }
}

fn floats(metadata: &Metadata, name: &str) -> Result<Option<Vec<f32>>, Fault> {
    match metadata.value(&key(name)) {
        None => Ok(None),
        Some(MetaValue::Array(MetaArray::Float(values))) => Ok(Some(values.to_vec())),
        Some(other) => Err(metadata.wrong(&key(name), "an array of floats", other).into()),
    }
}

/// Integers, each made into what `read` makes of it and its index.
fn integers<T>(
    metadata: &Metadata,
    name: &str,
    read: impl Fn(i64, usize) -> Result<T, TokenizerError>,
) -> Result<Option<Vec<T>>, Fault> {
    let mut list;
    match metadata.value(&key(name)) {
        None => return Ok(None),
        Some(MetaValue::Array(MetaArray::Signed(values))) => {
            list = Vec::with_capacity(values.len());
            for (index, value) in values.iter().enumerate() {
                list.push(read(value, index)?);
            }
        }
        Some(MetaValue::Array(MetaArray::Unsigned(values))) => {
            list = Vec::with_capacity(values.len());
            for (index, value) in values.iter().enumerate() {
                list.push(read(i64::try_from(value).unwrap_or(i64::MAX), index)?);
            }
        }
        Some(other) => {
            return Err(metadata.wrong(&key(name), "an array of integers", other).into());
        }
    }
    Ok(Some(list))
}

fn bytes(metadata: &Metadata, name: &str) -> Result<Option<Vec<u8>>, Fault> {
    integers(metadata, name, |value, index| {
        let byte = u8::try_from(value).or_else(|_| i8::try_from(value).map(|v| v as u8));
        byte.map_err(|_| TokenizerError::BadEntry {
            what: "tokenizer.ggml.precompiled_charsmap entry",
            index,
            found: value.to_string(),
            expected: "a byte",
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vocabulary {
        Vocabulary {
            model: "gpt2".to_owned(),
            pre: Some("llama-bpe".to_owned()),
            tokens: ["a", "b", "ab"].iter().collect(),
            kinds: vec![TokenKind::Normal, TokenKind::Control, TokenKind::Byte],
            scores: vec![0.0, -1.0, 2.5],
            merges: ["a b"].iter().collect(),
            bos: Some(1),
            add_bos: Some(true),
            precompiled_charsmap: Some(vec![0, 255]),
            chat_template: Some("{{ messages }}".to_owned()),
            ..Vocabulary::default()
        }
    }

    #[test]
    fn a_vocabulary_survives_the_way_through_metadata() {
        assert_eq!(from_metadata(&to_metadata(&sample())).unwrap(), Some(sample()));
    }

    #[test]
    fn wrong_types_are_named() {
        for name in ["tokens", "scores", "token_type", "merges", "bos_token_id", "add_bos_token"] {
            let mut metadata = to_metadata(&sample());
            metadata.insert(key(name), MetaValue::Text("x".to_owned()), Some(77));
            let error = from_metadata(&metadata).unwrap_err().tell(&metadata);
            assert!(error.contains(name) && error.contains("byte 77"), "{error}");
        }
    }
}
