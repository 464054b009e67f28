//! The JSON files read in place: parts are slices of the file, lists are counted before they are
//! read, and nothing is built of what is not used. Invariant: memory stays in proportion to the
//! file ([`Budget`]), whatever the file holds; small parts become trees only below a bound.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::TokenizerError;
use crate::error::excerpt;

/// Bounds of a part that becomes a tree: its text, and the marks in it that begin a value.
const TREE_BYTES_MAX: usize = 1 << 20;
const TREE_VALUES_MAX: usize = 1 << 15;
/// What any vocabulary may cost: the largest in use need it when their file is written tightly.
const COST_FREE: usize = 96 << 20;
const COST_BASE: usize = 16 << 20;
/// What a token costs: its text, its place in the table, its attributes.
pub(crate) const TOKEN_COST: usize = 80;
/// What a token costs in a trie besides.
pub(crate) const TRIE_COST: usize = 80;
/// What a merge costs: its text and its entry in the model.
pub(crate) const MERGE_COST: usize = 88;
/// What an added token costs: in the list, in the sets and their tries.
pub(crate) const ADDED_COST: usize = 280;
/// The text of all added tokens together.
pub(crate) const ADDED_BYTES_TOTAL_MAX: usize = 2 << 20;

/// An error in one of the JSON files.
pub(crate) fn invalid(file: &'static str, reason: &str) -> TokenizerError {
    TokenizerError::Json { file, reason: reason.to_owned() }
}

/// A part of a file.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    file: &'static str,
    key: &'static str,
    /// Byte offset of `text` in the file.
    at: usize,
    text: &'a [u8],
}

impl<'a> Part<'a> {
    /// The whole file.
    pub(crate) fn whole(file: &'static str, text: &'a [u8]) -> Self {
        Self { file, key: "", at: 0, text }
    }

    /// A value in this part.
    pub(crate) fn inner(&self, key: &'static str, raw: &'a RawValue) -> Self {
        let text = raw.get().as_bytes();
        let at = self.at + (text.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize);
        Self { file: self.file, key, at, text }
    }

    /// The part as a `T`.
    pub(crate) fn read<T: Deserialize<'a>>(&self) -> Result<T, TokenizerError> {
        serde_json::from_slice(self.text).map_err(|error| self.error(&error))
    }

    /// The part as what `seed` makes of it.
    fn seeded<S: DeserializeSeed<'a>>(&self, seed: S) -> Result<S::Value, TokenizerError> {
        let mut reader = serde_json::Deserializer::from_slice(self.text);
        let value = seed.deserialize(&mut reader).map_err(|error| self.error(&error))?;
        reader.end().map_err(|error| self.error(&error))?;
        Ok(value)
    }

    fn error(&self, error: &serde_json::Error) -> TokenizerError {
        let text = error.to_string();
        let text = excerpt(text.split(" at line ").next().unwrap_or("").as_bytes());
        let lines = self.text.split_inclusive(|byte| *byte == b'\n');
        let before: usize = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
        let at = self.at + (before + error.column()).min(self.text.len());
        let key = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        invalid(self.file, &format!("{key}{text} (byte {at})"))
    }

    /// The part as a tree, if it is small.
    pub(crate) fn tree(&self) -> Result<Value, TokenizerError> {
        let marks = self.text.iter().filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{'));
        let over = |found, limit| Err(TokenizerError::Limit { what: self.key, found, limit });
        if self.text.len() > TREE_BYTES_MAX {
            return over(self.text.len(), TREE_BYTES_MAX);
        }
        match marks.count() {
            count if count > TREE_VALUES_MAX => over(count, TREE_VALUES_MAX),
            _ => self.read(),
        }
    }

    /// Whether an array begins here.
    pub(crate) fn is_array(&self) -> bool {
        self.text.first() == Some(&b'[')
    }

    /// Number of elements of an array or entries of an object.
    pub(crate) fn count(&self) -> Result<usize, TokenizerError> {
        self.seeded(Count)
    }

    /// Number of entries of an object of ids, and the highest id.
    pub(crate) fn ids(&self) -> Result<(usize, u64), TokenizerError> {
        self.seeded(Ids)
    }

    /// Each element of an array, with its index.
    pub(crate) fn each<T: Deserialize<'a>>(
        &self,
        take: &mut dyn FnMut(usize, T) -> Result<(), TokenizerError>,
    ) -> Result<(), TokenizerError> {
        let mut failed = None;
        let done = self.seeded(Elements { take, failed: &mut failed });
        failed.map_or(done, Err)
    }

    /// Each entry of an object.
    pub(crate) fn entries<T: Deserialize<'a>>(
        &self,
        take: &mut dyn FnMut(&str, T) -> Result<(), TokenizerError>,
    ) -> Result<(), TokenizerError> {
        let mut failed = None;
        let done = self.seeded(Entries { take, failed: &mut failed });
        failed.map_or(done, Err)
    }
}

/// What a file's contents may cost in memory.
pub(crate) struct Budget {
    limit: usize,
    spent: usize,
}

impl Budget {
    /// For a file of this many bytes.
    pub(crate) fn new(file_bytes: usize) -> Self {
        Self { limit: (2 * file_bytes + COST_BASE).max(COST_FREE), spent: 0 }
    }

    /// Takes `count` things of `each` bytes.
    pub(crate) fn charge(
        &mut self,
        what: &'static str,
        count: usize,
        each: usize,
    ) -> Result<(), TokenizerError> {
        self.spent = self.spent.saturating_add(count.saturating_mul(each));
        if self.spent > self.limit {
            return Err(TokenizerError::Limit { what, found: self.spent, limit: self.limit });
        }
        Ok(())
    }
}

/// A text, borrowed where it holds no escapes.
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Reader)
    }
}

/// A merge as `left right`. Old files write `"a b"`, new ones `["a", "b"]`.
pub(crate) struct Merge(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Merge;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("two pieces")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Merge, E> {
                Ok(Merge(text.as_bytes().to_vec()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merge, A::Error> {
                let two =
                    |text: Option<Text<'de>>| text.ok_or_else(|| A::Error::custom("one piece"));
                let Text(left) = two(list.next_element()?)?;
                let Text(right) = two(list.next_element()?)?;
                if left.contains(' ') || list.next_element::<IgnoredAny>()?.is_some() {
                    return Err(A::Error::custom("expected two pieces, the first without a space"));
                }
                Ok(Merge([left.as_bytes(), b" ", right.as_bytes()].concat()))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

struct Count;

impl<'de> DeserializeSeed<'de> for Count {
    type Value = usize;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Count {
    type Value = usize;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array or an object")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<usize, A::Error> {
        let mut count = 0;
        while list.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(count)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
        let mut count = 0;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}

struct Ids;

impl<'de> DeserializeSeed<'de> for Ids {
    type Value = (usize, u64);
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(usize, u64), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Ids {
    type Value = (usize, u64);
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of ids")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(usize, u64), A::Error> {
        let (mut count, mut top) = (0, 0);
        while let Some(Text(text)) = map.next_key()? {
            let id = map.next_value::<u64>().map_err(|_| {
                let text = excerpt(text.as_bytes());
                A::Error::custom(format!("the id of {text:?} is no integer"))
            })?;
            count += 1;
            top = top.max(id);
        }
        Ok((count, top))
    }
}

struct Elements<'s, T> {
    take: &'s mut dyn FnMut(usize, T) -> Result<(), TokenizerError>,
    failed: &'s mut Option<TokenizerError>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Elements<'_, T> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<'_, T> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut index = 0;
        loop {
            let named = |error: A::Error| A::Error::custom(format!("entry {index}: {error}"));
            let Some(element) = list.next_element().map_err(named)? else { return Ok(()) };
            (self.take)(index, element).map_err(|error| {
                *self.failed = Some(error);
                A::Error::custom("refused")
            })?;
            index += 1;
        }
    }
}

struct Entries<'s, T> {
    take: &'s mut dyn FnMut(&str, T) -> Result<(), TokenizerError>,
    failed: &'s mut Option<TokenizerError>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Entries<'_, T> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<'_, T> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((Text(key), value)) = map.next_entry()? {
            (self.take)(&key, value).map_err(|error| {
                *self.failed = Some(error);
                A::Error::custom("refused")
            })?;
        }
        Ok(())
    }
}
