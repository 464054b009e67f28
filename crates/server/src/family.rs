//! The families of protocols and the shape that each gives to a refusal. Which family a request
//! belongs to follows from its path and headers alone, so that also what never reaches a handler
//! (no such path, a foreign host, too large a body, a panic) comes out in the right shape.

use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::refusal::{Kind, Refusal};

/// A family of protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// OpenAI's, and what other servers added to it.
    OpenAi,
    /// Anthropic's.
    Anthropic,
    /// Ollama's.
    Ollama,
    /// Lucid's own: the page, health, rerank and the like.
    Native,
}

impl Family {
    /// The family of a request.
    pub(crate) fn of(path: &str, headers: &HeaderMap) -> Self {
        if path == "/v1/messages" || path.starts_with("/v1/messages/") {
            return Self::Anthropic;
        }
        if path == "/v1" || path.starts_with("/v1/") {
            let anthropic = headers.contains_key("anthropic-version");
            return if anthropic { Self::Anthropic } else { Self::OpenAi };
        }
        if path == "/api" || path.starts_with("/api/") {
            return Self::Ollama;
        }
        Self::Native
    }

    /// A refusal in its shape.
    pub(crate) fn body(self, refusal: &Refusal, request: &str) -> Value {
        match self {
            Self::OpenAi => openai(refusal),
            Self::Anthropic => anthropic(refusal, request),
            Self::Ollama => json!({ "error": refusal.message }),
            Self::Native => json!({ "error": {
                "message": refusal.message,
                "kind": kind_name(refusal.kind),
                "field": refusal.field,
                "request": request,
            } }),
        }
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid => "invalid",
        Kind::ContextLength => "context_length",
        Kind::Unauthenticated => "unauthenticated",
        Kind::Forbidden => "forbidden",
        Kind::NotFound => "not_found",
        Kind::Method => "method",
        Kind::Conflict => "conflict",
        Kind::TooLarge => "too_large",
        Kind::Busy => "busy",
        Kind::Unsupported => "unsupported",
        Kind::Upstream => "upstream",
        Kind::Timeout => "timeout",
        Kind::Unavailable => "unavailable",
        Kind::Internal => "internal",
    }
}

/// OpenAI's shape. Source: the error objects of its API reference and of its Python client.
pub(crate) fn openai(refusal: &Refusal) -> Value {
    let (kind, code) = match refusal.kind {
        Kind::Invalid | Kind::Method | Kind::Conflict => ("invalid_request_error", None),
        Kind::ContextLength => ("invalid_request_error", Some("context_length_exceeded")),
        Kind::Unauthenticated => ("invalid_request_error", Some("invalid_api_key")),
        Kind::Forbidden => ("invalid_request_error", Some("forbidden")),
        Kind::NotFound if refusal.field.as_deref() == Some("model") => {
            ("invalid_request_error", Some("model_not_found"))
        }
        Kind::NotFound => ("invalid_request_error", Some("not_found")),
        Kind::TooLarge => ("invalid_request_error", Some("request_too_large")),
        Kind::Busy => ("rate_limit_error", Some("rate_limit_exceeded")),
        Kind::Unsupported => ("invalid_request_error", Some("unsupported")),
        Kind::Upstream => ("server_error", Some("upstream_error")),
        Kind::Timeout => ("server_error", Some("timeout")),
        Kind::Unavailable => ("server_error", Some("unavailable")),
        Kind::Internal => ("server_error", Some("internal_error")),
    };
    json!({ "error": {
        "message": refusal.message,
        "type": kind,
        "param": refusal.field.as_deref().map(openai_name),
        "code": code,
    } })
}

/// What OpenAI's protocol calls a part of a turn that a provider refuses.
fn openai_name(field: &str) -> &str {
    match field {
        "samples" => "n",
        "new_tokens_max" => "max_tokens",
        "stops" => "stop",
        "stop_tokens" => "stop_token_ids",
        "log_probs.alternatives" => "top_logprobs",
        "format" => "response_format",
        "adapter" => "lora",
        field => field.strip_prefix("sampling.").unwrap_or(field),
    }
}

/// Anthropic's shape. Source: the list of errors in its API reference.
pub(crate) fn anthropic(refusal: &Refusal, request: &str) -> Value {
    let kind = match refusal.kind {
        Kind::Invalid | Kind::ContextLength | Kind::Unsupported | Kind::Method | Kind::Conflict => {
            "invalid_request_error"
        }
        Kind::Unauthenticated => "authentication_error",
        Kind::Forbidden => "permission_error",
        Kind::NotFound => "not_found_error",
        Kind::TooLarge => "request_too_large",
        Kind::Busy => "rate_limit_error",
        Kind::Timeout => "timeout_error",
        Kind::Unavailable => "overloaded_error",
        Kind::Upstream | Kind::Internal => "api_error",
    };
    json!({
        "type": "error",
        "error": { "type": kind, "message": refusal.message },
        "request_id": request,
    })
}
