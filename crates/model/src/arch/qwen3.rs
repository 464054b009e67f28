//! Qwen 3, dense: no biases, an RMS norm on each query and key head, heads wider than `width /
//! heads`. Source: arXiv:2505.09388.

use lucid_tensor::RotaryPairing;

use super::common;
use crate::keys::Keys;
use crate::{Config, ModelError, Pooling};

pub(super) fn config(keys: &Keys<'_>) -> Result<Config, ModelError> {
    let base = common::base(keys, RotaryPairing::Halves, 0)?;
    // Its rerankers ask for the next token, of which the head keeps "yes" and "no".
    let pooling = if common::ranks(keys)? { Pooling::Last } else { base.pooling };
    Ok(Config { qk_norm: true, pooling, ..base })
}
