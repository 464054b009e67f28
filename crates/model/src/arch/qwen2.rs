//! Qwen 2 and 2.5: biases on query, key and value (bound when present); halves rotate. Source:
//! arXiv:2407.10671.

use lucid_tensor::RotaryPairing;

use super::common;
use crate::keys::Keys;
use crate::{Config, ModelError};

pub(super) fn config(keys: &Keys<'_>) -> Result<Config, ModelError> {
    common::base(keys, RotaryPairing::Halves, 0)
}
