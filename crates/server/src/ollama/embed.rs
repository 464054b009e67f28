//! `POST /api/embed`, and `POST /api/embeddings` as it was before. Departure: a text that is longer
//! than the context is refused, whatever `truncate` says; nothing is cut in silence.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use lucid_provider::{EmbeddingKind, Embeddings, Prompt, Provider};
use serde_json::{Value, json};

use super::options;
use super::request::{self, KeepAlive};
use crate::app::{App, Caller};
use crate::body::Body;
use crate::json::Node;
use crate::limits;
use crate::refusal::Refusal;

/// `POST /api/embed`: one vector of length 1 for each text.
pub(super) async fn embed(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(mut body, _share): Body,
) -> Result<Json<Value>, Refusal> {
    let model = request::model(&mut body)?;
    let keep = request::keep_alive(&mut body)?;
    body.flag("truncate")?;
    body.fields("options")?.map(options::read).transpose()?;
    let dimensions = body.count("dimensions", limits::DIMENSIONS)?;
    let prompts = texts(body.need("input")?)?;
    let kind = EmbeddingKind { dimensions, raw: false };
    let (found, load) = ask(&app, &caller, (&model, keep), prompts, kind).await?;
    let vectors: Vec<&Vec<f32>> = found.list.iter().map(|embedding| &embedding.values).collect();
    Ok(Json(json!({
        "model": model,
        "embeddings": vectors,
        "total_duration": caller.arrived.elapsed().as_nanos() as u64,
        "load_duration": load,
        "prompt_eval_count": found.tokens,
    })))
}

/// `POST /api/embeddings`: the vector of one text, as the model gives it.
pub(super) async fn embeddings(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(mut body, _share): Body,
) -> Result<Json<Value>, Refusal> {
    let model = request::model(&mut body)?;
    let keep = request::keep_alive(&mut body)?;
    body.fields("options")?.map(options::read).transpose()?;
    let prompts = vec![Prompt::text(body.need("prompt")?.text()?)];
    let kind = EmbeddingKind { dimensions: None, raw: true };
    let (found, _) = ask(&app, &caller, (&model, keep), prompts, kind).await?;
    let first = found.list.into_iter().next().unwrap_or_default();
    Ok(Json(json!({ "embedding": first.values })))
}

/// One text or several.
fn texts(node: Node) -> Result<Vec<Prompt>, Refusal> {
    if node.value.is_string() {
        return Ok(vec![Prompt::text(node.text()?)]);
    }
    if !node.value.is_array() {
        return Err(node.refuse("a string or a list of strings"));
    }
    let list = node.list(limits::PROMPTS_MAX)?;
    list.into_iter().map(|node| node.text().map(Prompt::text)).collect()
}

/// The vectors, and the nanoseconds until the model was there.
async fn ask(
    app: &App,
    caller: &Caller,
    (model, keep): (&str, Option<KeepAlive>),
    prompts: Vec<Prompt>,
    kind: EmbeddingKind,
) -> Result<(Embeddings, u64), Refusal> {
    let lease = super::lease(app, model, keep).await?;
    let load = caller.arrived.elapsed().as_nanos() as u64;
    if prompts.is_empty() {
        return Ok((Embeddings::default(), load));
    }
    let embed = move |provider: &dyn Provider, client| provider.embed(&prompts, kind, client);
    Ok((app.compute(caller, &lease, embed).await?, load))
}
