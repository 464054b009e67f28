//! `/page/api/conversations`: what the page keeps, and how it is read again.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::turn::Settings;
use super::{export, show};
use crate::app::{App, Caller};
use crate::body::Body;
use crate::json::Fields;
use crate::limits;
use crate::refusal::{Kind, Refusal};
use crate::store::{Change, Conversation, Message, Wanted, Window};

/// Messages that are shown at once at most; earlier ones are asked for.
const MESSAGES_AT_ONCE: usize = 200;
/// The same where the page names no number.
const MESSAGES_USUAL: usize = 40;
/// Conversations of a list at once.
const CONVERSATIONS_AT_ONCE: usize = 200;

/// `GET /page/api/start`: the models, and what a person should know at once.
pub(super) async fn start(State(app): State<Arc<App>>) -> Result<axum::Json<Value>, Refusal> {
    let entries = app.registry.list().await?;
    let loaded = app.registry.loaded();
    let models: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let found = loaded.iter().find(|loaded| loaded.model.entry.name == entry.name);
            show::model(entry, found)
        })
        .collect();
    let chosen = app.options.model.as_deref().or(match loaded.as_slice() {
        [first, ..] => Some(first.model.entry.name.as_str()),
        [] => None,
    });
    Ok(axum::Json(json!({
        "models": models,
        "model": chosen,
        "notice": app.store_notice,
        "kept": app.options.store.is_some(),
    })))
}

/// Which conversations are listed.
#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    #[serde(default)]
    search: String,
    #[serde(default)]
    skip: usize,
    count: Option<usize>,
}

/// `GET /page/api/conversations`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<axum::Json<Value>, Refusal> {
    let count_max = query.count.unwrap_or(50).min(CONVERSATIONS_AT_ONCE);
    let wanted = Wanted { search: query.search, skip: query.skip, count_max };
    let listing = app.store.run(move |store| store.list(&caller.owner(), &wanted)).await?;
    let conversations: Vec<Value> = listing.conversations.iter().map(show::conversation).collect();
    Ok(axum::Json(json!({ "conversations": conversations, "more": listing.more })))
}

/// `POST /page/api/conversations`
pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(mut fields, _): Body,
) -> Result<Response, Refusal> {
    let model = model_of(&mut fields)?.unwrap_or_default();
    let settings = settings_of(&mut fields)?.unwrap_or_default();
    let made = app.store.run(move |store| store.create(&caller.owner(), &model, &settings));
    Ok((StatusCode::CREATED, axum::Json(show::conversation(&made.await?))).into_response())
}

/// Which messages are shown.
#[derive(Debug, Deserialize)]
pub(super) struct ReadQuery {
    before: Option<i64>,
    count: Option<usize>,
}

/// `GET /page/api/conversations/{id}`
pub(super) async fn read(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<ReadQuery>,
) -> Result<axum::Json<Value>, Refusal> {
    let count_max = query.count.unwrap_or(MESSAGES_USUAL).clamp(1, MESSAGES_AT_ONCE);
    let window = Window { before: query.before, count_max };
    shown(&app, &caller, id, window).await
}

/// Part of the branch that is shown.
async fn shown(
    app: &App,
    caller: &Caller,
    id: String,
    window: Window,
) -> Result<axum::Json<Value>, Refusal> {
    let owner = caller.owner();
    // Rendering takes its time as well.
    let read = app.store.run(move |store| {
        let conversation = store.conversation(&owner, &id)?;
        let branch = store.branch(&owner, &id, conversation.leaf, window)?;
        let messages: Vec<Value> = branch.iter().map(show::message).collect();
        let more = branch.first().is_some_and(|first| first.parent.is_some());
        Ok(json!({
            "conversation": show::conversation(&conversation),
            "messages": messages,
            "more": more,
        }))
    });
    Ok(axum::Json(read.await?))
}

/// `PATCH /page/api/conversations/{id}`: a title, a model, or settings.
pub(super) async fn change(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(mut fields, _): Body,
) -> Result<StatusCode, Refusal> {
    let title = fields.text("title")?.map(|title| title.trim().to_owned());
    let change =
        Change { title, model: model_of(&mut fields)?, settings: settings_of(&mut fields)? };
    app.store.run(move |store| store.change(&caller.owner(), &id, &change)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /page/api/conversations/{id}`
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let owner = caller.owner();
    for live in app.desk.of_conversation(&owner, &id) {
        live.stop();
    }
    app.store.run(move |store| store.delete(&owner, &id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /page/api/conversations/{id}/branch`: shows the branch through a message.
pub(super) async fn show_branch(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(mut fields, _): Body,
) -> Result<axum::Json<Value>, Refusal> {
    let through = message_id(&mut fields, "message")?.ok_or_else(|| fields.missing("message"))?;
    let (whose, conversation) = (caller.owner(), id.clone());
    app.store.run(move |store| store.show_branch(&whose, &conversation, through)).await?;
    let window = Window { before: None, count_max: MESSAGES_USUAL };
    shown(&app, &caller, id, window).await
}

/// In which form a conversation is saved.
#[derive(Debug, Deserialize)]
pub(super) struct ExportQuery {
    format: String,
}

/// `GET /page/api/conversations/{id}/export?format=json|markdown`
pub(super) async fn export(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Refusal> {
    type Write = fn(&Conversation, &[Message]) -> String;
    let (kind, ending, write): (_, _, Write) = match query.format.as_str() {
        "json" => ("application/json", "json", export::json),
        "markdown" => ("text/markdown; charset=utf-8", "md", export::markdown),
        _ => {
            let message = "`format` must be `json` or `markdown`";
            return Err(Refusal::invalid("format", message));
        }
    };
    let owner = caller.owner();
    let text = app.store.run(move |store| {
        let conversation = store.conversation(&owner, &id)?;
        let messages = if ending == "json" {
            store.messages(&owner, &id)?
        } else {
            let whole = Window { before: None, count_max: usize::MAX };
            store.branch(&owner, &id, conversation.leaf, whole)?
        };
        Ok(write(&conversation, &messages))
    });
    let mut response = text.await?.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let name = format!("attachment; filename=\"conversation.{ending}\"");
    if let Ok(name) = HeaderValue::from_str(&name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// `GET /page/api/messages/{id}/tokens`: what the token view shows; an empty list where nothing is
/// known.
pub(super) async fn tokens(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Result<Response, Refusal> {
    let found = app.store.run(move |store| store.tokens(&caller.owner(), id)).await?;
    let text = found.unwrap_or_else(|| "[]".to_owned());
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

fn model_of(fields: &mut Fields) -> Result<Option<String>, Refusal> {
    fields.take("model").map(|node| node.short_text(limits::MODEL_BYTES_MAX)).transpose()
}

/// Settings that were looked at.
pub(super) fn settings_of(fields: &mut Fields) -> Result<Option<Map<String, Value>>, Refusal> {
    let Some(settings) = fields.fields("settings")? else { return Ok(None) };
    let map = settings.into_map();
    Settings::read(&map)?;
    Ok(Some(map))
}

/// The number of a message.
pub(super) fn message_id(fields: &mut Fields, name: &str) -> Result<Option<i64>, Refusal> {
    let Some(node) = fields.take(name) else { return Ok(None) };
    let number = node.value.as_i64().filter(|number| *number > 0);
    number.map(Some).ok_or_else(|| node.refuse("the number of a message"))
}

/// That something is not there.
pub(super) fn missing(what: &str) -> Refusal {
    Refusal::new(Kind::NotFound, format!("there is no such {what}"))
}
