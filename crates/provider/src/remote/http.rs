//! Requests to an API: tried again where that helps, given up where nobody listens any more.

use std::io::{BufReader, Read as _};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use lucid_hub::{Origin, printable};
use serde_json::Value;
use ureq::http::HeaderMap;
use ureq::{Agent, BodyReader};

use super::{Dialect, RemoteOptions};
use crate::answer::WeakTeller;
use crate::{ProviderError, Teller};

/// The most bytes of an answer that is read whole (a few hundred long embeddings).
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 20;
/// The most bytes of an error that are read.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// An API that asks for more patience than this is taken at its word: it is busy.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// How often it is looked whether anybody still listens.
const LOOK: Duration = Duration::from_millis(200);
/// Of Anthropic's API.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// What requests are made with.
#[derive(Debug)]
pub(super) struct Agents {
    config: ureq::config::Config,
    base: String,
    origin: Origin,
    watched: Arc<Mutex<Vec<Watched>>>,
}

/// A request under way, and who listens to what comes of it.
#[derive(Debug)]
struct Watched {
    agent: Agent,
    teller: WeakTeller,
    alive: Weak<()>,
}

/// An answer that has begun.
pub(super) struct Reply {
    provider: String,
    reader: BufReader<BodyReader<'static>>,
}

/// Why a try failed.
struct Failure {
    error: ProviderError,
    again: Again,
}

/// Whether it may help to try again.
enum Again {
    No,
    /// After this time, if the API says so.
    After(Option<Duration>),
}

impl Agents {
    pub(super) fn new(options: &RemoteOptions) -> Result<Self, ProviderError> {
        let bad = |reason: String| ProviderError::Broken {
            provider: options.name.clone(),
            reason: format!("its settings cannot be used: {reason}"),
        };
        let base = options.url.trim_end_matches('/').to_owned();
        // The address may hold a password: not repeated.
        let origin =
            Origin::parse(&base).map_err(|reason| bad(format!("its address: {reason}")))?;
        if !origin.tls && options.key.is_some() && !origin.is_loopback() {
            return Err(bad(format!(
                "the key for {} would go over the network in the clear; use https, or no key",
                origin.host
            )));
        }
        let patience = options.patience;
        let config = options.route.to(&origin, patience.silence);
        let config = config.map_err(|error| bad(error.to_string()))?;
        let config = config.timeout_connect(Some(patience.connect)).build();
        Ok(Self { config, base, origin, watched: Arc::default() })
    }

    /// Scheme, host and port.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Makes one request: an agent of its own can be shut down alone.
    pub(super) fn agent(&self) -> Agent {
        self.config.clone().into()
    }

    /// Breaks the agent's request off as soon as nobody listens any more, for as long as what this
    /// returns is held.
    pub(super) fn watch(&self, agent: &Agent, teller: &Teller) -> Arc<()> {
        let held = Arc::new(());
        let watched = Watched {
            agent: agent.clone(),
            teller: teller.downgrade(),
            alive: Arc::downgrade(&held),
        };
        let mut list = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        list.push(watched);
        if list.len() == 1 {
            let shared = Arc::clone(&self.watched);
            let watcher = std::thread::Builder::new().name("lucid-remote-watch".to_owned());
            if watcher.spawn(move || watch(&shared)).is_err() {
                // Without a watcher a request nobody listens to ends when its next piece comes; the
                // next request tries to have one again.
                list.clear();
            }
        }
        held
    }

    /// Sends a request until it is answered, or fails for good.
    pub(super) fn post(
        &self,
        agent: &Agent,
        options: &RemoteOptions,
        path: &str,
        body: &Value,
        deserted: &dyn Fn() -> bool,
    ) -> Result<Reply, ProviderError> {
        let mut pause = options.patience.pause;
        let mut left = options.patience.tries.max(1);
        let until = Instant::now() + options.patience.whole;
        loop {
            left -= 1;
            let failure = match self.try_post(agent, options, path, body, until) {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            let wait = match failure.again {
                Again::After(asked) if left > 0 && !deserted() => asked.unwrap_or(pause),
                _ => return Err(failure.error),
            };
            if wait > RETRY_AFTER_MAX || Instant::now() + wait >= until {
                return Err(failure.error);
            }
            sleep(wait, deserted);
            pause = pause.saturating_mul(2);
        }
    }

    fn try_post(
        &self,
        agent: &Agent,
        options: &RemoteOptions,
        path: &str,
        body: &Value,
        until: Instant,
    ) -> Result<Reply, Failure> {
        // One time for all tries, and for the answer that is then read.
        let left = until.saturating_duration_since(Instant::now());
        let mut request = agent
            .post(format!("{}/{path}", self.base))
            .config()
            .timeout_global(Some(left))
            .build()
            .header("content-type", "application/json")
            .header("accept", "text/event-stream, application/json");
        request = match (options.dialect, &options.key) {
            (Dialect::OpenAi, Some(key)) => {
                request.header("authorization", format!("Bearer {}", key.0))
            }
            (Dialect::Anthropic, Some(key)) => request.header("x-api-key", &key.0),
            (_, None) => request,
        };
        if options.dialect == Dialect::Anthropic {
            request = request.header("anthropic-version", ANTHROPIC_VERSION);
        }
        let provider = &options.name;
        let answer = request.send(body.to_string()).map_err(|error| Failure {
            again: if is_passing(&error) { Again::After(None) } else { Again::No },
            error: unreachable(provider, &error.to_string()),
        })?;
        let (parts, body) = answer.into_parts();
        let reader = body.into_with_config().limit(u64::MAX).reader();
        let mut reply = Reply { provider: provider.clone(), reader: BufReader::new(reader) };
        let status = parts.status.as_u16();
        if status == 200 {
            return Ok(reply);
        }
        let said = reply.text(ERROR_BYTES_MAX).unwrap_or_default();
        let reason = reason(&said);
        let provider = provider.clone();
        let asked = retry_after(&parts.headers);
        let error = match status {
            401 | 403 => ProviderError::Unauthorized { provider, reason },
            429 if asked.is_some_and(|wait| wait > RETRY_AFTER_MAX) => {
                ProviderError::Busy { retry_after: asked.unwrap_or_default() }
            }
            _ => ProviderError::Remote { provider, status, reason },
        };
        let passing = matches!(status, 408 | 409 | 425 | 429 | 500 | 502 | 503 | 504 | 529);
        Err(Failure { error, again: if passing { Again::After(asked) } else { Again::No } })
    }
}

impl Reply {
    /// What is left of it as events.
    pub(super) fn events(self) -> super::sse::Events<impl std::io::BufRead> {
        super::sse::Events::new(self.reader)
    }

    /// What is left of it whole.
    pub(super) fn text(&mut self, bytes_max: usize) -> Result<Vec<u8>, ProviderError> {
        let mut text = Vec::new();
        let mut bounded = (&mut self.reader).take(bytes_max as u64 + 1);
        bounded
            .read_to_end(&mut text)
            .map_err(|error| unreachable(&self.provider, &error.to_string()))?;
        if text.len() > bytes_max {
            return Err(unreachable(&self.provider, "the answer is larger than is read"));
        }
        Ok(text)
    }
}

/// Looks after requests until there are none.
fn watch(list: &Mutex<Vec<Watched>>) {
    loop {
        std::thread::sleep(LOOK);
        let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|watched| {
            let alive = watched.alive.strong_count() > 0;
            if alive && watched.teller.is_deserted() {
                watched.agent.clone().shutdown();
                return false;
            }
            alive
        });
        if list.is_empty() {
            return;
        }
    }
}

pub(super) fn unreachable(provider: &str, reason: &str) -> ProviderError {
    ProviderError::Unreachable { provider: provider.to_owned(), reason: one_line(reason) }
}

fn is_passing(error: &ureq::Error) -> bool {
    match error {
        // A certificate that is wrong stays wrong.
        ureq::Error::Io(cause) => cause.kind() != std::io::ErrorKind::InvalidData,
        ureq::Error::ConnectionFailed | ureq::Error::Protocol(_) => true,
        // Whoever was silent may be at work all the same, and charge for it.
        ureq::Error::Timeout(what) => {
            matches!(what, ureq::Timeout::Resolve | ureq::Timeout::Connect)
        }
        _ => false,
    }
}

/// What an API says is wrong: the message in its JSON, or its text.
fn reason(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let parsed: Option<Value> = serde_json::from_str(&text).ok();
    let message = parsed.as_ref().and_then(|value| {
        let error = value.get("error").unwrap_or(value);
        error.get("message").or_else(|| value.get("detail")).unwrap_or(error).as_str()
    });
    one_line(message.unwrap_or(&text))
}

/// Text from elsewhere as one line that a terminal can be shown.
pub(super) fn one_line(text: &str) -> String {
    let words: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    printable(&words)
}

/// Seconds, or a date that is not understood.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let milliseconds = headers.get("retry-after-ms").and_then(|value| value.to_str().ok());
    if let Some(number) = milliseconds.and_then(|text| text.parse().ok()) {
        return Some(Duration::from_millis(number));
    }
    let seconds: f64 = headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Sleeps, unless nobody listens any more.
fn sleep(wait: Duration, deserted: &dyn Fn() -> bool) {
    let end = Instant::now() + wait;
    while !deserted() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(LOOK));
    }
}
