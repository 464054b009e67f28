//! What a machine can do at most: kernels that do nothing but read memory, or nothing but multiply
//! and add. A kernel's speed is told as a share of theirs.
//!
//! Reading sums lines of 64 bytes into 24 independent accumulators, from one or several places at
//! once, with or without prefetches. Multiplying keeps everything in registers; what each level
//! multiplies bytes and bfloat16 with is what kernels of that level can use.

#[cfg(target_arch = "x86_64")]
mod x86_64;

use crate::Level;
use crate::dispatch::dispatch;
use crate::simd::{LANES, Simd};
use std::hint::black_box;

/// Lines that `read_all` sums at once.
pub const READ_ACCUMULATORS: usize = 24;
/// Bytes of a line.
const LINE: usize = 4 * LANES;

/// How memory is walked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadPattern {
    /// Places that are read from by turns: 1, 2, 4 or 8.
    pub streams: usize,
    /// How many lines ahead of each stream are asked for; 0 asks for none.
    pub prefetch_lines: usize,
}

/// What is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multiplier {
    /// f32 by f32.
    F32,
    /// Pairs of bfloat16, summed in f32.
    Bf16,
    /// Bytes, summed in 32 bits.
    Int8,
}

/// Reads all of `bytes` as f32 and returns their sum (each line once, in the order of the pattern).
///
/// # Panics
/// `pattern.streams` is another number than 1, 2, 4 or 8.
pub fn read_all(level: Level, bytes: &[u8], pattern: ReadPattern) -> f32 {
    match pattern.streams {
        1 => dispatch!(level, read_streams::<_, 1>, bytes, pattern.prefetch_lines),
        2 => dispatch!(level, read_streams::<_, 2>, bytes, pattern.prefetch_lines),
        4 => dispatch!(level, read_streams::<_, 4>, bytes, pattern.prefetch_lines),
        8 => dispatch!(level, read_streams::<_, 8>, bytes, pattern.prefetch_lines),
        other => panic!("{other} streams: expected 1, 2, 4 or 8"),
    }
}

#[inline(always)]
fn read_streams<S: Simd, const STREAMS: usize>(s: S, bytes: &[u8], prefetch_lines: usize) -> f32 {
    let lines = bytes.as_chunks::<LINE>().0;
    let run = READ_ACCUMULATORS / STREAMS;
    let steps = lines.len() / READ_ACCUMULATORS;
    let per_stream = steps * run;
    let streams: [&[[u8; LINE]]; STREAMS] =
        std::array::from_fn(|stream| &lines[stream * per_stream..][..per_stream]);
    let mut sums = [s.zero(); READ_ACCUMULATORS];
    for step in 0..steps {
        for (stream, sums) in streams.iter().zip(sums.chunks_exact_mut(run)) {
            for (line, sum) in stream[step * run..][..run].iter().zip(sums) {
                if prefetch_lines > 0 {
                    prefetch(line, prefetch_lines);
                }
                *sum = s.add(*sum, s.load_f32_bytes(line));
            }
        }
    }
    for line in &lines[STREAMS * per_stream..] {
        sums[0] = s.add(sums[0], s.load_f32_bytes(line));
    }
    total(s, &sums)
}

/// Asks for what lies some lines on. Past the end of the data this asks in vain, which is no fault.
#[inline(always)]
fn prefetch(line: &[u8; LINE], lines: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let ahead = line.as_ptr().wrapping_add(lines * LINE);
        // SAFETY: a prefetch reads nothing that the program sees and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (line, lines);
}

#[inline(always)]
fn total<S: Simd>(s: S, sums: &[S::F]) -> f32 {
    sums.iter().fold(0.0, |total, &sum| total + s.sum(sum))
}

/// Multiplies and adds, `rounds` times with each accumulator, and returns how many operations that
/// were (a multiplication is one, an addition another); `None` where the level has no instruction
/// for it.
pub fn multiply(level: Level, multiplier: Multiplier, rounds: usize) -> Option<u64> {
    match multiplier {
        Multiplier::F32 => Some(dispatch!(level, multiply_f32, rounds)),
        Multiplier::Bf16 => multiply_bf16(level, rounds),
        Multiplier::Int8 => Some(multiply_int8(level, rounds)),
    }
}

#[inline(always)]
fn multiply_f32<S: Simd>(s: S, rounds: usize) -> u64 {
    // As many as leave registers for the factors; of half the width where S::F is two registers.
    if S::WIDE { chains::<S, 24>(s, rounds) } else { chains::<S, 6>(s, rounds) }
}

#[inline(always)]
fn chains<S: Simd, const N: usize>(s: S, rounds: usize) -> u64 {
    let (a, b) = (s.splat(black_box(0.999)), s.splat(black_box(0.001)));
    let mut sums = [s.zero(); N];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = s.fma(*sum, a, b);
        }
    }
    black_box(total(s, &sums));
    (rounds * N * LANES * 2) as u64
}

#[cfg(target_arch = "x86_64")]
fn multiply_bf16(level: Level, rounds: usize) -> Option<u64> {
    match level {
        Level::Scalar | Level::Avx2(_) => None,
        Level::Avx512(_) => x86_64::bf16_512(rounds),
    }
}

#[cfg(target_arch = "x86_64")]
fn multiply_int8(level: Level, rounds: usize) -> u64 {
    let vector = match level {
        Level::Scalar => None,
        Level::Avx2(_) => x86_64::int8_256(rounds),
        Level::Avx512(_) => x86_64::int8_512(rounds),
    };
    vector.unwrap_or_else(|| multiply_int8_scalar(rounds))
}

#[cfg(not(target_arch = "x86_64"))]
fn multiply_bf16(_: Level, _: usize) -> Option<u64> {
    None
}

#[cfg(not(target_arch = "x86_64"))]
fn multiply_int8(_: Level, rounds: usize) -> u64 {
    multiply_int8_scalar(rounds)
}

fn multiply_int8_scalar(rounds: usize) -> u64 {
    const N: usize = 64;
    let mut sums = [0i32; N];
    let (a, mut b) = (black_box([3u8; N]), black_box([5i8; N]));
    for round in 0..rounds {
        for ((sum, &a), b) in sums.iter_mut().zip(&a).zip(&mut b) {
            *sum = sum.wrapping_add(i32::from(a) * i32::from(*b));
            *b ^= round as i8;
        }
    }
    black_box(sums);
    (rounds * N * 2) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_once_in_every_pattern() {
        // 103 lines: some are left over in each pattern.
        let floats: Vec<f32> = (0..103 * LANES).map(|i| (i % 64) as f32).collect();
        let bytes: Vec<u8> = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
        let expected: f32 = floats.iter().sum();
        for level in Level::available() {
            for streams in [1, 2, 4, 8] {
                for prefetch_lines in [0, 16] {
                    let found = read_all(level, &bytes, ReadPattern { streams, prefetch_lines });
                    assert_eq!(found, expected, "{} {streams}", level.name());
                }
            }
        }
    }

    #[test]
    fn operations_grow_with_the_rounds() {
        for level in Level::available() {
            for multiplier in [Multiplier::F32, Multiplier::Bf16, Multiplier::Int8] {
                let (one, ten) = (multiply(level, multiplier, 1), multiply(level, multiplier, 10));
                assert_eq!(one.map(|ops| ops * 10), ten, "{} {multiplier:?}", level.name());
                assert!(multiplier == Multiplier::Bf16 || one.is_some_and(|ops| ops > 0));
            }
        }
    }
}
