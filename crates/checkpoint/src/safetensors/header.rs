//! Reads the header of one safetensors file. Source: the format's description in
//! huggingface/safetensors' README: a length u64, that many bytes of JSON, then the data, which the
//! tensors cover without gaps.
//!
//! Departures: dimensions of 0 are refused; a scalar is read as one element; a tensor has at most
//! four dimensions.

use super::json::offset_of;
use crate::CheckpointError;
use crate::budget::{Budget, heap_cost};
use crate::cursor::{Cursor, Item, brief};
use crate::table::{Dims, Entry, Place};
use lucid_sys::Bytes;
use lucid_tensor::DType;
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::path::Path;

/// The format's own bound on the header.
const HEADER_LEN_MAX: u64 = 100_000_000;
/// Where the JSON starts.
const JSON_START: u64 = 8;

/// What becomes of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// It is kept under this name.
    Tensor(String),
    /// It is known and not needed: part of an image encoder, a table that is computed anew.
    Skip,
    /// The family has no such tensor.
    Unknown,
}

/// Where a tensor's bytes lie behind the header, and where it is declared.
struct Span {
    start: u64,
    end: u64,
    declared_at: u64,
}

/// Reads a file's tensors under the names that `rename` gives them, in the order of their data.
pub(crate) fn read(
    file: &Path,
    file_number: u32,
    bytes: &Bytes,
    budget: &mut Budget,
    rename: &dyn Fn(&str) -> Named,
) -> Result<Vec<Entry>, CheckpointError> {
    let mut cursor = Cursor::new(file, bytes, budget);
    let item = Item::Header("length");
    let len = cursor.u64(item)?;
    if len > HEADER_LEN_MAX {
        let expected = format!("at most {HEADER_LEN_MAX} bytes");
        return Err(cursor.malformed(item, 0, expected, len.to_string()));
    }
    let json = cursor.take(len, item)?;
    let json = std::str::from_utf8(json).map_err(|error| {
        let at = JSON_START + error.valid_up_to() as u64;
        cursor.malformed(Item::Header("JSON"), at, "UTF-8", "bytes that are not")
    })?;
    let data_len = cursor.remaining();
    let mut reader = Reader {
        cursor,
        json,
        file_number,
        rename,
        data_start: JSON_START + len,
        data_len,
        entries: Vec::new(),
        spans: Vec::new(),
        failed: None,
    };
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let parsed = deserializer.deserialize_map(&mut reader).and_then(|()| deserializer.end());
    if let Some(error) = reader.failed.take() {
        return Err(error);
    }
    if let Err(error) = parsed {
        let at = JSON_START + offset_of(json.as_bytes(), error.line(), error.column());
        let item = Item::Header("JSON");
        let found = brief(&error.to_string());
        return Err(reader.cursor.malformed(item, at, "an object of tensors", found));
    }
    reader.check_cover()?;
    let mut entries = reader.entries;
    entries.sort_by_key(|entry| match entry.place {
        Place::File { offset, .. } => offset,
        Place::Memory { .. } => 0,
    });
    Ok(entries)
}

/// Takes the header's members one by one; nothing but the finished entries is kept.
struct Reader<'a, 'r> {
    cursor: Cursor<'a>,
    json: &'a str,
    file_number: u32,
    rename: &'r dyn Fn(&str) -> Named,
    data_start: u64,
    data_len: u64,
    entries: Vec<Entry>,
    spans: Vec<Span>,
    /// The typed error behind the text that serde carries.
    failed: Option<CheckpointError>,
}

/// One tensor as the header declares it.
#[derive(Deserialize)]
struct Declared<'a> {
    #[serde(borrow)]
    dtype: Cow<'a, str>,
    shape: Shape,
    data_offsets: [u64; 2],
}

impl<'de> Visitor<'de> for &mut Reader<'de, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Key)? {
            let raw: &RawValue = map.next_value()?;
            // Both lie in the header's text, so the difference is the value's place in it.
            let at = raw.get().as_ptr() as usize - self.json.as_ptr() as usize;
            let at = JSON_START + at as u64;
            let outcome = if name == "__metadata__" {
                self.check_metadata(raw.get(), at)
            } else {
                self.tensor(&name, raw.get(), at)
            };
            if let Err(error) = outcome {
                self.failed = Some(error);
                return Err(de::Error::custom("the typed error is kept aside"));
            }
        }
        Ok(())
    }
}

impl Reader<'_, '_> {
    /// The writer's notes: an object of texts, of which none is needed.
    fn check_metadata(&self, raw: &str, at: u64) -> Result<(), CheckpointError> {
        serde_json::from_str::<Notes>(raw).map(|_| ()).map_err(|error| {
            let found = brief(&error.to_string());
            self.cursor.malformed(Item::Key("__metadata__"), at, "an object of texts", found)
        })
    }

    fn tensor(&mut self, name: &str, raw: &str, at: u64) -> Result<(), CheckpointError> {
        let item = Item::Tensor(name);
        let declared: Declared<'_> = serde_json::from_str(raw).map_err(|error| {
            let expected = "an object with dtype, shape (up to four dimensions), data_offsets";
            self.cursor.malformed(item, at, expected, brief(&error.to_string()))
        })?;
        let [start, end] = declared.data_offsets;
        if start > end || end > self.data_len {
            let expected = format!("data_offsets inside the {} bytes of data", self.data_len);
            return Err(self.cursor.malformed(item, at, expected, format!("[{start}, {end}]")));
        }
        // Vectors that grow by doubling hold up to three times their length for a moment.
        let cost = 3 * (Entry::COST + size_of::<Span>() as u64) + heap_cost(name.len());
        self.cursor.charge(cost, item)?;
        self.spans.push(Span { start, end, declared_at: at });
        match (self.rename)(name) {
            Named::Skip => Ok(()),
            Named::Tensor(renamed) => self.keep(name, renamed, &declared, at),
            Named::Unknown => {
                let expected = "a tensor of the architecture in config.json";
                let found = "a name that it does not have";
                Err(self.cursor.malformed(item, at, expected, found))
            }
        }
    }

    fn keep(
        &mut self,
        name: &str,
        renamed: String,
        declared: &Declared<'_>,
        at: u64,
    ) -> Result<(), CheckpointError> {
        let item = Item::Tensor(name);
        let dtype = match &*declared.dtype {
            "F32" => DType::F32,
            "F16" => DType::F16,
            "BF16" => DType::BF16,
            other => {
                return Err(CheckpointError::UnknownType {
                    file: self.cursor.file().to_owned(),
                    tensor: brief(name),
                    offset: at,
                    found: brief(other),
                });
            }
        };
        let dims = declared.shape.dims().ok_or_else(|| {
            let expected = "dimensions of at least 1 with a product below 2^64";
            let found = format!("{:?}", &declared.shape.sizes[..declared.shape.len]);
            self.cursor.malformed(item, at, expected, found)
        })?;
        let [start, end] = declared.data_offsets;
        let len = dims.byte_count(dtype).filter(|&len| len as u64 == end - start);
        let len = len.ok_or_else(|| {
            let expected = format!("{dtype} data of the shape {:?}", dims.as_slice());
            self.cursor.malformed(item, at, expected, format!("{} bytes", end - start))
        })?;
        self.cursor.charge(heap_cost(renamed.len()), item)?;
        let place = Place::File { file: self.file_number, offset: self.data_start + start, len };
        self.entries.push(Entry { name: renamed.into(), dtype, dims, place, declared_at: at });
        Ok(())
    }

    /// Tensors cover the data exactly: no gap, no overlap, nothing behind the last.
    fn check_cover(&mut self) -> Result<(), CheckpointError> {
        self.spans.sort_unstable_by_key(|span| (span.start, span.end));
        let item = Item::Header("data_offsets");
        let mut covered = 0;
        for span in &self.spans {
            if span.start != covered {
                let expected = format!("a tensor whose data starts at {covered}");
                let found = format!("one that starts at {}", span.start);
                return Err(self.cursor.malformed(item, span.declared_at, expected, found));
            }
            covered = span.end;
        }
        if covered != self.data_len {
            let at = self.data_start + covered;
            let found = format!("{} bytes behind the last tensor", self.data_len - covered);
            return Err(self.cursor.malformed(Item::Header("data"), at, "its end", found));
        }
        Ok(())
    }
}

/// A member's name, borrowed from the header where it holds no escape.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// Up to four dimensions; more are an error, not an allocation.
struct Shape {
    sizes: [u64; Dims::MAX],
    len: usize,
}

impl Shape {
    fn dims(&self) -> Option<Dims> {
        let mut sizes = [1usize; Dims::MAX];
        for (slot, &size) in sizes.iter_mut().zip(&self.sizes[..self.len]) {
            *slot = usize::try_from(size).ok()?;
        }
        Dims::new(&sizes[..self.len.max(1)])
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sizes;
        impl<'de> Visitor<'de> for Sizes {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "up to {} dimensions", Dims::MAX)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
                let mut shape = Shape { sizes: [0; Dims::MAX], len: 0 };
                while let Some(size) = seq.next_element()? {
                    let full = || de::Error::invalid_length(Dims::MAX + 1, &self);
                    *shape.sizes.get_mut(shape.len).ok_or_else(full)? = size;
                    shape.len += 1;
                }
                Ok(shape)
            }
        }
        deserializer.deserialize_seq(Sizes)
    }
}

/// An object of texts, checked and dropped.
struct Notes;

impl<'de> Deserialize<'de> for Notes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Notes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Notes, A::Error> {
                while map.next_key::<IgnoredAny>()?.is_some() {
                    map.next_value_seed(Key)?;
                }
                Ok(Notes)
            }
        }
        deserializer.deserialize_map(Texts)
    }
}
