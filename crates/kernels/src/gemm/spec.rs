//! The product in plain code: what every level must give bit for bit.

use super::{Matrix, Onto, Out, Products};
use half::bf16;

/// k in the order of sums; `None` is a zero in both operands.
fn order(products: Products, len: usize) -> impl Iterator<Item = Option<usize>> {
    let count = match products {
        Products::F32 => len,
        Products::Bf16 => len.next_multiple_of(2),
    };
    (0..count).map(move |i| {
        let k = if products == Products::Bf16 { i ^ 1 } else { i };
        (k < len).then_some(k)
    })
}

/// An operand's element as it is multiplied.
pub(super) fn operand(products: Products, x: f32) -> f32 {
    match products {
        Products::F32 => x,
        Products::Bf16 => flush(bf16::from_f32_const(x).to_f32_const()),
    }
}

/// Numbers below 2^-126 become zero of their sign.
#[inline(always)]
pub(super) fn flush(x: f32) -> f32 {
    let keep = if x.to_bits() & 0x7f80_0000 == 0 { 0x8000_0000 } else { u32::MAX };
    f32::from_bits(x.to_bits() & keep)
}

/// The rows of the right operand in the order of sums, one after the other.
pub(super) fn order_rows(products: Products, right: Matrix<'_>, rows: &mut Vec<f32>) {
    rows.clear();
    for k in order(products, right.rows) {
        let element = |n| k.map_or(0.0, |k| operand(products, right.at(k, n)));
        rows.extend((0..right.cols).map(element));
    }
}

/// `right` as `order_rows` has it.
pub(super) fn multiply(
    products: Products,
    left: Matrix<'_>,
    right: &[f32],
    onto: Onto,
    out: &mut Out<'_>,
    row: &mut Vec<f32>,
) {
    for m in 0..left.rows {
        row.clear();
        let element = |k: Option<usize>| k.map_or(0.0, |k| operand(products, left.at(m, k)));
        row.extend(order(products, left.cols).map(element));
        let sums = out.row_mut(m);
        if onto == Onto::Replace {
            sums.fill(0.0);
        }
        for (a, right) in row.iter().zip(right.chunks_exact(sums.len())) {
            for (sum, b) in sums.iter_mut().zip(right) {
                *sum = match products {
                    Products::F32 => a.mul_add(*b, *sum),
                    Products::Bf16 => flush(a.mul_add(*b, flush(*sum))),
                };
            }
        }
    }
}
