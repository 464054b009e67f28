//! Key-value metadata of a model, in GGUF's vocabulary of keys (`llama.block_count`,
//! `tokenizer.ggml.tokens`), whatever file it came from. Source: the GGUF specification in ggml's
//! `docs/gguf.md`.

use std::collections::BTreeMap;

use crate::array::{Numbers, Texts};

/// One metadata value. Integer widths are kept apart only as far as the sign.
#[derive(Clone, Debug, PartialEq)]
pub enum MetaValue {
    /// u8, u16, u32, u64.
    Unsigned(u64),
    /// i8, i16, i32, i64.
    Signed(i64),
    /// f32 (widened) and f64.
    Float(f64),
    /// bool.
    Bool(bool),
    /// UTF-8 text.
    Text(String),
    /// A homogeneous array.
    Array(MetaArray),
}

/// A homogeneous array of metadata values.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants mirror MetaValue")]
pub enum MetaArray {
    Unsigned(Numbers<u64>),
    Signed(Numbers<i64>),
    Float(Numbers<f32>),
    Bool(Vec<bool>),
    Text(Texts),
}

impl MetaArray {
    /// Unsigned integers made in memory.
    pub fn unsigned(numbers: Vec<u64>) -> Self {
        Self::Unsigned(numbers.into())
    }

    /// Signed integers made in memory.
    pub fn signed(numbers: Vec<i64>) -> Self {
        Self::Signed(numbers.into())
    }

    /// Floats made in memory.
    pub fn float(numbers: Vec<f32>) -> Self {
        Self::Float(numbers.into())
    }

    /// Copies of texts.
    pub fn texts<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::Text(texts.into_iter().collect())
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Unsigned(v) => v.len(),
            Self::Signed(v) => v.len(),
            Self::Float(v) => v.len(),
            Self::Bool(v) => v.len(),
            Self::Text(v) => v.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl MetaValue {
    /// What the value is, for error messages: `unsigned integer`, `text`, ...
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unsigned(_) => "unsigned integer",
            Self::Signed(_) => "signed integer",
            Self::Float(_) => "float",
            Self::Bool(_) => "bool",
            Self::Text(_) => "text",
            Self::Array(MetaArray::Unsigned(_)) => "array of unsigned integers",
            Self::Array(MetaArray::Signed(_)) => "array of signed integers",
            Self::Array(MetaArray::Float(_)) => "array of floats",
            Self::Array(MetaArray::Bool(_)) => "array of bools",
            Self::Array(MetaArray::Text(_)) => "array of texts",
        }
    }
}

/// A key is missing or holds something else than expected.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MetadataError {
    /// The key is required and absent.
    #[error("the metadata key `{key}` is missing (expected {expected})")]
    Missing {
        /// The key.
        key: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// The key holds another kind of value, or one out of range.
    #[error("the metadata key `{key}` holds {found}{}, expected {expected}", at(*offset))]
    Wrong {
        /// The key.
        key: String,
        /// What it should hold.
        expected: &'static str,
        /// What it holds.
        found: String,
        /// Where the value starts in the file, if it came from a binary file.
        offset: Option<u64>,
    },
}

fn at(offset: Option<u64>) -> String {
    offset.map_or_else(String::new, |offset| format!(" at byte {offset}"))
}

/// All metadata of a model, by key. Getters check type and range and name the key, and the byte,
/// when they refuse.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    entries: BTreeMap<String, (MetaValue, Option<u64>)>,
}

impl Metadata {
    /// Adds or replaces a value; `offset` is where it starts in its file, for error messages.
    pub fn insert(&mut self, key: impl Into<String>, value: MetaValue, offset: Option<u64>) {
        self.entries.insert(key.into(), (value, offset));
    }

    /// The value of a key, whatever its type.
    pub fn value(&self, key: &str) -> Option<&MetaValue> {
        self.entries.get(key).map(|entry| &entry.0)
    }

    /// Where the value of a key starts in its file.
    pub fn offset(&self, key: &str) -> Option<u64> {
        self.entries.get(key).and_then(|entry| entry.1)
    }

    /// Removes a key and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<MetaValue> {
        self.entries.remove(key).map(|entry| entry.0)
    }

    /// Every key with its value, in ascending order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &MetaValue)> {
        self.entries.iter().map(|(key, entry)| (key.as_str(), &entry.0))
    }

    /// An optional text.
    ///
    /// # Errors
    /// The key holds something else.
    pub fn text(&self, key: &str) -> Result<Option<&str>, MetadataError> {
        match self.value(key) {
            None => Ok(None),
            Some(MetaValue::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, "text", other)),
        }
    }

    /// An optional non-negative integer.
    ///
    /// # Errors
    /// The key holds something else, or a negative integer.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>, MetadataError> {
        match self.value(key) {
            None => Ok(None),
            Some(MetaValue::Unsigned(v)) => Ok(Some(*v)),
            Some(MetaValue::Signed(v)) if *v >= 0 => Ok(Some(*v as u64)),
            Some(other) => Err(self.wrong(key, "a non-negative integer", other)),
        }
    }

    /// An optional finite number.
    ///
    /// # Errors
    /// The key holds something else, NaN or an infinity.
    pub fn float(&self, key: &str) -> Result<Option<f64>, MetadataError> {
        match self.value(key) {
            None => Ok(None),
            Some(MetaValue::Float(v)) if v.is_finite() => Ok(Some(*v)),
            Some(MetaValue::Unsigned(v)) => Ok(Some(*v as f64)),
            Some(MetaValue::Signed(v)) => Ok(Some(*v as f64)),
            Some(other) => Err(self.wrong(key, "a finite number", other)),
        }
    }

    /// An optional bool.
    ///
    /// # Errors
    /// The key holds something else.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, MetadataError> {
        match self.value(key) {
            None => Ok(None),
            Some(MetaValue::Bool(v)) => Ok(Some(*v)),
            Some(other) => Err(self.wrong(key, "a bool", other)),
        }
    }

    /// The error for a value that is not what its reader can use; also for readers' own range
    /// checks.
    pub fn wrong(&self, key: &str, expected: &'static str, found: &MetaValue) -> MetadataError {
        let found = match found {
            MetaValue::Unsigned(v) => v.to_string(),
            MetaValue::Signed(v) => v.to_string(),
            MetaValue::Float(v) => v.to_string(),
            MetaValue::Bool(v) => v.to_string(),
            MetaValue::Text(v) => format!("the text {:?}", v.chars().take(40).collect::<String>()),
            MetaValue::Array(array) => format!("an {} of length {}", found.kind(), array.len()),
        };
        MetadataError::Wrong { key: key.to_owned(), expected, found, offset: self.offset(key) }
    }
}
