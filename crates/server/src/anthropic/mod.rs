//! Anthropic's Messages API: messages whole and as events, the counting of tokens, and models in
//! its shape. Errors get theirs in `family`.

mod content;
mod events;
mod models;
mod request;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use lucid_provider::Delta;
use serde_json::{Value, json};

use crate::app::{App, Caller};
use crate::body::Body;
use crate::family;
use crate::identifiers::identifier;
use crate::refusal::Refusal;
use crate::stream::{Narrator, Wire, named_event, stream};

use events::Events;
use request::Purpose;

pub(crate) use models::{is_asked, list as models, one as model};

/// The paths of this family, beside `/v1/models`, which it shares.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v1/messages", post(messages))
        .route("/v1/messages/count_tokens", post(count_tokens))
}

/// `POST /v1/messages`.
async fn messages(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(body, share): Body,
) -> Result<Response, Refusal> {
    let asked = request::read(body, Purpose::Answer)?;
    let lease = app.lease(Some(&asked.model)).await?;
    let model = lease.shown_name();
    let id = identifier("msg_");
    let mut reply = app.ask(&caller, lease, asked.turn).await?;
    drop(share);
    if asked.stream {
        reply.begun().await?;
        let told = Told { events: Events::new(id, model), request: Arc::clone(&caller.request) };
        return Ok(stream(reply, told, Wire::Events));
    }
    let answer = reply.gather().await?.into_iter().next().unwrap_or_default();
    Ok(Json(events::whole(&id, &model, &answer)).into_response())
}

/// `POST /v1/messages/count_tokens`.
async fn count_tokens(
    State(app): State<Arc<App>>,
    Body(body, _share): Body,
) -> Result<Json<Value>, Refusal> {
    let asked = request::read(body, Purpose::Count)?;
    let lease = app.lease(Some(&asked.model)).await?;
    let turn = asked.turn;
    let count = lease.run(move |provider| provider.count_tokens(&turn)).await?;
    Ok(Json(json!({ "input_tokens": count })))
}

/// Writes events.
struct Told {
    events: Events,
    request: Arc<str>,
}

impl Narrator for Told {
    fn tell(&mut self, delta: Delta, out: &mut String) {
        for (name, data) in self.events.of(&delta) {
            named_event(out, name, &data);
        }
    }

    fn end(&mut self, _: &mut String) {}

    fn fail(&mut self, refusal: &Refusal, out: &mut String) {
        named_event(out, "error", &family::anthropic(refusal, &self.request));
    }
}
