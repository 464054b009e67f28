//! Speed of attention alone, on all threads: `cargo run --release -p lucid-kernels --example
//! attention [-- THREADS]`. Figures for LOG.md, never an assertion.
#![allow(clippy::print_stdout, reason = "a program for a person")]

use lucid_kernels::{
    AttentionRows, AttentionScratch, AttentionShape, KV_CHUNK, KvDType, Level, attend,
    column_bands, store_kv,
};
use std::time::Instant;

/// Query heads per KV head, and the width of a head: those of a model of 1 B parameters.
const GROUP: usize = 4;
const DEPTH: usize = 8192;

/// The chunks of `heads` KV heads; one after another, so that no cache holds them.
fn chunks(kv: KvDType, head_dim: usize, heads: usize) -> Vec<Vec<u8>> {
    let bytes = kv.chunk_bytes(head_dim, head_dim);
    let row: Vec<f32> = (0..head_dim).map(|i| (i as f32 * 0.7).sin()).collect();
    let mut chunk = vec![0; bytes];
    for slot in 0..KV_CHUNK {
        store_kv(Level::detect(), kv, &row, &row, slot, &mut chunk, &mut Vec::new());
    }
    (0..heads).map(|_| chunk.repeat(DEPTH / KV_CHUNK)).collect()
}

/// Seconds in which each thread attends once with every one of its heads, the best of several.
fn seconds(threads: usize, shape: &AttentionShape, rows: usize, heads: &[Vec<u8>]) -> f64 {
    let (level, bytes) = (Level::detect(), shape.kv.chunk_bytes(shape.head_dim, shape.value_dim));
    let width = shape.group * shape.head_dim;
    let q: Vec<f32> = (0..rows * width).map(|i| (i as f32 * 0.3).cos()).collect();
    let rows = AttentionRows { q: &q, stride: width, first: DEPTH - rows, count: rows };
    let each = heads.len() / threads;
    (0..5)
        .map(|_| {
            let start = Instant::now();
            std::thread::scope(|scope| {
                for own in heads.chunks(each) {
                    scope.spawn(move || {
                        let scratch = &mut AttentionScratch::default();
                        let mut out = vec![0.0; rows.count * width];
                        for head in own {
                            let chunk = |i: usize| &head[i * bytes..(i + 1) * bytes];
                            let out = &mut column_bands(&mut out, rows.count, width, &[0, width]);
                            attend(level, shape, &rows, chunk, scratch, &mut out[0]);
                        }
                    });
                }
            });
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

fn main() {
    let threads = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(2);
    for head_dim in [64, 128] {
        for kv in [KvDType::F32, KvDType::F16, KvDType::BF16, KvDType::Q8_0, KvDType::Q4_0] {
            let scale = 1.0 / (head_dim as f32).sqrt();
            let (soft_cap, window) = (None, None);
            let (value_dim, group) = (head_dim, GROUP);
            let shape = AttentionShape { kv, group, head_dim, value_dim, scale, soft_cap, window };
            let heads = chunks(kv, head_dim, 2048 / head_dim * threads);
            let bytes = heads.iter().map(Vec::len).sum::<usize>() as f64;
            let decode = bytes / seconds(threads, &shape, 1, &heads) / 1e9;
            print!("{:5} dim {head_dim}: decode {decode:.1} GB/s; prefill", kv.name());
            let few = &heads[..threads];
            for rows in [4, 8, 16, 32, 64] {
                let operations = (4 * rows * GROUP * head_dim * DEPTH * threads) as f64;
                let rate = operations / seconds(threads, &shape, rows, few) / 1e9;
                print!(" {rows} rows {rate:.0}");
            }
            println!(" GFLOP/s");
        }
    }
}
