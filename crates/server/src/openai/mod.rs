//! OpenAI's protocol. Fields that are not known are ignored, as other servers of this protocol do,
//! because clients send their own; fields that are known and cannot be honoured are refused.

mod chat;
mod completions;
mod embeddings;
mod messages;
mod models;
mod narrate;
mod responses;
mod sampling;
mod text_chunks;
mod tools;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;

pub(crate) use completions::tokens;
pub(crate) use messages::messages;
pub(crate) use responses::Background;
pub(crate) use sampling::{bounded_schema, common};
pub(crate) use tools::tools;

/// The paths of this family.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*name}", get(models::one))
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/completions", post(completions::complete))
        .route("/v1/embeddings", post(embeddings::embed))
        .route("/v1/responses", post(responses::create))
        .route("/v1/responses/{id}", get(responses::retrieve).delete(responses::delete))
        .route("/v1/responses/{id}/cancel", post(responses::cancel))
        .route("/v1/responses/{id}/input_items", get(responses::input_items))
}
