//! Packed products: every level gives the bits of the specification, whatever the shape; rows come
//! back bit for bit; the error is that of rounding activations to a byte.

use lucid_kernels::*;

/// xorshift64*: numbers for tests.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn units(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.unit()).collect()
    }
}

fn packed_types() -> impl Iterator<Item = DType> {
    DType::all().filter(|dtype| activation_class(*dtype).is_some())
}

/// Rows as a file has them: arbitrary bits, with scales of ordinary size.
fn file_rows(random: &mut Random, dtype: DType, rows: usize, cols: usize) -> Vec<u8> {
    let mut bytes = vec![0; rows * dtype.row_bytes(cols).expect("whole blocks")];
    if matches!(dtype, DType::BF16 | DType::F16) {
        let values = random.units(rows * cols);
        quantize_row(dtype, &values, &mut bytes).expect("can be written");
        return bytes;
    }
    bytes.fill_with(|| random.next() as u8);
    let halves: &[usize] = match dtype {
        DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K => &[1, 3],
        DType::Q2_K => &[81, 83],
        DType::Q3_K => &[109],
        DType::Q6_K => &[209],
        _ => &[1],
    };
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        if dtype == DType::MXFP4 {
            block[0] = 118 + block[0] % 8;
            continue;
        }
        for at in halves {
            // An f16 of 2^-7 to 2^-5, of either sign.
            block[*at] = block[*at] & 0x87 | 0x20;
        }
    }
    bytes
}

fn pack(dtype: DType, source: &[u8], rows: usize, cols: usize) -> Vec<u8> {
    let mut packed = vec![0xaa; packed_bytes(dtype, rows, cols).expect("packed")];
    pack_rows(dtype, source, rows, cols, &mut packed);
    packed
}

fn rounded(level: Level, class: ActivationClass, x: &[f32], batch: usize, cols: usize) -> Vec<u8> {
    let mut bytes = vec![0xaa; activation_bytes(class, batch, cols)];
    quantize_activations(level, class, x, batch, cols, &mut bytes);
    bytes
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect()
}

fn product(
    level: Level,
    activations: Activations<'_>,
    dtype: DType,
    packed: &[u8],
    bias: &[f32],
    bounds: &[usize],
) -> Vec<f32> {
    let (batch, cols, rows) = (activations.batch, activations.cols, bias.len());
    let mut out = vec![f32::NAN; batch * rows];
    let mut scratch = Vec::new();
    for mut band in column_bands(&mut out, batch, rows, bounds) {
        let columns = band.columns();
        let start = packed_bytes(dtype, columns.start, cols).expect("packed");
        let bytes = &packed[start..][..packed_bytes(dtype, columns.len(), cols).expect("packed")];
        let weights = PackedRows { dtype, bytes, cols };
        packed_matmul(level, activations, weights, Some(&bias[columns]), &mut band, &mut scratch);
    }
    out
}

/// All levels, in one band and in two, against the specification; and rows one by one.
fn check(random: &mut Random, dtype: DType, batch: usize, rows: usize, cols: usize) {
    let source = file_rows(random, dtype, rows, cols);
    let packed = pack(dtype, &source, rows, cols);
    let (x, bias) = (random.units(batch * cols), random.units(rows));
    let class = activation_class(dtype).expect("packed");
    let bytes = rounded(Level::Scalar, class, &x, batch, cols);
    let activations = Activations { class, bytes: &bytes, batch, cols };
    let expected = bits(&product(Level::Scalar, activations, dtype, &packed, &bias, &[0, rows]));
    let cut = random.below(rows / 16 + 1) * 16;
    for (name, level) in Level::variants() {
        let place = format!("{dtype} {name} batch {batch} [{rows}, {cols}]");
        assert!(rounded(level, class, &x, batch, cols) == bytes, "activations, {place}");
        for bounds in [&[0, rows][..], &[0, cut, rows]] {
            let got = bits(&product(level, activations, dtype, &packed, &bias, bounds));
            let wrong = got.iter().zip(&expected).position(|(a, b)| a != b);
            assert!(wrong.is_none(), "{place}: element {wrong:?}");
        }
    }
    let m = random.below(batch);
    let row = rounded(Level::Scalar, class, &x[m * cols..][..cols], 1, cols);
    let activations = Activations { class, bytes: &row, batch: 1, cols };
    let alone = product(Level::Scalar, activations, dtype, &packed, &bias, &[0, rows]);
    assert_eq!(bits(&alone), expected[m * rows..][..rows], "{dtype}: row {m} of {batch} alone");
}

#[test]
fn levels_give_the_bits_of_the_specification() {
    let mut random = Random(7);
    for dtype in packed_types() {
        for batch in [1, 2, 3, 4, 5, 11, 12, 13, 25] {
            let rows = 1 + random.below(50);
            let blocks = 1 + random.below(3);
            check(&mut random, dtype, batch, rows, blocks * dtype.block_len().max(16));
        }
    }
}

#[test]
fn every_batch_up_to_forty() {
    let mut random = Random(8);
    for dtype in
        [DType::Q4_1, DType::Q8_0, DType::Q4_K, DType::Q6_K, DType::Q2_K, DType::BF16, DType::F16]
    {
        for batch in 1..=40 {
            check(&mut random, dtype, batch, 50, 256);
        }
    }
}

/// More than a panel, a block and a chunk: 16 blocks of 32, twelve groups, 48 tiles.
#[test]
fn sums_go_on_over_pieces_blocks_and_chunks() {
    let mut random = Random(11);
    for dtype in packed_types() {
        check(&mut random, dtype, 29, 210, 1280);
    }
    for dtype in [DType::Q4_0, DType::Q5_1, DType::Q6_K, DType::Q4_K, DType::BF16, DType::F16] {
        check(&mut random, dtype, 600, 50, 256);
    }
}

#[test]
fn packed_rows_come_back() {
    let mut random = Random(9);
    for dtype in packed_types() {
        for rows in [1, 16, 37] {
            let cols = 512;
            let source = file_rows(&mut random, dtype, rows, cols);
            let packed = pack(dtype, &source, rows, cols);
            let file_bytes = source.len() / rows * rows.next_multiple_of(16);
            assert_eq!(packed.len(), file_bytes, "{dtype}: not a byte more than the file");
            for (row, bytes) in source.chunks_exact(source.len() / rows).enumerate() {
                let (mut expected, mut got) = (vec![0.0; cols], vec![0.0; cols]);
                dequantize_row(Level::detect(), dtype, bytes, &mut expected);
                unpack_row(dtype, &packed, rows, cols, row, &mut got);
                assert_eq!(bits(&got), bits(&expected), "{dtype} row {row}");
            }
        }
    }
}

/// The error of the product, relative to the product of norms over the square root of the length.
fn relative_error(random: &mut Random, dtype: DType) -> f64 {
    let (batch, rows, cols) = (8, 48, 1024);
    let source = file_rows(random, dtype, rows, cols);
    let packed = pack(dtype, &source, rows, cols);
    let x = random.units(batch * cols);
    let class = activation_class(dtype).expect("packed");
    let bytes = rounded(Level::detect(), class, &x, batch, cols);
    let activations = Activations { class, bytes: &bytes, batch, cols };
    let zeros = vec![0.0; rows];
    let got = product(Level::detect(), activations, dtype, &packed, &zeros, &[0, rows]);
    let (mut error, mut size) = (0.0, 0.0);
    let mut row = vec![0.0; cols];
    for (n, bytes) in source.chunks_exact(source.len() / rows).enumerate() {
        dequantize_row(Level::detect(), dtype, bytes, &mut row);
        let norm = row.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>();
        for (m, x) in x.chunks_exact(cols).enumerate() {
            let exact = x.iter().zip(&row).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>();
            error += (f64::from(got[m * rows + n]) - exact).powi(2);
            size += norm / 3.0;
        }
    }
    (error / size).sqrt()
}

/// Rounding to 255 steps over -1..1 errs by 1 / 127 / sqrt(12) of numbers whose root mean square is
/// 1 / sqrt(3): 0.0039. bfloat16 has 8 bits of mantissa: about 0.0017; f32 is not rounded.
#[test]
fn the_error_is_that_of_rounding_activations() {
    let mut random = Random(10);
    for dtype in packed_types() {
        let error = relative_error(&mut random, dtype);
        let bound = match dtype {
            DType::BF16 => 0.0022,
            DType::F16 => 1e-6,
            _ => 0.0046,
        };
        println!("{dtype}: relative error {error:.7}");
        assert!(error > bound / 20.0 && error < bound, "{dtype}: {error}");
    }
}

#[test]
fn numbers_that_are_none_show() {
    let mut x = vec![0.5; 2 * 256];
    x[300] = f32::NAN;
    for dtype in packed_types() {
        let source = file_rows(&mut Random(3), dtype, 3, 256);
        let packed = pack(dtype, &source, 3, 256);
        let class = activation_class(dtype).expect("packed");
        let bytes = rounded(Level::detect(), class, &x, 2, 256);
        let activations = Activations { class, bytes: &bytes, batch: 2, cols: 256 };
        let out = product(Level::detect(), activations, dtype, &packed, &[0.0; 3], &[0, 3]);
        assert!(out[..3].iter().all(|y| y.is_finite()), "{dtype}: {out:?}");
        assert!(out[3..].iter().all(|y| y.is_nan()), "{dtype}: {out:?}");
    }
}

/// Numbers near the smallest of f32: sums of bfloat16 are flushed to zero below it.
#[test]
fn tiny_bfloat16_are_flushed_alike() {
    let mut random = Random(12);
    let (rows, cols) = (40, 256);
    for batch in [1, 4, 7, 12, 30] {
        let mut tiny = |count: usize, exponents: usize| -> Vec<f32> {
            let scale = |r: &mut Random| 2.0f32.powi(-(r.below(exponents) as i32) - 20);
            (0..count).map(|_| random.unit() * scale(&mut random)).collect()
        };
        let (weights, x) = (tiny(rows * cols, 100), tiny(batch * cols, 60));
        flushed_alike(&weights, &x, batch);
    }
}

/// A sum that is fine as far as a panel's piece goes, and too small only by what a later piece with
/// larger numbers takes from it: 2^-110 + 2^-127 - 2^-110.
#[test]
fn a_tiny_rest_is_flushed_alike() {
    let (rows, cols) = (40, 256);
    let power = |exponent: i32| 2.0f32.powi(exponent);
    let row = |start: [f32; 3]| {
        let mut row = vec![0.0; cols];
        (row[0], row[2], row[200]) = (start[0], start[1], start[2]);
        row
    };
    let weights = row([power(-55), power(-64), -power(-55)]).repeat(rows);
    for batch in [1, 4, 12, 30] {
        let x = row([power(-55), power(-63), power(-55)]).repeat(batch);
        let found = flushed_alike(&weights, &x, batch);
        assert!(found.iter().all(|&bits| bits == 0), "{found:?}");
    }
}

/// Products in bfloat16 of rows of 256, with the same bits on all levels.
fn flushed_alike(weights: &[f32], x: &[f32], batch: usize) -> Vec<u32> {
    let (cols, class) = (256, ActivationClass::Bf16);
    let rows = weights.len() / cols;
    let mut source = vec![0; 2 * rows * cols];
    quantize_row(DType::BF16, weights, &mut source).expect("can be written");
    let packed = pack(DType::BF16, &source, rows, cols);
    let bytes = rounded(Level::Scalar, class, x, batch, cols);
    let activations = Activations { class, bytes: &bytes, batch, cols };
    let products = |level| {
        let bias = vec![0.0; rows];
        bits(&product(level, activations, DType::BF16, &packed, &bias, &[0, rows]))
    };
    let expected = products(Level::Scalar);
    for (name, level) in Level::variants() {
        assert!(products(level) == expected, "{name} batch {batch}");
    }
    expected
}

/// Ties, zeros, numbers too small to scale, and such as are none.
#[test]
fn unusual_activations_round_alike() {
    let mut random = Random(12);
    let unusual = [0.0, -0.0, 127.0, 0.5, -63.5, 1e-31, -1e-45, 1e30, f32::MAX, f32::INFINITY];
    let classes = [
        ActivationClass::Blocks32,
        ActivationClass::Blocks256,
        ActivationClass::Bf16,
        ActivationClass::F32,
    ];
    let (batch, cols) = (5, 512);
    for special in unusual.into_iter().chain([f32::NEG_INFINITY, f32::NAN]) {
        for scale in [0.0, 1e-40, 1e-30, 1.0, 100.0] {
            let mut x: Vec<f32> = random.units(batch * cols);
            for (i, x) in x.iter_mut().enumerate() {
                *x = if i % 67 == 0 { special } else { (*x * 127.0).round() / 2.0 * scale };
            }
            for class in classes {
                let expected = rounded(Level::Scalar, class, &x, batch, cols);
                for (name, level) in Level::variants() {
                    let got = rounded(level, class, &x, batch, cols);
                    let wrong = got.iter().zip(&expected).position(|(a, b)| a != b);
                    assert!(wrong.is_none(), "{name} {class:?} {special} {scale}: byte {wrong:?}");
                }
            }
        }
    }
}

#[test]
fn empty_products() {
    for (batch, rows, cols) in [(0, 3, 256), (2, 0, 256), (2, 3, 0)] {
        for dtype in packed_types() {
            let class = activation_class(dtype).expect("packed");
            let packed = pack(dtype, &vec![0; rows * dtype.row_bytes(cols).unwrap()], rows, cols);
            let bytes = rounded(Level::detect(), class, &vec![1.0; batch * cols], batch, cols);
            let activations = Activations { class, bytes: &bytes, batch, cols };
            let bias = vec![1.5; rows];
            let out = product(Level::detect(), activations, dtype, &packed, &bias, &[0, rows]);
            assert!(out.iter().all(|y| *y == 1.5), "{dtype} {batch} {rows} {cols}");
        }
    }
}
