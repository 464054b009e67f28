//! A request that is not answered: what is wrong, told in the shape of each family of protocols.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use lucid_provider::ProviderError;

/// Why a request is not answered. Each family of protocols gives it a shape of its own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    /// The status of the answer.
    pub(crate) status: StatusCode,
    /// What kind it is, in the words that the families share.
    pub(crate) kind: Kind,
    /// What is wrong, where, and what to do next.
    pub(crate) message: String,
    /// The field of the request that is wrong, as a path: `messages[2].role`.
    pub(crate) field: Option<String>,
    /// When to try again.
    pub(crate) retry_after: Option<Duration>,
}

/// The kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A field is not what it must be.
    Invalid,
    /// The prompt is longer than the context.
    ContextLength,
    /// No API key, or none that is known.
    Unauthenticated,
    /// The key may not do this, or the request comes from a foreign origin.
    Forbidden,
    /// There is no such model, response, or path.
    NotFound,
    /// The path takes other methods.
    Method,
    /// The thing is not in a state for it.
    Conflict,
    /// The body is larger than is taken.
    TooLarge,
    /// Too much at once.
    Busy,
    /// It cannot be done by this model.
    Unsupported,
    /// A model behind us fails.
    Upstream,
    /// It took too long.
    Timeout,
    /// The server is going down, or has no room at all.
    Unavailable,
    /// Our fault.
    Internal,
}

impl Refusal {
    /// A refusal of this kind with the status that belongs to it.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        let status = match kind {
            Kind::Invalid | Kind::ContextLength | Kind::Unsupported => StatusCode::BAD_REQUEST,
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Method => StatusCode::METHOD_NOT_ALLOWED,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::Busy => StatusCode::TOO_MANY_REQUESTS,
            Kind::Upstream => StatusCode::BAD_GATEWAY,
            Kind::Timeout => StatusCode::REQUEST_TIMEOUT,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, kind, message: message.into(), field: None, retry_after: None }
    }

    /// That a field is wrong.
    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(Kind::Invalid, message) }
    }

    /// That there is no such model.
    pub(crate) fn no_model(name: &str) -> Self {
        let message = format!(
            "there is no model `{name}`; /v1/models lists those there are, and `lucid pull` \
             fetches one"
        );
        Self { field: Some("model".to_owned()), ..Self::new(Kind::NotFound, message) }
    }

    /// That there is too much at once, and when to try again.
    pub(crate) fn busy(message: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(Kind::Busy, message) }
    }
}

/// A refusal as an answer without a body: `doors` gives it the shape of the request's family.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<ProviderError> for Refusal {
    fn from(error: ProviderError) -> Self {
        let message = error.to_string();
        match error {
            ProviderError::Invalid { field, .. } => Self::invalid(field, message),
            ProviderError::Unsupported { .. } => Self::new(Kind::Unsupported, message),
            ProviderError::PromptTooLong { .. } => Self::new(Kind::ContextLength, message),
            ProviderError::Grammar { .. } | ProviderError::Template { .. } => {
                Self::new(Kind::Invalid, message)
            }
            ProviderError::UnknownAdapter { .. } => Self::new(Kind::NotFound, message),
            ProviderError::Busy { retry_after } => {
                Self { retry_after: Some(retry_after), ..Self::new(Kind::Busy, message) }
            }
            ProviderError::Unauthorized { .. }
            | ProviderError::Unreachable { .. }
            | ProviderError::Remote { .. } => Self::new(Kind::Upstream, message),
            // Of what a request names: an adapter's file. Models are loaded by the catalogue.
            ProviderError::Unloadable { .. } => Self::new(Kind::Invalid, message),
            ProviderError::Broken { .. } => Self::new(Kind::Internal, message),
        }
    }
}
