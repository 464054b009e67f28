//! What this machine can do at most, measured at the start of each run: the fastest of several
//! passes, of several patterns for reading.

use std::time::Instant;

use anyhow::{Context as _, Result};
use lucid_kernels::{Level, Multiplier, ReadPattern, multiply, read_all};
use lucid_sys::{Anonymous, Memory, Pages, ThreadPool};
use serde_json::{Value, json};

/// More than any cache keeps.
const READ_BYTES: usize = 1 << 30;
/// The clock is read after so much of it: on a busy machine a longer stretch is always interrupted.
const STRETCH_BYTES: usize = 128 << 20;
/// What a thread takes at once.
const PART_BYTES: usize = 4 << 20;
const STREAMS: [usize; 4] = [1, 2, 4, 8];
const PREFETCH_LINES: [usize; 3] = [0, 16, 64];
/// Passes over the memory for each pattern.
const READ_PASSES: usize = 2;
/// How long one pass of a multiplier takes, and how many there are.
const MULTIPLY_SECONDS: f64 = 0.005;
const MULTIPLY_PASSES: usize = 30;
/// Pieces of a pass per thread: one that is interrupted loses little.
const PIECES: usize = 8;

/// The ceilings of all threads together. An operation is a multiplication or an addition.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::struct_field_names, reason = "units stand last, and all are per second")]
pub(super) struct Ceilings {
    pub(super) read_gb_s: f64,
    pub(super) f32_gflop_s: f64,
    /// That of f32 where the processor has no products of bfloat16: it must widen.
    pub(super) bf16_gflop_s: f64,
    pub(super) int8_gop_s: f64,
}

impl Ceilings {
    pub(super) fn json(&self) -> Value {
        json!({
            "read_gb_s": self.read_gb_s,
            "f32_gflop_s": self.f32_gflop_s,
            "bf16_gflop_s": self.bf16_gflop_s,
            "int8_gop_s": self.int8_gop_s,
        })
    }

    pub(super) fn line(&self) -> String {
        let Self { read_gb_s, f32_gflop_s, bf16_gflop_s, int8_gop_s } = self;
        format!(
            "ceilings: read {read_gb_s:.1} GB/s, f32 {f32_gflop_s:.0} GFLOP/s, \
             bf16 {bf16_gflop_s:.0} GFLOP/s, int8 {int8_gop_s:.0} GOP/s"
        )
    }
}

/// Measures all four; `None` when it was interrupted.
pub(super) fn measure(
    pool: &ThreadPool,
    level: Level,
    interrupted: &dyn Fn() -> bool,
) -> Result<Option<Ceilings>> {
    let mut read = 0.0f64;
    for pages in [Pages::Huge, Pages::Ordinary] {
        read = read.max(read_ceiling(pool, level, pages, interrupted)?);
        if interrupted() {
            return Ok(None);
        }
    }
    let rate = |multiplier| multiply_ceiling(pool, level, multiplier);
    let f32_rate = rate(Multiplier::F32).unwrap_or(0.0);
    let ceilings = Ceilings {
        read_gb_s: read / 1e9,
        f32_gflop_s: f32_rate / 1e9,
        bf16_gflop_s: rate(Multiplier::Bf16).unwrap_or(f32_rate) / 1e9,
        int8_gop_s: rate(Multiplier::Int8).unwrap_or(0.0) / 1e9,
    };
    Ok((!interrupted()).then_some(ceilings))
}

/// Bytes per second.
fn read_ceiling(
    pool: &ThreadPool,
    level: Level,
    pages: Pages,
    interrupted: &dyn Fn() -> bool,
) -> Result<f64> {
    let len = read_bytes();
    let mut memory = Anonymous::new(len, pages).with_context(|| {
        format!("no {} to measure reading with", crate::style::bytes(len as u64))
    })?;
    // Written by the threads that read: pages come into being near them, and none stays the
    // system's one page of zeros.
    let mut parts: Vec<_> = memory.chunks_mut(PART_BYTES).collect();
    let one = 1.0f32.to_le_bytes();
    pool.for_each(&mut parts, |_, part| {
        for value in part.as_chunks_mut::<4>().0 {
            *value = one;
        }
    });
    let patterns = STREAMS.iter().flat_map(|&streams| {
        PREFETCH_LINES.map(|prefetch_lines| ReadPattern { streams, prefetch_lines })
    });
    let mut best = 0.0f64;
    for pattern in patterns {
        for stretch in (0..READ_PASSES).flat_map(|_| memory.chunks(STRETCH_BYTES)) {
            let mut parts: Vec<_> = stretch.chunks(PART_BYTES).map(|part| (part, 0.0)).collect();
            let start = Instant::now();
            pool.for_each(&mut parts, |_, (part, sum)| *sum = read_all(level, part, pattern));
            let seconds = start.elapsed().as_secs_f64();
            let sum: f64 = parts.iter().map(|&(_, sum)| f64::from(sum)).sum();
            assert_eq!(sum, (stretch.len() / 4) as f64, "every byte is read");
            best = best.max(stretch.len() as f64 / seconds);
            if interrupted() {
                return Ok(best);
            }
        }
    }
    Ok(best)
}

/// Operations per second of the fastest of several multipliers on so many threads: a quick look.
pub(crate) fn multiply_peak(threads: usize, of: &[Multiplier]) -> f64 {
    let pool = ThreadPool::new(threads);
    let rate = |multiplier| multiply_ceiling(&pool, Level::detect(), multiplier).unwrap_or(0.0);
    of.iter().map(|&multiplier| rate(multiplier)).fold(0.0, f64::max)
}

/// Less than usual where memory is short.
fn read_bytes() -> usize {
    let room = Memory::detect().map_or(usize::MAX, |memory| memory.available_bytes as usize / 2);
    READ_BYTES.min(room / PART_BYTES * PART_BYTES).max(PART_BYTES)
}

/// Operations per second; `None` where the level has no instruction for it.
fn multiply_ceiling(pool: &ThreadPool, level: Level, multiplier: Multiplier) -> Option<f64> {
    let pass = |rounds: usize| {
        let mut pieces = vec![0u64; pool.threads() * PIECES];
        let start = Instant::now();
        pool.for_each(&mut pieces, |_, ops| {
            *ops = multiply(level, multiplier, rounds).unwrap_or(0);
        });
        (start.elapsed().as_secs_f64(), pieces.iter().sum::<u64>())
    };
    multiply(level, multiplier, 1)?;
    let mut rounds = 64;
    // The shortest of three: one alone may have been interrupted.
    while (0..3).map(|_| pass(rounds).0).fold(f64::INFINITY, f64::min) < MULTIPLY_SECONDS {
        rounds *= 2;
    }
    let passes = (0..MULTIPLY_PASSES).map(|_| pass(rounds));
    passes.map(|(seconds, ops)| ops as f64 / seconds).reduce(f64::max)
}
