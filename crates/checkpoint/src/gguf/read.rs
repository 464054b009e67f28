//! Reads the description of one GGUF file: header, metadata, tensor entries. Tensor data is never
//! touched.
//!
//! Layout: magic, version u32, tensor count u64, key count u64; keys; tensor entries; padding to
//! the alignment; data. Departures from the letter of the specification: (1) version 1 (32-bit
//! counts, 2023) and big-endian files are refused by name; (2) alignments are powers of two up to 1
//! MiB; (3) arrays of arrays are refused, as llama.cpp does.

use super::{ALIGNMENT_DEFAULT, ALIGNMENT_KEY, ALIGNMENT_MAX, MAGIC, value};
use crate::CheckpointError;
use crate::budget::Budget;
use crate::cursor::{Cursor, Item, brief};
use crate::table::{Dims, Entry, Place, overlap};
use lucid_sys::Bytes;
use lucid_tensor::{DType, MetaValue, Metadata};
use std::path::Path;

/// Bytes of the smallest metadata entry: key length, a one-byte key, type, a one-byte value.
const KEY_SIZE_MIN: u64 = 8 + 1 + 4 + 1;
/// Bytes of the smallest tensor entry: name length, a one-byte name, dimension count, one
/// dimension, type, offset.
const TENSOR_SIZE_MIN: u64 = 8 + 1 + 4 + 8 + 4 + 8;
/// Longest key and tensor name; the specification's bound for keys.
const NAME_LEN_MAX: u64 = 65535;
/// Memory of one metadata entry beside its key's and value's buffers: two, for a tree's nodes may
/// be half empty.
const KEY_COST: u64 = 2 * (size_of::<String>() + size_of::<MetaValue>() + 32) as u64;

/// What one file says about itself.
#[derive(Debug)]
pub(crate) struct Description {
    pub(crate) metadata: Metadata,
    pub(crate) entries: Vec<Entry>,
}

/// Reads a file's description; `file_number` goes into the entries.
pub(crate) fn read(
    file: &Path,
    file_number: u32,
    bytes: &Bytes,
    budget: &mut Budget,
) -> Result<Description, CheckpointError> {
    let mut cursor = Cursor::new(file, bytes, budget);
    let (tensor_count, key_count) = header(&mut cursor)?;
    let metadata = metadata(&mut cursor, key_count)?;
    let alignment = alignment(&cursor, &metadata)?;
    let entries = tensors(&mut cursor, tensor_count, file_number, alignment)?;
    Ok(Description { metadata, entries })
}

/// Checks magic and version and returns the numbers of tensors and keys, which are still claims.
fn header(cursor: &mut Cursor<'_>) -> Result<(u64, u64), CheckpointError> {
    let magic: [u8; 4] = cursor.array(Item::Header("magic"))?;
    if magic != MAGIC {
        let found = format!("`{}`", magic.escape_ascii());
        return Err(cursor.malformed(Item::Header("magic"), 0, "`GGUF`", found));
    }
    let item = Item::Header("version");
    let version = cursor.u32(item)?;
    let unsupported = |found: &str, advice: &str| CheckpointError::Unsupported {
        file: cursor.file().to_owned(),
        found: format!("{found} (the header's version at byte 4)"),
        advice: advice.to_owned(),
    };
    match version {
        2 | 3 => {}
        1 => {
            let advice = "convert it again with today's llama.cpp (versions 2 and 3 are read)";
            return Err(unsupported("a GGUF file of version 1", advice));
        }
        _ if (1..=3).contains(&version.swap_bytes()) => {
            let advice = "convert it to little endian, for instance with gguf-convert-endian";
            return Err(unsupported("a big-endian GGUF file", advice));
        }
        _ => return Err(cursor.malformed(item, 4, "2 or 3", version.to_string())),
    }
    let tensor_count = cursor.u64(Item::Header("tensor count"))?;
    let key_count = cursor.u64(Item::Header("key count"))?;
    Ok((tensor_count, key_count))
}

fn metadata(cursor: &mut Cursor<'_>, claimed: u64) -> Result<Metadata, CheckpointError> {
    let count = cursor.count(claimed, KEY_SIZE_MIN, Item::Header("key count"), 16)?;
    let mut metadata = Metadata::default();
    for number in 0..count as u64 {
        let start = cursor.position();
        let key = name(cursor, Item::KeyNumber(number))?;
        cursor.charge(KEY_COST, Item::Key(key))?;
        let value_at = cursor.position();
        let value = value::read(cursor, key)?;
        if metadata.value(key).is_some() {
            let found = "a second one of the same name";
            return Err(cursor.malformed(Item::Key(key), start, "one value of each key", found));
        }
        // The offset of the value itself, behind its type.
        metadata.insert(key, value, Some(value_at + 4));
    }
    Ok(metadata)
}

/// A key or a tensor's name: UTF-8 of a sensible length.
fn name<'a>(cursor: &mut Cursor<'a>, item: Item<'_>) -> Result<&'a str, CheckpointError> {
    let start = cursor.position();
    let name = value::utf8(cursor, item)?;
    if name.is_empty() || name.len() as u64 > NAME_LEN_MAX {
        let expected = format!("a name of 1 to {NAME_LEN_MAX} bytes");
        return Err(cursor.malformed(item, start, expected, format!("{} bytes", name.len())));
    }
    Ok(name)
}

fn alignment(cursor: &Cursor<'_>, metadata: &Metadata) -> Result<u64, CheckpointError> {
    let Some(value) = metadata.value(ALIGNMENT_KEY) else { return Ok(ALIGNMENT_DEFAULT) };
    match value {
        MetaValue::Unsigned(v) if v.is_power_of_two() && *v <= ALIGNMENT_MAX => Ok(*v),
        other => {
            let expected = format!("a power of two up to {ALIGNMENT_MAX}");
            let offset = metadata.offset(ALIGNMENT_KEY).unwrap_or_default();
            let found = match other {
                MetaValue::Unsigned(v) => v.to_string(),
                other => other.kind().to_owned(),
            };
            Err(cursor.malformed(Item::Key(ALIGNMENT_KEY), offset, expected, found))
        }
    }
}

fn tensors(
    cursor: &mut Cursor<'_>,
    claimed: u64,
    file: u32,
    alignment: u64,
) -> Result<Vec<Entry>, CheckpointError> {
    let item = Item::Header("tensor count");
    let count = cursor.count(claimed, TENSOR_SIZE_MIN, item, 8)?;
    if u32::try_from(count).is_err() {
        return Err(cursor.malformed(item, 8, "at most 4294967295", count.to_string()));
    }
    cursor.charge((count as u64).saturating_mul(Entry::COST), item)?;
    let mut entries = Vec::with_capacity(count);
    for number in 0..count as u64 {
        entries.push(tensor(cursor, number, file, alignment)?);
    }
    // Offsets are relative to the data, whose start is known only now.
    let data_start = cursor.position().next_multiple_of(alignment);
    for entry in &mut entries {
        let Place::File { offset, len, .. } = &mut entry.place else { continue };
        let start = offset.checked_add(data_start);
        let end = start.and_then(|start| start.checked_add(*len as u64));
        match (start, end) {
            (Some(start), Some(end)) if end <= cursor.file_len() => *offset = start,
            _ => return Err(past_the_end(cursor, entry, data_start)),
        }
    }
    if let Some((first, second)) = overlap(&entries) {
        let found = format!("data that overlaps the tensor `{}`", brief(&first.name));
        let item = Item::Tensor(&second.name);
        return Err(cursor.malformed(item, second.declared_at, "data of its own", found));
    }
    Ok(entries)
}

fn past_the_end(cursor: &Cursor<'_>, entry: &Entry, data_start: u64) -> CheckpointError {
    let (mut at, mut bytes) = (0, 0);
    if let Place::File { offset, len, .. } = entry.place {
        (at, bytes) = (offset, len);
    }
    let expected = format!("its data inside the file of {} bytes", cursor.file_len());
    let found = format!("{bytes} bytes at {at} behind byte {data_start}");
    cursor.malformed(Item::Tensor(&entry.name), entry.declared_at, expected, found)
}

/// One tensor entry: name, dimension count, dimensions (innermost first), type, offset.
fn tensor(
    cursor: &mut Cursor<'_>,
    number: u64,
    file: u32,
    alignment: u64,
) -> Result<Entry, CheckpointError> {
    let declared_at = cursor.position();
    let name = name(cursor, Item::TensorNumber(number))?;
    let item = Item::Tensor(name);
    let dims_at = cursor.position();
    let dims = dimensions(cursor, item)?;
    let type_at = cursor.position();
    let type_id = cursor.u32(item)?;
    let dtype = DType::from_ggml(type_id).ok_or_else(|| CheckpointError::UnknownType {
        file: cursor.file().to_owned(),
        tensor: brief(name),
        offset: type_at,
        found: ggml_type_name(type_id),
    })?;
    let len = dims.byte_count(dtype).ok_or_else(|| {
        let expected = format!("rows of whole blocks of {}, fewer than 2^64 bytes", dtype.name());
        let shape = format!("the shape {:?} (outermost first)", dims.as_slice());
        cursor.malformed(item, dims_at, expected, shape)
    })?;
    let offset_at = cursor.position();
    let offset = cursor.u64(item)?;
    if !offset.is_multiple_of(alignment) {
        let expected = format!("an offset that is a multiple of {alignment}");
        return Err(cursor.malformed(item, offset_at, expected, offset.to_string()));
    }
    let place = Place::File { file, offset, len };
    Ok(Entry { name: name.into(), dtype, dims, place, declared_at })
}

fn dimensions(cursor: &mut Cursor<'_>, item: Item<'_>) -> Result<Dims, CheckpointError> {
    let at = cursor.position();
    let count = cursor.u32(item)?;
    if count == 0 || count as usize > Dims::MAX {
        let expected = format!("1 to {} dimensions", Dims::MAX);
        return Err(cursor.malformed(item, at, expected, count.to_string()));
    }
    let at = cursor.position();
    let mut claimed = [0u64; Dims::MAX];
    let claimed = &mut claimed[..count as usize];
    for size in claimed.iter_mut().rev() {
        *size = cursor.u64(item)?;
    }
    let mut sizes = [0usize; Dims::MAX];
    let fits = sizes
        .iter_mut()
        .zip(&*claimed)
        .all(|(slot, &size)| usize::try_from(size).map(|size| *slot = size).is_ok());
    let dims = if fits { Dims::new(&sizes[..count as usize]) } else { None };
    dims.ok_or_else(|| {
        let expected = "dimensions of at least 1 with a product below 2^64";
        cursor.malformed(item, at, expected, format!("{claimed:?} (outermost first)"))
    })
}

/// Names of ggml types that exist and are not read, so that the refusal says what the file holds.
fn ggml_type_name(id: u32) -> String {
    let name = match id {
        9 => "Q8_1",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        21 => "IQ3_S",
        22 => "IQ2_S",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        40 => "NVFP4",
        _ => return format!("number {id}"),
    };
    format!("{name} (number {id})")
}
