//! What packed products need of an instruction set: vectors of 8 or 16 lanes of 32 bits, and sums
//! of products of bytes. The implementing type is a token: to hold one proves that the CPU has the
//! instructions.
//!
//! Where no instruction forms such sums in 32 bits, they are formed in 16 and widened after some
//! steps; how many steps cannot overflow is the format's knowledge (`Narrow`).

use std::fmt::Debug;

/// The bits of 1.5 * 2^23: as f32, integers from these on are as many more.
pub(crate) const BIAS: i32 = 0x4b40_0000;

/// How wide the sums of products of bytes are.
pub(crate) trait Sums: Copy + Debug {
    const IN_32: bool;
    /// What bytes are then that are `N` where sums are narrow.
    type Narrow<N: Narrow>: Narrow;
}

/// By instructions that take the sums along (VNNI).
#[derive(Clone, Copy, Debug)]
pub(crate) struct In32;

impl Sums for In32 {
    const IN_32: bool = true;
    type Narrow<N: Narrow> = Whole;
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct In16;

impl Sums for In16 {
    const IN_32: bool = false;
    type Narrow<N: Narrow> = N;
}

/// What a format's bytes are where sums of their products are 16 bits wide.
pub(crate) trait Narrow {
    /// So many steps of four products cannot overflow.
    const RUN: usize;
    /// The unsigned bytes of the specification are these times a power of two.
    const SHIFT: u32;
    /// These are signed; the bytes of the specification are 128 more.
    const SIGNED: bool;
}

/// Those of the specification, where sums are wide.
pub(crate) struct Whole;

impl Narrow for Whole {
    const RUN: usize = 8;
    const SHIFT: u32 = 0;
    const SIGNED: bool = false;
}

/// Unsigned bytes up to `MAX`, which the specification has times `2^SHIFT`.
pub(crate) struct Unsigned<const MAX: usize, const SHIFT: u32>;

impl<const MAX: usize, const SHIFT: u32> Narrow for Unsigned<MAX, SHIFT> {
    const RUN: usize = {
        // A pair of products is at most 2 * 127 * MAX.
        let run = 32767 / (254 * MAX);
        // A power of two, since sub-blocks are.
        if run >= 8 { 8 } else { 1 << run.ilog2() }
    };
    const SHIFT: u32 = SHIFT;
    const SIGNED: bool = false;
}

/// |-128| * 127 * 2 is just below 2^15.
pub(crate) struct Signed;

impl Narrow for Signed {
    const RUN: usize = 1;
    const SHIFT: u32 = 0;
    const SIGNED: bool = true;
}

/// `N` as sums of `V` want it.
pub(crate) type NarrowOf<V, N> = <<V as ByteVector>::Sums as Sums>::Narrow<N>;

/// Vectors whose lanes are rows of a packed matrix.
pub(crate) trait ByteVector: Copy {
    /// Integers.
    type I: Copy;
    /// As many f32.
    type F: Copy;
    /// Vectors in a line of 64 bytes.
    const PARTS: usize;
    /// How wide the sums of products of bytes are.
    type Sums: Sums;
    /// Whether that is 32 bits.
    const DOT_32: bool = Self::Sums::IN_32;

    /// Runs `f`, and what inlines into it, compiled for these instructions.
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R;

    /// Part `part` of a line at any address.
    fn load(self, line: &[u8; 64], part: usize) -> Self::I;
    fn store(self, value: Self::I, line: &mut [u8; 64], part: usize);
    fn load_f32(self, line: &[f32; 16], part: usize) -> Self::F;
    fn store_f32(self, value: Self::F, line: &mut [f32; 16], part: usize);
    /// Part `part` of sixteen binary16, widened.
    fn halves(self, from: &[u8; 32], part: usize) -> Self::F;
    /// `2^(e - 128)` of part `part` of sixteen bytes e, down to the smallest subnormals.
    fn half_powers(self, from: &[u8; 16], part: usize) -> Self::F;
    /// The low binary16 of each lane, widened.
    fn low_halves(self, a: Self::I) -> Self::F;

    fn splat(self, x: i32) -> Self::I;
    fn splat_byte(self, x: u8) -> Self::I;
    fn splat_f32(self, x: f32) -> Self::F;

    /// A run of up to some `dot`s from `sum`: while all pairs of products of the run sum to less
    /// than 2^15, unless `DOT_32`.
    fn begin_run(self, sum: Self::I) -> Self::I;
    /// Four unsigned times four signed bytes per lane, added to the run.
    fn dot(self, run: Self::I, unsigned: Self::I, signed: Self::I) -> Self::I;
    /// Both signed and no byte of `b` -128; a run is one such step. Not for `DOT_32`.
    fn dot_signed(self, run: Self::I, a: Self::I, b: Self::I) -> Self::I;
    /// The sum that the run began with and what it added.
    fn end_run(self, run: Self::I, sum: Self::I) -> Self::I;
    /// Two products of signed 16-bit numbers per lane, added to the lane.
    fn dot_words(self, sum: Self::I, a: Self::I, b: Self::I) -> Self::I;

    fn add(self, a: Self::I, b: Self::I) -> Self::I;
    fn and(self, a: Self::I, b: Self::I) -> Self::I;
    fn or(self, a: Self::I, b: Self::I) -> Self::I;
    fn xor(self, a: Self::I, b: Self::I) -> Self::I;
    /// Of each 32-bit lane; the number is one that inlining makes a constant, below 32.
    fn left(self, a: Self::I, n: u32) -> Self::I;
    /// The same, zeros from above.
    fn right(self, a: Self::I, n: u32) -> Self::I;
    /// The same, the sign from above.
    fn right_signed(self, a: Self::I, n: u32) -> Self::I;
    fn sub_bytes(self, a: Self::I, b: Self::I) -> Self::I;
    /// `table[a]` of each byte; all are below 16.
    fn lookup(self, table: &[u8; 16], a: Self::I) -> Self::I;
    /// Bytes 1 and 3 of each lane as two signed 16-bit numbers.
    fn high_bytes(self, a: Self::I) -> Self::I;

    fn to_f32(self, a: Self::I) -> Self::F;
    /// What `unbias` undoes.
    fn bias(self, a: Self::I) -> Self::I;
    /// An integer below 2^22 either way, exactly. A sum may begin with its bias: an addition is
    /// left then, where a conversion would stand in the way of multiplications.
    fn unbias(self, a: Self::I) -> Self::F;
    fn as_f32(self, a: Self::I) -> Self::F;
    fn as_bytes(self, a: Self::F) -> Self::I;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `c - a * b`, rounded once.
    fn fnma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
}
