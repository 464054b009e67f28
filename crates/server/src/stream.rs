//! An answer as it is made. A `Narrator` writes the pieces in its protocol's words; pieces that are
//! there at once go out together. When the peer goes away the stream is dropped, and with it the
//! reply, which cancels the turn.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::FutureExt as _;
use lucid_provider::Delta;
use serde_json::Value;

use crate::ask::Reply;
use crate::refusal::Refusal;

/// Pieces that go out together at most.
const TOGETHER_MAX: usize = 64;

/// Writes the pieces of a reply in the words of a protocol.
pub(crate) trait Narrator: Send + 'static {
    /// What comes before everything else.
    fn begin(&mut self, out: &mut String) {
        let _ = out;
    }

    /// That the next piece is of another turn, where several were asked for.
    fn turn_to(&mut self, turn: usize) {
        let _ = turn;
    }

    /// A piece.
    fn tell(&mut self, delta: Delta, out: &mut String);

    /// What follows the last piece.
    fn end(&mut self, out: &mut String);

    /// The provider failed: nothing follows, neither pieces nor `end`.
    fn fail(&mut self, refusal: &Refusal, out: &mut String);
}

/// What a stream's lines are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wire {
    /// Server-sent events.
    Events,
    /// A JSON value on each line.
    Lines,
}

/// Answers with the reply as it is made.
pub(crate) fn stream(reply: Reply, narrator: impl Narrator, wire: Wire) -> Response {
    let state = Telling { reply, narrator, at: At::Begin, turn: 0 };
    let chunks = futures_util::stream::unfold(state, |mut state| async move {
        let mut out = String::new();
        while out.is_empty() {
            if matches!(state.at, At::Over) {
                return None;
            }
            state.go_on(&mut out).await;
        }
        Some((Ok::<_, std::convert::Infallible>(out), state))
    });
    response(Body::from_stream(chunks), wire)
}

/// An answer whose body is told as it is made.
pub(crate) fn response(body: Body, wire: Wire) -> Response {
    let mut response = Response::new(body);
    let kind = match wire {
        Wire::Events => "text/event-stream; charset=utf-8",
        Wire::Lines => "application/x-ndjson",
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // For proxies that would gather the pieces otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Telling<N> {
    reply: Reply,
    narrator: N,
    at: At,
    turn: usize,
}

enum At {
    Begin,
    Middle,
    Over,
}

impl<N: Narrator> Telling<N> {
    async fn go_on(&mut self, out: &mut String) {
        if matches!(self.at, At::Begin) {
            self.narrator.begin(out);
            self.at = At::Middle;
        }
        let mut next = self.reply.next().await;
        for together in 1.. {
            match next {
                Some(Ok(delta)) => {
                    if self.turn != self.reply.turn() {
                        self.turn = self.reply.turn();
                        self.narrator.turn_to(self.turn);
                    }
                    self.narrator.tell(delta, out);
                }
                Some(Err(refusal)) => {
                    self.narrator.fail(&refusal, out);
                    self.at = At::Over;
                    return;
                }
                None => {
                    self.narrator.end(out);
                    self.at = At::Over;
                    return;
                }
            }
            if together == TOGETHER_MAX {
                return;
            }
            match self.reply.next().now_or_never() {
                Some(following) => next = following,
                None => return,
            }
        }
    }
}

/// Writes an event without a name.
pub(crate) fn event(out: &mut String, data: &Value) {
    use std::fmt::Write as _;
    let _ = write!(out, "data: {data}\n\n");
}

/// Writes an event with a name.
pub(crate) fn named_event(out: &mut String, name: &str, data: &Value) {
    use std::fmt::Write as _;
    let _ = write!(out, "event: {name}\ndata: {data}\n\n");
}
