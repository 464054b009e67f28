//! A request's body, read within bounds of size and time, as the fields of a JSON object. Bodies
//! share a budget until they have become prompts, so many senders of large ones cannot fill the
//! memory.

use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use futures_util::StreamExt as _;
use tokio::sync::OwnedSemaphorePermit;

use crate::app::App;
use crate::json::{self, Fields, Node};
use crate::limits;
use crate::refusal::{Kind, Refusal};

/// The body of a request: an object, and its share of the budget.
#[derive(Debug)]
pub(crate) struct Body(pub(crate) Fields, pub(crate) Share);

/// A body's share of the budget: to be held until what was in the body is tokens, or not needed.
#[derive(Debug, Default)]
pub(crate) struct Share {
    permits: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Share {
    /// Takes as much as a body of so many bytes needs.
    ///
    /// # Errors
    /// Too much is taken by others.
    fn grow(&mut self, app: &App, bytes: usize) -> Result<(), Refusal> {
        while self.bytes < bytes {
            let more = Arc::clone(&app.bodies).try_acquire_many_owned(STEP_KIB);
            let full = |_| {
                let message = "too many large requests are being read";
                Refusal::busy(message, std::time::Duration::from_secs(2))
            };
            let more = more.map_err(full)?;
            match &mut self.permits {
                Some(permits) => permits.merge(more),
                None => self.permits = Some(more),
            }
            self.bytes += STEP_KIB as usize * 1024;
        }
        Ok(())
    }
}

/// Steps in which shares grow. Small, because every request under way has one.
const STEP_KIB: u32 = 16;

impl FromRequest<Arc<App>> for Body {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        let encoding = request.headers().get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            let message = "compressed bodies are not taken";
            return Err(Refusal::new(Kind::Invalid, message));
        }
        let (bytes, share) = read(app, request.into_body()).await?;
        Ok(Self(Node::body(json::parse(&bytes)?).fields()?, share))
    }
}

/// Reads a body whole.
///
/// # Errors
/// It is too large, too slow, breaks off, or too many others are being read.
async fn read(app: &App, body: HttpBody) -> Result<(Vec<u8>, Share), Refusal> {
    let too_large = || {
        let megabytes = limits::BODY_BYTES_MAX >> 20;
        Refusal::new(Kind::TooLarge, format!("the body may have {megabytes} MiB at most"))
    };
    let announced = http_body_size(&body);
    if announced.is_some_and(|bytes| bytes > limits::BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let whole = async {
        let mut frames = body.into_data_stream();
        let mut bytes = Vec::new();
        let mut share = Share::default();
        while let Some(frame) = frames.next().await {
            let broken = |_| Refusal::new(Kind::Invalid, "the body breaks off");
            let frame = frame.map_err(broken)?;
            if bytes.len() + frame.len() > limits::BODY_BYTES_MAX {
                return Err(too_large());
            }
            share.grow(app, bytes.len() + frame.len())?;
            bytes.extend_from_slice(&frame);
        }
        Ok((bytes, share))
    };
    let limit = app.options.patience.body;
    tokio::time::timeout(limit, whole).await.unwrap_or_else(|_| {
        let message = format!("the body was not there within {} s", limit.as_secs_f32());
        Err(Refusal::new(Kind::Timeout, message))
    })
}

/// The size that a body is known to have.
fn http_body_size(body: &HttpBody) -> Option<u64> {
    use hyper::body::Body as _;
    body.size_hint().exact().or(Some(body.size_hint().lower()))
}
