//! Gemma 3, text: five layers with a window to one that sees everything, each kind with its own
//! rotary base; embeddings scaled by the root of the width; norms before and after each block;
//! GELU. Source: arXiv:2503.19786. Norm weights are stored with their 1 already added.

use lucid_tensor::{Activation, RotaryPairing};

use super::common;
use crate::keys::Keys;
use crate::{Config, ModelError, RotaryConfig, RotaryScaling};

/// One layer in six sees everything, unless the file says otherwise.
const PERIOD: usize = 6;

/// The windowed layers' rotary base, unless the file says otherwise.
const WINDOWED_THETA: f32 = 10_000.0;

/// The 27B model scales scores by width / heads instead of the head's width; files do not say so,
/// its depth does.
const LAYERS_27B: usize = 62;

pub(super) fn config(keys: &Keys<'_>) -> Result<Config, ModelError> {
    let base = common::base(keys, RotaryPairing::Halves, PERIOD)?;
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
    Ok(Config {
        rotary,
        rotary_windowed: Some(rotary_windowed),
        activation: Activation::GeluTanh,
        embedding_scale: (base.width as f32).sqrt(),
        attention_scale,
        qk_norm: true,
        post_norms: true,
        ..base
    })
}
