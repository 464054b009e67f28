//! A chunk's keys or values as rows of vectors, widened to f32 exactly: what is multiplied are the
//! stored numbers, whatever their format.
//!
//! Keys are read by dimension, four vectors of positions each; values by position.

use super::format::{BLOCK, KV_CHUNK, KvDType};
use crate::Level;
use crate::dispatch::dispatch;
use crate::simd::{LANES, Simd};

/// Bytes of a block of dimensions of all positions.
const Q8_0_KEYS: usize = KV_CHUNK * 34;
const Q4_0_KEYS: usize = KV_CHUNK * 18;

/// Rows of vectors in some format.
pub(super) trait Rows<S: Simd>: Copy {
    /// So many rows, from a multiple of it on, share what `shared` loads.
    const RUN: usize = usize::MAX;

    /// Scales of `N` vectors from `column` on, for the run that `row` is in.
    ///
    /// # Safety
    /// As for `load`.
    #[inline(always)]
    unsafe fn shared<const N: usize>(self, s: S, _row: usize, _column: usize) -> [S::F; N] {
        [s.zero(); N]
    }

    /// The vector `column` of a row.
    ///
    /// # Safety
    /// The matrix has that row and vector.
    unsafe fn load(self, s: S, row: usize, column: usize, shared: S::F) -> S::F;
}

/// Some of the keys or values of a chunk, and where the next chunk's lie.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    pub(super) kv: KvDType,
    pub(super) part: Half,
    pub(super) bytes: &'a [u8],
    /// Will be read soon.
    pub(super) next: &'a [u8],
}

/// Which half of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    /// `[dim][KV_CHUNK]`.
    Keys,
    /// `[position][dim]`, of so many dimensions.
    Values(usize),
}

impl Stored<'_> {
    /// Bytes of a row, on the average.
    pub(super) fn row_bytes(&self) -> usize {
        match self.part {
            Half::Keys => self.kv.bytes(BLOCK) * KV_CHUNK / BLOCK,
            Half::Values(dim) => self.kv.bytes(dim),
        }
    }

    /// Whole vectors of a row.
    pub(super) fn vectors(&self) -> usize {
        match self.part {
            Half::Keys => KV_CHUNK / LANES,
            Half::Values(dim) => dim / LANES,
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.bytes.len() / self.row_bytes()
    }
}

/// Calls `$kernel(level, rows, args)` with the rows of a `Stored`.
macro_rules! with_rows {
    ($level:expr, $stored:expr, $kernel:path, $($arg:expr),*) => {{
        let (stored, at) = ($stored, $stored.bytes.as_ptr());
        let stride = stored.row_bytes();
        match (stored.kv, stored.part) {
            (KvDType::F32, _) => dispatch!($level, $kernel, F32s { at, stride }, $($arg),*),
            (KvDType::F16, _) => dispatch!($level, $kernel, F16s { at, stride }, $($arg),*),
            (KvDType::BF16, _) => dispatch!($level, $kernel, Bf16s { at, stride }, $($arg),*),
            (KvDType::Q8_0, Half::Keys) => dispatch!($level, $kernel, Q8Keys(at), $($arg),*),
            (KvDType::Q4_0, Half::Keys) => dispatch!($level, $kernel, Q4Keys(at), $($arg),*),
            (KvDType::Q8_0, Half::Values(_)) => {
                dispatch!($level, $kernel, Q8Values { at, stride }, $($arg),*)
            }
            (KvDType::Q4_0, Half::Values(_)) => {
                dispatch!($level, $kernel, Q4Values { at, stride }, $($arg),*)
            }
        }
    }};
}

/// Widens a part of a chunk: row `i` to `i * stride` of `out`, a last vector padded with zeros.
pub(super) fn widen(level: Level, stored: Stored, out: &mut [f32], stride: usize) {
    let (rows, vectors) = (stored.rows(), stored.vectors());
    assert!(
        stride.is_multiple_of(LANES) && stride >= vectors * LANES && out.len() >= rows * stride
    );
    let ahead = Ahead::new(stored.next, rows);
    with_rows!(level, stored, widen_rows, rows, vectors, stride, out, ahead);
    let Half::Values(dim) = stored.part else { return };
    if dim == stride {
        return;
    }
    // Only formats without blocks get here.
    let start = vectors * LANES;
    let bytes = stored.bytes.chunks_exact(stored.kv.bytes(dim));
    for (row, out) in bytes.zip(out.chunks_exact_mut(stride)) {
        let tail = &row[stored.kv.bytes(start)..];
        crate::dequantize_row(level, stored.kv.dtype(), tail, &mut out[start..dim]);
        out[dim..].fill(0.0);
    }
}

#[inline(always)]
fn widen_rows<S: Simd, R: Rows<S>>(
    s: S,
    from: R,
    rows: usize,
    vectors: usize,
    stride: usize,
    out: &mut [f32],
    ahead: Ahead,
) {
    for (row, out) in out.chunks_exact_mut(stride).take(rows).enumerate() {
        ahead.fetch_to_second_cache(row);
        for (column, out) in out.as_chunks_mut::<LANES>().0.iter_mut().take(vectors).enumerate() {
            // SAFETY: `widen` was given so many rows and vectors.
            unsafe {
                let [shared] = from.shared::<1>(s, row, column);
                s.store(from.load(s, row, column, shared), out);
            }
        }
    }
}

/// Calls `$kernel` for `product.rs`.
pub(super) use with_rows;

/// Bytes that will be read soon, fetched a few lines per row of what is read now.
#[derive(Clone, Copy)]
pub(super) struct Ahead<'a> {
    bytes: &'a [u8],
    per_row: usize,
}

/// A line of the processor's caches.
const LINE: usize = 64;

impl<'a> Ahead<'a> {
    pub(super) fn new(bytes: &'a [u8], rows: usize) -> Self {
        Self { bytes, per_row: bytes.len().div_ceil(rows.max(1)) }
    }

    #[inline(always)]
    pub(super) fn fetch(self, row: usize) {
        self.lines(
            row,
            #[inline(always)]
            |byte| {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: SSE is in the baseline; nothing that a program could see is read.
                unsafe {
                    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                    _mm_prefetch::<_MM_HINT_T0>(byte);
                }
            },
        );
    }

    /// Not into the first cache, which is full of what is multiplied.
    #[inline(always)]
    fn fetch_to_second_cache(self, row: usize) {
        self.lines(
            row,
            #[inline(always)]
            |byte| {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: SSE is in the baseline; nothing that a program could see is read.
                unsafe {
                    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
                    _mm_prefetch::<_MM_HINT_T1>(byte);
                }
            },
        );
    }

    #[inline(always)]
    fn lines(self, row: usize, fetch: impl Fn(*const i8)) {
        for line in row * self.per_row / LINE..(row + 1) * self.per_row / LINE {
            if let Some(byte) = self.bytes.get(line * LINE) {
                fetch(std::ptr::from_ref(byte).cast());
            }
        }
    }
}

/// Defines rows of floats, `stride` bytes apart.
macro_rules! floats {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $load:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(super) struct $name {
            pub(super) at: *const u8,
            pub(super) stride: usize,
        }

        impl<S: Simd> Rows<S> for $name {
            #[inline(always)]
            unsafe fn load(self, s: S, row: usize, column: usize, _: S::F) -> S::F {
                // SAFETY: the caller keeps row and vector inside the matrix.
                s.$load(unsafe {
                    &*self.at.add(row * self.stride + column * LANES * $bytes).cast()
                })
            }
        }
    };
}

floats!(
    /// f32, little-endian.
    F32s, 4, load_f32_bytes
);
floats!(
    /// Binary16.
    F16s, 2, load_f16_bytes
);
floats!(
    /// bfloat16.
    Bf16s, 2, load_bf16_bytes
);

/// Transposed Q8_0.
#[derive(Clone, Copy)]
pub(super) struct Q8Keys(pub(super) *const u8);

impl<S: Simd> Rows<S> for Q8Keys {
    const RUN: usize = BLOCK;

    #[inline(always)]
    unsafe fn shared<const N: usize>(self, s: S, row: usize, column: usize) -> [S::F; N] {
        let scales = row / BLOCK * Q8_0_KEYS + KV_CHUNK * BLOCK;
        // SAFETY: the caller keeps row and vectors inside the chunk.
        unsafe { position_scales(s, self.0.add(scales + column * 2 * LANES)) }
    }
    #[inline(always)]
    unsafe fn load(self, s: S, row: usize, column: usize, shared: S::F) -> S::F {
        let quants = row / BLOCK * Q8_0_KEYS + row % BLOCK * KV_CHUNK + column * LANES;
        // SAFETY: the same.
        s.mul(s.signed(s.bytes(unsafe { &*self.0.add(quants).cast() })), shared)
    }
}

/// Transposed Q4_0.
#[derive(Clone, Copy)]
pub(super) struct Q4Keys(pub(super) *const u8);

impl<S: Simd> Rows<S> for Q4Keys {
    const RUN: usize = BLOCK;

    #[inline(always)]
    unsafe fn shared<const N: usize>(self, s: S, row: usize, column: usize) -> [S::F; N] {
        let scales = row / BLOCK * Q4_0_KEYS + KV_CHUNK * BLOCK / 2;
        // SAFETY: the caller keeps row and vectors inside the chunk.
        unsafe { position_scales(s, self.0.add(scales + column * 2 * LANES)) }
    }
    #[inline(always)]
    unsafe fn load(self, s: S, row: usize, column: usize, shared: S::F) -> S::F {
        let within = row % BLOCK;
        let byte_row = within % (BLOCK / 2) * KV_CHUNK;
        let quants = row / BLOCK * Q4_0_KEYS + byte_row + column * LANES;
        // SAFETY: the same.
        let bytes = unsafe { &*self.0.add(quants).cast() };
        s.mul(nibbles(s, bytes, within / (BLOCK / 2)), shared)
    }
}

/// Rows of Q8_0 blocks.
#[derive(Clone, Copy)]
pub(super) struct Q8Values {
    pub(super) at: *const u8,
    pub(super) stride: usize,
}

impl<S: Simd> Rows<S> for Q8Values {
    #[inline(always)]
    unsafe fn load(self, s: S, row: usize, column: usize, _: S::F) -> S::F {
        // SAFETY: the caller keeps row and vector inside the chunk; two vectors make a block.
        let (scale, bytes) = unsafe {
            let block = self.at.add(row * self.stride + column / 2 * 34);
            (block_scale(s, block), &*block.add(2 + column % 2 * LANES).cast())
        };
        s.mul(s.signed(s.bytes(bytes)), scale)
    }
}

/// Rows of Q4_0 blocks.
#[derive(Clone, Copy)]
pub(super) struct Q4Values {
    pub(super) at: *const u8,
    pub(super) stride: usize,
}

impl<S: Simd> Rows<S> for Q4Values {
    #[inline(always)]
    unsafe fn load(self, s: S, row: usize, column: usize, _: S::F) -> S::F {
        // SAFETY: the caller keeps row and vector inside the chunk; two vectors make a block.
        let (scale, bytes) = unsafe {
            let block = self.at.add(row * self.stride + column / 2 * 18);
            (block_scale(s, block), &*block.add(2).cast())
        };
        s.mul(nibbles(s, bytes, column % 2), scale)
    }
}

/// f16 scales of `16 * N` positions.
///
/// # Safety
/// `at` points to so many.
#[inline(always)]
unsafe fn position_scales<S: Simd, const N: usize>(s: S, at: *const u8) -> [S::F; N] {
    let mut scales = [s.zero(); N];
    for (n, scale) in scales.iter_mut().enumerate() {
        // SAFETY: the caller promises 2 * LANES bytes for each vector.
        *scale = s.load_f16_bytes(unsafe { &*at.add(n * 2 * LANES).cast() });
    }
    scales
}

/// The f16 scale that a block starts with.
///
/// # Safety
/// `block` points to two bytes.
#[inline(always)]
unsafe fn block_scale<S: Simd>(s: S, block: *const u8) -> S::F {
    // SAFETY: the caller promises two bytes.
    s.splat(s.f16(u16::from_le_bytes(unsafe { *block.cast() })))
}

/// The low (`half` 0) or high nibbles less 8.
#[inline(always)]
fn nibbles<S: Simd>(s: S, bytes: &[u8; LANES], half: usize) -> S::F {
    let quants = s.bits(s.bytes(bytes), 4 * half as u32, 15);
    s.sub(s.unsigned(quants), s.splat(8.0))
}
