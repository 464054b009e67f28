//! Bodies of answers that keep something as long as they last: what counts a request as under way,
//! and what sees whether its peer takes the answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

/// Bytes of a piece that is given out at once, where the guard wants to see that it was taken.
const PIECE_BYTES: usize = 16 << 10;

/// What a body keeps.
pub(crate) trait Guard: Send + Unpin + 'static {
    /// Whether long frames are given out in pieces.
    fn wants_pieces(&self) -> bool {
        false
    }

    /// The next frame was asked for; whether one was given out.
    fn asked(&mut self, given: Given) {
        let _ = given;
    }
}

/// What came of asking a body for its next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// A frame, or the end.
    Something,
    /// Nothing yet.
    Nothing,
}

/// Keeps a guard until the answer's body is gone.
pub(crate) fn guarded(response: Response, guard: impl Guard) -> Response {
    response.map(|body| Body::new(Guarded { body, guard, rest: Bytes::new() }))
}

struct Guarded<G> {
    body: Body,
    guard: G,
    /// What is left of a frame that is given out in pieces.
    rest: Bytes,
}

impl<G: Guard> hyper::body::Body for Guarded<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            let Poll::Ready(next) = Pin::new(&mut this.body).poll_frame(context) else {
                this.guard.asked(Given::Nothing);
                return Poll::Pending;
            };
            this.guard.asked(Given::Something);
            let data = match next {
                Some(Ok(frame)) => frame.into_data(),
                over => return Poll::Ready(over),
            };
            match data {
                Ok(bytes) => this.rest = bytes,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        } else {
            this.guard.asked(Given::Something);
        }
        let most = if this.guard.wants_pieces() { PIECE_BYTES } else { usize::MAX };
        let piece = this.rest.split_to(this.rest.len().min(most));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole
    }
}
