//! `GET /v1/models` and `GET /v1/models/NAME`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::anthropic;
use crate::app::App;
use crate::catalog::Entry;
use crate::refusal::Refusal;
use crate::status::unix_seconds;

/// The models there are, loaded or not; adapters of loaded ones as `MODEL:ADAPTER`.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let mut models = app.registry.list().await?;
    models.extend(with_adapters(&app));
    if anthropic::is_asked(&headers) {
        return Ok(Json(anthropic::models(&models)));
    }
    let models: Vec<Value> = models.iter().map(card).collect();
    Ok(Json(json!({ "object": "list", "data": models })))
}

/// One model.
pub(crate) async fn one(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let found = app.registry.resolve(&name).await?;
    let adapted = || with_adapters(&app).find(|entry| entry.name == name);
    let entry = found.or_else(adapted).ok_or_else(|| Refusal::no_model(&name))?;
    if anthropic::is_asked(&headers) {
        return Ok(Json(anthropic::model(&entry)));
    }
    Ok(Json(card(&entry)))
}

/// Loaded models with each of their adapters.
fn with_adapters(app: &App) -> impl Iterator<Item = Entry> {
    app.registry.loaded().into_iter().flat_map(|loaded| {
        let entry = loaded.model.entry.clone();
        loaded.model.provider.adapters().into_iter().map(move |adapter| {
            let name = format!("{}:{}", entry.name, adapter.name);
            Entry { name, ..entry.clone() }
        })
    })
}

fn card(entry: &Entry) -> Value {
    json!({
        "id": entry.name,
        "object": "model",
        "created": entry.modified.map_or(0, unix_seconds),
        "owned_by": entry.source,
    })
}
