//! GBNF.

use super::refused;
use crate::ProviderError;

pub(super) fn to_lark(_: &str) -> Result<String, ProviderError> {
    Err(refused("GBNF is not read yet"))
}
