//! Every format against the numpy reference of the Python package `gguf`, bit for bit, on every
//! level. `tools/goldens/quant.py` made the files and describes them; LUCID_QUANT_GOLDENS names a
//! folder with a larger sweep.

use lucid_kernels::{DType, Level, Unsupported, dequantize_row, quantize_row};
use std::path::PathBuf;

fn golden(name: &str) -> Vec<u8> {
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens");
    let folder = std::env::var("LUCID_QUANT_GOLDENS").unwrap_or_else(|_| committed.to_owned());
    let path = PathBuf::from(folder).join(format!("{name}.bin"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// FNV-1a, 64 bits, of the little-endian bytes.
fn fnv1a(values: &[f32]) -> u64 {
    values.iter().flat_map(|x| x.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn check(level: Level, dtype: DType) {
    let file = golden(dtype.name());
    let (count, full) = (u32_at(&file, 0), u32_at(&file, 4));
    let elements = dtype.block_len().max(32);
    let size = dtype.row_bytes(elements).expect("whole blocks");
    let (blocks, rest) = file[8..].split_at(count * size);
    let (expected, hashes) = rest.split_at(full * elements * 4);
    assert_eq!(hashes.len(), count * 8);
    assert!(count >= 64 && full >= 4);

    let mut all = vec![0.0; count * elements];
    dequantize_row(level, dtype, blocks, &mut all);
    for (i, (want, got)) in floats(expected).iter().zip(&all).enumerate() {
        assert_eq!(want.to_bits(), got.to_bits(), "{dtype} {} element {i}", level.name());
    }
    for (i, hash) in hashes.as_chunks::<8>().0.iter().enumerate() {
        let block = &all[i * elements..(i + 1) * elements];
        assert_eq!(fnv1a(block), u64::from_le_bytes(*hash), "{dtype} {} block {i}", level.name());
    }
    // One block at a time, at an odd address.
    let mut moved = vec![0; size + 1];
    let mut one = vec![0.0; elements];
    for (i, block) in blocks.chunks_exact(size).take(64).enumerate() {
        moved[1..].copy_from_slice(block);
        dequantize_row(level, dtype, &moved[1..], &mut one);
        assert!(all[i * elements..].iter().zip(&one).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
}

#[test]
fn every_format_is_bit_equal_to_the_reference() {
    for dtype in DType::all() {
        for level in Level::available() {
            check(level, dtype);
        }
    }
}

#[test]
fn written_formats_are_bit_equal_to_the_reference() {
    let file = golden("quantize");
    let count = u32_at(&file, 0);
    let (values, mut rest) = file[4..].split_at(count * 128);
    let values = floats(values);
    for dtype in [DType::F16, DType::BF16, DType::Q8_0, DType::Q4_0] {
        let size = dtype.row_bytes(32).unwrap();
        let (expected, after) = rest.split_at(count * size);
        rest = after;
        let mut bytes = vec![0; count * size];
        quantize_row(dtype, &values, &mut bytes).unwrap();
        for (i, (want, got)) in expected.chunks(size).zip(bytes.chunks(size)).enumerate() {
            assert_eq!(want, got, "{dtype} block {i}");
        }
    }
    assert!(rest.is_empty());
}

#[test]
fn f32_is_written_as_it_is_and_other_formats_are_refused() {
    let values: Vec<f32> = (0..256).map(|i| i as f32 / 7.0).collect();
    let mut bytes = vec![0; 1024];
    quantize_row(DType::F32, &values, &mut bytes).unwrap();
    assert_eq!(floats(&bytes), values);
    let mut bytes = vec![0; 176];
    assert_eq!(quantize_row(DType::Q5_K, &values, &mut bytes), Err(Unsupported(DType::Q5_K)));
}

/// Root of the mean squared error of a row that was written and read.
fn error_of(dtype: DType, values: &[f32]) -> f64 {
    let mut bytes = vec![0; dtype.row_bytes(values.len()).expect("whole blocks")];
    quantize_row(dtype, values, &mut bytes).expect("whole blocks");
    let mut back = vec![0.0; values.len()];
    dequantize_row(Level::Scalar, dtype, &bytes, &mut back);
    let errors = values.iter().zip(&back).map(|(x, y)| f64::from(x - y).powi(2));
    (errors.sum::<f64>() / values.len() as f64).sqrt()
}

/// Normal numbers of deviation 1: sums of twelve uniform ones.
fn normal(count: usize) -> Vec<f32> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32
    };
    (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
}

#[test]
fn q4_k_loses_less_than_q4_0() {
    let row = normal(64 * 256);
    // 16 levels over the range of 32 numbers: 0.071 for Q4_K, 0.084 for Q4_0.
    let (q4_k, q4_0) = (error_of(DType::Q4_K, &row), error_of(DType::Q4_0, &row));
    assert!(q4_k < 0.9 * q4_0 && q4_k > 0.01, "{q4_k} {q4_0}");
    // The same for rows that lie on one side of zero.
    let shifted: Vec<f32> = row.iter().map(|x| x + 3.0).collect();
    assert!(error_of(DType::Q4_K, &shifted) < 0.9 * error_of(DType::Q4_0, &shifted));
    let negative: Vec<f32> = row.iter().map(|x| x - 8.0).collect();
    assert!(error_of(DType::Q4_K, &negative) < 0.5 * error_of(DType::Q4_0, &negative));
    // What has sixteen values is kept, as far as an f16 scale allows.
    let stairs: Vec<f32> = (0..256).map(|i| (i % 16) as f32 * 0.25 - 1.5).collect();
    assert!(error_of(DType::Q4_K, &stairs) < 2e-3, "{}", error_of(DType::Q4_K, &stairs));
    for same in [0.0, 2.0, -2.0] {
        assert!(error_of(DType::Q4_K, &[same; 256]) < 2e-3, "{same}");
    }
    // Nothing sensible is asked of what is no number.
    let mut bytes = vec![0; 144];
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        let mut values = row[..256].to_vec();
        values[7] = odd;
        quantize_row(DType::Q4_K, &values, &mut bytes).unwrap();
    }
}
