//! The page in the browser: its files at `/`, and what its scripts ask for under `/page/api`.
//! Conversations belong to whoever's API key asks; without keys they belong to everybody who can
//! reach the server, which is then this machine alone.

mod answers;
mod assets;
mod conversations;
mod events;
mod export;
mod live;
mod markdown;
mod show;
#[cfg(test)]
mod tests;
mod turn;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

pub(crate) use live::Desk;

use crate::app::App;
use crate::refusal::{Kind, Refusal};

/// The page's paths.
pub(crate) fn routes() -> Router<Arc<App>> {
    let api = Router::new()
        .route("/page/api/start", get(conversations::start))
        .route("/page/api/conversations", get(conversations::list).post(conversations::create))
        .route(
            "/page/api/conversations/{id}",
            get(conversations::read).patch(conversations::change).delete(conversations::delete),
        )
        .route("/page/api/conversations/{id}/branch", post(conversations::show_branch))
        .route("/page/api/conversations/{id}/export", get(conversations::export))
        .route("/page/api/conversations/{id}/messages", post(answers::say))
        .route("/page/api/conversations/{id}/answers", post(answers::answer_again))
        .route("/page/api/messages/{id}/tokens", get(conversations::tokens))
        .route("/page/api/answers/{id}/events", get(answers::follow))
        .route("/page/api/answers/{id}/stop", post(answers::stop))
        .route_layer(from_fn(only_from_the_page));
    Router::new()
        .route("/", get(assets::page))
        .route("/favicon.ico", get(assets::icon))
        .route("/page/assets/{name}", get(assets::asset))
        .merge(api)
}

/// A foreign page can make a browser send requests, but not with this header unless it asks first,
/// which is refused. It stands beside the checks of names and origins, which every request passes.
async fn only_from_the_page(request: Request, next: Next) -> Response {
    if request.headers().get("x-lucid-page").is_none_or(|value| value != "1") {
        let message = "this path is the page's own: programs use /v1, described at /docs";
        return Refusal::new(Kind::Forbidden, message).into_response();
    }
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}
