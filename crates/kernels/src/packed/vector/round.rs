//! Rounding of activations to bytes. (Left to itself the compiler makes scalar code of so short
//! blocks and, with 256-bit registers, of their many sums.)

use crate::packed::activations::{blocks256, scales, small_row};
use crate::x86_64::avx2::Avx2;
use crate::x86_64::avx2_bytes::Ymm;
use crate::x86_64::avx512::Avx512;
use crate::x86_64::avx512_bytes::Zmm;
use crate::x86_64::byte_vector::{ByteVector as _, In16};

/// A tile of `Blocks32`.
pub(in crate::packed) fn small_tile(token: Avx2, x: &[f32], cols: usize, out: &mut [u8]) {
    let v = Ymm::new(token);
    v.vectorize(
        #[inline(always)]
        || {
            let rows = x.len() / cols;
            for (m, x) in x.chunks_exact(cols).enumerate() {
                small_row(
                    x,
                    out,
                    rows,
                    m,
                    #[inline(always)]
                    |x| small_block(v, x),
                );
            }
        },
    );
}

/// The same with 512-bit registers.
pub(in crate::packed) fn small_tile_512(token: Avx512, x: &[f32], cols: usize, out: &mut [u8]) {
    let v = Zmm::new(token);
    v.vectorize(
        #[inline(always)]
        || {
            let rows = x.len() / cols;
            for (m, x) in x.chunks_exact(cols).enumerate() {
                small_row(
                    x,
                    out,
                    rows,
                    m,
                    #[inline(always)]
                    |x| small_block_512(v, x),
                );
            }
        },
    );
}

/// A tile of `Blocks256`.
pub(in crate::packed) fn large_tile(token: Avx2, x: &[f32], cols: usize, out: &mut [u8]) {
    let rows = x.len() / cols;
    token.vectorize(
        #[inline(always)]
        || {
            for (m, x) in x.chunks_exact(cols).enumerate() {
                let blocks = x.as_chunks::<{ blocks256::LEN }>().0;
                for (x, out) in blocks.iter().zip(out.chunks_exact_mut(rows * blocks256::BYTES)) {
                    large_block(Ymm::new(token), x, out, rows, m);
                }
            }
        },
    );
}

/// The bytes, what their numbers are multiples of, and the sum of the bytes.
#[inline(always)]
fn small_block(v: Ymm<In16>, x: &[f32; 32]) -> ([i8; 32], f32, i32) {
    let max = v.largest(v.max_magnitudes(v.splat(0), x));
    let (scale, inverse) = scales(f32::from_bits(max));
    let bytes = v.round_bytes(x, inverse);
    let mut q = [0; 32];
    v.store_bytes(bytes, &mut q);
    (q.map(|q| q as i8), scale, v.sum(v.sums_of_four(bytes)))
}

#[inline(always)]
fn small_block_512(v: Zmm<In16>, x: &[f32; 32]) -> ([i8; 32], f32, i32) {
    let halves = x.as_chunks::<16>().0;
    let (a, b) = (v.load_f32(&halves[0], 0), v.load_f32(&halves[1], 0));
    let (scale, inverse) = scales(f32::from_bits(v.max_magnitude(a, b)));
    let inverse = v.splat_f32(inverse);
    let (a, b) = (v.round_to_i32(v.mul(a, inverse)), v.round_to_i32(v.mul(b, inverse)));
    let mut q = [0; 32];
    let halves = q.as_chunks_mut::<16>().0;
    v.store_low_bytes(a, &mut halves[0]);
    v.store_low_bytes(b, &mut halves[1]);
    (q, scale, v.sum_i32(a, b))
}

#[inline(always)]
fn large_block(v: Ymm<In16>, x: &[f32; 256], out: &mut [u8], rows: usize, m: usize) {
    let parts = x.as_chunks::<32>().0;
    let mut max = v.splat(0);
    for part in parts {
        max = v.max_magnitudes(max, part);
    }
    let (scale, inverse) = scales(f32::from_bits(v.largest(max)));
    let mut fours = [v.splat(0); 8];
    let bytes = out[m * blocks256::LEN..][..256].as_chunks_mut::<32>().0;
    for ((fours, out), part) in fours.iter_mut().zip(bytes).zip(parts) {
        let bytes = v.round_bytes(part, inverse);
        v.store_bytes(bytes, out);
        *fours = v.sums_of_four(bytes);
    }
    out[rows * blocks256::SCALE + 4 * m..][..4].copy_from_slice(&scale.to_le_bytes());
    let (offsets, sums, wholes) = v.sums_of_block(fours);
    let to = out[rows * blocks256::OFFSETS + 64 * m..][..64].as_chunks_mut::<32>().0;
    v.store_bytes(offsets[0], &mut to[0]);
    v.store_bytes(offsets[1], &mut to[1]);
    let to = out[rows * blocks256::SUMS16 + 32 * m..][..32].as_chunks_mut::<32>().0;
    v.store_bytes(sums, &mut to[0]);
    let to = out[rows * blocks256::SUMS32 + 16 * m..][..16].as_chunks_mut::<16>().0;
    v.store_half(wholes, &mut to[0]);
}
