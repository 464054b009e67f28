//! What all requests share, and what is known of whoever asks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use lucid_provider::ClientId;
use tokio::sync::watch;

use crate::access::{Account, Keys, Rates};
use crate::catalog::Catalog;
use crate::compute::COMPUTING_MAX;
use crate::limits;
use crate::metrics::Metrics;
use crate::openai::Background;
use crate::options::Options;
use crate::page::Desk;
use crate::refusal::{Kind, Refusal};
use crate::registry::{Lease, Registry};
use crate::store::{Opened, Store};

/// What all requests share.
pub(crate) struct App {
    /// How the server runs.
    pub(crate) options: Options,
    /// The models.
    pub(crate) registry: Arc<Registry>,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// The API keys.
    pub(crate) keys: Keys,
    /// What each client used of its limits.
    pub(crate) rates: Arc<Rates>,
    /// When the server was started.
    pub(crate) started: Instant,
    /// Bytes that bodies may have together, in KiB.
    pub(crate) bodies: Arc<tokio::sync::Semaphore>,
    /// Room for what is computed of texts.
    pub(crate) computing: Arc<tokio::sync::Semaphore>,
    /// Conversations of the page, and responses that are asked for again.
    pub(crate) store: Arc<Store>,
    /// What people should know of the store.
    pub(crate) store_notice: Option<String>,
    /// Answers of the page that are being written.
    pub(crate) desk: Arc<Desk>,
    /// Responses that are made while nobody waits.
    pub(crate) background: Background,
    /// Becomes true when the server is told to end.
    pub(crate) ending: watch::Sender<bool>,
}

/// Whoever asks: an extension of every request that has passed the doors.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// For fairness, and for what is shared between requests: nobody else has this number.
    pub(crate) client: ClientId,
    /// The name of the API key; none without one.
    pub(crate) key: Option<Arc<str>>,
    /// Where the request comes from.
    pub(crate) peer: Option<SocketAddr>,
    /// Identifies the request, in answers and logs.
    pub(crate) request: Arc<str>,
    /// When the request was there.
    pub(crate) arrived: Instant,
    /// What tokens are charged to.
    pub(crate) account: Account,
}

impl App {
    /// What requests share, before any came.
    pub(crate) fn new(
        options: Options,
        catalog: Arc<dyn Catalog>,
        keys: Keys,
        opened: Opened,
    ) -> Arc<Self> {
        let metrics = Arc::new(Metrics::default());
        let registry = Registry::new(catalog, &options, Arc::clone(&metrics));
        Arc::new(Self {
            options,
            registry,
            metrics,
            keys,
            rates: Arc::default(),
            started: Instant::now(),
            bodies: Arc::new(tokio::sync::Semaphore::new(limits::BODIES_BYTES_MAX / 1024)),
            computing: Arc::new(tokio::sync::Semaphore::new(COMPUTING_MAX)),
            store: Arc::new(opened.store),
            store_notice: opened.notice,
            desk: Arc::default(),
            background: Background::default(),
            ending: watch::Sender::new(false),
        })
    }

    /// The model that a request names, or the one for requests that name none: the default, the
    /// only one loaded, or the only one there is.
    ///
    /// # Errors
    /// There is no such model, it cannot be loaded, or none was named where several could be meant.
    pub(crate) async fn lease(&self, asked: Option<&str>) -> Result<Lease, Refusal> {
        let named = asked.filter(|name| !name.is_empty()).or(self.options.model.as_deref());
        if let Some(name) = named {
            if name.len() > limits::MODEL_BYTES_MAX {
                return Err(Refusal::invalid("model", "`model` is longer than any name"));
            }
            return self.registry.lease(name).await;
        }
        let loaded = self.registry.loaded();
        if let [only] = loaded.as_slice() {
            return self.registry.lease(&only.model.entry.name).await;
        }
        match self.registry.list().await?.as_slice() {
            [only] => self.registry.lease(&only.name).await,
            [] => Err(Refusal::new(Kind::NotFound, "there is no model here: `lucid pull` one")),
            _ => Err(Refusal::invalid("model", "`model` is missing; /v1/models lists them")),
        }
    }
}

impl Caller {
    /// Who it is, for people: the key's name.
    pub(crate) fn name(&self) -> &str {
        self.key.as_deref().unwrap_or("without key")
    }

    /// Whose things these are in the store: the key itself, not its name, which may be given to
    /// another key later.
    pub(crate) fn owner(&self) -> String {
        format!("{:016x}", self.client.0)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let missing = || Refusal::new(Kind::Internal, "a request came past the doors");
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}
