//! How the server is to run. Whoever starts it has read arguments and the environment.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How the server is to run.
#[derive(Clone)]
pub struct Options {
    /// Where to listen.
    pub address: SocketAddr,
    /// Names by which the server may be asked for, beside loopback names and IP addresses.
    pub hosts: Vec<String>,
    /// Foreign origins whose pages may ask, such as `https://example.org`; `*` is every one.
    pub cors: Vec<String>,
    /// The certificate chain and its private key, both PEM.
    pub tls: Option<TlsFiles>,
    /// The file of API keys; it need not exist.
    pub keys: Option<PathBuf>,
    /// Whether a request without a known key is refused. Always so beyond loopback.
    pub access: Access,
    /// The folder of the store of conversations and responses; none keeps them in memory.
    pub store: Option<PathBuf>,
    /// What answers a request that names no model.
    pub model: Option<String>,
    /// Bytes that loaded models may take together; none leaves it to the catalogue.
    pub memory_bytes: Option<u64>,
    /// Models that may be loaded at once.
    pub models_max: usize,
    /// How long an idle model stays loaded; none is until its memory is needed.
    pub keep_alive: Option<Duration>,
    /// Turns that one model takes at once, those that wait included. What is beyond is told to
    /// come again.
    pub queue_max: usize,
    /// Connections at once.
    pub connections_max: usize,
    /// Bounds on what slow peers may cost.
    pub patience: Patience,
    /// How long requests under way may go on once the server is told to end.
    pub drain: Duration,
    /// Told one line of JSON for each request; none is silent.
    pub log: Option<Log>,
    /// Told what people should know: a damaged store, keys that cannot be read.
    pub notice: Option<Log>,
}

/// Where lines go.
pub type Log = Arc<dyn Fn(&str) + Send + Sync>;

/// Who may ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Everyone who reaches the address.
    #[default]
    Open,
    /// Whoever has an API key.
    Keys,
}

/// Files for TLS, both PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate chain, the server's own first.
    pub certificates: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Bounds on what slow peers may cost.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a request's header to be whole, and for a connection to stay without a request.
    pub header: Duration,
    /// For a request's body to be whole.
    pub body: Duration,
    /// For the peer to take anything of what is written to it.
    pub write: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(60),
            body: Duration::from_secs(30),
            write: Duration::from_secs(30),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            hosts: Vec::new(),
            cors: Vec::new(),
            tls: None,
            keys: None,
            access: Access::Open,
            store: None,
            model: None,
            memory_bytes: None,
            models_max: 4,
            keep_alive: None,
            queue_max: 2048,
            connections_max: 4096,
            patience: Patience::default(),
            drain: Duration::from_secs(30),
            log: None,
            notice: None,
        }
    }
}
