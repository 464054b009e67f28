//! Speed of the packed products on several threads against this machine's ceilings, measured in
//! turns: each thread walks through its own 320 MB, thus from memory.
//! `cargo run --release -p lucid-kernels --example packed [-- threads=2 level=avx2 batches=1,512
//! Q4_K ...]`. Figures for LOG.md, never an assertion.
#![allow(clippy::print_stdout, reason = "a program for a person")]

use lucid_kernels::{
    ActivationClass, Activations, ColumnBand, DType, Level, Multiplier, PackedRows, ReadPattern,
    activation_bytes, activation_class, column_bands, multiply, pack_rows, packed_bytes,
    packed_kernel, packed_matmul, quantize_activations, read_all, unpack_row,
};
use std::sync::Barrier;
use std::time::Instant;

/// Bytes of weights of each thread: far more than its share of any cache.
const MEMORY_BYTES: usize = 320 << 20;
/// Rows of a product: about what a band of a projection has.
const BAND_ROWS: usize = 176;
/// Multiplications and additions of a pass per thread.
const PASS_OPERATIONS: f64 = 12e9;
/// Passes of each measurement; the fastest counts.
const PASSES: usize = 6;

/// Bytes at a 64-byte boundary, in huge pages where the system has them.
struct Memory {
    bytes: Vec<u8>,
    start: usize,
}

impl Memory {
    fn new(len: usize) -> Memory {
        const HUGE: usize = 2 << 20;
        let mut bytes: Vec<u8> = vec![0; len + HUGE];
        let start = bytes.as_ptr().align_offset(HUGE);
        huge_pages(&mut bytes[start..][..len]);
        let mut state = 1u64;
        for word in bytes.as_chunks_mut::<8>().0 {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            // Floats of any width are neither infinite nor tiny.
            *word = (state & 0x0f3f_0f3f_0f3f_0f3f | 0x3000_3000_3000_3000).to_le_bytes();
        }
        Memory { bytes, start }
    }

    fn all(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

#[cfg(target_os = "linux")]
fn huge_pages(bytes: &mut [u8]) {
    // SAFETY: the declaration is that of madvise(2).
    unsafe extern "C" {
        fn madvise(start: *mut u8, len: usize, advice: i32) -> i32;
    }
    // SAFETY: the range is a vector's own, and this advice (14, MADV_HUGEPAGE) leaves its contents.
    let _ = unsafe { madvise(bytes.as_mut_ptr(), bytes.len(), 14) };
}

#[cfg(not(target_os = "linux"))]
fn huge_pages(_: &mut [u8]) {}

/// What all threads do per second together: each `work` returns an amount. The fastest of several
/// passes.
fn rate(memories: &[Memory], work: impl Fn(&Memory, usize) -> f64 + Sync) -> f64 {
    let (barrier, mut best) = (Barrier::new(memories.len()), 0.0f64);
    for pass in 0..PASSES {
        let results: Vec<(f64, Instant, Instant)> = std::thread::scope(|scope| {
            let run = |memory| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    (work(memory, pass), start, Instant::now())
                })
            };
            let threads: Vec<_> = memories.iter().map(run).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let amount: f64 = results.iter().map(|result| result.0).sum();
        let start = results.iter().map(|result| result.1).min().expect("a thread");
        let end = results.iter().map(|result| result.2).max().expect("a thread");
        best = best.max(amount / (end - start).as_secs_f64());
    }
    best
}

fn read_ceiling(memories: &[Memory], level: Level) -> f64 {
    let patterns = [(1, 0), (1, 16), (4, 0), (4, 16)];
    let of = |(streams, prefetch_lines)| {
        rate(memories, |memory, _| {
            let bytes = memory.all();
            std::hint::black_box(read_all(level, bytes, ReadPattern { streams, prefetch_lines }));
            bytes.len() as f64
        })
    };
    patterns.map(of).into_iter().fold(0.0, f64::max)
}

fn multiply_ceiling(memories: &[Memory], level: Level, multiplier: Multiplier) -> f64 {
    rate(memories, |_, _| multiply(level, multiplier, 400_000).unwrap_or(0) as f64)
}

/// Bytes of weights per second with `batch` rows of activations, of a part of each memory.
fn product(
    (memories, span): (&[Memory], usize),
    level: Level,
    dtype: DType,
    batch: usize,
    cols: usize,
) -> f64 {
    let class = activation_class(dtype).expect("packed");
    let x: Vec<f32> = (0..batch * cols).map(|i| (i * 7 % 17) as f32 / 16.0 - 0.4).collect();
    let mut x_bytes = vec![0; activation_bytes(class, batch, cols) + 64];
    let start = x_bytes.as_ptr().align_offset(64);
    let len = x_bytes.len() - 64;
    quantize_activations(level, class, &x, batch, cols, &mut x_bytes[start..][..len]);
    let activations = Activations { class, bytes: &x_bytes[start..][..len], batch, cols };
    let band_bytes = packed_bytes(dtype, BAND_ROWS, cols).expect("packed");
    let bands = (span / band_bytes).max(1);
    let band_operations = (2 * BAND_ROWS * cols * batch) as f64;
    let count = ((PASS_OPERATIONS / band_operations) as usize).clamp(2, bands.max(100));
    rate(memories, |memory, pass| {
        let mut out = vec![0.0; batch * BAND_ROWS];
        let mut scratch = Vec::new();
        let all = memory.all();
        for index in 0..count {
            let bytes = &all[(pass * count + index) % bands * band_bytes..][..band_bytes];
            let weights = PackedRows { dtype, bytes, cols };
            let mut bands: Vec<ColumnBand<'_>> =
                column_bands(&mut out, batch, BAND_ROWS, &[0, BAND_ROWS]);
            packed_matmul(level, activations, weights, None, &mut bands[0], &mut scratch);
        }
        (count * band_bytes) as f64
    })
}

/// Bytes per second that packing writes, and elements per second that unpacking gives.
fn packing(memories: &mut [Memory], dtype: DType, cols: usize) -> (f64, f64) {
    let band_bytes = packed_bytes(dtype, BAND_ROWS, cols).expect("packed");
    let source: Vec<u8> = memories[0].all()[..band_bytes * 8].to_vec();
    let source = &source[..];
    let start = Instant::now();
    let mut bytes = 0;
    std::thread::scope(|scope| {
        for memory in &mut *memories {
            bytes += MEMORY_BYTES / 2 / band_bytes * band_bytes;
            scope.spawn(move || {
                let out = &mut memory.bytes[memory.start..][..MEMORY_BYTES / 2];
                for (index, out) in out.chunks_exact_mut(band_bytes).enumerate() {
                    let source = &source[index % 8 * band_bytes..][..band_bytes];
                    pack_rows(dtype, source, BAND_ROWS, cols, out);
                }
            });
        }
    });
    let packed = bytes as f64 / start.elapsed().as_secs_f64();
    let (start, mut row) = (Instant::now(), vec![0.0; cols]);
    let rows = 500;
    for index in 0..rows {
        let packed = &memories[0].all()[..band_bytes];
        unpack_row(dtype, packed, BAND_ROWS, cols, index * 7 % BAND_ROWS, &mut row);
    }
    (packed, (rows * cols) as f64 / start.elapsed().as_secs_f64())
}

/// Elements per second that one thread rounds.
fn rounding(level: Level, class: ActivationClass) -> f64 {
    let (batch, cols) = (24, 2048);
    let x: Vec<f32> = (0..batch * cols).map(|i| (i * 7 % 17) as f32 / 16.0 - 0.4).collect();
    let mut out = vec![0; activation_bytes(class, batch, cols)];
    let mut best = f64::INFINITY;
    for _ in 0..200 {
        let start = Instant::now();
        quantize_activations(level, class, &x, batch, cols, &mut out);
        best = best.min(start.elapsed().as_secs_f64());
    }
    x.len() as f64 / best
}

fn main() {
    let (mut threads, mut batches, mut only) = (2, vec![1, 4, 8, 16, 512], Vec::new());
    let mut level = Level::detect();
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("threads", n)) => threads = n.parse().expect("a number of threads"),
            Some(("batches", list)) => {
                batches = list.split(',').map(|n| n.parse().expect("a batch")).collect();
            }
            Some(("level", name)) => {
                let found = Level::variants().into_iter().find(|variant| variant.0 == name);
                level = found.expect("a level of this CPU").1;
            }
            _ => only.push(argument),
        }
    }
    let mut memories: Vec<Memory> = (0..threads).map(|_| Memory::new(MEMORY_BYTES)).collect();
    let int8 = multiply_ceiling(&memories, level, Multiplier::Int8);
    let [f32_rate, bf16_rate] = [Multiplier::F32, Multiplier::Bf16]
        .map(|multiplier| multiply_ceiling(&memories, level, multiplier));
    let floats = if bf16_rate > f32_rate { Multiplier::Bf16 } else { Multiplier::F32 };
    let read = read_ceiling(&memories, level);
    println!(
        "{} threads: read {:.1} GB/s, int8 {:.0} GOP/s, f32 {:.0} and bf16 {:.0} GFLOP/s",
        threads,
        read / 1e9,
        int8 / 1e9,
        f32_rate / 1e9,
        bf16_rate / 1e9
    );
    print!("rounded by one thread:");
    for class in [ActivationClass::Blocks32, ActivationClass::Blocks256, ActivationClass::Bf16] {
        print!("  {class:?} {:.2} G/s", rounding(level, class) / 1e9);
    }
    println!();
    for dtype in DType::all().filter(|dtype| activation_class(*dtype).is_some()) {
        let chosen = only.is_empty() || only.iter().any(|name| name == dtype.name());
        if !chosen || !packed_kernel(level, dtype) {
            continue;
        }
        print!("{dtype:7}");
        for &batch in &batches {
            for cols in [2048, 8192] {
                if batch <= 4 && cols == 8192 {
                    continue;
                }
                let speed = product((&memories, MEMORY_BYTES), level, dtype, batch, cols);
                if batch <= 4 {
                    let cached = product((&memories, 1 << 20), level, dtype, batch, cols) / 1e9;
                    let read = read_ceiling(&memories, level);
                    let share = 100.0 * speed / read;
                    print!("  x{batch}: {:.1} of {:.1} GB/s", speed / 1e9, read / 1e9);
                    print!(" {share:.0} % (from cache {cached:.0})");
                    continue;
                }
                let row_bytes = dtype.row_bytes(cols).expect("whole blocks");
                let operations = speed / row_bytes as f64 * (2 * cols * batch) as f64;
                let plain = matches!(dtype, DType::BF16 | DType::F16);
                let multiplier = if plain { floats } else { Multiplier::Int8 };
                let ceiling = multiply_ceiling(&memories, level, multiplier);
                let share = 100.0 * operations / ceiling;
                let (got, of) = (operations / 1e9, ceiling / 1e9);
                print!("  x{batch}/{cols}: {got:.0} of {of:.0} G {share:.0} %");
            }
        }
        let (packed, unpacked) = packing(&mut memories, dtype, 2048);
        println!("  pack {:.1} GB/s  unpack {:.2} G/s", packed / 1e9, unpacked / 1e9);
    }
}
