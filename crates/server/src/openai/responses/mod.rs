//! `/v1/responses`: a turn whose outcome is kept, so that a later request can go on from it, ask
//! for it again, cancel or delete it. Kept ones outlast the server.

mod driver;
mod request;
mod story;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use lucid_provider::{Message, Prompt, Turn};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use crate::app::{App, Caller};
use crate::body::Body;
use crate::identifiers::identifier;
use crate::limits;
use crate::refusal::{Kind, Refusal};
use crate::status::unix_seconds;
use crate::store::{Store, StoreError, Stored as Kept};

use driver::{Driver, Keep};
use request::{Asked, Stored, Streams, Waits};
use story::Story;

/// Responses that one conversation may go back to.
const CHAIN_MAX: usize = 4096;

/// Responses that are made in the background, and how each is cancelled.
#[derive(Debug, Default)]
pub(crate) struct Background {
    under_way: Mutex<HashMap<String, watch::Sender<bool>>>,
    /// One ended.
    ended: Notify,
}

impl Background {
    fn begin(&self, id: &str) -> watch::Receiver<bool> {
        let (sender, receiver) = watch::channel(false);
        self.lock().insert(id.to_owned(), sender);
        receiver
    }

    fn end(&self, id: &str) {
        self.lock().remove(id);
        self.ended.notify_waiters();
    }

    /// Waits until none is made any more.
    pub(crate) async fn finished(&self) {
        loop {
            let ended = self.ended.notified();
            if self.lock().is_empty() {
                return;
            }
            ended.await;
        }
    }

    fn has(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    /// Tells a response to end, and waits until it did. Returns whether it was under way.
    async fn cancel(&self, id: &str) -> bool {
        let Some(sender) = self.lock().get(id).cloned() else { return false };
        sender.send_replace(true);
        sender.closed().await;
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, watch::Sender<bool>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `POST /v1/responses`.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(mut body, share): Body,
) -> Result<Response, Refusal> {
    let mut asked = request::read(&mut body)?;
    let owner = caller.owner();
    let messages = conversation(&app, &owner, &asked).await?;
    let lease = app.lease(asked.model.as_deref()).await?;
    let turn = Turn {
        prompt: Prompt::Chat {
            messages,
            variables: std::mem::take(&mut asked.variables),
            continues: false,
        },
        ..std::mem::take(&mut asked.turn)
    };
    let response = skeleton(&asked, &lease.shown_name());
    let mut reply = app.ask(&caller, lease, turn).await?;
    drop(share);
    let keep = (asked.stored == Stored::Yes).then(|| Keep {
        store: Arc::clone(&app.store),
        owner,
        input: std::mem::take(&mut asked.input),
    });
    if asked.waits == Waits::No {
        let driver = Driver::new(reply, Story::new(response, identifier), keep);
        return in_background(app, driver, asked.streams).await;
    }
    if asked.streams == Streams::Yes {
        reply.begun().await?;
        let driver = Driver::new(reply, Story::new(response, identifier), keep);
        return Ok(driver.stream());
    }
    let mut driver = Driver::new(reply, Story::new(response, identifier), keep);
    Ok(Json(driver.finish().await?).into_response())
}

/// Makes a response while nobody waits for it.
async fn in_background(
    app: Arc<App>,
    mut driver: Driver,
    streams: Streams,
) -> Result<Response, Refusal> {
    let id = driver.id();
    driver.keep().await?;
    let told = driver.response();
    let mut cancelled = app.background.begin(&id);
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                biased;
                () = is_told(&mut cancelled) => break,
                text = driver.step() => {
                    let Some(text) = text else {
                        app.background.end(&id);
                        return;
                    };
                    // Whether anybody listens makes no difference.
                    let _ = sender.send(text);
                }
            }
        }
        driver.cancel().await;
        app.background.end(&id);
    });
    match streams {
        Streams::Yes => Ok(driver::events(receiver)),
        Streams::No => Ok(Json(told).into_response()),
    }
}

/// Waits until a response is told to end.
async fn is_told(cancelled: &mut watch::Receiver<bool>) {
    // The sender is there as long as the response is.
    let _ = cancelled.wait_for(|cancelled| *cancelled).await;
}

/// Everything that was said, the responses before this one included.
async fn conversation(app: &App, owner: &str, asked: &Asked) -> Result<Vec<Message>, Refusal> {
    let mut chain = Vec::new();
    let mut previous = asked.previous.clone();
    while let Some(id) = previous {
        if chain.len() == CHAIN_MAX {
            let message = format!("the conversation goes back more than {CHAIN_MAX} responses");
            return Err(Refusal::invalid("previous_response_id", message));
        }
        let mut kept = find(&app.store, owner, &id).await.map_err(|refusal| Refusal {
            field: Some("previous_response_id".to_owned()),
            ..refusal
        })?;
        let mut response = as_it_is(app, &id, kept["response"].take());
        let status = response["status"].as_str().unwrap_or("");
        if chain.is_empty() && matches!(status, "queued" | "in_progress") {
            let message = format!("the response `{id}` is not finished");
            return Err(Refusal::invalid("previous_response_id", message));
        }
        previous = response["previous_response_id"].as_str().map(str::to_owned);
        chain.push((kept["input"].take(), response["output"].take()));
    }
    let earlier = chain.iter().rev().flat_map(|(input, output)| {
        let items = |value: &'_ Value| value.as_array().map_or(&[][..], Vec::as_slice).to_vec();
        items(input).into_iter().chain(items(output))
    });
    let items: Vec<Value> = earlier.chain(asked.input.iter().cloned()).collect();
    let mut messages = Vec::new();
    if let Some(instructions) = &asked.instructions {
        messages.push(Message::text("system", instructions.clone()));
    }
    messages.extend(request::messages(items.iter())?);
    if messages.len() > limits::MESSAGES_MAX {
        return Err(Refusal::invalid("input", "the conversation has too many messages"));
    }
    Ok(messages)
}

/// A response before anything was said.
fn skeleton(asked: &Asked, model: &str) -> Value {
    let status = if asked.waits == Waits::No { "queued" } else { "in_progress" };
    let mut response = json!({
        "id": identifier("resp_"),
        "object": "response",
        "created_at": unix_seconds(SystemTime::now()),
        "status": status,
        "background": asked.waits == Waits::No,
        "error": null,
        "incomplete_details": null,
        "instructions": asked.instructions,
        "model": model,
        "output": [],
        "previous_response_id": asked.previous,
        "service_tier": "default",
        "store": asked.stored == Stored::Yes,
        "truncation": "disabled",
        "usage": null,
    });
    for (name, value) in &asked.echo {
        response[name] = match (name.as_str(), value) {
            ("tools", Value::Null) => json!([]),
            ("tool_choice", Value::Null) => json!("auto"),
            _ => value.clone(),
        };
    }
    response
}

/// What was kept of a response: itself and its input.
async fn find(store: &Arc<Store>, owner: &str, id: &str) -> Result<Value, Refusal> {
    let missing = || Refusal::new(Kind::NotFound, "there is no such response, or it was deleted");
    if id.len() > limits::NAME_BYTES_MAX {
        return Err(missing());
    }
    let (owner, id) = (owner.to_owned(), id.to_owned());
    let found = store.run(move |store| store.response(&owner, &id)).await;
    match found {
        Ok(kept) => Ok(kept.body),
        Err(StoreError::NotFound { .. }) => Err(missing()),
        Err(error) => Err(error.into()),
    }
}

/// `GET /v1/responses/ID`.
pub(crate) async fn retrieve(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Refusal> {
    if parameter(query.as_deref(), "stream") == Some("true") {
        let message = "a stream that was begun cannot be taken up again; ask without it";
        return Err(Refusal::invalid("stream", message));
    }
    let mut kept = find(&app.store, &caller.owner(), &id).await?;
    let response = kept["response"].take();
    Ok(Json(as_it_is(&app, &id, response)))
}

/// One that was under way when the server ended will never be finished.
fn as_it_is(app: &App, id: &str, mut response: Value) -> Value {
    let unfinished = matches!(response["status"].as_str(), Some("queued" | "in_progress"));
    if unfinished && !app.background.has(id) {
        response["status"] = json!("failed");
        response["error"] = json!({
            "code": "server_error", "message": "the server ended before the response did",
        });
    }
    response
}

/// `POST /v1/responses/ID/cancel`.
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let owner = caller.owner();
    let kept = find(&app.store, &owner, &id).await?;
    if kept["response"]["background"] != true {
        let message = "only a response that is made in the background can be cancelled; close the \
                       connection of another";
        return Err(Refusal::new(Kind::Invalid, message));
    }
    app.background.cancel(&id).await;
    let mut kept = find(&app.store, &owner, &id).await?;
    let response = kept["response"].take();
    Ok(Json(as_it_is(&app, &id, response)))
}

/// `DELETE /v1/responses/ID`.
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let owner = caller.owner();
    find(&app.store, &owner, &id).await?;
    app.background.cancel(&id).await;
    let gone = id.clone();
    app.store.run(move |store| store.delete_response(&owner, &gone)).await?;
    Ok(Json(json!({ "id": id, "object": "response", "deleted": true })))
}

/// `GET /v1/responses/ID/input_items`.
pub(crate) async fn input_items(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Refusal> {
    let query = query.as_deref();
    let most = match parameter(query, "limit") {
        None => 20,
        Some(text) => {
            text.parse::<usize>().ok().filter(|most| (1..=100).contains(most)).ok_or_else(|| {
                Refusal::invalid("limit", "`limit` must be a number from 1 to 100")
            })?
        }
    };
    let mut kept = find(&app.store, &caller.owner(), &id).await?;
    let mut items = match kept["input"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    match parameter(query, "order") {
        None | Some("desc") => items.reverse(),
        Some("asc") => {}
        Some(_) => return Err(Refusal::invalid("order", "`order` must be `asc` or `desc`")),
    }
    if let Some(after) = parameter(query, "after") {
        let at = items.iter().position(|item| item["id"] == after);
        let at = at.ok_or_else(|| Refusal::invalid("after", "`after` names no item"))?;
        items.drain(..=at);
    }
    let has_more = items.len() > most;
    items.truncate(most);
    let end = |item: Option<&Value>| item.map_or(Value::Null, |item| item["id"].clone());
    Ok(Json(json!({
        "object": "list",
        "first_id": end(items.first()),
        "last_id": end(items.last()),
        "has_more": has_more,
        "data": items,
    })))
}

/// A parameter of a query. Those read here are words, which are never escaped.
fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

impl Keep {
    /// Keeps a response as it is.
    ///
    /// # Errors
    /// It is too large, or cannot be written.
    pub(super) async fn put(&self, response: &Value) -> Result<(), Refusal> {
        let status = response["status"].as_str().unwrap_or("").to_owned();
        let id = response["id"].as_str().unwrap_or("").to_owned();
        let owner = self.owner.clone();
        let body = json!({ "response": response, "input": self.input });
        let put = move |store: &Store| store.put_response(&owner, &id, &Kept { status, body });
        self.store.run(put).await.map_err(Refusal::from)
    }
}
