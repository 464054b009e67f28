//! What `show` knows as JSON. A model's metadata and tensors are written as they are read: these
//! lists are as long as their file.

use lucid_checkpoint::Checkpoint;
use lucid_tensor::{MetaArray, MetaValue, Metadata, WeightSource as _};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// An object and, where asked for, metadata and tensors as further entries of it.
pub(super) struct Report<'a> {
    pub(super) value: &'a Value,
    pub(super) metadata: Option<&'a Metadata>,
    pub(super) tensors: Option<&'a Checkpoint>,
}

impl Serialize for Report<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in self.value.as_object().into_iter().flatten() {
            map.serialize_entry(key, value)?;
        }
        if let Some(checkpoint) = self.tensors {
            map.serialize_entry("tensors", &Tensors(checkpoint))?;
        }
        if let Some(metadata) = self.metadata {
            map.serialize_entry("metadata", &Entries(metadata))?;
        }
        map.end()
    }
}

struct Tensors<'a>(&'a Checkpoint);

impl Serialize for Tensors<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names = self.0.tensor_names();
        let views = names.iter().filter_map(|name| self.0.tensor(name));
        serializer.collect_seq(views.map(|view| {
            json!({
                "name": view.name,
                "type": view.dtype.name(),
                "shape": view.shape,
                "offset": view.offset,
            })
        }))
    }
}

struct Entries<'a>(&'a Metadata);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, Entry(value))))
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
