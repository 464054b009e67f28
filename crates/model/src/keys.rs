//! Reads hyper-parameters by key and checks their range. `{arch}.` is put before a key's tail.

use std::fmt::Display;

use lucid_tensor::{MetaArray, MetaValue, Metadata, MetadataError, WeightSource};

use crate::ModelError;

/// No network that people train comes near; larger values are damage or malice.
const DIMENSION_MAX: u64 = 1 << 24;

/// Layers, likewise.
const LAYER_MAX: u64 = 4096;

pub(crate) fn architecture(metadata: &Metadata) -> Result<&str, ModelError> {
    let key = "general.architecture";
    metadata
        .text(key)?
        .ok_or(MetadataError::Missing { key: key.to_owned(), expected: "text" }.into())
}

/// The metadata of one architecture.
pub(crate) struct Keys<'a> {
    pub(crate) source: &'a dyn WeightSource,
    pub(crate) metadata: &'a Metadata,
    arch: &'a str,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(source: &'a dyn WeightSource, arch: &'a str) -> Self {
        Self { source, metadata: source.metadata(), arch }
    }

    pub(crate) fn key(&self, tail: &str) -> String {
        format!("{}.{tail}", self.arch)
    }

    /// An optional dimension from 1 to 2^24.
    pub(crate) fn dimension(&self, tail: &str) -> Result<Option<usize>, ModelError> {
        let key = self.key(tail);
        match self.metadata.unsigned(&key)? {
            None => Ok(None),
            Some(value) if (1..=DIMENSION_MAX).contains(&value) => Ok(Some(value as usize)),
            Some(value) => Err(self.out_of_range(tail, &value, &format!("1 to {DIMENSION_MAX}"))),
        }
    }

    pub(crate) fn need_dimension(&self, tail: &str) -> Result<usize, ModelError> {
        let missing =
            || MetadataError::Missing { key: self.key(tail), expected: "a positive integer" };
        Ok(self.dimension(tail)?.ok_or_else(missing)?)
    }

    pub(crate) fn layer_count(&self) -> Result<usize, ModelError> {
        let count = self.need_dimension("block_count")? as u64;
        if count > LAYER_MAX {
            return Err(self.out_of_range("block_count", &count, &format!("1 to {LAYER_MAX}")));
        }
        Ok(count as usize)
    }

    /// A dimension that some converters write once per layer: all entries must agree.
    pub(crate) fn uniform_dimension(&self, tail: &str) -> Result<Option<usize>, ModelError> {
        let key = self.key(tail);
        // Not collected: a hostile list is as long as its file.
        let (first, agree) = match self.metadata.value(&key) {
            Some(MetaValue::Array(MetaArray::Unsigned(values))) => first_of(values.iter()),
            Some(MetaValue::Array(MetaArray::Signed(values))) => {
                first_of(values.iter().map(|value| value.max(0) as u64))
            }
            _ => return self.dimension(tail),
        };
        match first {
            Some(first) if agree => {
                if (1..=DIMENSION_MAX).contains(&first) {
                    return Ok(Some(first as usize));
                }
                Err(self.out_of_range(tail, &first, &format!("1 to {DIMENSION_MAX}")))
            }
            _ => Err(self.unsupported(tail, &"a value that differs from layer to layer")),
        }
    }

    /// An optional number above zero.
    pub(crate) fn positive(&self, tail: &str) -> Result<Option<f32>, ModelError> {
        let key = self.key(tail);
        match self.metadata.float(&key)? {
            None => Ok(None),
            Some(value) if value > 0.0 && (value as f32).is_finite() => Ok(Some(value as f32)),
            Some(value) => Err(self.out_of_range(tail, &value, "a finite number above 0")),
        }
    }

    pub(crate) fn need_positive(&self, tail: &str) -> Result<f32, ModelError> {
        let missing =
            || MetadataError::Missing { key: self.key(tail), expected: "a number above 0" };
        Ok(self.positive(tail)?.ok_or_else(missing)?)
    }

    pub(crate) fn out_of_range(
        &self,
        tail: &str,
        found: &dyn Display,
        expected: &str,
    ) -> ModelError {
        let key = self.key(tail);
        let offset = self.metadata.offset(&key);
        ModelError::HyperParameter {
            key,
            found: found.to_string(),
            expected: expected.to_owned(),
            offset,
        }
    }

    pub(crate) fn unsupported(&self, tail: &str, found: &dyn Display) -> ModelError {
        let key = self.key(tail);
        let offset = self.metadata.offset(&key);
        ModelError::Unsupported { key, found: found.to_string(), offset }
    }
}

/// The first number, and whether all others are the same.
fn first_of(mut values: impl Iterator<Item = u64>) -> (Option<u64>, bool) {
    let first = values.next();
    (first, values.all(|value| Some(value) == first))
}
