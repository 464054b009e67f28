//! Rounds the key and the value of one position and puts them into their chunk.

use super::format::{BLOCK, KV_CHUNK, KvDType};
use crate::dispatch::dispatch;
use crate::simd::{LANES, Simd, steps};
use crate::{Level, quantize_row};

/// Stores one head's key and value of the position `slot` of a chunk
/// (`kv.chunk_bytes(key.len(), value.len())` bytes). Rounds to the nearest, and for blocks as
/// GGUF's formats do. `row` is working memory.
pub fn store_kv(
    level: Level,
    kv: KvDType,
    key: &[f32],
    value: &[f32],
    slot: usize,
    chunk: &mut [u8],
    row: &mut Vec<u8>,
) {
    assert_eq!(chunk.len(), kv.chunk_bytes(key.len(), value.len()), "bytes of a chunk");
    assert!(slot < KV_CHUNK, "position {slot} of a chunk");
    let (keys, values) = chunk.split_at_mut(KV_CHUNK * kv.bytes(key.len()));
    row.resize(kv.bytes(key.len()), 0);
    round(level, kv, key, row);
    match kv {
        KvDType::F32 => scatter::<4>(row, slot, keys),
        KvDType::F16 | KvDType::BF16 => scatter::<2>(row, slot, keys),
        KvDType::Q8_0 => scatter_blocks::<BLOCK>(row, slot, keys),
        KvDType::Q4_0 => scatter_blocks::<{ BLOCK / 2 }>(row, slot, keys),
    }
    let bytes = kv.bytes(value.len());
    round(level, kv, value, &mut values[slot * bytes..][..bytes]);
}

fn round(level: Level, kv: KvDType, values: &[f32], out: &mut [u8]) {
    if kv == KvDType::F16 {
        dispatch!(level, halves, values, out);
    } else {
        let written = quantize_row(kv.dtype(), values, out);
        assert!(written.is_ok(), "every format of keys and values can be written");
    }
}

#[inline(always)]
fn halves<S: Simd>(s: S, values: &[f32], out: &mut [u8]) {
    let mut lanes = [0; LANES];
    for (start, width) in steps(values.len()) {
        s.store_f16(s.load_partial(&values[start..start + width]), &mut lanes);
        let (out, _) = out[2 * start..].as_chunks_mut::<2>();
        for (out, lane) in out.iter_mut().zip(&lanes[..width]) {
            *out = lane.to_le_bytes();
        }
    }
}

/// Element `i` of the row goes to `[i][slot]`.
fn scatter<const BYTES: usize>(row: &[u8], slot: usize, keys: &mut [u8]) {
    let elements = row.as_chunks::<BYTES>().0;
    let columns = keys.as_chunks_mut::<BYTES>().0.chunks_exact_mut(KV_CHUNK);
    for (element, column) in elements.iter().zip(columns) {
        column[slot] = *element;
    }
}

/// The same for blocks of a scale and `QUANTS` bytes, of which the scale goes last.
fn scatter_blocks<const QUANTS: usize>(row: &[u8], slot: usize, keys: &mut [u8]) {
    let blocks = row.chunks_exact(2 + QUANTS);
    for (block, keys) in blocks.zip(keys.chunks_exact_mut(KV_CHUNK * (2 + QUANTS))) {
        let (scale, quants) = block.split_at(2);
        for (quant, column) in quants.iter().zip(keys.chunks_exact_mut(KV_CHUNK)) {
            column[slot] = *quant;
        }
        keys[KV_CHUNK * QUANTS + 2 * slot..][..2].copy_from_slice(scale);
    }
}
