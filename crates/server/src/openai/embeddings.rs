//! `POST /v1/embeddings`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use lucid_provider::{EmbeddingKind, Provider};
use serde_json::{Value, json};

use crate::app::{App, Caller};
use crate::body::Body;
use crate::limits;
use crate::openai::completions::many;
use crate::refusal::Refusal;

/// Vectors of texts or of tokens.
pub(crate) async fn embed(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(mut body, _share): Body,
) -> Result<Json<Value>, Refusal> {
    let model = body.text("model")?;
    let prompts = many(body.need("input")?)?;
    let dimensions = body.count("dimensions", limits::DIMENSIONS)?;
    let encoding = match body.take("encoding_format") {
        None => Encoding::Float,
        Some(node) => match node.value.as_str() {
            Some("float") => Encoding::Float,
            Some("base64") => Encoding::Base64,
            _ => return Err(node.refuse("`float` or `base64`")),
        },
    };
    let lease = app.lease(model.as_deref()).await?;
    let kind = EmbeddingKind { dimensions, raw: false };
    let embed = move |provider: &dyn Provider, client| provider.embed(&prompts, kind, client);
    let found = app.compute(&caller, &lease, embed).await?;
    let data: Vec<Value> = found
        .list
        .iter()
        .enumerate()
        .map(|(index, embedding)| {
            let values = encoding.write(&embedding.values);
            json!({ "object": "embedding", "index": index, "embedding": values })
        })
        .collect();
    Ok(Json(json!({
        "object": "list",
        "data": data,
        "model": lease.name(),
        "usage": { "prompt_tokens": found.tokens, "total_tokens": found.tokens },
    })))
}

/// How a vector is written.
#[derive(Clone, Copy, Debug)]
enum Encoding {
    Float,
    /// Of f32, little-endian.
    Base64,
}

impl Encoding {
    fn write(self, values: &[f32]) -> Value {
        match self {
            Self::Float => json!(values),
            Self::Base64 => {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                json!(base64::engine::general_purpose::STANDARD.encode(bytes))
            }
        }
    }
}
