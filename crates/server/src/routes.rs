//! All paths that lead somewhere.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use serde_json::{Value, json};

use crate::app::App;
use crate::doors::{self, Site};
use crate::metrics::Page;
use crate::{anthropic, native, ollama, openai, openapi, page, status};

/// The whole site.
pub(crate) fn site(app: &Arc<App>) -> Site {
    let routes = Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/status", get(status::status))
        .merge(openai::routes())
        .merge(page::routes())
        .merge(anthropic::routes())
        .merge(ollama::routes())
        .merge(native::routes())
        .merge(openapi::routes())
        .fallback(doors::no_path)
        .method_not_allowed_fallback(doors::no_method)
        .route_layer(axum::middleware::from_fn(doors::note_route))
        .with_state(Arc::clone(app));
    Site { app: Arc::clone(app), routes }
}

/// `GET /health`: that the server answers, and whether it is about to end.
async fn health(State(app): State<Arc<App>>) -> axum::Json<Value> {
    let status = if *app.ending.borrow() { "ending" } else { "ok" };
    axum::Json(json!({ "status": status }))
}

/// `GET /metrics`: everything that is counted.
async fn metrics(State(app): State<Arc<App>>) -> ([(&'static str, &'static str); 1], String) {
    let mut page = Page::default();
    app.metrics.write(&mut page);
    status::write_models(&app, &mut page);
    ([("content-type", "text/plain; version=0.0.4")], page.0)
}
