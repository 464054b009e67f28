//! Every level gives the bits of the scalar one, for every kernel, length, alignment and kind of
//! number.

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

    /// Ordinary numbers, with zeros, subnormals, tiny and large ones among them; never NaN.
    fn number(&mut self) -> f32 {
        match self.below(24) {
            0 => 0.0,
            1 => -0.0,
            2 => f32::from_bits(self.next() as u32 & 0x807f_ffff),
            3 => self.unit() * 1e-20,
            4 => self.unit() * 1e18,
            5 => self.unit() * 60.0,
            _ => self.unit(),
        }
    }

    fn numbers(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.number()).collect()
    }

    fn units(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.unit()).collect()
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect()
}

const LENGTHS: [usize; 20] =
    [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64, 65, 100, 257];

/// Runs `kernel(level, numbers)` on every level, on operands at several alignments, and compares
/// all outputs.
fn check(name: &str, operands: usize, kernel: impl Fn(Level, &[&[f32]]) -> Vec<f32>) {
    let mut random = Random(0x5eed ^ name.len() as u64);
    for len in LENGTHS {
        for offset in [0, 1, 3] {
            let buffers: Vec<_> = (0..operands).map(|_| random.numbers(len + offset)).collect();
            let slices: Vec<&[f32]> = buffers.iter().map(|b| &b[offset..]).collect();
            let expected = bits(&kernel(Level::Scalar, &slices));
            for level in Level::available() {
                let got = bits(&kernel(level, &slices));
                assert_eq!(got, expected, "{name} {} length {len}", level.name());
            }
        }
    }
}

/// A kernel that fills `out`, as one that returns it.
fn filled(len: usize, f: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut out = vec![f32::MAX; len];
    f(&mut out);
    out
}

#[test]
fn elementwise_kernels() {
    check("add", 2, |level, x| filled(x[0].len(), |out| add(level, x[0], x[1], out)));
    let in_place = |x: &[f32], f: &dyn Fn(&mut [f32])| {
        let mut x = x.to_vec();
        f(&mut x);
        x
    };
    check("silu_mul", 2, |level, x| in_place(x[1], &|up| silu_mul(level, x[0], up)));
    check("gelu_tanh_mul", 2, |level, x| in_place(x[1], &|up| gelu_tanh_mul(level, x[0], up)));
    check("silu_product", 2, |level, x| {
        let product = filled(x[0].len(), |out| silu_product(level, x[0], x[1], out));
        assert_eq!(bits(&product), bits(&in_place(x[1], &|up| silu_mul(level, x[0], up))));
        product
    });
    check("gelu_tanh_product", 2, |level, x| {
        let product = filled(x[0].len(), |out| gelu_tanh_product(level, x[0], x[1], out));
        assert_eq!(bits(&product), bits(&in_place(x[1], &|up| gelu_tanh_mul(level, x[0], up))));
        product
    });
    check("scale", 1, |level, x| in_place(x[0], &|x| scale(level, x, 0.37)));
    check("soft_cap", 1, |level, x| in_place(x[0], &|x| soft_cap(level, x, 30.0)));
    check("exp_slice", 1, |level, x| in_place(x[0], &|x| exp_slice(level, x)));
}

#[test]
fn sums_and_norms() {
    check("dot", 2, |level, x| vec![dot(level, x[0], x[1])]);
    check("rms_norm", 2, |level, x| {
        filled(x[0].len(), |out| rms_norm(level, x[0], Some(x[1]), 1e-5, out))
    });
    check("rms_norm without weight", 1, |level, x| {
        filled(x[0].len(), |out| rms_norm(level, x[0], None, 1e-5, out))
    });
    check("layer_norm", 3, |level, x| {
        filled(x[0].len(), |out| layer_norm(level, x[0], x[1], Some(x[2]), 1e-5, out))
    });
}

#[test]
fn rotations() {
    for pairing in [RotaryPairing::Halves, RotaryPairing::Neighbours] {
        check("rotate", 3, |level, x| {
            let mut head = x[0].to_vec();
            let half = head.len() / 2;
            rotate(level, &mut head, &x[1][..half], &x[2][..half], pairing);
            head
        });
    }
}

/// A weight matrix in any format, from numbers of ordinary size.
fn weights(random: &mut Random, dtype: DType, rows: usize, cols: usize) -> Vec<u8> {
    let mut bytes = vec![0; rows * dtype.row_bytes(cols).expect("whole blocks")];
    let values = random.units(rows * cols);
    if quantize_row(dtype, &values, &mut bytes).is_err() {
        // Small exponents wherever the format keeps its f16 scales.
        bytes.fill_with(|| random.next() as u8 & 0x2f);
    }
    bytes
}

/// Each element of the product equals `dot` of the dequantised row, whatever the batch, the band
/// and the level.
fn check_matmul(random: &mut Random, dtype: DType, batch: usize, rows: usize, cols: usize) {
    let bytes = weights(random, dtype, rows, cols);
    let row_bytes = dtype.row_bytes(cols).expect("whole blocks");
    let (x, bias) = (random.units(batch * cols), random.units(rows));
    let mut row = vec![0.0; cols];
    let mut expected = vec![0.0; batch * rows];
    for n in 0..rows {
        let row_at = &bytes[n * row_bytes..(n + 1) * row_bytes];
        dequantize_row(Level::Scalar, dtype, row_at, &mut row);
        for m in 0..batch {
            let product = dot(Level::Scalar, &x[m * cols..(m + 1) * cols], &row);
            expected[m * rows + n] = product + bias[n];
        }
    }
    let cut = random.below(rows + 1);
    for level in Level::available() {
        let mut scratch = Vec::new();
        let mut out = vec![f32::NAN; batch * rows];
        for mut band in column_bands(&mut out, batch, rows, &[0, cut, rows]) {
            let columns = band.columns();
            let bytes = &bytes[columns.start * row_bytes..columns.end * row_bytes];
            let weights = WeightRows { dtype, bytes, cols };
            let bias = Some(&bias[columns]);
            matmul(level, &x, batch, weights, bias, &mut band, &mut scratch);
        }
        let place = format!("{dtype} {} batch {batch} [{rows}, {cols}]", level.name());
        assert_eq!(bits(&out), bits(&expected), "{place}");
    }
}

#[test]
fn products_equal_dot_whatever_the_batch_and_band() {
    let mut random = Random(11);
    for dtype in DType::all() {
        for batch in [1, 2, 3, 5, 18] {
            let cols = if dtype.block_len() == 1 { 77 } else { 512 };
            check_matmul(&mut random, dtype, batch, 21, cols);
        }
    }
    for cols in [1, 15, 16, 17, 48, 100] {
        for batch in 1..10 {
            check_matmul(&mut random, DType::F32, batch, 9, cols);
        }
    }
    // Several panels.
    check_matmul(&mut random, DType::BF16, 17, 41, 8192);
    check_matmul(&mut random, DType::Q8_0, 3, 41, 8192);
}

#[test]
fn empty_products() {
    for (batch, rows, cols) in [(0, 3, 5), (2, 0, 5), (2, 3, 0)] {
        check_matmul(&mut Random(5), DType::F32, batch, rows, cols);
    }
}
