//! F32, F16 and BF16: widened exactly; narrowed to nearest, ties to even.

use crate::scalar::bf16_bits;
use crate::simd::{LANES, Simd};
use crate::tile::{Bf16Row, F16Row, F32Row, Row};
use half::f16;

#[inline(always)]
pub(super) fn read_f32<S: Simd>(s: S, bytes: &[u8], out: &mut [f32]) {
    read(s, F32Row(bytes), out);
}

#[inline(always)]
pub(super) fn read_f16<S: Simd>(s: S, bytes: &[u8], out: &mut [f32]) {
    read(s, F16Row(bytes), out);
}

#[inline(always)]
pub(super) fn read_bf16<S: Simd>(s: S, bytes: &[u8], out: &mut [f32]) {
    read(s, Bf16Row(bytes), out);
}

#[inline(always)]
fn read<S: Simd, R: Row<S>>(s: S, row: R, out: &mut [f32]) {
    assert_eq!(row.len(), out.len(), "one output per element");
    let start = out.len() / LANES * LANES;
    let (body, tail) = out.as_chunks_mut::<LANES>();
    for (i, out) in body.iter_mut().enumerate() {
        // SAFETY: the row is as long as `out`, which holds this chunk.
        s.store(unsafe { row.chunk(s, i) }, out);
    }
    if !tail.is_empty() {
        s.store_partial(row.tail(s, start), tail);
    }
}

pub(super) fn write_f32(values: &[f32], out: &mut [u8]) {
    for (x, out) in values.iter().zip(out.as_chunks_mut::<4>().0) {
        *out = x.to_le_bytes();
    }
}

pub(super) fn write_f16(values: &[f32], out: &mut [u8]) {
    for (x, out) in values.iter().zip(out.as_chunks_mut::<2>().0) {
        *out = f16::from_f32_const(*x).to_le_bytes();
    }
}

pub(super) fn write_bf16(values: &[f32], out: &mut [u8]) {
    for (x, out) in values.iter().zip(out.as_chunks_mut::<2>().0) {
        *out = bf16_bits(*x).to_le_bytes();
    }
}
