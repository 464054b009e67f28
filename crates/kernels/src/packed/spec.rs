//! The packed product in plain code: what every other level must give bit for bit.

use super::activations::{ACTIVATION_TILE, blocks32, blocks256, sum_place};
use super::blocks::{LargeBlock, SmallBlock};
use super::floats::flush;
use super::layout::{Layout, PACKED_GROUP};
use super::{ActivationClass, Activations, PackedRows, Sink, activation_bytes};
use half::f16;

/// Any format, any CPU.
pub(super) fn multiply(x: Activations<'_>, weights: PackedRows<'_>, sink: &mut Sink<'_, '_>) {
    let PackedRows { dtype, bytes, cols } = weights;
    let layout = Layout::new(dtype, cols).expect("a format that is packed");
    let tile_bytes = activation_bytes(x.class, ACTIVATION_TILE, cols);
    let row_bytes = dtype.row_bytes(cols).expect("whole blocks");
    let mut row = vec![0; row_bytes];
    for (index, group) in bytes.chunks(layout.group_bytes().max(1)).enumerate() {
        let mut products = vec![[0.0; PACKED_GROUP]; x.batch];
        for lane in 0..PACKED_GROUP {
            let blocks = row.chunks_exact_mut(row_bytes / layout.blocks.max(1));
            for (i, block) in blocks.enumerate() {
                layout.gather(group, lane, i, block);
            }
            let tiles = x.bytes.chunks(tile_bytes.max(1));
            for (tile, products) in tiles.zip(products.chunks_mut(ACTIVATION_TILE)) {
                let mut out = vec![0.0; products.len()];
                match x.class {
                    ActivationClass::Blocks32 => small(weights, &row, tile, &mut out),
                    ActivationClass::Blocks256 => large(weights, &row, tile, &mut out),
                    ActivationClass::Bf16 => pairs(&row, tile, &mut out),
                    ActivationClass::F32 => halves(&row, tile, &mut out),
                }
                products.iter_mut().zip(out).for_each(|(products, out)| products[lane] = out);
            }
        }
        for (m, products) in products.iter().enumerate() {
            sink.write(m, index, products);
        }
    }
    if bytes.is_empty() {
        for m in 0..x.batch {
            for group in 0..sink.out.columns().len().div_ceil(PACKED_GROUP) {
                sink.write(m, group, &[0.0; PACKED_GROUP]);
            }
        }
    }
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("the field lies inside the record")
}

/// `start` + the sum of `q * x`.
fn dot(start: i32, q: &[u8], x: &[u8]) -> i32 {
    q.iter().zip(x).fold(start, |sum, (&q, &x)| sum + i32::from(q) * i32::from(x as i8))
}

fn small(weights: PackedRows<'_>, row: &[u8], tile: &[u8], out: &mut [f32]) {
    let rows = out.len();
    let blocks = row.chunks_exact(weights.dtype.block_bytes());
    for (block, x) in blocks.zip(tile.chunks_exact(rows * blocks32::BYTES)) {
        let block = SmallBlock::read(weights.dtype, block);
        for (m, sum) in out.iter_mut().enumerate() {
            let scale = f32::from_le_bytes(word(x, rows * blocks32::SCALE + 4 * m));
            let offset = i32::from_le_bytes(word(x, rows * blocks32::OFFSET + 4 * m));
            let start = if block.minimum.is_none() { offset } else { 0 };
            let product = dot(start, &block.q, &x[m * 32..][..32]);
            *sum = (product as f32).mul_add(block.scale * scale, *sum);
            if let Some(minimum) = block.minimum {
                let x_sum = f32::from_le_bytes(word(x, rows * blocks32::SUM + 4 * m));
                *sum = minimum.mul_add(x_sum, *sum);
            }
        }
    }
}

fn large(weights: PackedRows<'_>, row: &[u8], tile: &[u8], out: &mut [f32]) {
    let rows = out.len();
    let blocks = row.chunks_exact(weights.dtype.block_bytes());
    for (block, x) in blocks.zip(tile.chunks_exact(rows * blocks256::BYTES)) {
        let block = LargeBlock::read(weights.dtype, block);
        for (m, sum) in out.iter_mut().enumerate() {
            let scale = f32::from_le_bytes(word(x, rows * blocks256::SCALE + 4 * m));
            let q = &x[m * 256..][..256];
            let mut part = 0.0f32;
            let pieces = block.q.chunks_exact(block.len).zip(q.chunks_exact(block.len));
            for (i, (weight, q)) in pieces.enumerate() {
                let at = rows * blocks256::OFFSETS + 64 * m + 4 * i;
                let start =
                    if block.minimum.is_none() { i32::from_le_bytes(word(x, at)) } else { 0 };
                part = (dot(start, weight, q) as f32).mul_add(f32::from(block.scales[i]), part);
            }
            *sum = part.mul_add(block.scale * scale, *sum);
            if let Some(minimum) = block.minimum {
                let (field, stride) =
                    if block.len == 32 { (blocks256::SUMS32, 16) } else { (blocks256::SUMS16, 32) };
                let x_sum = |i| {
                    let at = rows * field + stride * m + 2 * sum_place(i);
                    i32::from(i16::from_le_bytes(word(x, at)))
                };
                let taken = (0..256 / block.len)
                    .map(|i| i32::from(block.minimums[i]) * x_sum(i))
                    .sum::<i32>();
                *sum = (-(taken as f32)).mul_add(minimum * scale, *sum);
            }
        }
    }
}

/// bfloat16: of each pair the second product first, as the instruction has it. A product of two is
/// exact in f32. Numbers below 2^-126 read as zero.
fn pairs(row: &[u8], tile: &[u8], out: &mut [f32]) {
    let rows = out.len();
    let (words, _) = row.as_chunks::<4>();
    for (w, x) in words.iter().zip(tile.chunks_exact(rows * 4)) {
        let w = u32::from_le_bytes(*w);
        for (m, sum) in out.iter_mut().enumerate() {
            let x = u32::from_le_bytes(word(x, 4 * m));
            *sum = step(high(w), high(x), *sum);
            *sum = step(low(w), low(x), *sum);
        }
    }
}

fn high(pair: u32) -> f32 {
    flush(f32::from_bits(pair & 0xffff_0000))
}

fn low(pair: u32) -> f32 {
    flush(f32::from_bits(pair << 16))
}

fn step(a: f32, b: f32, c: f32) -> f32 {
    flush(a.mul_add(b, c))
}

/// binary16 with f32, in ascending order.
fn halves(row: &[u8], tile: &[u8], out: &mut [f32]) {
    let rows = out.len();
    let (weights, _) = row.as_chunks::<2>();
    for (w, x) in weights.iter().zip(tile.chunks_exact(rows * 4)) {
        let w = f16::from_le_bytes(*w).to_f32_const();
        for (m, sum) in out.iter_mut().enumerate() {
            *sum = w.mul_add(f32::from_le_bytes(word(x, 4 * m)), *sum);
        }
    }
}
