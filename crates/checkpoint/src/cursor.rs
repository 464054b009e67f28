//! A reading position in the bytes of one file, which knows how to say what is wrong and where.

use crate::CheckpointError;
use crate::budget::Budget;
use lucid_sys::Bytes;
use std::fmt::{self, Display};
use std::path::Path;

/// The part of a file that an error speaks of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item<'a> {
    /// A field of the header.
    Header(&'static str),
    /// The metadata entry of this number, before its key is known.
    KeyNumber(u64),
    /// A metadata key.
    Key(&'a str),
    /// An element of a metadata array.
    Element(&'a str, u64),
    /// The tensor of this number, before its name is known.
    TensorNumber(u64),
    /// A tensor.
    Tensor(&'a str),
}

impl Display for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(field) => write!(f, "the header's {field}"),
            Self::KeyNumber(number) => write!(f, "the metadata key number {number}"),
            Self::Key(key) => write!(f, "the metadata key `{}`", brief(key)),
            Self::Element(key, index) => {
                write!(f, "element {index} of the metadata key `{}`", brief(key))
            }
            Self::TensorNumber(number) => write!(f, "the tensor number {number}"),
            Self::Tensor(name) => write!(f, "the tensor `{}`", brief(name)),
        }
    }
}

/// A name from a hostile file, short enough to print and without control characters.
pub(crate) fn brief(name: &str) -> String {
    let mut shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    if name.chars().nth(80).is_some() {
        shown.push('…');
    }
    shown
}

/// Little-endian reader over a file's bytes.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    file: &'a Path,
    bytes: &'a Bytes,
    at: usize,
    budget: &'a mut Budget,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(file: &'a Path, bytes: &'a Bytes, budget: &'a mut Budget) -> Self {
        Self { file, bytes, at: 0, budget }
    }

    /// Bytes consumed so far: the offset of what is read next.
    pub(crate) fn position(&self) -> u64 {
        self.at as u64
    }

    pub(crate) fn remaining(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    pub(crate) fn file_len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The next `len` bytes. The length may be any number that a file claims.
    pub(crate) fn take(&mut self, len: u64, item: Item<'_>) -> Result<&'a [u8], CheckpointError> {
        if len > self.remaining() {
            return Err(self.malformed(
                item,
                self.position(),
                format!("{len} bytes"),
                format!("{} bytes until the end of the file", self.remaining()),
            ));
        }
        let start = self.at;
        self.at += len as usize;
        Ok(&self.bytes[start..self.at])
    }

    /// Bytes that have been consumed, from `start` on, sharing the file's memory.
    pub(crate) fn since(&self, start: u64) -> Bytes {
        let slice = self.bytes.slice(start as usize..self.at);
        let Some(slice) = slice else { unreachable!("what was consumed lies inside") };
        slice
    }

    pub(crate) fn u8(&mut self, item: Item<'_>) -> Result<u8, CheckpointError> {
        Ok(self.array::<1>(item)?[0])
    }

    pub(crate) fn u32(&mut self, item: Item<'_>) -> Result<u32, CheckpointError> {
        Ok(u32::from_le_bytes(self.array(item)?))
    }

    pub(crate) fn u64(&mut self, item: Item<'_>) -> Result<u64, CheckpointError> {
        Ok(u64::from_le_bytes(self.array(item)?))
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        item: Item<'_>,
    ) -> Result<[u8; N], CheckpointError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, item)?);
        Ok(array)
    }

    /// A claimed number of things of at least `size_min` bytes each, checked against what is left
    /// of the file.
    pub(crate) fn count(
        &self,
        claimed: u64,
        size_min: u64,
        item: Item<'_>,
        offset: u64,
    ) -> Result<usize, CheckpointError> {
        let most = self.remaining() / size_min;
        if claimed <= most {
            return Ok(claimed as usize);
        }
        let expected = format!("at most {most}, for {} bytes are left", self.remaining());
        Err(self.malformed(item, offset, expected, claimed.to_string()))
    }

    /// Charges memory that the file makes its reader allocate.
    pub(crate) fn charge(&mut self, bytes: u64, item: Item<'_>) -> Result<(), CheckpointError> {
        self.budget.charge(bytes).map_err(|limit| {
            let expected = format!("a description that needs at most {limit} bytes of memory");
            self.malformed(item, self.position(), expected, "one that needs more".to_owned())
        })
    }

    pub(crate) fn malformed(
        &self,
        item: Item<'_>,
        offset: u64,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> CheckpointError {
        CheckpointError::Malformed {
            file: self.file.to_owned(),
            item: item.to_string(),
            offset,
            expected: expected.into(),
            found: found.into(),
        }
    }

    pub(crate) fn file(&self) -> &'a Path {
        self.file
    }
}
