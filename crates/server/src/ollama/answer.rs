//! `POST /api/generate` and `POST /api/chat`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chrono::{SecondsFormat, Utc};
use lucid_provider::Delta;
use serde_json::{Value, json};

use super::lines::{self, Lines, Moment, Shape};
use super::request::{self, Asked, Generate, KeepAlive, Templated, Work};
use crate::app::{App, Caller};
use crate::body::{Body, Share};
use crate::refusal::Refusal;
use crate::registry::Lease;
use crate::stream::{Narrator, Wire, stream};

/// `POST /api/generate`: continues or answers a text.
pub(super) async fn generate(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(body, share): Body,
) -> Result<Response, Refusal> {
    let wanted = Generate::read(body)?;
    if wanted.asked().lets_go() {
        return let_go(&app, &caller, wanted.asked(), Shape::Generate).await;
    }
    let lease = super::lease(&app, &wanted.asked().model, wanted.asked().keep_alive).await?;
    let chat = lease.provider().card().capabilities.chat;
    let templated = if chat { Templated::Yes } else { Templated::No };
    answer((&app, &caller), lease, (wanted.of(templated)?, share), Shape::Generate).await
}

/// `POST /api/chat`: answers a conversation.
pub(super) async fn chat(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(body, share): Body,
) -> Result<Response, Refusal> {
    let asked = request::chat(body)?;
    if asked.lets_go() {
        return let_go(&app, &caller, &asked, Shape::Chat).await;
    }
    let lease = super::lease(&app, &asked.model, asked.keep_alive).await?;
    answer((&app, &caller), lease, (asked, share), Shape::Chat).await
}

impl Asked {
    /// Whether nothing is asked for but that the model be let go of.
    fn lets_go(&self) -> bool {
        matches!(self.work, Work::Load) && self.keep_alive == Some(KeepAlive::For(Duration::ZERO))
    }
}

/// Lets go of a model. It is not loaded for it.
async fn let_go(
    app: &App,
    caller: &Caller,
    asked: &Asked,
    shape: Shape,
) -> Result<Response, Refusal> {
    let plain = asked.model.strip_suffix(":latest").unwrap_or(&asked.model);
    let entry = match app.registry.resolve(&asked.model).await? {
        Some(entry) => Some(entry),
        None => app.registry.resolve(plain).await?,
    };
    let entry = entry.ok_or_else(|| Refusal::no_model(&asked.model))?;
    app.registry.unload(&entry.name);
    let line = Lines::new(shape, entry.name, Duration::ZERO).loaded("unload", &now(caller.arrived));
    Ok(Json(line).into_response())
}

async fn answer(
    (app, caller): (&App, &Caller),
    lease: Lease,
    (asked, share): (Asked, Share),
    shape: Shape,
) -> Result<Response, Refusal> {
    let load = caller.arrived.elapsed();
    let lines = Lines::new(shape, &asked.model, load).with_note(asked.note);
    let Work::Answer(turn) = asked.work else {
        return Ok(Json(lines.loaded("load", &now(caller.arrived))).into_response());
    };
    let mut reply = app.ask(caller, lease, *turn).await?;
    drop(share);
    let mut told = Told { lines, arrived: caller.arrived };
    if asked.stream {
        reply.begun().await?;
        return Ok(stream(reply, told, Wire::Lines));
    }
    let mut all = Vec::new();
    while let Some(delta) = reply.next().await {
        all.extend(told.lines.of(delta?, &now(told.arrived)));
    }
    Ok(Json(lines::whole(all)).into_response())
}

/// Writes lines.
struct Told {
    lines: Lines,
    arrived: Instant,
}

impl Narrator for Told {
    fn tell(&mut self, delta: Delta, out: &mut String) {
        for line in self.lines.of(delta, &now(self.arrived)) {
            write(out, &line);
        }
    }

    fn end(&mut self, _: &mut String) {}

    fn fail(&mut self, refusal: &Refusal, out: &mut String) {
        write(out, &json!({ "error": refusal.message }));
    }
}

fn write(out: &mut String, line: &Value) {
    out.push_str(&line.to_string());
    out.push('\n');
}

fn now(arrived: Instant) -> Moment {
    let wall = Utc::now().to_rfc3339_opts(SecondsFormat::Nanos, true);
    Moment { wall, elapsed: arrived.elapsed() }
}
