//! Moves a response on: from the reply's pieces through the story to events, and into the store
//! before the last event says that it is there.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

use super::story::Story;
use crate::ask::Reply;
use crate::refusal::Refusal;
use crate::store::Store;
use crate::stream::{Wire, response};

/// Moves a response on.
pub(super) struct Driver {
    reply: Option<Reply>,
    story: Story,
    keep: Option<Keep>,
    begun: bool,
}

/// Where a response is kept.
pub(super) struct Keep {
    pub(super) store: Arc<Store>,
    pub(super) owner: String,
    pub(super) input: Vec<Value>,
}

impl Driver {
    pub(super) fn new(reply: Reply, story: Story, keep: Option<Keep>) -> Self {
        Self { reply: Some(reply), story, keep, begun: false }
    }

    /// The response's identifier.
    pub(super) fn id(&self) -> String {
        self.story.response()["id"].as_str().unwrap_or("").to_owned()
    }

    /// The response as it is now.
    pub(super) fn response(&self) -> Value {
        self.story.response().clone()
    }

    /// Keeps the response as it is now.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) async fn keep(&self) -> Result<(), Refusal> {
        match &self.keep {
            Some(keep) => keep.put(self.story.response()).await,
            None => Ok(()),
        }
    }

    /// Goes on by a piece: events, or none after the last. May be dropped at any time, and called
    /// again.
    pub(super) async fn step(&mut self) -> Option<String> {
        let mut out = String::new();
        if !self.begun {
            self.begun = true;
            self.story.begin(&mut out);
            return Some(out);
        }
        while out.is_empty() {
            let piece = self.reply.as_mut()?.next().await;
            match piece {
                Some(Ok(delta)) => self.story.tell(delta, &mut out),
                Some(Err(refusal)) => {
                    self.story.fail(&refusal);
                    self.end(&mut out).await;
                }
                None => {
                    self.story.finish(&mut out);
                    self.end(&mut out).await;
                }
            }
        }
        Some(out)
    }

    /// Ends a response that nobody wants any more.
    pub(super) async fn cancel(&mut self) {
        self.reply = None;
        self.story.cancel();
        // Nobody waits for it; one that is not kept is found to have failed.
        let _ = self.keep().await;
    }

    /// The response whole.
    ///
    /// # Errors
    /// The provider failed, or it cannot be kept.
    pub(super) async fn finish(&mut self) -> Result<Value, Refusal> {
        let mut out = String::new();
        self.story.begin(&mut out);
        if let Some(mut reply) = self.reply.take() {
            while let Some(piece) = reply.next().await {
                out.clear();
                self.story.tell(piece?, &mut out);
            }
        }
        self.story.finish(&mut out);
        self.keep().await?;
        Ok(self.response())
    }

    /// Answers with events as they come. Whoever drops the answer cancels the response.
    pub(super) fn stream(self) -> Response {
        let chunks = futures_util::stream::unfold(self, |mut driver| async move {
            let text = driver.step().await?;
            Some((Ok::<_, std::convert::Infallible>(text), driver))
        });
        response(Body::from_stream(chunks), Wire::Events)
    }

    async fn end(&mut self, out: &mut String) {
        // Let go of first: whoever sees the last event may ask again at once.
        self.reply = None;
        if let Err(refusal) = self.keep().await {
            self.story.fail(&refusal);
        }
        self.story.last(out);
    }
}

/// Answers with the events that come out of a channel.
pub(super) fn events(receiver: UnboundedReceiver<String>) -> Response {
    let chunks = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let text = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(text), receiver))
    });
    response(Body::from_stream(chunks), Wire::Events)
}
