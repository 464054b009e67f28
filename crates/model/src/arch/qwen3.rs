//! Qwen 3, dense: no biases, an RMS norm on each query and key head, heads wider than `width /
//! heads`. Source: arXiv:2505.09388.

use lucid_tensor::RotaryPairing;

use super::common;
use crate::keys::Keys;
use crate::{Config, ModelError};

pub(super) fn config(keys: &Keys<'_>) -> Result<Config, ModelError> {
    Ok(Config { qk_norm: true, ..common::base(keys, RotaryPairing::Halves, 0)? })
}
