//! `/lora-adapters`: adapters of loaded models, seen by all, loaded and dropped only from this
//! machine, because a path of its disk is named.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use lucid_provider::{Adapter, ProviderError};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::{App, Caller};
use crate::body::Body;
use crate::limits;
use crate::refusal::{Kind, Refusal};

/// Which model's adapters.
#[derive(Debug, Deserialize)]
pub(super) struct Of {
    model: Option<String>,
}

/// `GET /lora-adapters`: the adapters of all loaded models, or of one.
pub(super) async fn list(State(app): State<Arc<App>>, Query(of): Query<Of>) -> Json<Value> {
    let mut adapters = Vec::new();
    for loaded in app.registry.loaded() {
        let name = &loaded.model.entry.name;
        if of.model.as_ref().is_none_or(|asked| asked == name) {
            let told = |adapter: &Adapter| told(name, adapter);
            adapters.extend(loaded.model.provider.adapters().iter().map(told));
        }
    }
    Json(adapters.into())
}

/// `POST /lora-adapters`: loads an adapter under a name, for `MODEL:NAME`.
pub(super) async fn load(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(mut body, _share): Body,
) -> Result<Json<Value>, Refusal> {
    only_from_here(&caller)?;
    let model = body.text("model")?;
    let name = body.need("name")?.short_text(limits::NAME_BYTES_MAX)?;
    if name.is_empty() || name.contains([':', '/']) {
        return Err(body.refuse("name", "must not be empty, and have no `:` or `/`"));
    }
    let path = PathBuf::from(body.need("path")?.short_text(limits::TARGET_BYTES_MAX)?);
    let scale = body.number("scale", limits::SCALE)?.unwrap_or(1.0);
    let lease = app.lease(model.as_deref()).await?;
    let adapter = lease.run(move |provider| {
        provider.load_adapter(&name, &path, scale).map_err(|error| match error {
            // The file was named by whoever asks.
            ProviderError::Unloadable { .. } => ProviderError::invalid("path", error.to_string()),
            error => error,
        })
    });
    Ok(Json(told(lease.name(), &adapter.await?)))
}

/// `DELETE /lora-adapters/NAME`: lets go of an adapter. Answers that use it end as they began.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(of): Query<Of>,
) -> Result<Json<Value>, Refusal> {
    only_from_here(&caller)?;
    let lease = app.lease(of.model.as_deref()).await?;
    let asked = name.clone();
    if !lease.run(move |provider| provider.drop_adapter(&asked)).await? {
        let message = format!("`{}` has no adapter `{name}`", lease.name());
        return Err(Refusal::new(Kind::NotFound, message));
    }
    Ok(Json(json!({ "model": lease.name(), "name": name, "deleted": true })))
}

fn told(model: &str, adapter: &Adapter) -> Value {
    json!({
        "model": model,
        "name": adapter.name,
        "asked_for_as": format!("{model}:{}", adapter.name),
        "rank": adapter.rank,
        "bytes": adapter.bytes,
        "scale": adapter.scale,
    })
}

/// A request without an address came from a test or from the program itself.
fn only_from_here(caller: &Caller) -> Result<(), Refusal> {
    match caller.peer {
        Some(peer) if !peer.ip().to_canonical().is_loopback() => {
            let message = "adapters are loaded and dropped from the server's own machine only";
            Err(Refusal::new(Kind::Forbidden, message))
        }
        _ => Ok(()),
    }
}
