//! Lucid's own paths, in the shapes that other servers gave to them: ranking of documents, tokens
//! of texts, adapters.

mod adapters;
mod rerank;
mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::routing::{delete, get, post};

use crate::app::App;

/// The paths of this family that are no page.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/rerank", post(rerank::rerank))
        .route("/v1/rerank", post(rerank::rerank))
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/apply-template", post(tokens::apply_template))
        .route("/lora-adapters", get(adapters::list).post(adapters::load))
        .route("/lora-adapters/{name}", delete(adapters::remove))
}
