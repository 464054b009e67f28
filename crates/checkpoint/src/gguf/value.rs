//! Reads one metadata value of a GGUF file.

use super::kind;
use crate::CheckpointError;
use crate::budget::heap_cost;
use crate::cursor::{Cursor, Item};
use lucid_tensor::{MetaArray, MetaValue};

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
    let (file_size, memory_size) = match kind {
        kind::BOOL => (1, 1),
        kind::U8 | kind::I8 => (1, 8),
        kind::U16 | kind::I16 => (2, 8),
        kind::U32 | kind::I32 => (4, 8),
        kind::F32 => (4, 4),
        kind::F64 => (8, 4),
        kind::U64 | kind::I64 => (8, 8),
        kind::TEXT => (8, 24),
        kind::ARRAY => {
            let expected = "an array of plain values";
            return Err(cursor.malformed(item, kind_at, expected, "an array of arrays"));
        }
        other => return Err(unknown(cursor, item, kind_at, other)),
    };
    let count = cursor.count(count, file_size, item, count_at)?;
    cursor.charge(count as u64 * memory_size, item)?;
    if kind == kind::TEXT {
        return texts(cursor, key, count);
    }
    if kind == kind::BOOL {
        let bools = (0..count as u64).map(|index| bool_from(cursor, Item::Element(key, index)));
        return Ok(MetaArray::Bool(bools.collect::<Result<_, _>>()?));
    }
    let data = cursor.take(count as u64 * file_size, item)?;
    Ok(numbers(kind, data))
}

fn texts(cursor: &mut Cursor<'_>, key: &str, count: usize) -> Result<MetaArray, CheckpointError> {
    let mut texts = Vec::with_capacity(count);
    for index in 0..count as u64 {
        let item = Item::Element(key, index);
        let text = bytes(cursor, item)?;
        cursor.charge(heap_cost(text.len()), item)?;
        texts.push(text.to_vec());
    }
    Ok(MetaArray::Text(texts))
}

/// Decodes the elements of a numeric array; `data` holds whole elements.
fn numbers(kind: u32, data: &[u8]) -> MetaArray {
    macro_rules! decode {
        ($type:ty, $wide:ty) => {
            data.as_chunks().0.iter().map(|&c| <$type>::from_le_bytes(c) as $wide).collect()
        };
    }
    match kind {
        kind::U8 => MetaArray::Unsigned(decode!(u8, u64)),
        kind::U16 => MetaArray::Unsigned(decode!(u16, u64)),
        kind::U32 => MetaArray::Unsigned(decode!(u32, u64)),
        kind::U64 => MetaArray::Unsigned(decode!(u64, u64)),
        kind::I8 => MetaArray::Signed(decode!(i8, i64)),
        kind::I16 => MetaArray::Signed(decode!(i16, i64)),
        kind::I32 => MetaArray::Signed(decode!(i32, i64)),
        kind::I64 => MetaArray::Signed(decode!(i64, i64)),
        kind::F32 => MetaArray::Float(decode!(f32, f32)),
        kind::F64 => MetaArray::Float(decode!(f64, f32)),
        _ => unreachable!("the caller checked the element type"),
    }
}
