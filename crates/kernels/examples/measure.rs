//! Single-thread speed of dequantisation and of the matrix product, per level. `cargo run --release
//! -p lucid-kernels --example measure [-- avx512 Q4_K ...]`. Figures for LOG.md, never an
//! assertion.
#![allow(clippy::print_stdout, reason = "a program for a person")]

use lucid_kernels::{DType, Level, WeightRows, column_bands, dequantize_row, matmul, silu_mul};
use std::time::{Duration, Instant};

/// Seconds of the fastest of several calls.
fn fastest(mut f: impl FnMut()) -> f64 {
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < Duration::from_millis(400) {
        let call = Instant::now();
        f();
        best = best.min(call.elapsed().as_secs_f64());
    }
    best
}

fn dequantization(level: Level) {
    print!("{:7} dequantize_row, GB/s read -> written:", level.name());
    for dtype in DType::all() {
        let len = 4096 * 16;
        let bytes: Vec<u8> = (0..dtype.row_bytes(len).expect("whole blocks"))
            .map(|i| (i * 37 % 56 + 4) as u8)
            .collect();
        let mut out = vec![0.0; len];
        let seconds = fastest(|| dequantize_row(level, dtype, &bytes, &mut out));
        let (read, written) = (bytes.len() as f64 / seconds / 1e9, len as f64 * 4e-9 / seconds);
        print!(" {dtype} {read:.1}->{written:.1}");
    }
    println!();
}

fn products(level: Level, dtype: DType) {
    let (rows, cols) = (2048, 2048);
    let bytes: Vec<u8> = (0..rows * dtype.row_bytes(cols).expect("whole blocks"))
        .map(|i| (i * 37 % 56 + 4) as u8)
        .collect();
    print!("{:7} matmul [{rows}, {cols}] {dtype}, GFLOP/s:", level.name());
    let mut scratch = Vec::new();
    for batch in [1, 2, 3, 4, 8, 32, 128] {
        // Short calls: on a busy machine a long one is always interrupted.
        let rows = if batch > 8 { 256 } else { rows };
        let bytes = &bytes[..rows * dtype.row_bytes(cols).expect("whole blocks")];
        let x: Vec<f32> = (0..batch * cols + 16).map(|i| (i % 17) as f32 / 16.0).collect();
        // Rows that start at 64-byte boundaries load fastest.
        let x = &x[x.as_ptr().align_offset(64)..][..batch * cols];
        let mut out = vec![0.0; batch * rows];
        let weights = WeightRows { dtype, bytes, cols };
        let seconds = fastest(|| {
            let mut bands = column_bands(&mut out, batch, rows, &[0, rows]);
            matmul(level, x, batch, weights, None, &mut bands[0], &mut scratch);
        });
        print!(" {batch}: {:.1}", 2.0 * (batch * rows * cols) as f64 / seconds / 1e9);
    }
    println!();
}

fn rest(level: Level) {
    let (gate, mut act) = (vec![0.3; 1 << 14], vec![0.0; 1 << 14]);
    let silu = fastest(|| silu_mul(level, &gate, &mut act));
    let rate = gate.len() as f64 / silu / 1e9;
    println!("{:7} silu_mul {rate:.2} G elements/s", level.name());
}

fn main() {
    // Optionally only the levels and formats whose names are given.
    let only: Vec<String> = std::env::args().skip(1).collect();
    let chosen = |name: &str| only.is_empty() || only.iter().any(|o| o == name);
    for level in Level::available().into_iter().filter(|level| chosen(level.name())) {
        dequantization(level);
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::Q8_0, DType::Q4_K, DType::Q6_K] {
            if chosen(dtype.name()) {
                products(level, dtype);
            }
        }
        rest(level);
    }
}
