//! Random blocks of every format: numbers of all values, scales that are valid and give the tensor
//! the standard deviation that is asked for, and an average of zero (formats whose numbers are not
//! symmetric get a random sign or the fitting minimum, as in files of real weights). Layouts: see
//! `lucid-kernels`, `quant/`.

use half::{bf16, f16};
use lucid_tensor::{DType, Level, dequantize_row};

use super::random::Random;

/// Makes the bytes of one tensor.
pub(crate) struct Filler {
    dtype: DType,
    /// The scale that gives the deviation; of plain floats the deviation itself.
    scale: f32,
}

impl Filler {
    pub(crate) fn new(dtype: DType, deviation: f32) -> Self {
        Self { dtype, scale: deviation / deviation_of_one(dtype) }
    }

    /// Fills whole blocks.
    pub(crate) fn fill(&self, random: &mut Random, out: &mut [u8]) {
        for block in out.chunks_exact_mut(self.dtype.block_bytes()) {
            fill_block(self.dtype, self.scale, random, block);
        }
    }
}

/// The standard deviation of what a scale of 1 gives, measured.
fn deviation_of_one(dtype: DType) -> f32 {
    if dtype.block_len() == 1 {
        return 1.0;
    }
    let blocks = 1 << 16 >> dtype.block_len().ilog2();
    let mut bytes = vec![0; blocks * dtype.block_bytes()];
    Filler { dtype, scale: 1.0 }.fill(&mut Random::new(0, 0), &mut bytes);
    let mut values = vec![0.0; blocks * dtype.block_len()];
    dequantize_row(Level::detect(), dtype, &bytes, &mut values);
    let squares: f64 = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    (squares / values.len() as f64).sqrt() as f32
}

fn fill_block(dtype: DType, scale: f32, random: &mut Random, block: &mut [u8]) {
    match dtype {
        DType::F32 => return block.copy_from_slice(&(scale * random.gauss()).to_le_bytes()),
        DType::F16 => return put_f16(block, 0, scale * random.gauss()),
        DType::BF16 => {
            let value = bf16::from_f32(scale * random.gauss());
            return block.copy_from_slice(&value.to_le_bytes());
        }
        _ => {}
    }
    random.fill(block);
    let d = scale * (0.75 + 0.5 * random.unit());
    let signed = if random.below(2) == 0 { d } else { -d };
    match dtype {
        DType::Q4_0 | DType::Q5_0 | DType::IQ4_NL => put_f16(block, 0, signed),
        DType::Q4_1 => put_scale_and_minimum(block, 0, d, -7.5 * d),
        DType::Q5_1 => put_scale_and_minimum(block, 0, d, -15.5 * d),
        DType::Q8_0 => {
            put_f16(block, 0, d);
            // -128 never comes out of the quantiser.
            block[2..].iter_mut().filter(|byte| **byte == 0x80).for_each(|byte| *byte = 0x81);
        }
        DType::Q2_K => {
            for scales in &mut block[..16] {
                // A minimum of 1.5 dmin in the middle of 0 to 3: the same number twice.
                *scales = (8 | *scales & 7) * 0x11;
            }
            put_scale_and_minimum(block, 80, d, 1.5 * d);
        }
        DType::Q3_K => {
            let scales: [u8; 16] = std::array::from_fn(|_| signed_scale(random));
            block[96..108].fill(0);
            for (i, scale) in scales.into_iter().enumerate() {
                block[96 + i % 8] |= (scale & 15) << (i / 8 * 4);
                block[104 + i % 4] |= (scale >> 4) << (i / 4 * 2);
            }
            put_f16(block, 108, signed);
        }
        DType::Q4_K => k_scales(random, block, d, 7.5 * d),
        DType::Q5_K => k_scales(random, block, d, 15.5 * d),
        DType::Q6_K => {
            for scale in &mut block[192..208] {
                // 64 to 127, and their negatives.
                let magnitude = (64 | *scale & 63) as i8;
                *scale = if *scale & 64 == 0 { magnitude } else { -magnitude } as u8;
            }
            put_f16(block, 208, signed);
        }
        DType::IQ4_XS => {
            put_f16(block, 0, d);
            block[2..8].fill(0);
            for group in 0..8 {
                let scale = signed_scale(random);
                block[2 + group / 4] |= (scale >> 4) << (group % 4 * 2);
                block[4 + group / 2] |= (scale & 15) << (group % 2 * 4);
            }
        }
        DType::MXFP4 => block[0] = power(random, d),
        DType::F32 | DType::F16 | DType::BF16 => unreachable!("done above"),
    }
}

/// Six bits around 32: 1 to 16 and 48 to 63.
fn signed_scale(random: &mut Random) -> u8 {
    let magnitude = 16 + random.below(16) as u8;
    if random.below(2) == 0 { 32 + magnitude } else { 32 - magnitude }
}

/// The head of Q4_K and Q5_K. Minimums lie within 1 of the scales, so that blocks are centred.
fn k_scales(random: &mut Random, block: &mut [u8], d: f32, dmin: f32) {
    let scales: [u8; 8] = std::array::from_fn(|_| 33 + random.below(30) as u8);
    let minimums = scales.map(|scale| scale - 1 + random.below(3) as u8);
    put_scale_and_minimum(block, 0, d, dmin);
    for i in 0..4 {
        block[4 + i] = scales[i] | scales[i + 4] >> 4 << 6;
        block[8 + i] = minimums[i] | minimums[i + 4] >> 4 << 6;
        block[12 + i] = scales[i + 4] & 15 | (minimums[i + 4] & 15) << 4;
    }
}

/// An E8M0 exponent: of the two powers of two around `d`, one by chance, so that the mean square is
/// that of `d`. (The table of the format is doubled, hence the 128.)
fn power(random: &mut Random, d: f32) -> u8 {
    let low = d.log2().floor();
    let ratio = d / low.exp2();
    let is_high = random.unit() < (ratio * ratio - 1.0) / 3.0;
    (low as i32 + i32::from(is_high) + 128).clamp(2, 254) as u8
}

fn put_scale_and_minimum(block: &mut [u8], at: usize, scale: f32, minimum: f32) {
    put_f16(block, at, scale);
    put_f16(block, at + 2, minimum);
}

fn put_f16(block: &mut [u8], at: usize, value: f32) {
    block[at..at + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_the_deviation_and_no_mean() {
        for dtype in DType::all() {
            let (count, deviation) = (1 << 18, 0.02);
            let mut bytes = vec![0; dtype.row_bytes(count).unwrap()];
            Filler::new(dtype, deviation).fill(&mut Random::new(7, 3), &mut bytes);
            let mut values = vec![0.0; count];
            dequantize_row(Level::detect(), dtype, &bytes, &mut values);
            let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / count as f64;
            let squares = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
            let found = (squares / count as f64).sqrt();
            assert!((found / 0.02 - 1.0).abs() < 0.03, "{dtype}: deviation {found}");
            assert!(mean.abs() < 0.02 * 0.03, "{dtype}: mean {mean}");
            let distinct: std::collections::BTreeSet<_> =
                values.iter().map(|x| x.to_bits()).collect();
            // Of MXFP4 there are 15 values, at two or three scales.
            assert!(distinct.len() > 20, "{dtype}: {} values", distinct.len());
        }
    }
}
