//! `POST /tokenize`, `/detokenize` and `/apply-template`: texts and conversations as a model sees
//! them. Source of the shapes: llama.cpp's server.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use lucid_provider::{Prompt, Provider, ProviderError, Text, TokenId, Turn};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::body::Body;
use crate::openai;
use crate::refusal::Refusal;

/// `POST /tokenize`: the tokens of a text. With `add_special` they begin as a prompt does, with
/// `with_pieces` each comes with what it stands for; with `parse_special` false the spellings of
/// control tokens are plain text.
pub(super) async fn tokenize(
    State(app): State<Arc<App>>,
    Body(mut body, _share): Body,
) -> Result<Json<Value>, Refusal> {
    let model = body.text("model")?;
    let text = body.need("content")?.text()?;
    let special = body.flag("add_special")?.unwrap_or(false);
    let pieces = body.flag("with_pieces")?.unwrap_or(false);
    let control = body.flag("parse_special")?.unwrap_or(true);
    let lease = app.lease(model.as_deref()).await?;
    let tokens = lease.run(move |provider| {
        let mut tokens = prompt_tokens(provider, text, control)?;
        if !special {
            let (before, after) = added(provider);
            tokens.truncate(tokens.len() - after.min(tokens.len()));
            tokens.drain(..before.min(tokens.len()));
        }
        if !pieces {
            return Ok(tokens.into_iter().map(Value::from).collect::<Vec<_>>());
        }
        tokens.into_iter().map(|token| piece(provider, token)).collect()
    });
    Ok(Json(json!({ "tokens": tokens.await? })))
}

/// `POST /detokenize`: the text of tokens. What is no text in it becomes U+FFFD.
pub(super) async fn detokenize(
    State(app): State<Arc<App>>,
    Body(mut body, _share): Body,
) -> Result<Json<Value>, Refusal> {
    let model = body.text("model")?;
    let tokens = openai::tokens(body.need("tokens")?)?;
    let lease = app.lease(model.as_deref()).await?;
    let bytes = lease.run(move |provider| provider.decode(&tokens)).await?;
    Ok(Json(json!({ "content": String::from_utf8_lossy(&bytes) })))
}

/// `POST /apply-template`: a conversation as the model's template writes it.
pub(super) async fn apply_template(
    State(app): State<Arc<App>>,
    Body(mut body, _share): Body,
) -> Result<Json<Value>, Refusal> {
    let model = body.text("model")?;
    let messages = openai::messages(&mut body)?;
    let tools = openai::tools(&mut body)?;
    let variables = match body.take("chat_template_kwargs") {
        Some(node) => node.fields()?.into_map(),
        None => Map::new(),
    };
    let continues = body.flag("continue_final_message")?.unwrap_or(false);
    let prompt = Prompt::Chat { messages, variables, continues };
    let turn = Turn { prompt, tools, ..Turn::default() };
    let lease = app.lease(model.as_deref()).await?;
    let bytes = lease.run(move |provider| {
        let tokens = provider.prompt_tokens(&turn)?;
        provider.decode(&tokens)
    });
    Ok(Json(json!({ "prompt": String::from_utf8_lossy(&bytes.await?) })))
}

/// How many tokens are added before and after every text. A text without text has nothing else, and
/// where it begins to differ from another is the place of the text.
fn added(provider: &dyn Provider) -> (usize, usize) {
    let tokens = |text: &str| prompt_tokens(provider, text.to_owned(), false).unwrap_or_default();
    let (nothing, something) = (tokens(""), tokens("a"));
    let before = nothing.iter().zip(&something).take_while(|(a, b)| a == b).count();
    (before, nothing.len() - before)
}

fn prompt_tokens(
    provider: &dyn Provider,
    text: String,
    control: bool,
) -> Result<Vec<TokenId>, ProviderError> {
    let prompt = Prompt::Text(Text { text, control });
    provider.prompt_tokens(&Turn { prompt, ..Turn::default() })
}

/// A token and its text, or its bytes where they are no text.
fn piece(provider: &dyn Provider, token: TokenId) -> Result<Value, ProviderError> {
    let bytes = provider.decode(&[token])?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => json!({ "id": token, "piece": text }),
        Err(error) => json!({ "id": token, "piece": error.into_bytes() }),
    })
}
