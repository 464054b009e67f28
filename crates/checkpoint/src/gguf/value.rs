//! Reads one metadata value of a GGUF file.

use super::kind;
use crate::CheckpointError;
use crate::budget::heap_cost;
use crate::cursor::{Cursor, Item};
use lucid_sys::Bytes;
use lucid_tensor::{MetaArray, MetaValue, Numbers, Texts};

/// Reads a type number and the value that follows it.
pub(crate) fn read(cursor: &mut Cursor<'_>, key: &str) -> Result<MetaValue, CheckpointError> {
    let item = Item::Key(key);
    let offset = cursor.position();
    Ok(match cursor.u32(item)? {
        kind::U8 => MetaValue::Unsigned(u64::from(cursor.u8(item)?)),
        kind::I8 => MetaValue::Signed(i64::from(i8::from_le_bytes(cursor.array(item)?))),
        kind::U16 => MetaValue::Unsigned(u64::from(u16::from_le_bytes(cursor.array(item)?))),
        kind::I16 => MetaValue::Signed(i64::from(i16::from_le_bytes(cursor.array(item)?))),
        kind::U32 => MetaValue::Unsigned(u64::from(cursor.u32(item)?)),
        kind::I32 => MetaValue::Signed(i64::from(i32::from_le_bytes(cursor.array(item)?))),
        kind::F32 => MetaValue::Float(f64::from(f32::from_le_bytes(cursor.array(item)?))),
        kind::BOOL => MetaValue::Bool(bool_from(cursor, item)?),
        kind::TEXT => MetaValue::Text(utf8(cursor, item)?.to_owned()),
        kind::ARRAY => MetaValue::Array(array(cursor, key)?),
        kind::U64 => MetaValue::Unsigned(cursor.u64(item)?),
        kind::I64 => MetaValue::Signed(i64::from_le_bytes(cursor.array(item)?)),
        kind::F64 => MetaValue::Float(f64::from_le_bytes(cursor.array(item)?)),
        other => return Err(unknown(cursor, item, offset, other)),
    })
}

/// A length and that many bytes.
pub(crate) fn bytes<'a>(
    cursor: &mut Cursor<'a>,
    item: Item<'_>,
) -> Result<&'a [u8], CheckpointError> {
    let len = cursor.u64(item)?;
    cursor.take(len, item)
}

/// A length and that many bytes of UTF-8, charged to the budget.
pub(crate) fn utf8<'a>(
    cursor: &mut Cursor<'a>,
    item: Item<'_>,
) -> Result<&'a str, CheckpointError> {
    let start = cursor.position() + 8;
    let bytes = bytes(cursor, item)?;
    cursor.charge(heap_cost(bytes.len()), item)?;
    std::str::from_utf8(bytes).map_err(|error| {
        let offset = start + error.valid_up_to() as u64;
        cursor.malformed(item, offset, "UTF-8", "bytes that are not")
    })
}

fn bool_from(cursor: &mut Cursor<'_>, item: Item<'_>) -> Result<bool, CheckpointError> {
    let offset = cursor.position();
    match cursor.u8(item)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(cursor.malformed(item, offset, "a bool (0 or 1)", other.to_string())),
    }
}

fn unknown(cursor: &Cursor<'_>, item: Item<'_>, offset: u64, found: u32) -> CheckpointError {
    cursor.malformed(item, offset, "a value type from 0 to 12", found.to_string())
}

fn array(cursor: &mut Cursor<'_>, key: &str) -> Result<MetaArray, CheckpointError> {
    let item = Item::Key(key);
    let kind_at = cursor.position();
    let kind = cursor.u32(item)?;
    let count_at = cursor.position();
    let count = cursor.u64(item)?;
    let file_size = match kind {
        kind::BOOL | kind::U8 | kind::I8 => 1,
        kind::U16 | kind::I16 => 2,
        kind::U32 | kind::I32 | kind::F32 => 4,
        // Of a text, its length.
        kind::F64 | kind::U64 | kind::I64 | kind::TEXT => 8,
        kind::ARRAY => {
            let expected = "an array of plain values";
            return Err(cursor.malformed(item, kind_at, expected, "an array of arrays"));
        }
        other => return Err(unknown(cursor, item, kind_at, other)),
    };
    let count = cursor.count(count, file_size, item, count_at)?;
    if kind == kind::TEXT {
        return texts(cursor, key, count);
    }
    if kind == kind::BOOL {
        cursor.charge(count as u64, item)?;
        let bools = (0..count as u64).map(|index| bool_from(cursor, Item::Element(key, index)));
        return Ok(MetaArray::Bool(bools.collect::<Result<_, _>>()?));
    }
    let start = cursor.position();
    cursor.take(count as u64 * file_size, item)?;
    Ok(numbers(kind, &cursor.since(start), file_size as usize))
}

/// The texts stay in the file; only where each starts is noted.
fn texts(cursor: &mut Cursor<'_>, key: &str, count: usize) -> Result<MetaArray, CheckpointError> {
    let item = Item::Key(key);
    cursor.charge((count as u64 + 1) * size_of::<u32>() as u64, item)?;
    let first = cursor.position();
    let mut starts = Vec::with_capacity(count + 1);
    for index in 0..=count as u64 {
        let start = cursor.position() - first + u64::from(Texts::LENGTH_BYTES);
        let Ok(start) = u32::try_from(start) else {
            let found = "more";
            return Err(cursor.malformed(item, first, "at most 4 GiB of texts", found));
        };
        starts.push(start);
        if index < count as u64 {
            bytes(cursor, Item::Element(key, index))?;
        }
    }
    let Some(texts) = Texts::new(cursor.since(first), starts) else {
        unreachable!("each text was read from these bytes")
    };
    Ok(MetaArray::Text(texts))
}

/// The elements of a numeric array; `data` holds whole elements of this width.
fn numbers(kind: u32, data: &Bytes, width: usize) -> MetaArray {
    let unsigned = || Numbers::new(data.clone(), width).map(MetaArray::Unsigned);
    let signed = || Numbers::new(data.clone(), width).map(MetaArray::Signed);
    let float = || Numbers::new(data.clone(), width).map(MetaArray::Float);
    let array = match kind {
        kind::U8 | kind::U16 | kind::U32 | kind::U64 => unsigned(),
        kind::I8 | kind::I16 | kind::I32 | kind::I64 => signed(),
        kind::F32 | kind::F64 => float(),
        _ => None,
    };
    let Some(array) = array else { unreachable!("the caller checked type and length") };
    array
}
