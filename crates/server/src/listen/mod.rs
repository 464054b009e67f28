//! The socket: connections within bounds of number and time, TLS, and an end that lets requests
//! under way finish.

mod connection;
mod timed;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::access::Keys;
use crate::app::App;
use crate::catalog::Catalog;
use crate::doors::Site;
use crate::error::ServerError;
use crate::metrics::Metrics;
use crate::options::{Access, Options};
use crate::{routes, store};

pub(crate) use tls::acceptor;

/// Where a connection comes from: an extension of its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The other end.
    pub(crate) address: SocketAddr,
}

/// A server that listens and does not answer yet.
pub struct Server {
    runtime: tokio::runtime::Runtime,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    site: Site,
    address: SocketAddr,
}

impl Server {
    /// Listens, and loads the model that answers whoever names none.
    ///
    /// # Errors
    /// The address is taken, others could reach it without keys, the files for keys or TLS cannot
    /// be used, or the model cannot be loaded.
    pub fn bind(mut options: Options, catalog: Arc<dyn Catalog>) -> Result<Self, ServerError> {
        let keys = Keys::open(options.keys.clone())?;
        let wanted = options.address;
        if !wanted.ip().is_loopback() {
            options.access = Access::Keys;
        }
        if options.access == Access::Keys && keys.is_empty() {
            return Err(ServerError::NoKeys { address: wanted });
        }
        options.connections_max = connections_max(options.connections_max);
        let tls = options.tls.as_ref().map(acceptor).transpose()?;
        let opened = store::open(options.store.as_deref())?;
        if let (Some(text), Some(notice)) = (&opened.notice, &options.notice) {
            notice(text);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("lucid-http")
            .enable_all()
            .build()?;
        let listener = runtime
            .block_on(TcpListener::bind(wanted))
            .map_err(|error| ServerError::Bind { address: wanted, error })?;
        let address = listener.local_addr()?;
        let site = routes::site(&App::new(options, catalog, keys, opened));
        runtime.block_on(preload(&site.app))?;
        Ok(Self { runtime, listener, tls, site, address })
    }

    /// The address with the port that the system chose, if it was to choose one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How a browser asks for it.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Answers until the process is told to end (SIGTERM, or Ctrl-C). Requests under way may finish
    /// within `Options::drain`; being told again ends it at once.
    ///
    /// # Errors
    /// The system gives no signals.
    pub fn run(self) -> Result<(), ServerError> {
        let Self { runtime, listener, tls, site, .. } = self;
        let ended = runtime.block_on(async {
            let (first, mut signals) = watch::channel(0_u32);
            listen_for_signals(first, Arc::clone(&site.app))?;
            serve(listener, tls, site, &mut signals).await;
            Ok(())
        });
        // A model that computes is not waited for.
        runtime.shutdown_timeout(Duration::from_secs(2));
        ended
    }
}

/// How many connections there can be. Each is a descriptor; models, the store and the log have some
/// as well.
fn connections_max(wanted: usize) -> usize {
    const OTHERS: u64 = 256;
    match lucid_sys::raise_descriptor_limit(wanted as u64 + OTHERS) {
        Some(most) => wanted.min(most.saturating_sub(OTHERS).max(most / 2) as usize),
        None => wanted,
    }
}

/// Loads the model that answers whoever names none.
async fn preload(app: &App) -> Result<(), ServerError> {
    let Some(name) = &app.options.model else { return Ok(()) };
    match app.registry.lease(name).await {
        Ok(_) => Ok(()),
        Err(refusal) => Err(ServerError::Load { reason: refusal.message }),
    }
}

/// Counts how often the process was told to end; SIGHUP reads the keys anew.
fn listen_for_signals(told: watch::Sender<u32>, app: Arc<App>) -> Result<(), ServerError> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => told.send_modify(|count| *count += 1),
                    _ = interrupt.recv() => told.send_modify(|count| *count += 1),
                    _ = hang_up.recv() => {
                        if let Err(error) = app.keys.reload() {
                            app.notice(&format!("keys stay as they were: {error}"));
                        }
                    }
                }
            }
        });
    }
    #[cfg(not(unix))]
    tokio::spawn(async move {
        let _ = &app;
        while tokio::signal::ctrl_c().await.is_ok() {
            told.send_modify(|count| *count += 1);
        }
    });
    Ok(())
}

/// Takes connections until `told` counts 1, then waits for them.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    site: Site,
    told: &mut watch::Receiver<u32>,
) {
    let app = Arc::clone(&site.app);
    let sweeper = tokio::spawn(Arc::clone(&app.registry).sweep());
    let room = Arc::new(Semaphore::new(app.options.connections_max.max(1)));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            biased;
            _ = told.wait_for(|count| *count > 0) => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let (socket, address, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // No descriptors are left, most likely; others end sooner or later.
                app.notice(&format!("a connection could not be taken: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        app.metrics.accepted.fetch_add(1, Relaxed);
        let (site, tls) = (site.clone(), tls.clone());
        connections.spawn(async move {
            let _open = Open::new(&site.app.metrics, place);
            connection::serve(socket, tls, site, Peer { address }).await;
        });
    }
    drop(listener);
    app.ending.send_replace(true);
    let finished = async {
        while connections.join_next().await.is_some() {}
        app.background.finished().await;
    };
    tokio::select! {
        () = finished => {}
        () = tokio::time::sleep(app.options.drain) => {}
        _ = told.wait_for(|count| *count > 1) => {}
    }
    connections.shutdown().await;
    sweeper.abort();
}

/// Counts a connection, and takes its place among those there may be, until it is gone.
struct Open {
    metrics: Arc<Metrics>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Open {
    fn new(metrics: &Arc<Metrics>, place: Option<OwnedSemaphorePermit>) -> Self {
        metrics.connections.fetch_add(1, Relaxed);
        Self { metrics: Arc::clone(metrics), _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.metrics.connections.fetch_sub(1, Relaxed);
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> std::io::Result<(tokio::net::TcpStream, SocketAddr, Option<OwnedSemaphorePermit>)> {
    // The semaphore is never closed.
    let place = Arc::clone(room).acquire_owned().await.ok();
    let (socket, address) = listener.accept().await?;
    // Small pieces of answers go out as they are made.
    socket.set_nodelay(true)?;
    Ok((socket, address, place))
}
