//! Single-thread speed of the packed products against this core's ceilings, measured in turns.
//! `cargo run --release -p lucid-kernels --example packed [-- Q4_K ...]`. Figures for LOG.md, never
//! an assertion.
#![allow(clippy::print_stdout, reason = "a program for a person")]

use lucid_kernels::{
    ActivationClass, Activations, DType, Level, PackedRows, activation_bytes, activation_class,
    column_bands, packed_bytes, packed_matmul, quantize_activations,
};
use std::time::{Duration, Instant};

/// Seconds of the fastest of several calls.
fn fastest(millis: u64, mut f: impl FnMut()) -> f64 {
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < Duration::from_millis(millis) {
        let call = Instant::now();
        f();
        best = best.min(call.elapsed().as_secs_f64());
    }
    best
}

/// Byte products per second of a loop of nothing else: 24 accumulators.
#[cfg(target_arch = "x86_64")]
fn byte_ceiling() -> f64 {
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn run(rounds: usize) -> i32 {
        use std::arch::x86_64::{_mm512_dpbusd_epi32, _mm512_reduce_add_epi32, _mm512_set1_epi32};
        let (a, b) = (_mm512_set1_epi32(0x0102_0304), _mm512_set1_epi32(0x0403_0201));
        let mut sums = [_mm512_set1_epi32(rounds as i32); 24];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
            // Keeps the compiler from folding rounds.
            std::hint::black_box(());
        }
        sums.into_iter().fold(0, |total, sum| total ^ _mm512_reduce_add_epi32(sum))
    }
    if !is_x86_feature_detected!("avx512vnni") || !is_x86_feature_detected!("avx512f") {
        return f64::NAN;
    }
    let rounds = 20_000;
    let seconds = fastest(60, || {
        // SAFETY: both features were detected.
        let _ = std::hint::black_box(unsafe { run(rounds) });
    });
    (rounds * 24 * 64 * 2) as f64 / seconds
}

/// The same of pairs of bfloat16.
#[cfg(target_arch = "x86_64")]
fn bf16_ceiling() -> f64 {
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn run(rounds: usize) -> f32 {
        use std::arch::x86_64::{
            __m512bh, _mm512_dpbf16_ps, _mm512_reduce_add_ps, _mm512_set1_epi32, _mm512_set1_ps,
        };
        let a = _mm512_set1_epi32(0x3f80_3f80);
        // SAFETY: both are 512 bits of plain numbers.
        let a: __m512bh = unsafe { std::mem::transmute(a) };
        let mut sums = [_mm512_set1_ps(rounds as f32); 24];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, a, a);
            }
            std::hint::black_box(());
        }
        sums.into_iter().fold(0.0, |total, sum| total + _mm512_reduce_add_ps(sum))
    }
    if !is_x86_feature_detected!("avx512bf16") || !is_x86_feature_detected!("avx512f") {
        return f64::NAN;
    }
    let rounds = 20_000;
    let seconds = fastest(60, || {
        // SAFETY: both features were detected.
        let _ = std::hint::black_box(unsafe { run(rounds) });
    });
    (rounds * 24 * 32 * 2) as f64 / seconds
}

/// Bytes per second of reading other bytes at each call, in four streams.
#[cfg(target_arch = "x86_64")]
fn read_ceiling(bytes: &[u8]) -> f64 {
    #[target_feature(enable = "avx512f")]
    fn run(words: &[[u8; 64]]) -> i32 {
        use std::arch::x86_64::{
            _mm512_loadu_si512, _mm512_reduce_add_epi32, _mm512_setzero_si512, _mm512_xor_si512,
        };
        let quarter = words.len() / 4;
        let mut sums = [_mm512_setzero_si512(); 4];
        for i in 0..quarter {
            for (s, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the index is inside the slice; the load is an unaligned one.
                let word = unsafe { _mm512_loadu_si512(words[s * quarter + i].as_ptr().cast()) };
                *sum = _mm512_xor_si512(*sum, word);
            }
        }
        sums.into_iter().fold(0, |total, sum| total ^ _mm512_reduce_add_epi32(sum))
    }
    let part = 1 << 20;
    let mut parts = bytes.as_chunks::<64>().0.chunks_exact(part / 64).cycle();
    let seconds = fastest(200, || {
        let words = parts.next().expect("a part");
        // SAFETY: the caller runs on AVX-512 only.
        std::hint::black_box(unsafe { run(words) });
    });
    part as f64 / seconds
}

struct Matrix {
    dtype: DType,
    rows: usize,
    cols: usize,
    bytes: Vec<u8>,
}

impl Matrix {
    fn new(dtype: DType, rows: usize, cols: usize) -> Matrix {
        let len = packed_bytes(dtype, rows, cols).expect("packed");
        let mut bytes = vec![0; len + 64];
        let mut state = 1u64;
        for word in bytes.as_chunks_mut::<8>().0 {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            // Without the highest exponents: no infinities.
            *word = (state & 0x3f3f_3f3f_3f3f_3f3f).to_le_bytes();
        }
        Matrix { dtype, rows, cols, bytes }
    }

    fn packed(&self) -> PackedRows<'_> {
        let len = packed_bytes(self.dtype, self.rows, self.cols).expect("packed");
        let start = self.bytes.as_ptr().align_offset(64);
        PackedRows { dtype: self.dtype, bytes: &self.bytes[start..][..len], cols: self.cols }
    }

    /// Seconds of a product with `batch` rows; every call `shift`s to other rows where there are.
    fn seconds(&self, level: Level, batch: usize, band_rows: usize, millis: u64) -> f64 {
        let class = activation_class(self.dtype).expect("packed");
        let x: Vec<f32> = (0..batch * self.cols).map(|i| (i * 7 % 17) as f32 / 16.0).collect();
        let mut x_bytes = vec![0; activation_bytes(class, batch, self.cols)];
        quantize_activations(level, class, &x, batch, self.cols, &mut x_bytes);
        let activations = Activations { class, bytes: &x_bytes, batch, cols: self.cols };
        let weights = self.packed();
        let band_bytes = weights.bytes.len() / self.rows * band_rows;
        let mut out = vec![0.0; batch * band_rows];
        let mut scratch = Vec::new();
        let mut bands = weights.bytes.chunks_exact(band_bytes).cycle();
        fastest(millis, || {
            let weights = PackedRows { bytes: bands.next().expect("a band"), ..weights };
            let mut bands = column_bands(&mut out, batch, band_rows, &[0, band_rows]);
            packed_matmul(level, activations, weights, None, &mut bands[0], &mut scratch);
        })
    }
}

fn main() {
    let only: Vec<String> = std::env::args().skip(1).collect();
    let chosen = |name: &str| only.is_empty() || only.iter().any(|o| o == name);
    let level = Level::detect();
    let large = vec![1u8; 1 << 28];
    let (rows, cols) = (2048 * 8, 8192);
    let band_rows = 128;
    for dtype in DType::all().filter(|dtype| activation_class(*dtype).is_some()) {
        if !chosen(dtype.name()) {
            continue;
        }
        let matrix = Matrix::new(dtype, rows, cols);
        let band_bytes = (matrix.packed().bytes.len() / rows * band_rows) as f64;
        print!("{dtype:7} decode");
        for batch in [1, 2, 4] {
            let read = read_ceiling(&large) / 1e9;
            let speed = band_bytes / matrix.seconds(level, batch, band_rows, 400) / 1e9;
            print!(" x{batch}: {speed:.1} GB/s ({:.0} % of {read:.1});", 100.0 * speed / read);
        }
        // The same from the second-level cache: what unpacking and multiplying take.
        let (small, band) = (Matrix::new(dtype, 64, 8192), 64);
        let speed = small.packed().bytes.len() as f64 / small.seconds(level, 1, band, 200) / 1e9;
        println!(" from cache x1: {speed:.1} GB/s");
        print!("{dtype:7} prefill");
        for (batch, cols) in [(5, 2048), (8, 2048), (24, 2048), (192, 2048), (96, 8192)] {
            let matrix = Matrix::new(dtype, 32, cols);
            let bf16 = dtype == DType::BF16;
            let ceiling = if bf16 { bf16_ceiling() } else { byte_ceiling() } / 1e9;
            let seconds = matrix.seconds(level, batch, 32, 300);
            let speed = 2.0 * (batch * 32 * cols) as f64 / seconds / 1e9;
            print!(
                " {batch}x{cols}: {speed:.0} GOP/s ({:.0} % of {ceiling:.0});",
                100.0 * speed / ceiling
            );
        }
        println!();
    }
    for class in [ActivationClass::Blocks32, ActivationClass::Blocks256, ActivationClass::Bf16] {
        let x: Vec<f32> = (0..48 * 2048).map(|i| (i * 7 % 17) as f32 / 16.0).collect();
        let mut out = vec![0; activation_bytes(class, 48, 2048)];
        let seconds = fastest(200, || quantize_activations(level, class, &x, 48, 2048, &mut out));
        println!("{class:?}: {:.2} G elements/s rounded", x.len() as f64 / seconds / 1e9);
    }
}
