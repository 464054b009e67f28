//! What every request passes before a handler sees it, and what every answer passes on its way out:
//! names and origins, API keys and their limits, panics, the family's shape of a refusal, counting
//! and the log.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt as _;
use lucid_provider::ClientId;
use serde_json::json;
use tower::ServiceExt as _;

use crate::access::{self, IsPage, Limits};
use crate::app::{App, Caller};
use crate::family::Family;
use crate::guarded::{Guard, guarded};
use crate::identifiers::identifier;
use crate::limits;
use crate::listen::Peer;
use crate::metrics::Metrics;
use crate::options::Access;
use crate::refusal::{Kind, Refusal};

/// The routes behind the doors.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) app: Arc<App>,
    pub(crate) routes: Router,
}

/// What is known of a request before it passes.
struct Visit {
    family: Family,
    method: Method,
    path: String,
    request: Arc<str>,
    arrived: Instant,
    peer: Option<Peer>,
    cors: Option<HeaderValue>,
}

impl Site {
    /// Answers a request. Never fails: what goes wrong is an answer too.
    pub(crate) async fn answer(&self, mut request: Request) -> Response {
        let mut visit = Visit::of(&request);
        let in_flight = InFlight::new(&self.app.metrics);
        let passed = self.pass(&mut visit, &mut request);
        let response = match passed {
            Ok(Passed::Through) => self.ask(request).await,
            Ok(Passed::Preflight) => preflight(&request),
            Err(refusal) => refused(refusal),
        };
        guarded(self.leave(visit, response), in_flight)
    }

    fn pass(&self, visit: &mut Visit, request: &mut Request) -> Result<Passed, Refusal> {
        let options = &self.app.options;
        if request
            .uri()
            .path_and_query()
            .is_some_and(|it| it.as_str().len() > limits::TARGET_BYTES_MAX)
        {
            return Err(Refusal::new(Kind::Invalid, "the path is longer than any that leads here"));
        }
        let headers = request.headers();
        let authority = access::check_host(headers, request.uri(), &options.hosts)?;
        let is_page = if is_page(&visit.path) { IsPage::Yes } else { IsPage::No };
        access::check_origin(headers, &visit.method, is_page, &authority, &options.cors)?;
        let origin = access::allowed_origin(headers, &authority, &options.cors);
        visit.cors = origin.and_then(|origin| HeaderValue::from_str(origin).ok());
        let asks = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if visit.cors.is_some() && visit.method == Method::OPTIONS && asks {
            return Ok(Passed::Preflight);
        }
        let caller = self.identify(visit, headers)?;
        request.extensions_mut().insert(caller);
        Ok(Passed::Through)
    }

    fn identify(&self, visit: &Visit, headers: &HeaderMap) -> Result<Caller, Refusal> {
        if let Err(error) = self.app.keys.refresh() {
            self.app.notice(&format!("keys stay as they were: {error}"));
        }
        let presented = presented_key(headers);
        let key = presented.and_then(|key| self.app.keys.find(key));
        if key.is_none() && self.app.options.access == Access::Keys && !is_public(&visit.path) {
            let message = match presented {
                Some(_) => "this API key is not known here; `lucid key list` shows the names",
                None => {
                    "an API key is needed: send `Authorization: Bearer KEY`; `lucid key add` \
                         makes one"
                }
            };
            return Err(Refusal::new(Kind::Unauthenticated, message));
        }
        let client = key.as_ref().map_or(ClientId(0), |key| key.client);
        let limits = key.as_ref().map_or(Limits::default(), |key| key.limits);
        let account = self.app.rates.begin(client, limits)?;
        Ok(Caller {
            client,
            key: key.map(|key| key.name),
            peer: visit.peer.map(|peer| peer.address),
            request: Arc::clone(&visit.request),
            arrived: visit.arrived,
            account,
        })
    }

    async fn ask(&self, request: Request) -> Response {
        let answer = AssertUnwindSafe(self.routes.clone().oneshot(request)).catch_unwind().await;
        match answer {
            Ok(Ok(response)) => response,
            Err(_) => {
                self.app.metrics.panics.fetch_add(1, Relaxed);
                let message = "the server made a mistake; its log says more";
                refused(Refusal::new(Kind::Internal, message))
            }
        }
    }

    fn leave(&self, visit: Visit, response: Response) -> Response {
        let mut response = visit.shape(response);
        let status = response.status().as_u16();
        let route = response.extensions_mut().remove::<Route>();
        let route = route.as_ref().map_or("none", |route| route.0.as_str());
        self.app.metrics.answered(route, status);
        if self.app.options.log.is_some() {
            self.app.log(&visit.line(status));
        }
        let headers = response.headers_mut();
        if let Ok(request) = HeaderValue::from_str(&visit.request) {
            if visit.family == Family::Anthropic {
                headers.insert("request-id", request.clone());
            }
            headers.insert("x-request-id", request);
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(origin) = visit.cors {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        response
    }
}

/// Counts a request until its answer was written or given up.
struct InFlight(Arc<Metrics>);

impl InFlight {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.in_flight.fetch_add(1, Relaxed);
        Self(Arc::clone(metrics))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Guard for InFlight {}

enum Passed {
    Through,
    /// A browser asks whether it may ask.
    Preflight,
}

/// The pattern of the route that answered.
#[derive(Clone)]
struct Route(MatchedPath);

/// Notes which route answers: outside of the router only the path is known, and paths are endless.
pub(crate) async fn note_route(request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(path) = path {
        response.extensions_mut().insert(Route(path));
    }
    response
}

/// A path that leads nowhere.
pub(crate) async fn no_path(request: Request) -> Refusal {
    let path: String = request.uri().path().chars().take(120).collect();
    Refusal::new(Kind::NotFound, format!("there is nothing at {path}; /docs lists what there is"))
}

/// A path that takes other methods.
pub(crate) async fn no_method(request: Request) -> Refusal {
    let path: String = request.uri().path().chars().take(120).collect();
    Refusal::new(Kind::Method, format!("{path} does not take {}", request.method()))
}

impl Visit {
    fn of(request: &Request) -> Self {
        let path = request.uri().path().to_owned();
        Self {
            family: Family::of(&path, request.headers()),
            method: request.method().clone(),
            path,
            request: identifier("req_").into(),
            arrived: Instant::now(),
            peer: request.extensions().get::<Peer>().copied(),
            cors: None,
        }
    }

    /// Gives a refusal the shape of the request's family.
    fn shape(&self, response: Response) -> Response {
        let (mut parts, body) = response.into_parts();
        let refusal = match parts.extensions.remove::<Refusal>() {
            Some(refusal) => refusal,
            None if is_bare_error(&parts) => of_status(parts.status),
            None => return Response::from_parts(parts, body),
        };
        let text = self.family.body(&refusal, &self.request).to_string();
        let headers = &mut parts.headers;
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(after) = refusal.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if refusal.kind == Kind::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Response::from_parts(parts, Body::from(text))
    }

    /// A line for the log.
    fn line(&self, status: u16) -> String {
        let peer = self.peer.map(|peer| peer.address.to_string());
        json!({
            "request": &*self.request,
            "peer": peer,
            "method": self.method.as_str(),
            "path": self.path,
            "status": status,
            "milliseconds": self.arrived.elapsed().as_millis() as u64,
        })
        .to_string()
    }
}

/// Whether an answer tells an error and says nothing in any family's shape: what the router itself
/// and its extractors say.
fn is_bare_error(parts: &axum::http::response::Parts) -> bool {
    let error = parts.status.is_client_error() || parts.status.is_server_error();
    let kind = parts.headers.get(header::CONTENT_TYPE);
    error && kind.is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"))
}

fn of_status(status: StatusCode) -> Refusal {
    let kind = match status {
        StatusCode::NOT_FOUND => Kind::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Kind::Method,
        StatusCode::PAYLOAD_TOO_LARGE => Kind::TooLarge,
        StatusCode::REQUEST_TIMEOUT => Kind::Timeout,
        status if status.is_client_error() => Kind::Invalid,
        _ => Kind::Internal,
    };
    let message = status.canonical_reason().unwrap_or("the request cannot be answered");
    Refusal { status, ..Refusal::new(kind, message.to_lowercase()) }
}

fn refused(refusal: Refusal) -> Response {
    axum::response::IntoResponse::into_response(refusal)
}

/// Tells a browser what a listed origin may do.
fn preflight(request: &Request) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    if let Some(wanted) = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// The key that a request shows: OpenAI's way or Anthropic's.
fn presented_key(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text("authorization").and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    bearer.or_else(|| text("x-api-key")).filter(|key| !key.is_empty())
}

/// Paths that show nothing of models or conversations: they need no key.
fn is_public(path: &str) -> bool {
    is_page(path) || path == "/health"
}

/// Paths that are meant to be looked at in a browser.
fn is_page(path: &str) -> bool {
    matches!(path, "/" | "/docs" | "/openapi.json" | "/favicon.ico")
        || path.starts_with("/page/assets/")
}

impl App {
    /// Tells people what they should know.
    pub(crate) fn notice(&self, line: &str) {
        if let Some(notice) = &self.options.notice {
            notice(line);
        }
    }

    /// Tells a line about a request to whoever wants them.
    fn log(&self, line: &str) {
        if let Some(log) = &self.options.log {
            log(line);
        }
    }
}
