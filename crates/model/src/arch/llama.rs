//! Llama 1 to 3.x, Mistral, TinyLlama and whatever else calls itself `llama`. Source: Touvron et
//! al., arXiv:2302.13971. GGUF files hold query and key rows permuted so that neighbours rotate
//! together.

use lucid_tensor::RotaryPairing;

use super::common;
use crate::keys::Keys;
use crate::{Config, ModelError};

pub(super) fn config(keys: &Keys<'_>) -> Result<Config, ModelError> {
    common::base(keys, RotaryPairing::Neighbours, 0)
}
