//! Writes GGUF version 3, little endian: what llama.cpp loads.
//!
//! Values of [`MetaValue`] keep only their sign, so the writer chooses the widths that llama.cpp's
//! loader asks for: integers take 32 bits where they fit and 64 otherwise, floats are f32, and
//! `split.no` and `split.count` are u16.

use super::{ALIGNMENT_DEFAULT, ALIGNMENT_KEY, MAGIC, kind};
use crate::CheckpointError;
use crate::table::Dims;
use lucid_tensor::{DType, MetaArray, MetaValue, Metadata};
use std::io::{self, Read as _, Write};

/// A GGUF file to be written: metadata, and the names, formats and shapes of its tensors.
#[derive(Clone, Debug, Default)]
pub struct GgufWriter {
    metadata: Metadata,
    tensors: Vec<Tensor>,
}

#[derive(Clone, Debug)]
struct Tensor {
    name: String,
    dtype: DType,
    dims: Dims,
    bytes: u64,
}

/// Where everything goes: the bytes in front of the data, and each tensor's place.
#[derive(Clone, Debug)]
pub struct GgufLayout {
    /// Everything up to the first tensor, padding included.
    pub header: Vec<u8>,
    /// First byte of each tensor in the file, in the order of declaration.
    pub offsets: Vec<u64>,
    /// Length of each tensor in bytes.
    pub lengths: Vec<u64>,
    /// Length of the whole file.
    pub total: u64,
}

impl GgufWriter {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a metadata value.
    pub fn metadata(&mut self, key: impl Into<String>, value: MetaValue) -> &mut Self {
        self.metadata.insert(key, value, None);
        self
    }

    /// Declares the next tensor; `shape` is outermost first.
    ///
    /// # Errors
    /// The shape is empty, has more than four dimensions, a dimension of 0 or rows that
    /// are no whole blocks.
    pub fn tensor(
        &mut self,
        name: impl Into<String>,
        dtype: DType,
        shape: &[usize],
    ) -> Result<&mut Self, CheckpointError> {
        let name = name.into();
        let dims = Dims::new(shape);
        let sized = dims.and_then(|dims| Some((dims, dims.byte_count(dtype)?)));
        let Some((dims, bytes)) = sized else {
            return Err(CheckpointError::Unwritable {
                tensor: name,
                expected: format!(
                    "1 to 4 dimensions of at least 1, rows of whole {dtype} blocks of {}",
                    dtype.block_len()
                ),
                found: format!("the shape {shape:?}"),
            });
        };
        self.tensors.push(Tensor { name, dtype, dims, bytes: bytes as u64 });
        Ok(self)
    }

    /// Number of tensors declared so far.
    pub fn tensor_count(&self) -> usize {
        self.tensors.len()
    }

    /// Computes the header and the place of every tensor.
    ///
    /// # Errors
    /// `general.alignment` is not a power of two, or the file would be longer than 2^64 bytes.
    pub fn layout(&self) -> Result<GgufLayout, CheckpointError> {
        let alignment = self.alignment()?;
        let mut header = Vec::new();
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&3u32.to_le_bytes());
        header.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        header.extend_from_slice(&(self.metadata.iter().count() as u64).to_le_bytes());
        for (key, value) in self.metadata.iter() {
            text(&mut header, key.as_bytes());
            put_value(&mut header, key, value);
        }
        let mut relative = 0u64;
        let mut offsets = Vec::with_capacity(self.tensors.len());
        for tensor in &self.tensors {
            put_tensor(&mut header, tensor, relative);
            offsets.push(relative);
            let end = relative.checked_add(tensor.bytes);
            let next = end.and_then(|end| end.checked_next_multiple_of(alignment));
            relative = next.ok_or_else(|| CheckpointError::Unwritable {
                tensor: tensor.name.clone(),
                expected: "a file of fewer than 2^64 bytes".to_owned(),
                found: "more".to_owned(),
            })?;
        }
        header.resize(header.len().next_multiple_of(alignment as usize), 0);
        let start = header.len() as u64;
        for offset in &mut offsets {
            *offset += start;
        }
        let lengths = self.tensors.iter().map(|tensor| tensor.bytes).collect();
        Ok(GgufLayout { header, offsets, lengths, total: start + relative })
    }

    /// Writes the file. `data` is called once for each tensor, in order, with its number, and
    /// writes its bytes.
    ///
    /// # Errors
    /// As [`GgufWriter::layout`], and whatever `data` and `out` report.
    ///
    /// # Panics
    /// If `data` writes more or fewer bytes than it declared: a bug of the caller.
    pub fn write(
        &self,
        out: &mut dyn Write,
        data: &mut dyn FnMut(usize, &mut dyn Write) -> io::Result<()>,
    ) -> Result<GgufLayout, CheckpointError> {
        let layout = self.layout()?;
        out.write_all(&layout.header)?;
        let mut at = layout.header.len() as u64;
        for (number, &length) in layout.lengths.iter().enumerate() {
            let mut counted = Counted { inner: out, count: 0 };
            data(number, &mut counted)?;
            assert_eq!(counted.count, length, "bytes of `{}`", self.tensors[number].name);
            at += length;
            let next = layout.offsets.get(number + 1).copied().unwrap_or(layout.total);
            io::copy(&mut io::repeat(0).take(next - at), out)?;
            at = next;
        }
        Ok(layout)
    }

    /// The whole file in memory; `data` holds the bytes of each tensor, in order.
    ///
    /// # Errors
    /// As [`GgufWriter::layout`].
    pub fn to_bytes(&self, data: &[&[u8]]) -> Result<Vec<u8>, CheckpointError> {
        let mut out = Vec::new();
        self.write(&mut out, &mut |number, out| out.write_all(data[number]))?;
        Ok(out)
    }

    fn alignment(&self) -> Result<u64, CheckpointError> {
        match self.metadata.value(ALIGNMENT_KEY) {
            None => Ok(ALIGNMENT_DEFAULT),
            Some(MetaValue::Unsigned(v)) if v.is_power_of_two() => Ok(*v),
            Some(other) => Err(CheckpointError::Unwritable {
                tensor: ALIGNMENT_KEY.to_owned(),
                expected: "a power of two".to_owned(),
                found: format!("{other:?}"),
            }),
        }
    }
}

/// Counts what a tensor's source writes.
struct Counted<'a> {
    inner: &'a mut dyn Write,
    count: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_tensor(out: &mut Vec<u8>, tensor: &Tensor, offset: u64) {
    text(out, tensor.name.as_bytes());
    let shape = tensor.dims.as_slice();
    out.extend_from_slice(&(shape.len() as u32).to_le_bytes());
    for &size in shape.iter().rev() {
        out.extend_from_slice(&(size as u64).to_le_bytes());
    }
    out.extend_from_slice(&tensor.dtype.ggml_id().to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
}

fn put_value(out: &mut Vec<u8>, key: &str, value: &MetaValue) {
    let mut put = |kind: u32, bytes: &[u8]| {
        out.extend_from_slice(&kind.to_le_bytes());
        out.extend_from_slice(bytes);
    };
    match value {
        MetaValue::Unsigned(v) if matches!(key, "split.no" | "split.count") => {
            put(kind::U16, &(*v as u16).to_le_bytes());
        }
        MetaValue::Unsigned(v) if key == "split.tensors.count" => {
            put(kind::I32, &(*v as i32).to_le_bytes());
        }
        MetaValue::Unsigned(v) => match u32::try_from(*v) {
            Ok(v) => put(kind::U32, &v.to_le_bytes()),
            Err(_) => put(kind::U64, &v.to_le_bytes()),
        },
        MetaValue::Signed(v) => match i32::try_from(*v) {
            Ok(v) => put(kind::I32, &v.to_le_bytes()),
            Err(_) => put(kind::I64, &v.to_le_bytes()),
        },
        MetaValue::Float(v) => put(kind::F32, &(*v as f32).to_le_bytes()),
        MetaValue::Bool(v) => put(kind::BOOL, &[u8::from(*v)]),
        MetaValue::Text(v) => {
            put(kind::TEXT, &(v.len() as u64).to_le_bytes());
            out.extend_from_slice(v.as_bytes());
        }
        MetaValue::Array(array) => {
            put(kind::ARRAY, &[]);
            put_array(out, array);
        }
    }
}

fn put_array(out: &mut Vec<u8>, array: &MetaArray) {
    let kind = match array {
        MetaArray::Unsigned(v) if v.iter().all(|v| u32::try_from(v).is_ok()) => kind::U32,
        MetaArray::Unsigned(_) => kind::U64,
        MetaArray::Signed(v) if v.iter().all(|v| i32::try_from(v).is_ok()) => kind::I32,
        MetaArray::Signed(_) => kind::I64,
        MetaArray::Float(_) => kind::F32,
        MetaArray::Bool(_) => kind::BOOL,
        MetaArray::Text(_) => kind::TEXT,
    };
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&(array.len() as u64).to_le_bytes());
    match array {
        MetaArray::Unsigned(v) if kind == kind::U32 => {
            out.extend(v.iter().flat_map(|v| (v as u32).to_le_bytes()));
        }
        MetaArray::Unsigned(v) => out.extend(v.iter().flat_map(u64::to_le_bytes)),
        MetaArray::Signed(v) if kind == kind::I32 => {
            out.extend(v.iter().flat_map(|v| (v as i32).to_le_bytes()));
        }
        MetaArray::Signed(v) => out.extend(v.iter().flat_map(i64::to_le_bytes)),
        MetaArray::Float(v) => out.extend(v.iter().flat_map(f32::to_le_bytes)),
        MetaArray::Bool(v) => out.extend(v.iter().map(|&v| u8::from(v))),
        MetaArray::Text(v) => {
            for bytes in v.iter() {
                text(out, bytes);
            }
        }
    }
}
