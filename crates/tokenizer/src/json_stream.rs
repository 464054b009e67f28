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
use crate::budget::Budget;
use crate::error::excerpt;

/// Bounds of a part that becomes a tree: its text, and the marks in it that begin a value.
const TREE_BYTES_MAX: usize = 1 << 20;
const TREE_VALUES_MAX: usize = 1 << 15;
/// The longest text with escapes in it. Such texts are copied, and more than once.
const ESCAPED_BYTES_MAX: usize = 1 << 20;
/// What a mark of a tree takes: an object of one value is three of them, and a node for eleven.
const VALUE_COST: usize = 224;

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
    ///
    /// # Errors
    /// A text with escapes is too long.
    pub(crate) fn whole(file: &'static str, text: &'a [u8]) -> Result<Self, TokenizerError> {
        let found = longest_escaped(text);
        if found > ESCAPED_BYTES_MAX {
            let what = "length of a text with escapes";
            return Err(TokenizerError::Limit { what, found, limit: ESCAPED_BYTES_MAX });
        }
        Ok(Self { file, key: "", at: 0, text })
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
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
    pub(crate) fn tree(&self, budget: &mut Budget) -> Result<Value, TokenizerError> {
        let marks = self.text.iter().filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{'));
        let over = |found, limit| Err(TokenizerError::Limit { what: self.key, found, limit });
        if self.text.len() > TREE_BYTES_MAX {
            return over(self.text.len(), TREE_BYTES_MAX);
        }
        let count = marks.count();
        if count > TREE_VALUES_MAX {
            return over(count, TREE_VALUES_MAX);
        }
        budget.charge(self.key, count, VALUE_COST)?;
        budget.charge(self.key, self.text.len(), 1)?;
        self.read()
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

/// The length of the longest text with escapes, quotes apart; 0 where there is none.
fn longest_escaped(json: &[u8]) -> usize {
    let (mut longest, mut at) = (0, 0);
    while let Some(quote) = json[at..].iter().position(|byte| *byte == b'"') {
        let start = at + quote + 1;
        let (mut end, mut escaped) = (start, false);
        while let Some(byte) = json.get(end).filter(|byte| **byte != b'"') {
            escaped |= *byte == b'\\';
            end += if *byte == b'\\' { 2 } else { 1 };
        }
        end = end.min(json.len());
        longest = longest.max(if escaped { end - start } else { 0 });
        at = (end + 1).min(json.len());
    }
    longest
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
pub(crate) struct MergeText<'a>(pub(crate) Cow<'a, [u8]>);

impl<'de: 'a, 'a> Deserialize<'de> for MergeText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = MergeText<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("two pieces")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<MergeText<'de>, E> {
                Ok(MergeText(Cow::Borrowed(text.as_bytes())))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<MergeText<'de>, E> {
                Ok(MergeText(Cow::Owned(text.as_bytes().to_vec())))
            }
            fn visit_seq<A>(self, mut list: A) -> Result<MergeText<'de>, A::Error>
            where
                A: SeqAccess<'de>,
            {
                let two =
                    |text: Option<Text<'de>>| text.ok_or_else(|| A::Error::custom("one piece"));
                let Text(left) = two(list.next_element()?)?;
                let Text(right) = two(list.next_element()?)?;
                if left.contains(' ') || list.next_element::<IgnoredAny>()?.is_some() {
                    return Err(A::Error::custom("expected two pieces, the first without a space"));
                }
                let text = [left.as_bytes(), b" ", right.as_bytes()].concat();
                Ok(MergeText(Cow::Owned(text)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_texts_are_measured() {
        let check = |json: &str, expected: usize| {
            assert_eq!(longest_escaped(json.as_bytes()), expected, "{json}");
        };
        check(r#"{"abc": "def"}"#, 0);
        check(r#"{"a\\": "\"b\"", "cdef": "#, 5);
        check("[\"abc\\", 4);
        check(r#"["\n\n\n"]"#, 6);
        check("", 0);
        let long = format!("[\"\\n{}\"]", "x".repeat(ESCAPED_BYTES_MAX));
        assert!(matches!(
            Part::whole("test", long.as_bytes()).err(),
            Some(TokenizerError::Limit { what: "length of a text with escapes", .. })
        ));
    }
}
