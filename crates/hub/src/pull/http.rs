//! Requests to the hub: redirects, who gets the token, and which failures pass by themselves.
//!
//! Redirects are followed here and not by `ureq`, so that the token goes to the endpoint's own
//! scheme, host and port and to nobody else, and TLS is never left for plain HTTP.

use std::io::Read;
use std::thread;
use std::time::Duration;

use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body};

use crate::connection::Origin;
use crate::names::printable;
use crate::{ApiKey, HubConfig, HubError, RepoId, Retry};

const HOPS_MAX: usize = 8;
const PAUSE_MAX: Duration = Duration::from_secs(30);
const QUESTION_ATTEMPTS_MAX: u32 = 3;
const QUESTION_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Worth another attempt, after `wait` if the server said how long.
    Passing { reason: String, wait: Option<Duration> },
    /// The server has nothing at the position that was asked for (416).
    OutOfRange,
    /// No attempt will help.
    Final(HubError),
}

impl Failure {
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Self::Passing { reason: reason.into(), wait: None }
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
}

/// An answer of the hub or of where it pointed to.
pub(super) struct Reply {
    pub(super) body: Box<dyn Read>,
    /// `Content-Length`.
    pub(super) body_bytes: Option<u64>,
    /// Where a partial answer (206) starts; `None` for a whole one.
    pub(super) range_start: Option<u64>,
    /// `X-Linked-Size` of the endpoint.
    pub(super) linked_bytes: Option<u64>,
    /// `X-Linked-Etag`, or `ETag`, of the endpoint.
    pub(super) linked_etag: Option<String>,
}

pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    origin: Origin,
    token: Option<ApiKey>,
    pub(super) retry: Retry,
}

impl Client {
    pub(super) fn new(config: &HubConfig) -> Result<Self, HubError> {
        let origin = Origin::parse(&config.endpoint).map_err(|reason| HubError::BadEndpoint {
            endpoint: printable(&config.endpoint),
            reason: reason.to_owned(),
        })?;
        // Over plain HTTP anyone on the way could read the token.
        let token = config.token.clone().filter(|_| origin.tls || origin.is_loopback());
        Ok(Self {
            agent: config.route.to(&origin, config.retry.silence_max)?.build().into(),
            endpoint: config.endpoint.trim_end_matches('/').to_owned(),
            origin,
            token,
            retry: config.retry,
        })
    }

    pub(super) fn model_url(&self, repo: &RepoId) -> String {
        format!("{}/api/models/{repo}/revision/main?blobs=true", self.endpoint)
    }

    pub(super) fn file_url(&self, repo: &RepoId, revision: &str, name: &str) -> String {
        format!("{}/{repo}/resolve/{revision}/{}", self.endpoint, percent_encode(name))
    }

    /// Sends one request, from byte `from` on, and follows redirects. `what` names the thing in
    /// errors.
    pub(super) fn request(
        &self,
        method: Method,
        url: &str,
        from: u64,
        what: &str,
    ) -> Result<Reply, Failure> {
        let mut uri: Uri = url.parse().map_err(|_| bad_reply(url, "its address is malformed"))?;
        let (mut linked_bytes, mut linked_etag) = (None, None);
        for _ in 0..HOPS_MAX {
            let ours = Origin::of(&uri).as_ref() == Some(&self.origin);
            let response = self.send(method, &uri, from, ours)?;
            let headers = response.headers();
            if ours {
                linked_bytes = linked_bytes.or_else(|| number(headers, "x-linked-size"));
                linked_etag = linked_etag
                    .or_else(|| header(headers, "x-linked-etag"))
                    .or_else(|| header(headers, "etag"));
            }
            let status = response.status().as_u16();
            if status < 300 {
                let range_start = (status == 206).then(|| range_start(headers)).flatten();
                if status == 206 && range_start.is_none() {
                    return Err(bad_reply(url, "a partial answer without a range").into());
                }
                let body_bytes = number(headers, "content-length");
                let body = Box::new(response.into_body().into_reader());
                return Ok(Reply { body, body_bytes, range_start, linked_bytes, linked_etag });
            }
            if matches!(status, 301 | 302 | 303 | 307 | 308) {
                // The first answer to HEAD describes the file; what follows is a mere store.
                if method == Method::Head && linked_bytes.is_some() {
                    let body = Box::new(std::io::empty());
                    let (body_bytes, range_start) = (None, None);
                    return Ok(Reply { body, body_bytes, range_start, linked_bytes, linked_etag });
                }
                uri = redirect(&uri, headers).map_err(|reason| bad_reply(url, reason))?;
                continue;
            }
            return Err(self.refusal(url, what, ours, response));
        }
        Err(bad_reply(url, "too many redirects").into())
    }

    fn send(
        &self,
        method: Method,
        uri: &Uri,
        from: u64,
        ours: bool,
    ) -> Result<Response<Body>, Failure> {
        let mut request = match method {
            Method::Get => self.agent.get(uri),
            Method::Head => self.agent.head(uri),
        };
        request = request.header("accept-encoding", "identity");
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        if let Some(token) = self.token.as_ref().filter(|_| ours) {
            request = request.header("authorization", format!("Bearer {}", token.reveal()));
        }
        request.call().map_err(|error| classify(&uri.to_string(), &error))
    }

    /// Words for a status that is no success.
    fn refusal(&self, url: &str, what: &str, ours: bool, response: Response<Body>) -> Failure {
        let status = response.status().as_u16();
        let headers = response.headers();
        let code = header(headers, "x-error-code").unwrap_or_default();
        let wait = number(headers, "retry-after").map(Duration::from_secs);
        let (what, with_key) = (printable(what), self.token.is_some());
        let error = match (status, code.as_str()) {
            (416, _) => return Failure::OutOfRange,
            // A store's address expires; the hub gives a fresh one.
            (401 | 403, _) if !ours => {
                return Failure::passing(format!("the file store answered {status}"));
            }
            (429, _) if wait.is_some_and(|wait| wait > self.retry.wait_max) => {
                HubError::RateLimited { wait: wait.unwrap_or_default() }
            }
            (408 | 425 | 429 | 500..=599, _) => {
                let wait = wait.map(|wait| wait.min(self.retry.wait_max));
                return Failure::Passing { reason: format!("it answered {status}"), wait };
            }
            (_, "GatedRepo") => HubError::Gated { what, with_key },
            (404 | 410, _) | (_, "EntryNotFound" | "RevisionNotFound") => {
                HubError::NotFound { what }
            }
            (401, _) => HubError::Unauthorized { what, with_key },
            (403, _) => HubError::Gated { what, with_key },
            _ => {
                let message = message(response);
                HubError::Status { url: url.to_owned(), status, message }
            }
        };
        Failure::Final(error)
    }

    /// Repeats a small question to the hub while it fails in a passing way: briefly, as a person
    /// waits for the answer.
    pub(super) fn retrying<T>(
        &self,
        url: &str,
        mut attempt: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, HubError> {
        let mut failures = 0;
        loop {
            let (reason, wait) = match attempt() {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::OutOfRange) => ("it answered 416".to_owned(), None),
                Err(Failure::Passing { reason, wait }) => (reason, wait),
            };
            failures += 1;
            if failures >= self.retry.attempts.min(QUESTION_ATTEMPTS_MAX) {
                return Err(HubError::Network { url: url.to_owned(), attempts: failures, reason });
            }
            let wait = wait.unwrap_or_else(|| self.pause(failures));
            if wait > QUESTION_PAUSE_MAX {
                return Err(HubError::RateLimited { wait });
            }
            thread::sleep(wait);
        }
    }

    /// The pause after the `failures`-th failure in a row.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        let factor = 1u32 << failures.saturating_sub(1).min(16);
        self.retry.pause.saturating_mul(factor).min(PAUSE_MAX)
    }
}

/// Where a redirect leads: an absolute address, `//host/path`, `/path` or a relative path.
fn redirect(from: &Uri, headers: &HeaderMap) -> Result<Uri, &'static str> {
    let location = header(headers, "location").ok_or("a redirect to nowhere")?;
    let (scheme, authority) = match (from.scheme_str(), from.authority()) {
        (Some(scheme), Some(authority)) => (scheme, authority.as_str()),
        _ => return Err("a redirect from nowhere"),
    };
    let absolute = if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.contains("://") {
        location
    } else {
        let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let uri: Uri = absolute.parse().map_err(|_| "a redirect to a malformed address")?;
    let target = Origin::of(&uri).ok_or("a redirect away from HTTP")?;
    if scheme == "https" && !target.tls {
        return Err("a redirect from TLS to plain HTTP; refused");
    }
    Ok(uri)
}

fn classify(url: &str, error: &ureq::Error) -> Failure {
    match error {
        // A certificate that is wrong stays wrong.
        ureq::Error::Io(cause) if cause.kind() == std::io::ErrorKind::InvalidData => {
            bad_reply(url, &cause.to_string()).into()
        }
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::ConnectProxyFailed(_)
        | ureq::Error::Protocol(_)
        | ureq::Error::BodyStalled => Failure::passing(printable(&error.to_string())),
        _ => bad_reply(url, &error.to_string()).into(),
    }
}

fn bad_reply(url: &str, reason: &str) -> HubError {
    HubError::BadReply { url: without_query(url), reason: printable(reason) }
}

/// A store's address carries its signature in the query: not for logs.
fn without_query(url: &str) -> String {
    printable(url.split('?').next().unwrap_or(url))
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    header(headers, name)?.trim().parse().ok()
}

/// The first byte of `Content-Range: bytes FIRST-LAST/TOTAL`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = header(headers, "content-range")?;
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

/// What the server says about its refusal: one short, printable line.
fn message(response: Response<Body>) -> String {
    let text = header(response.headers(), "x-error-message").unwrap_or_else(|| {
        let mut bytes = Vec::new();
        let read = response.into_body().into_reader().take(2048).read_to_end(&mut bytes);
        read.map_or_else(|_| String::new(), |_| String::from_utf8_lossy(&bytes).into_owned())
    });
    let line = text.trim().lines().next().unwrap_or_default();
    if line.is_empty() { String::new() } else { format!(": {}", printable(line)) }
}

/// Percent-encodes a path; `/` and the unreserved characters of RFC 3986 stay.
fn percent_encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for nibble in [byte >> 4, byte & 15] {
                encoded.extend(char::from_digit(nibble.into(), 16).map(|c| c.to_ascii_uppercase()));
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects() {
        let check = |from: &str, location: &str, expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert("location", location.parse().unwrap());
            let found = redirect(&from.parse().unwrap(), &headers).ok();
            assert_eq!(found.map(|uri| uri.to_string()).as_deref(), expected, "{location}");
        };
        let from = "https://hub.example/a/b?x=1";
        check(from, "https://cdn.example/f?sig=2", Some("https://cdn.example/f?sig=2"));
        check(from, "/c", Some("https://hub.example/c"));
        check(from, "c", Some("https://hub.example/a/c"));
        check(from, "//cdn.example/c", Some("https://cdn.example/c"));
        check(from, "http://hub.example/c", None);
        check(from, "file:///etc/passwd", None);
        check("http://127.0.0.1:1/a", "http://127.0.0.1:2/b", Some("http://127.0.0.1:2/b"));
    }

    #[test]
    fn paths_are_encoded() {
        assert_eq!(percent_encode("a b/é?#%.gguf"), "a%20b/%C3%A9%3F%23%25.gguf");
    }
}
