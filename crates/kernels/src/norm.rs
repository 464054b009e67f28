//! Normalisation of one row: RMS norm (Zhang and Sennrich, arXiv:1910.07467) and layer norm (Ba et
//! al., arXiv:1607.06450). Sums run in the order of `dot`.

use crate::Level;
use crate::dispatch::dispatch;
use crate::dot::dot_lanes;
use crate::simd::{Simd, steps};

/// `out = x / sqrt(mean(x^2) + eps) * weight`; no weight means ones.
pub fn rms_norm(level: Level, x: &[f32], weight: Option<&[f32]>, eps: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "operands of different lengths");
    assert!(weight.is_none_or(|w| w.len() == x.len()), "a weight of another length");
    dispatch!(level, rms_norm_lanes, x, weight, eps, out);
}

/// `out = (x - mean) / sqrt(variance + eps) * weight + bias`; the variance is that of the row
/// itself (divided by n).
pub fn layer_norm(
    level: Level,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
) {
    assert!(x.len() == out.len() && weight.len() == x.len(), "operands of different lengths");
    assert!(bias.is_none_or(|b| b.len() == x.len()), "a bias of another length");
    dispatch!(level, layer_norm_lanes, x, weight, bias, eps, out);
}

#[inline(always)]
fn rms_norm_lanes<S: Simd>(s: S, x: &[f32], weight: Option<&[f32]>, eps: f32, out: &mut [f32]) {
    let mean = dot_lanes(s, x, x) / x.len() as f32;
    let factor = s.splat(1.0 / (mean + eps).sqrt());
    for (start, width) in steps(x.len()) {
        let range = start..start + width;
        let mut y = s.mul(s.load_partial(&x[range.clone()]), factor);
        if let Some(weight) = weight {
            y = s.mul(y, s.load_partial(&weight[range.clone()]));
        }
        s.store_partial(y, &mut out[range]);
    }
}

#[inline(always)]
fn layer_norm_lanes<S: Simd>(
    s: S,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
) {
    let mut sum = s.zero();
    for (start, width) in steps(x.len()) {
        sum = s.add(sum, s.load_partial(&x[start..start + width]));
    }
    let mean = s.splat(s.sum(sum) / x.len() as f32);
    for (start, width) in steps(x.len()) {
        let range = start..start + width;
        s.store_partial(s.sub(s.load_partial(&x[range.clone()]), mean), &mut out[range]);
    }
    let variance = dot_lanes(s, out, out) / x.len() as f32;
    let factor = s.splat(1.0 / (variance + eps).sqrt());
    for (start, width) in steps(x.len()) {
        let range = start..start + width;
        let centred = s.mul(s.load_partial(&out[range.clone()]), factor);
        let weight = s.load_partial(&weight[range.clone()]);
        let bias = bias.map_or(s.zero(), |b| s.load_partial(&b[range.clone()]));
        s.store_partial(s.fma(centred, weight, bias), &mut out[range]);
    }
}
