//! An answer as it is written, for whoever looks on: server-sent events. What is new since the last
//! event goes out at most thirty times a second, however many tokens that is.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::live::{Live, Progress};
use super::markdown::{Streamer, Tail};
use super::show;
use crate::app::App;
use crate::store::{StoreError, Window};

/// The least time between two events.
const PACE: Duration = Duration::from_millis(33);
/// When nothing happens, this often something is said all the same, so that a peer that went away
/// is noticed and no proxy loses patience.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// Bytes of a call's arguments that are shown while they are written.
const ARGUMENTS_SHOWN: usize = 2048;

/// Which answer is followed.
pub(super) struct Answer {
    /// Whose it is.
    pub(super) owner: String,
    /// The conversation.
    pub(super) conversation: String,
    /// The message.
    pub(super) id: i64,
}

/// Follows an answer to its end. The first event is given; one that is over already is told whole.
pub(super) fn follow(
    app: Arc<App>,
    answer: Answer,
    live: Option<Arc<Live>>,
    first: &Value,
) -> Response {
    let onlooker = live.map(Onlooker::of);
    let state = Following { app, answer, onlooker, next: Next::First(first.to_string()) };
    let chunks = futures_util::stream::unfold(state, |mut state| async move {
        let event = state.next_event().await?;
        let text = match event {
            Some(event) => format!("data: {event}\n\n"),
            None => ":\n\n".to_owned(),
        };
        Some((Ok::<_, Infallible>(text), state))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Following {
    app: Arc<App>,
    answer: Answer,
    onlooker: Option<Onlooker>,
    next: Next,
}

enum Next {
    First(String),
    Delta,
    Finished,
    Nothing,
}

/// What one who looks on has seen.
struct Onlooker {
    live: Arc<Live>,
    changed: watch::Receiver<()>,
    streamer: Streamer,
    text: usize,
    reasoning: usize,
    tokens: usize,
    calls: usize,
}

impl Following {
    /// The next event, or a sign of life; none after the last.
    async fn next_event(&mut self) -> Option<Option<String>> {
        match std::mem::replace(&mut self.next, Next::Delta) {
            Next::First(event) => Some(Some(event)),
            Next::Delta => {
                let event = self.delta().await;
                if event.is_some() {
                    return event;
                }
                self.next = Next::Nothing;
                Some(Some(self.finished().await))
            }
            Next::Finished => {
                self.next = Next::Nothing;
                Some(Some(self.finished().await))
            }
            Next::Nothing => {
                self.next = Next::Nothing;
                None
            }
        }
    }

    /// What is new, or a sign of life; none when nothing follows.
    async fn delta(&mut self) -> Option<Option<String>> {
        let onlooker = self.onlooker.as_mut()?;
        tokio::time::sleep(PACE).await;
        loop {
            let live = Arc::clone(&onlooker.live);
            onlooker.changed.mark_unchanged();
            let (event, over) = live.look(|progress| (onlooker.news(progress), progress.over));
            if over {
                self.next = Next::Finished;
            }
            match event {
                Some(event) => return Some(Some(event)),
                None if over => return None,
                None => {}
            }
            let waiting = tokio::time::timeout(SIGN_OF_LIFE, onlooker.changed.changed());
            if waiting.await.is_err() {
                return Some(None);
            }
        }
    }

    /// The message as it is stored.
    async fn finished(&self) -> String {
        let (owner, conversation) = (self.answer.owner.clone(), self.answer.conversation.clone());
        let (id, desk) = (self.answer.id, Arc::clone(&self.app.desk));
        let found = self.app.store.run(move |store| {
            let window = Window { before: None, count_max: 1 };
            let message = store.branch(&owner, &conversation, Some(id), window)?.pop();
            let mut message = message.ok_or(StoreError::NotFound { what: "message" })?;
            desk.settle(store, &owner, &mut message);
            let title = store.conversation(&owner, &conversation)?.title;
            Ok(json!({
                "type": "finished",
                "message": show::message(&message),
                "title": title,
            }))
        });
        match found.await {
            Ok(event) => event.to_string(),
            // Deleted meanwhile, for example.
            Err(error) => json!({ "type": "lost", "message": error.to_string() }).to_string(),
        }
    }
}

impl Onlooker {
    /// One who has seen nothing.
    fn of(live: Arc<Live>) -> Self {
        Self {
            changed: live.watch(),
            live,
            streamer: Streamer::default(),
            text: 0,
            reasoning: 0,
            tokens: 0,
            calls: 0,
        }
    }

    /// What was added since the last look; none if nothing was.
    fn news(&mut self, progress: &Progress) -> Option<String> {
        let mut event = Map::new();
        if progress.reasoning.len() > self.reasoning {
            event.insert("reasoning".to_owned(), progress.reasoning[self.reasoning..].into());
            self.reasoning = progress.reasoning.len();
        }
        if progress.text.len() > self.text {
            let step = self.streamer.push(&progress.text[self.text..]);
            self.text = progress.text.len();
            if !step.settled.is_empty() {
                event.insert("settled".to_owned(), step.settled.into());
            }
            match step.tail {
                Tail::Html(html) => event.insert("tail".to_owned(), html.into()),
                Tail::Text(text) => event.insert("more".to_owned(), text.into()),
            };
        }
        let calls: usize = progress.calls.iter().map(|call| 1 + call.arguments.len()).sum();
        if calls != self.calls {
            self.calls = calls;
            event.insert("calls".to_owned(), shortened(progress));
        }
        let tokens = progress.tokens[self.tokens..].trim_start_matches(",\n");
        self.tokens = progress.tokens.len();
        if event.is_empty() && tokens.is_empty() {
            return None;
        }
        event.insert("type".to_owned(), "delta".into());
        let mut text = Value::Object(event).to_string();
        if !tokens.is_empty() {
            // They are JSON already; line ends stand only between them.
            text.pop();
            text.push_str(",\"tokens\":[");
            text.extend(tokens.lines());
            text.push_str("]}");
        }
        Some(text)
    }
}

fn shortened(progress: &Progress) -> Value {
    let call = |call: &lucid_provider::Call| {
        let mut end = call.arguments.len().min(ARGUMENTS_SHOWN);
        while !call.arguments.is_char_boundary(end) {
            end -= 1;
        }
        json!({ "name": call.name, "arguments": call.arguments[..end] })
    };
    progress.calls.iter().map(call).collect()
}
