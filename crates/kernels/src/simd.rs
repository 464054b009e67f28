//! Sixteen virtual lanes of f32: the vocabulary in which every kernel is written once. The
//! instruction sets implement it; all of them give the same bits (the scalar one is the
//! specification).
//!
//! The implementing type is a token: to hold one proves that the CPU has the instructions.

/// How many lanes a vector has, on every level.
pub(crate) const LANES: usize = 16;

/// Operations on vectors of sixteen lanes. `min` and `max` return the second operand when either is
/// NaN.
pub(crate) trait Simd: Copy {
    /// Sixteen f32 lanes.
    type F: Copy;
    /// Sixteen bytes.
    type B: Copy;

    /// Whether there are 32 registers of sixteen lanes, so that larger register tiles pay.
    const WIDE: bool;

    fn splat(self, x: f32) -> Self::F;
    fn load(self, from: &[f32; LANES]) -> Self::F;
    fn store(self, value: Self::F, to: &mut [f32; LANES]);
    /// Little-endian f32 at any address.
    fn load_f32_bytes(self, from: &[u8; 4 * LANES]) -> Self::F;
    /// Little-endian binary16 at any address, widened exactly.
    fn load_f16_bytes(self, from: &[u8; 2 * LANES]) -> Self::F;
    /// Little-endian bfloat16 at any address, widened exactly.
    fn load_bf16_bytes(self, from: &[u8; 2 * LANES]) -> Self::F;
    /// Binary16 bits, widened exactly.
    fn load_f16(self, from: &[u16; LANES]) -> Self::F;
    /// Rounds to the nearest binary16, ties to even.
    fn store_f16(self, value: Self::F, to: &mut [u16; LANES]);
    /// One binary16, widened exactly.
    fn f16(self, bits: u16) -> f32;

    fn bytes(self, from: &[u8; LANES]) -> Self::B;
    /// `(a >> shift) & mask` of each byte; `mask << shift` fits in a byte.
    fn bits(self, a: Self::B, shift: u32, mask: u8) -> Self::B;
    /// `low | high << shift` of each byte; no bit is shifted out.
    fn join(self, low: Self::B, high: Self::B, shift: u32) -> Self::B;
    /// Bytes 0..=255 as numbers.
    fn unsigned(self, a: Self::B) -> Self::F;
    /// Bytes -128..=127 as numbers.
    fn signed(self, a: Self::B) -> Self::F;
    /// `table[a]` of each byte; all are below 16.
    fn lookup(self, table: Self::F, a: Self::B) -> Self::F;

    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// To the nearest integer, ties to even.
    fn round(self, a: Self::F) -> Self::F;
    /// `2^n` of integers in -126..=127 held as f32.
    fn pow2(self, n: Self::F) -> Self::F;
    /// The magnitude of `a`.
    fn abs(self, a: Self::F) -> Self::F;
    /// The magnitude of `a` with the sign of `sign`.
    fn copysign(self, a: Self::F, sign: Self::F) -> Self::F;

    /// Sum of the lanes by the fixed tree: lane i with i+8, then i+4, i+2, i+1.
    fn sum(self, a: Self::F) -> f32;
    /// Four sums, each by that tree.
    #[inline(always)]
    fn sum4(self, a: [Self::F; 4]) -> [f32; 4] {
        [self.sum(a[0]), self.sum(a[1]), self.sum(a[2]), self.sum(a[3])]
    }
    /// Largest lane by the same tree.
    fn max_lane(self, a: Self::F) -> f32;

    /// Up to sixteen numbers; absent lanes are zero.
    #[inline(always)]
    fn load_partial(self, from: &[f32]) -> Self::F {
        // All sixteen, as nearly always: no way round through memory.
        if let Ok(lanes) = from.try_into() {
            return self.load(lanes);
        }
        let mut lanes = [0.0; LANES];
        lanes[..from.len()].copy_from_slice(from);
        self.load(&lanes)
    }

    /// The first `to.len()` lanes.
    #[inline(always)]
    fn store_partial(self, value: Self::F, to: &mut [f32]) {
        if let Ok(lanes) = (&mut *to).try_into() {
            return self.store(value, lanes);
        }
        let mut lanes = [0.0; LANES];
        self.store(value, &mut lanes);
        to.copy_from_slice(&lanes[..to.len()]);
    }

    #[inline(always)]
    fn zero(self) -> Self::F {
        self.splat(0.0)
    }
}

/// Runs `f(start, width)` over `len` elements, sixteen at a time; the last step may be narrower.
#[inline(always)]
pub(crate) fn steps(len: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..len).step_by(LANES).map(move |start| (start, (len - start).min(LANES)))
}
