//! One connection: HTTP/1 or HTTP/2, closed when its peer is too slow or has nothing to ask.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::http::Version;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::Peer;
use super::timed::Timed;
use crate::doors::Site;
use crate::guarded::{Given, Guard, guarded};

/// For a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Bytes of a request's header.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Fields of a request's header.
const HEADERS_MAX: usize = 100;
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;

/// Requests under way on a connection, and since when there is none.
#[derive(Debug)]
struct Activity {
    idle_since: Mutex<Instant>,
    under_way: AtomicUsize,
    /// Answers of which something can be sent as soon as the peer takes it, and since when. Over
    /// HTTP/2 a peer that takes nothing of an answer shows nowhere else: its window is closed, and
    /// nothing is written to the socket.
    waiting: Mutex<HashMap<u64, Instant>>,
    requests: AtomicU64,
}

impl Activity {
    /// Whether there is nothing to do for so long.
    fn is_idle(&self, most: Duration) -> bool {
        let since = *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
        self.under_way.load(Relaxed) == 0 && since.elapsed() > most
    }

    /// Whether the peer took nothing of some answer for so long.
    fn is_stuck(&self, most: Duration) -> bool {
        self.waiting().values().any(|since| since.elapsed() > most)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a request until its answer was written or given up.
struct UnderWay {
    activity: Arc<Activity>,
    request: u64,
    version: Version,
}

impl UnderWay {
    fn new(activity: &Arc<Activity>, version: Version) -> Self {
        activity.under_way.fetch_add(1, Relaxed);
        let request = activity.requests.fetch_add(1, Relaxed);
        Self { activity: Arc::clone(activity), request, version }
    }

    /// Notes that the answer waits for its peer from now on.
    fn wait(&self) {
        if self.version == Version::HTTP_2 {
            self.activity.waiting().insert(self.request, Instant::now());
        }
    }
}

impl Guard for UnderWay {
    /// So that a peer is slow only if it does not take a little in its time.
    fn wants_pieces(&self) -> bool {
        self.version == Version::HTTP_2
    }

    fn asked(&mut self, given: Given) {
        match given {
            Given::Something => self.wait(),
            // The peer takes; it is the answer that is not there yet.
            Given::Nothing => {
                self.activity.waiting().remove(&self.request);
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.activity.waiting().remove(&self.request);
        *self.activity.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.activity.under_way.fetch_sub(1, Relaxed);
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(socket: TcpStream, tls: Option<TlsAcceptor>, site: Site, peer: Peer) {
    let metrics = Arc::clone(&site.app.metrics);
    let socket = Timed::new(socket, site.app.options.patience.write, metrics);
    match tls {
        None => speak(socket, site, peer).await,
        Some(tls) => {
            if let Ok(Ok(socket)) = tokio::time::timeout(HANDSHAKE, tls.accept(socket)).await {
                speak(socket, site, peer).await;
            }
        }
    }
}

async fn speak(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    site: Site,
    peer: Peer,
) {
    let activity = Arc::new(Activity {
        idle_since: Mutex::new(Instant::now()),
        under_way: AtomicUsize::new(0),
        waiting: Mutex::default(),
        requests: AtomicU64::new(0),
    });
    let app = Arc::clone(&site.app);
    let patience = app.options.patience;
    let service = {
        let activity = Arc::clone(&activity);
        service_fn(move |request: hyper::Request<Incoming>| {
            let under_way = UnderWay::new(&activity, request.version());
            let site = site.clone();
            async move {
                let answer = answer(site, request, peer, under_way).await;
                Ok::<_, std::convert::Infallible>(answer)
            }
        })
    };
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.header)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX as u32)
        .max_pending_accept_reset_streams(32)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(30));
    let connection = builder.serve_connection(TokioIo::new(socket), service);
    tokio::pin!(connection);
    let mut ending = app.ending.subscribe();
    let mut told = false;
    let look = Duration::from_secs(1).min(patience.header).min(patience.write);
    loop {
        tokio::select! {
            // An error here is the peer's: it went away, or speaks something else.
            _ = connection.as_mut() => return,
            _ = ending.wait_for(|ending| *ending), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
            () = tokio::time::sleep(look) => {
                if activity.is_idle(patience.header) || activity.is_stuck(patience.write) {
                    app.metrics.cut_off.fetch_add(1, Relaxed);
                    return;
                }
            }
        }
    }
}

async fn answer(
    site: Site,
    request: hyper::Request<Incoming>,
    peer: Peer,
    under_way: UnderWay,
) -> axum::response::Response {
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(peer);
    let response = site.answer(Request::from_parts(parts, Body::new(body))).await;
    under_way.wait();
    // The request is under way until its answer's body is gone.
    guarded(response, under_way)
}
