//! Gemma 3, text: five layers with a window to one that sees everything, each kind with its own
//! rotary base; embeddings scaled by the root of the width; norms before and after each block;
//! GELU. Source: arXiv:2503.19786. Norm weights are stored with their 1 already added.

use lucid_tensor::{Activation, MetaArray, MetaValue, RotaryPairing};

use super::common;
use crate::keys::Keys;
use crate::{Config, ModelError, RotaryConfig, RotaryScaling, Window};

/// One layer in six sees everything, unless the file says otherwise.
const PERIOD: usize = 6;

/// The windowed layers' rotary base, unless the file says otherwise.
const WINDOWED_THETA: f32 = 10_000.0;

/// The 27B model scales scores by width / heads instead of the head's width; files do not say so,
/// its depth does.
const LAYERS_27B: usize = 62;

pub(super) fn config(keys: &Keys<'_>) -> Result<Config, ModelError> {
    let base = common::base(keys, RotaryPairing::Halves)?;
    let rotary = RotaryConfig {
        theta: keys.positive("rope.freq_base")?.unwrap_or(1_000_000.0),
        ..base.rotary.clone()
    };
    let rotary_windowed = RotaryConfig {
        theta: keys.positive("rope.freq_base_swa")?.unwrap_or(WINDOWED_THETA),
        scaling: RotaryScaling::None,
        ..rotary.clone()
    };
    let attention_scale =
        if keys.positive("attention.scale")?.is_none() && base.layer_count == LAYERS_27B {
            1.0 / (base.width as f32 / base.head_count as f32).sqrt()
        } else {
            base.attention_scale
        };
    let period = period(keys, base.layer_count)?;
    Ok(Config {
        rotary,
        rotary_windowed: Some(rotary_windowed),
        window: base.window.map(|window| Window { period, ..window }),
        activation: Activation::GeluTanh,
        embedding_scale: (base.width as f32).sqrt(),
        attention_scale,
        qk_norm: true,
        post_norms: true,
        ..base
    })
}

/// The pattern is a period, or a list that says of each layer whether it has a window.
fn period(keys: &Keys<'_>, layers: usize) -> Result<usize, ModelError> {
    let tail = "attention.sliding_window_pattern";
    let Some(MetaValue::Array(MetaArray::Bool(windowed))) = keys.metadata.value(&keys.key(tail))
    else {
        return Ok(keys.dimension(tail)?.unwrap_or(PERIOD));
    };
    let first_full = windowed.iter().position(|&windowed| !windowed);
    let period = first_full.map_or(0, |layer| layer + 1);
    let window = Window { size: 1, period };
    let regular = (0..windowed.len()).all(|layer| window.covers(layer) == windowed[layer]);
    if windowed.len() != layers || !regular {
        let found = format!("{} layers in an irregular order", windowed.len());
        return Err(keys.unsupported(tail, &found));
    }
    Ok(period)
}
