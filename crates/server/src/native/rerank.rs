//! `POST /rerank` and `POST /v1/rerank`: how relevant documents are to a query, the most relevant
//! first. Source of the shape: Jina's reranker API, which llama.cpp's server and vLLM have as well.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use lucid_provider::Provider;
use serde_json::{Value, json};

use crate::app::{App, Caller};
use crate::body::Body;
use crate::json::Node;
use crate::limits::{self, Whole};
use crate::refusal::Refusal;

/// How many of the documents are wanted.
const TOP_N: Whole = Whole { min: 1, max: u32::MAX as u64 };

/// Ranks documents.
pub(super) async fn rerank(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(mut body, _share): Body,
) -> Result<Json<Value>, Refusal> {
    let model = body.text("model")?;
    let query = body.need("query")?.text()?;
    let top_n = body.count("top_n", TOP_N)?;
    let returned = body.flag("return_documents")?.unwrap_or(false);
    let documents = body.need("documents")?.list(limits::PROMPTS_MAX)?;
    if documents.is_empty() {
        return Err(body.refuse("documents", "there must be at least one"));
    }
    let documents: Vec<String> = documents.into_iter().map(document).collect::<Result<_, _>>()?;
    let lease = app.lease(model.as_deref()).await?;
    let documents = Arc::new(documents);
    let asked = Arc::clone(&documents);
    let rank = move |provider: &dyn Provider, client| provider.rank(&query, &asked, client);
    let ranking = app.compute(&caller, &lease, rank).await?;
    let mut results: Vec<(usize, f32)> = ranking.scores.into_iter().enumerate().collect();
    // Stable: of equals, the first comes first.
    results.sort_by(|a, b| b.1.total_cmp(&a.1));
    results.truncate(top_n.unwrap_or(usize::MAX));
    let result = |(index, score): (usize, f32)| {
        let mut result = json!({ "index": index, "relevance_score": score });
        if returned {
            result["document"] = json!({ "text": documents[index] });
        }
        result
    };
    Ok(Json(json!({
        "model": lease.name(),
        "object": "list",
        "usage": { "prompt_tokens": ranking.tokens, "total_tokens": ranking.tokens },
        "results": results.into_iter().map(result).collect::<Vec<_>>(),
    })))
}

/// A text, or an object that holds one.
fn document(node: Node) -> Result<String, Refusal> {
    if node.value.is_object() {
        return node.fields()?.need("text")?.text();
    }
    node.text()
}
