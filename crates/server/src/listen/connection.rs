//! One connection: HTTP/1 or HTTP/2, closed when its peer is too slow or has nothing to ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
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
    under_way: AtomicUsize,
    idle_since: Mutex<Instant>,
}

/// Counts a request until its answer was written or given up.
struct UnderWay(Arc<Activity>);

impl UnderWay {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.under_way.fetch_add(1, Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        *self.0.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.under_way.fetch_sub(1, Relaxed);
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
        under_way: AtomicUsize::new(0),
        idle_since: Mutex::new(Instant::now()),
    });
    let app = Arc::clone(&site.app);
    let patience = app.options.patience.header;
    let service = {
        let activity = Arc::clone(&activity);
        service_fn(move |request: hyper::Request<Incoming>| {
            let (site, counted) = (site.clone(), UnderWay::new(&activity));
            async move {
                let answer = answer(site, request, peer, counted).await;
                Ok::<_, std::convert::Infallible>(answer)
            }
        })
    };
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
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
    loop {
        tokio::select! {
            // An error here is the peer's: it went away, or speaks something else.
            _ = connection.as_mut() => return,
            _ = ending.wait_for(|ending| *ending), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
            () = tokio::time::sleep(Duration::from_secs(1).min(patience)) => {
                let since = *activity.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
                if activity.under_way.load(Relaxed) == 0 && since.elapsed() > patience {
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
    counted: UnderWay,
) -> axum::response::Response {
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(peer);
    let response = site.answer(Request::from_parts(parts, Body::new(body))).await;
    // The request is under way until its answer's body is gone.
    response.map(|body| Body::new(Counted { body, _counted: counted }))
}

/// A body that keeps its request counted.
struct Counted {
    body: Body,
    _counted: UnderWay,
}

impl hyper::body::Body for Counted {
    type Data = <Body as hyper::body::Body>::Data;
    type Error = axum::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
