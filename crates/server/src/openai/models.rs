//! `GET /v1/models` and `GET /v1/models/NAME`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use crate::app::App;
use crate::catalog::Entry;
use crate::refusal::Refusal;
use crate::status::unix_seconds;

/// The models there are, loaded or not; adapters of loaded ones as `MODEL:ADAPTER`.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Result<Json<Value>, Refusal> {
    let mut models: Vec<Value> = app.registry.list().await?.iter().map(card).collect();
    for loaded in app.registry.loaded() {
        for adapter in loaded.model.provider.adapters() {
            let name = format!("{}:{}", loaded.model.entry.name, adapter.name);
            models.push(card(&Entry { name, ..loaded.model.entry.clone() }));
        }
    }
    Ok(Json(json!({ "object": "list", "data": models })))
}

/// One model.
pub(crate) async fn one(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let entry = app.registry.resolve(&name).await?.ok_or_else(|| Refusal::no_model(&name))?;
    Ok(Json(card(&entry)))
}

fn card(entry: &Entry) -> Value {
    json!({
        "id": entry.name,
        "object": "model",
        "created": entry.modified.map_or(0, unix_seconds),
        "owned_by": entry.source,
    })
}
