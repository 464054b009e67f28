//! Small JSON documents from outside: bounded in size, with errors that name the key and the byte.

use crate::CheckpointError;
use crate::cursor::brief;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Largest `config.json` that is read; parsed values take up to twenty times as much.
const CONFIG_BYTES_MAX: usize = 512 << 10;

/// Where a position that serde_json gives as line and column lies in the text.
pub(crate) fn offset_of(text: &[u8], line: usize, column: usize) -> u64 {
    let lines = text.split_inclusive(|&b| b == b'\n').take(line.saturating_sub(1));
    let start: usize = lines.map(<[u8]>::len).sum();
    (start + column.saturating_sub(1)).min(text.len()) as u64
}

/// An object of a `config.json`, with the text it came from.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) file: PathBuf,
    text: Vec<u8>,
    map: Map<String, Value>,
}

impl Object {
    pub(crate) fn parse(file: &Path, text: &[u8]) -> Result<Self, CheckpointError> {
        let malformed = |offset, expected: String, found: String| CheckpointError::Malformed {
            file: file.to_owned(),
            item: "the configuration".to_owned(),
            offset,
            expected,
            found,
        };
        if text.len() > CONFIG_BYTES_MAX {
            let expected = format!("at most {CONFIG_BYTES_MAX} bytes");
            return Err(malformed(0, expected, text.len().to_string()));
        }
        let map = serde_json::from_slice(text).map_err(|error| {
            let offset = offset_of(text, error.line(), error.column());
            malformed(offset, "a JSON object".to_owned(), brief(&error.to_string()))
        })?;
        Ok(Self { file: file.to_owned(), text: text.to_vec(), map })
    }

    /// The object under a key, if there is one.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Self>, CheckpointError> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Object(map)) => {
                let (file, text) = (self.file.clone(), self.text.clone());
                Ok(Some(Self { file, text, map: map.clone() }))
            }
            Some(other) => Err(self.wrong(key, "an object", other)),
        }
    }

    /// A value that is there and not null.
    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// The keys, in the order of the map.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.map.keys().map(String::as_str)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.value(key).is_some()
    }

    pub(crate) fn unsigned(&self, key: &str) -> Result<Option<u64>, CheckpointError> {
        self.read(key, "a non-negative integer", Value::as_u64)
    }

    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>, CheckpointError> {
        self.read(key, "a number", Value::as_f64)
    }

    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>, CheckpointError> {
        self.read(key, "true or false", Value::as_bool)
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, CheckpointError> {
        self.read(key, "a text", Value::as_str)
    }

    pub(crate) fn array(&self, key: &str) -> Result<Option<&Vec<Value>>, CheckpointError> {
        self.read(key, "an array", Value::as_array)
    }

    fn read<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, CheckpointError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.wrong(key, expected, value))
    }

    /// The first place where the text has this key; keys may repeat in nested objects, so it is a
    /// hint.
    pub(crate) fn offset(&self, key: &str) -> u64 {
        let quoted = format!("\"{key}\"");
        let at = self.text.windows(quoted.len()).position(|w| w == quoted.as_bytes());
        at.unwrap_or(0) as u64
    }

    pub(crate) fn wrong(&self, key: &str, expected: &str, found: &Value) -> CheckpointError {
        let found = match found {
            Value::Array(array) => format!("an array of length {}", array.len()),
            Value::Object(_) => "an object".to_owned(),
            plain => brief(&plain.to_string()),
        };
        self.refuse(key, expected, &found)
    }

    pub(crate) fn missing(&self, key: &str, expected: &str) -> CheckpointError {
        self.refuse(key, expected, "nothing")
    }

    pub(crate) fn refuse(&self, key: &str, expected: &str, found: &str) -> CheckpointError {
        CheckpointError::Malformed {
            file: self.file.clone(),
            item: format!("the key `{}`", brief(key)),
            offset: self.offset(key),
            expected: expected.to_owned(),
            found: found.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_key_and_the_byte() {
        let check = |text: &str, key: &str, expected: &[&str]| {
            let parsed = Object::parse(Path::new("config.json"), text.as_bytes());
            let error = parsed.and_then(|object| object.unsigned(key)).unwrap_err().to_string();
            for expected in expected {
                assert!(error.contains(expected), "{error}");
            }
        };
        check("{\n \"a\": -1}", "a", &["config.json", "`a`", "byte 3", "-1"]);
        check("{\"a\": [1, 2]}", "a", &["byte 1", "an array of length 2"]);
        check("{\n\"a\": }", "a", &["config.json", "byte 7"]);
        check("[]", "a", &["JSON object"]);
        check(&"[".repeat(100_000), "a", &["config.json"]);
        check(&" ".repeat(600_000), "a", &["at most 524288 bytes"]);
    }
}
