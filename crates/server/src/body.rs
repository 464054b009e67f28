//! A request's body, read within bounds of size and time, as the fields of a JSON object. Bodies
//! that are being read share a budget, so many senders of large ones cannot fill the memory.

use std::sync::Arc;

use axum::body::Body as HttpBody;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use futures_util::StreamExt as _;

use crate::app::App;
use crate::json::{self, Fields, Node};
use crate::limits;
use crate::refusal::{Kind, Refusal};

/// The body of a request: an object.
#[derive(Debug)]
pub(crate) struct Body(pub(crate) Fields);

impl FromRequest<Arc<App>> for Body {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        let encoding = request.headers().get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            let message = "compressed bodies are not taken";
            return Err(Refusal::new(Kind::Invalid, message));
        }
        let bytes = read(app, request.into_body()).await?;
        Ok(Self(Node::body(json::parse(&bytes)?).fields()?))
    }
}

/// Reads a body whole.
///
/// # Errors
/// It is too large, too slow, breaks off, or too many others are being read.
pub(crate) async fn read(app: &App, body: HttpBody) -> Result<Vec<u8>, Refusal> {
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
        let mut held = Vec::new();
        let mut held_bytes = 0;
        while let Some(frame) = frames.next().await {
            let broken = |_| Refusal::new(Kind::Invalid, "the body breaks off");
            let frame = frame.map_err(broken)?;
            if bytes.len() + frame.len() > limits::BODY_BYTES_MAX {
                return Err(too_large());
            }
            while held_bytes < bytes.len() + frame.len() {
                let permit = Arc::clone(&app.bodies).try_acquire_many_owned(64);
                let full = |_| {
                    let message = "too many large requests are being read";
                    Refusal::busy(message, std::time::Duration::from_secs(2))
                };
                held.push(permit.map_err(full)?);
                held_bytes += 64 * 1024;
            }
            bytes.extend_from_slice(&frame);
        }
        Ok(bytes)
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
