//! The index of a model in several safetensors files: an object whose `weight_map` gives each
//! tensor's file. It is read twice, once for the files' names and once to check it, and never held.

use super::json::offset_of;
use crate::CheckpointError;
use crate::cursor::brief;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;
use std::path::Path;

/// Longer indices than any model has; they are maps, so this bounds time.
const INDEX_BYTES_MAX: usize = 64 << 20;
/// More files than any model has.
const SHARDS_MAX: usize = 10_000;

/// The names of the files, in ascending order.
pub(crate) fn shards(file: &Path, text: &[u8]) -> Result<Vec<String>, CheckpointError> {
    let mut shards: Vec<String> = Vec::new();
    visit(file, text, &mut |tensor, shard| {
        if shards.last().is_some_and(|last| last == shard) {
            return Ok(());
        }
        let Err(place) = shards.binary_search_by(|known| (**known).cmp(shard)) else {
            return Ok(());
        };
        let plain = shard.ends_with(".safetensors") && !shard.contains(['/', '\\', ':', '\0']);
        if !plain || shard.len() > 255 {
            let expected = "the plain name of a .safetensors file";
            return Err(refuse(file, text, tensor, expected, &format!("`{}`", brief(shard))));
        }
        if shards.len() == SHARDS_MAX {
            let expected = format!("at most {SHARDS_MAX} files");
            return Err(refuse(file, text, tensor, &expected, "more"));
        }
        shards.insert(place, shard.to_owned());
        Ok(())
    })?;
    if shards.is_empty() {
        return Err(refuse(file, text, "weight_map", "at least one tensor", "none"));
    }
    Ok(shards)
}

/// Checks each tensor's file; `holds` tells whether a file holds a tensor.
pub(crate) fn check(
    file: &Path,
    text: &[u8],
    holds: &dyn Fn(&str, &str) -> bool,
) -> Result<(), CheckpointError> {
    visit(file, text, &mut |tensor, shard| {
        if holds(shard, tensor) {
            return Ok(());
        }
        let expected = format!("a tensor of the file {}", brief(shard));
        Err(refuse(file, text, tensor, &expected, "a name that the file does not have"))
    })
}

fn refuse(file: &Path, text: &[u8], tensor: &str, expected: &str, found: &str) -> CheckpointError {
    let quoted = format!("\"{tensor}\"");
    let at = text.windows(quoted.len()).position(|w| w == quoted.as_bytes());
    CheckpointError::Malformed {
        file: file.to_owned(),
        item: format!("the entry `{}`", brief(tensor)),
        offset: at.unwrap_or(0) as u64,
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}

type OnEntry<'a> = dyn FnMut(&str, &str) -> Result<(), CheckpointError> + 'a;

fn visit(file: &Path, text: &[u8], on_entry: &mut OnEntry<'_>) -> Result<(), CheckpointError> {
    let malformed = |offset, expected: String, found: String| CheckpointError::Malformed {
        file: file.to_owned(),
        item: "the index".to_owned(),
        offset,
        expected,
        found,
    };
    if text.len() > INDEX_BYTES_MAX {
        let expected = format!("at most {INDEX_BYTES_MAX} bytes");
        return Err(malformed(0, expected, text.len().to_string()));
    }
    let mut failed = None;
    let mut found = false;
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let top = Top { on_entry, failed: &mut failed, found: &mut found };
    let parsed = deserializer.deserialize_map(top).and_then(|()| deserializer.end());
    if let Some(error) = failed {
        return Err(error);
    }
    parsed.map_err(|error| {
        let offset = offset_of(text, error.line(), error.column());
        let expected = "an object with `weight_map`, an object of texts".to_owned();
        malformed(offset, expected, brief(&error.to_string()))
    })?;
    if found { Ok(()) } else { Err(malformed(0, "the key `weight_map`".into(), "none".into())) }
}

/// The whole document.
struct Top<'a, 'b> {
    on_entry: &'a mut OnEntry<'b>,
    failed: &'a mut Option<CheckpointError>,
    found: &'a mut bool,
}

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Text<'de>>()? {
            if key.0 == "weight_map" {
                *self.found = true;
                let failed = &mut *self.failed;
                map.next_value_seed(WeightMap { on_entry: &mut *self.on_entry, failed })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// The object under `weight_map`.
struct WeightMap<'a, 'b> {
    on_entry: &'a mut OnEntry<'b>,
    failed: &'a mut Option<CheckpointError>,
}

impl<'de> DeserializeSeed<'de> for WeightMap<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WeightMap<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((tensor, shard)) = map.next_entry::<Text<'de>, Text<'de>>()? {
            if let Err(error) = (self.on_entry)(&tensor.0, &shard.0) {
                *self.failed = Some(error);
                return Err(de::Error::custom("the typed error is kept aside"));
            }
        }
        Ok(())
    }
}

/// A text, borrowed where it holds no escape.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_names_plain_files() {
        let check = |text: &str, expected: Result<&[&str], &str>| {
            let found = shards(Path::new("index.json"), text.as_bytes());
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(found), Err(expected)) => {
                    let found = found.to_string();
                    assert!(found.contains(expected) && found.contains("index.json"), "{found}");
                }
                (found, _) => panic!("{text}: {found:?}"),
            }
        };
        let two = r#"{"metadata": {"total_size": 1}, "weight_map":
            {"b": "2.safetensors", "a": "1.safetensors", "c": "2.safetensors"}}"#;
        check(two, Ok(&["1.safetensors", "2.safetensors"]));
        check(r#"{"weight_map": {}}"#, Err("at least one tensor"));
        check("{}", Err("weight_map"));
        check(r#"{"weight_map": {"a": "../x.safetensors"}}"#, Err("`a` at byte 16"));
        check(r#"{"weight_map": {"a": "pytorch_model.bin"}}"#, Err("plain name"));
        check(r#"{"weight_map": {"a": 1}}"#, Err("at byte 2"));
        check(r#"{"weight_map": {"a""#, Err("at byte 18"));
    }
}
