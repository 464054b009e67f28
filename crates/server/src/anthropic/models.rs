//! Models in Anthropic's shape. The paths are OpenAI's too; the header `anthropic-version` tells
//! the two apart. All models are on one page: there are never so many.

use std::time::SystemTime;

use axum::http::HeaderMap;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::catalog::Entry;

/// Whether a request expects this shape.
pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

/// The models.
pub(crate) fn list(entries: &[Entry]) -> Value {
    let name = |entry: Option<&Entry>| entry.map(|entry| entry.name.clone());
    json!({
        "data": entries.iter().map(one).collect::<Vec<_>>(),
        "has_more": false,
        "first_id": name(entries.first()),
        "last_id": name(entries.last()),
    })
}

/// One model.
pub(crate) fn one(entry: &Entry) -> Value {
    let created = DateTime::<Utc>::from(entry.modified.unwrap_or(SystemTime::UNIX_EPOCH));
    json!({
        "type": "model",
        "id": entry.name,
        "display_name": entry.name,
        "created_at": created.to_rfc3339_opts(SecondsFormat::Secs, true),
    })
}
