//! Ollama's protocol: what its clients ask to use models. What its clients ask to manage models
//! (pull, create, copy, delete, push) is refused with the command that does it here.

mod answer;
mod embed;
mod lines;
mod models;
mod options;
mod request;
#[cfg(test)]
mod tests;

use std::future::{Ready, ready};
use std::sync::Arc;

use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::app::App;
use crate::refusal::{Kind, Refusal};
use crate::registry::Lease;

use request::KeepAlive;

/// The paths of this family.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/generate", post(answer::generate))
        .route("/api/chat", post(answer::chat))
        .route("/api/embed", post(embed::embed))
        .route("/api/embeddings", post(embed::embeddings))
        .route("/api/tags", get(models::tags))
        .route("/api/show", post(models::show))
        .route("/api/ps", get(models::ps))
        .route("/api/version", get(version))
        .route("/api/pull", any(|| no("this server fetches no models: run `lucid pull NAME`")))
        .route("/api/delete", any(|| no("this server deletes no models: run `lucid rm NAME`")))
        .route(
            "/api/create",
            any(|| no("models are not made here; a GGUF file is served as it is")),
        )
        .route("/api/copy", any(|| no("models are not copied here")))
        .route("/api/push", any(|| no("models are not uploaded from here")))
        .route("/api/blobs/{digest}", any(|| no("files are not taken here: run `lucid pull NAME`")))
}

async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

fn no(reason: &'static str) -> Ready<Refusal> {
    ready(Refusal::new(Kind::Unsupported, reason))
}

/// A model by the name that Ollama's clients give it: they add `:latest` where nothing is said.
async fn lease(app: &App, name: &str, keep: Option<KeepAlive>) -> Result<Lease, Refusal> {
    let plain = name.strip_suffix(":latest").filter(|plain| !plain.is_empty());
    let lease = match (app.lease(Some(name)).await, plain) {
        (Err(refusal), Some(plain)) if refusal.kind == Kind::NotFound => {
            app.lease(Some(plain)).await?
        }
        (found, _) => found?,
    };
    match keep {
        Some(KeepAlive::For(time)) => lease.keep_alive(Some(time)),
        Some(KeepAlive::Forever) => lease.keep_alive(None),
        None => {}
    }
    Ok(lease)
}
