//! Activations as the packed products read them: in tiles of up to twelve rows, so that a tile is
//! read front to back.
//!
//! Rounding: `scale = max |x| / 127` over a block, `q = x * (127 / max |x|)` to the nearest, ties
//! to even. A NaN or an infinity makes its block's scale NaN or infinite, and so the products.

#[cfg(target_arch = "x86_64")]
use super::vector;
use crate::dispatch::dispatch;
use crate::simd::Simd;
use crate::{DType, Level};
use half::bf16;

/// Rows of a tile.
pub const ACTIVATION_TILE: usize = 12;

/// The activations that a format is multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActivationClass {
    /// Signed bytes, a scale for each 32.
    Blocks32,
    /// Signed bytes, a scale for each 256.
    Blocks256,
    /// bfloat16.
    Bf16,
    /// f32 as they are: binary16 weights are multiplied with nothing narrower, since f32 products
    /// cost no more where bfloat16 ones would.
    F32,
}

/// Rounded activations, as `quantize_activations` wrote them.
#[derive(Clone, Copy, Debug)]
pub struct Activations<'a> {
    /// What they are.
    pub class: ActivationClass,
    /// `activation_bytes(class, batch, cols)` bytes.
    pub bytes: &'a [u8],
    /// Rows.
    pub batch: usize,
    /// Elements of a row.
    pub cols: usize,
}

/// Bytes of a block of 32 for one row, by field: for a tile of M rows each field is M times as long
/// and begins M times as far.
pub(super) mod blocks32 {
    pub(in crate::packed) const LEN: usize = 32;
    /// f32: the scale.
    pub(in crate::packed) const SCALE: usize = 32;
    /// i32: -128 times the sum of the bytes.
    pub(in crate::packed) const OFFSET: usize = 36;
    /// f32: the scale times the sum of the bytes.
    pub(in crate::packed) const SUM: usize = 40;
    pub(in crate::packed) const BYTES: usize = 44;
}

/// The same for a block of 256.
pub(super) mod blocks256 {
    pub(in crate::packed) const LEN: usize = 256;
    /// f32: the scale.
    pub(in crate::packed) const SCALE: usize = 256;
    /// 16 x i32: -32 times the sum of each 16 bytes.
    pub(in crate::packed) const OFFSETS: usize = 260;
    /// 8 x i16: the sum of each 32 bytes; of each four, in the order 0, 2, 1, 3.
    pub(in crate::packed) const SUMS32: usize = 324;
    /// 16 x i16: the sum of each 16 bytes, in that order.
    pub(in crate::packed) const SUMS16: usize = 340;
    pub(in crate::packed) const BYTES: usize = 372;
}

/// Where sum `i` stands: it is its own inverse.
pub(super) fn sum_place(i: usize) -> usize {
    i / 4 * 4 + [0, 2, 1, 3][i % 4]
}

/// The class that a format takes; `None` if it is not packed.
pub fn activation_class(dtype: DType) -> Option<ActivationClass> {
    match dtype {
        DType::F32 => None,
        DType::F16 => Some(ActivationClass::F32),
        DType::BF16 => Some(ActivationClass::Bf16),
        _ if dtype.block_len() == 32 => Some(ActivationClass::Blocks32),
        _ => Some(ActivationClass::Blocks256),
    }
}

/// Bytes of `batch` rows of `cols` elements, whole blocks of the class (Bf16, F32: pairs).
pub fn activation_bytes(class: ActivationClass, batch: usize, cols: usize) -> usize {
    let (len, bytes) = match class {
        ActivationClass::Blocks32 => (blocks32::LEN, blocks32::BYTES),
        ActivationClass::Blocks256 => (blocks256::LEN, blocks256::BYTES),
        ActivationClass::Bf16 => (2, 4),
        ActivationClass::F32 => (2, 8),
    };
    assert!(cols.is_multiple_of(len), "{cols} elements are not whole blocks of {len}");
    batch * (cols / len * bytes)
}

/// Rounds `x`, `[batch, cols]`, into `activation_bytes(class, batch, cols)` bytes. Several threads
/// may each write some tiles of `ACTIVATION_TILE` rows: tiles follow one another.
pub fn quantize_activations(
    level: Level,
    class: ActivationClass,
    x: &[f32],
    batch: usize,
    cols: usize,
    out: &mut [u8],
) {
    assert_eq!(x.len(), batch * cols, "x is not [batch, cols]");
    assert_eq!(out.len(), activation_bytes(class, batch, cols), "bytes of the activations");
    if x.is_empty() {
        return;
    }
    let tile_bytes = activation_bytes(class, ACTIVATION_TILE, cols);
    let tiles = x.chunks(ACTIVATION_TILE * cols).zip(out.chunks_mut(tile_bytes));
    for (x, out) in tiles {
        match (level, class) {
            #[cfg(target_arch = "x86_64")]
            (Level::Avx2(token), ActivationClass::Blocks32) => {
                vector::round::small_tile(token, x, cols, out);
            }
            #[cfg(target_arch = "x86_64")]
            (Level::Avx2(token), ActivationClass::Blocks256) => {
                vector::round::large_tile(token, x, cols, out);
            }
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512(token), ActivationClass::Blocks32) => {
                vector::round::small_tile_512(token, x, cols, out);
            }
            _ => dispatch!(level, quantize_tile, class, x, cols, out),
        }
    }
}

/// Plain code: compiled for the level's instructions it becomes vectors by itself, to the same
/// bits, since no sum of floats is in it.
#[inline(always)]
fn quantize_tile<S: Simd>(_: S, class: ActivationClass, x: &[f32], cols: usize, out: &mut [u8]) {
    let rows = x.len() / cols;
    for (m, x) in x.chunks_exact(cols).enumerate() {
        match class {
            ActivationClass::Blocks32 => small_row(x, out, rows, m, small_block),
            ActivationClass::Blocks256 => {
                let blocks = x.as_chunks::<{ blocks256::LEN }>().0;
                for (x, out) in blocks.iter().zip(out.chunks_exact_mut(rows * blocks256::BYTES)) {
                    large_block(x, out, rows, m);
                }
            }
            ActivationClass::Bf16 => {
                let pairs = x.as_chunks::<2>().0;
                for (x, out) in pairs.iter().zip(out.chunks_exact_mut(rows * 4)) {
                    let bits = x.map(|x| bf16::from_f32_const(x).to_bits());
                    let pair = u32::from(bits[0]) | u32::from(bits[1]) << 16;
                    out[4 * m..][..4].copy_from_slice(&pair.to_le_bytes());
                }
            }
            ActivationClass::F32 => {
                for (x, out) in x.iter().zip(out.chunks_exact_mut(rows * 4)) {
                    out[4 * m..][..4].copy_from_slice(&x.to_le_bytes());
                }
            }
        }
    }
}

/// A row of blocks of 32, each rounded by `round`.
#[inline(always)]
pub(super) fn small_row(
    x: &[f32],
    out: &mut [u8],
    rows: usize,
    m: usize,
    round: impl Fn(&[f32; 32]) -> ([i8; 32], f32, i32),
) {
    let blocks = x.as_chunks::<{ blocks32::LEN }>().0;
    for (x, out) in blocks.iter().zip(out.chunks_exact_mut(rows * blocks32::BYTES)) {
        put_small(round(x), out, rows, m);
    }
}

/// The scale of a block with this largest magnitude, and what its numbers are multiplied with to
/// become bytes.
#[inline(always)]
pub(super) fn scales(max: f32) -> (f32, f32) {
    // Below, the inverse would overflow; such numbers become zero.
    let inverse = if max < 1e-30 { 0.0 } else { 127.0 / max };
    (max / 127.0, inverse)
}

/// The bytes, and what their numbers are multiples of.
#[inline(always)]
fn round<const N: usize>(x: &[f32; N]) -> ([i8; N], f32) {
    // As integers, magnitudes are in order, and a NaN is above all.
    let max = x.iter().fold(0, |max, x| (x.to_bits() & 0x7fff_ffff).max(max));
    let (scale, inverse) = scales(f32::from_bits(max));
    // Adding 1.5 * 2^23 rounds to the nearest, ties to even; the integer is in the low bits.
    let byte = |x: f32| {
        let x = x * inverse;
        if x.is_nan() { 0 } else { (x + 12582912.0).to_bits() as i8 }
    };
    (x.map(byte), scale)
}

#[inline(always)]
fn small_block(x: &[f32; 32]) -> ([i8; 32], f32, i32) {
    let (q, scale) = round(x);
    (q, scale, q.iter().map(|&q| i32::from(q)).sum())
}

/// Writes row `m` of `rows` to a record.
#[inline(always)]
fn put_small((q, scale, sum): ([i8; 32], f32, i32), out: &mut [u8], rows: usize, m: usize) {
    out[m * blocks32::LEN..][..32].copy_from_slice(&q.map(|q| q as u8));
    let mut put = |field: usize, bytes: [u8; 4]| {
        out[rows * field + 4 * m..][..4].copy_from_slice(&bytes);
    };
    put(blocks32::SCALE, scale.to_le_bytes());
    put(blocks32::OFFSET, (-128 * sum).to_le_bytes());
    put(blocks32::SUM, (scale * sum as f32).to_le_bytes());
}

#[inline(always)]
fn large_block(x: &[f32; 256], out: &mut [u8], rows: usize, m: usize) {
    let (q, scale) = round(x);
    out[m * blocks256::LEN..][..256].copy_from_slice(&q.map(|q| q as u8));
    out[rows * blocks256::SCALE + 4 * m..][..4].copy_from_slice(&scale.to_le_bytes());
    let mut sums = [0; 16];
    for (sum, q) in sums.iter_mut().zip(q.as_chunks::<16>().0) {
        *sum = q.iter().map(|&q| i32::from(q)).sum::<i32>();
    }
    for (i, sum) in sums.into_iter().enumerate() {
        let at = rows * blocks256::OFFSETS + 64 * m + 4 * i;
        out[at..][..4].copy_from_slice(&(-32 * sum).to_le_bytes());
        let at = rows * blocks256::SUMS16 + 32 * m + 2 * sum_place(i);
        out[at..][..2].copy_from_slice(&(sum as i16).to_le_bytes());
    }
    for (i, pair) in sums.as_chunks::<2>().0.iter().enumerate() {
        let at = rows * blocks256::SUMS32 + 16 * m + 2 * sum_place(i);
        out[at..][..2].copy_from_slice(&((pair[0] + pair[1]) as i16).to_le_bytes());
    }
}
