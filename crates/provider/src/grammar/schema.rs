//! Schemas.

use serde_json::Value;

use crate::ProviderError;

pub(super) fn prepare(schema: &Value) -> Result<Value, ProviderError> {
    Ok(schema.clone())
}
