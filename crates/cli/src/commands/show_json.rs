//! A model's metadata as JSON, written as it is read: its lists are as long as their file.

use lucid_tensor::{MetaArray, MetaValue, Metadata};
use serde::{Serialize, Serializer};
use serde_json::Value;

/// An object and, where asked for, all metadata as one more entry of it.
pub(super) struct Report<'a> {
    pub(super) value: &'a Value,
    pub(super) metadata: Option<&'a Metadata>,
}

impl Serialize for Report<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(metadata) = self.metadata else { return self.value.serialize(serializer) };
        let entries = self.value.as_object().into_iter().flatten();
        let entries = entries.map(|(key, value)| (key.as_str(), Part::Value(value)));
        serializer.collect_map(entries.chain([("metadata", Part::Metadata(metadata))]))
    }
}

enum Part<'a> {
    Value(&'a Value),
    Metadata(&'a Metadata),
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.serialize(serializer),
            Self::Metadata(metadata) => {
                serializer.collect_map(metadata.iter().map(|(key, value)| (key, Entry(value))))
            }
        }
    }
}

struct Entry<'a>(&'a MetaValue);

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            MetaValue::Unsigned(value) => value.serialize(serializer),
            MetaValue::Signed(value) => value.serialize(serializer),
            MetaValue::Float(value) => value.serialize(serializer),
            MetaValue::Bool(value) => value.serialize(serializer),
            MetaValue::Text(value) => value.serialize(serializer),
            MetaValue::Array(MetaArray::Unsigned(values)) => serializer.collect_seq(values.iter()),
            MetaValue::Array(MetaArray::Signed(values)) => serializer.collect_seq(values.iter()),
            MetaValue::Array(MetaArray::Float(values)) => serializer.collect_seq(values.iter()),
            MetaValue::Array(MetaArray::Bool(values)) => values.serialize(serializer),
            MetaValue::Array(MetaArray::Text(values)) => {
                serializer.collect_seq(values.iter().map(String::from_utf8_lossy))
            }
        }
    }
}
