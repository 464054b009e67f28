//! `GET /api/tags`, `POST /api/show` and `GET /api/ps`: models in Ollama's words. Details of a
//! model are known once it is loaded; until then they are empty.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, SecondsFormat, Utc};
use lucid_provider::Card;
use serde_json::{Map, Value, json};

use super::request;
use crate::app::App;
use crate::body::Body;
use crate::catalog::Entry;
use crate::refusal::Refusal;

/// What stands in for "never".
const YEAR_SECONDS: u64 = 365 * 24 * 3600;

/// `GET /api/tags`: the models there are.
pub(super) async fn tags(State(app): State<Arc<App>>) -> Result<Json<Value>, Refusal> {
    let loaded = app.registry.loaded();
    let card = |entry: &Entry| {
        let found = loaded.iter().find(|loaded| loaded.model.entry.name == entry.name);
        found.map(|loaded| loaded.model.provider.card())
    };
    let entries = app.registry.list().await?;
    let models: Vec<Value> = entries.iter().map(|entry| tag(entry, card(entry))).collect();
    Ok(Json(json!({ "models": models })))
}

/// `GET /api/ps`: the models that are loaded.
pub(super) async fn ps(State(app): State<Arc<App>>) -> Json<Value> {
    let mut models = Vec::new();
    for loaded in app.registry.loaded() {
        let card = loaded.model.provider.card();
        let mut tag = tag(&loaded.model.entry, Some(card));
        // Their clients take a time, and a model without one stays as long as there is room.
        let never = || SystemTime::now() + std::time::Duration::from_secs(YEAR_SECONDS);
        tag["expires_at"] = time(loaded.expires.unwrap_or_else(never)).into();
        tag["size"] = loaded.model.memory_bytes().into();
        tag["size_vram"] = 0.into();
        tag["context_length"] = card.context.into();
        models.push(tag);
    }
    Json(json!({ "models": models }))
}

/// `POST /api/show`: one model. It is loaded for it.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Body(mut body, _share): Body,
) -> Result<Json<Value>, Refusal> {
    let name = request::model(&mut body)?;
    body.flag("verbose")?;
    let lease = super::lease(&app, &name, None).await?;
    let card = lease.provider().card();
    let sampling = &card.sampling;
    let parameters = format!(
        "temperature {}\ntop_k {}\ntop_p {}\nmin_p {}",
        sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p
    );
    Ok(Json(json!({
        "license": "",
        "modelfile": format!("# Served by Lucid as it is.\nFROM {}", lease.name()),
        "parameters": parameters,
        "template": card.template.as_deref().unwrap_or_default(),
        "details": details(Some(card)),
        "model_info": information(card),
        "capabilities": capabilities(card),
        "modified_at": time(lease.model().entry.modified.unwrap_or(SystemTime::UNIX_EPOCH)),
    })))
}

fn tag(entry: &Entry, card: Option<&Card>) -> Value {
    json!({
        "name": entry.name,
        "model": entry.name,
        "modified_at": time(entry.modified.unwrap_or(SystemTime::UNIX_EPOCH)),
        "size": entry.bytes,
        "digest": card.map_or("", |card| card.digest.as_str()),
        "details": details(card),
    })
}

fn details(card: Option<&Card>) -> Value {
    let family = card.map_or("", |card| card.architecture.as_str());
    json!({
        "parent_model": "",
        "format": card.map_or("", |card| if card.file_bytes > 0 { "gguf" } else { "" }),
        "family": family,
        "families": if family.is_empty() { json!([]) } else { json!([family]) },
        "parameter_size": card.map_or(String::new(), |card| rounded(card.parameters)),
        "quantization_level": card.map_or("", |card| card.quantisation.as_str()),
    })
}

/// A number of parameters as people say it.
fn rounded(parameters: u64) -> String {
    match parameters {
        0 => String::new(),
        1_000_000_000.. => format!("{:.1}B", parameters as f64 / 1e9),
        1_000_000.. => format!("{:.1}M", parameters as f64 / 1e6),
        1_000.. => format!("{:.1}K", parameters as f64 / 1e3),
        _ => parameters.to_string(),
    }
}

/// What is known, under GGUF's keys.
fn information(card: &Card) -> Value {
    let family = &card.architecture;
    let mut map = Map::new();
    map.insert("general.architecture".to_owned(), family.clone().into());
    for (key, number) in [
        ("general.parameter_count".to_owned(), card.parameters),
        (format!("{family}.context_length"), card.context as u64),
        (format!("{family}.embedding_length"), card.embedding_len as u64),
        (format!("{family}.vocab_size"), card.vocab_size as u64),
    ] {
        if number > 0 {
            map.insert(key, number.into());
        }
    }
    Value::Object(map)
}

fn capabilities(card: &Card) -> Vec<&'static str> {
    let can = card.capabilities;
    [
        (can.text || can.chat, "completion"),
        (can.tools, "tools"),
        (can.reasoning, "thinking"),
        (can.infill, "insert"),
        (can.embeddings, "embedding"),
        // Not one of Ollama's words.
        (can.ranking, "rerank"),
    ]
    .into_iter()
    .filter_map(|(can, name)| can.then_some(name))
    .collect()
}

fn time(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Secs, true)
}
