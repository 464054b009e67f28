//! What is counted, charged and held while answers are made, above all when whoever asked goes
//! away; and what adapters are good for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::StreamExt as _;
use lucid_provider::scripted::Scripted;
use lucid_provider::{
    Adapter, Answers, Card, ClientId, Delta, Embedding, EmbeddingKind, Embeddings, Prompt,
    Provider, ProviderError, Ranking, Stop, TokenId, Turn, Usage,
};
use serde_json::{Value, json};

use super::access::Folder;
use super::sockets::Talker;
use crate::access::{KeyFile, Limits};
use crate::compute::COMPUTING_MAX;
use crate::doors::Site;
use crate::identifiers::identifier;
use crate::limits;
use crate::options::{Access, Options};
use crate::testing::{Shelf, site_of};

/// Has an adapter, puts a token before and one after every text, and takes its time with vectors.
struct Slow {
    scripted: Scripted,
    time: Duration,
    /// Computations that began.
    began: AtomicUsize,
}

impl Slow {
    fn new(time: Duration) -> Arc<Self> {
        Arc::new(Self { scripted: Scripted::new("tiny"), time, began: AtomicUsize::new(0) })
    }

    fn compute(&self) {
        self.began.fetch_add(1, Relaxed);
        std::thread::sleep(self.time);
    }
}

impl Provider for Slow {
    fn card(&self) -> &Card {
        self.scripted.card()
    }

    fn generate(&self, turn: Turn) -> Result<Answers, ProviderError> {
        self.scripted.generate(turn)
    }

    fn prompt_tokens(&self, turn: &Turn) -> Result<Vec<TokenId>, ProviderError> {
        let tokens = self.scripted.prompt_tokens(turn)?;
        Ok([vec![1], tokens, vec![2]].concat())
    }

    fn embed(
        &self,
        prompts: &[Prompt],
        _: EmbeddingKind,
        _: ClientId,
    ) -> Result<Embeddings, ProviderError> {
        self.compute();
        let one = Embedding { values: vec![1.0], tokens: 100 };
        Ok(Embeddings { list: vec![one; prompts.len()], tokens: 100 * prompts.len() })
    }

    fn rank(&self, _: &str, texts: &[String], _: ClientId) -> Result<Ranking, ProviderError> {
        self.compute();
        Ok(Ranking { scores: vec![0.5; texts.len()], tokens: 100 * texts.len() })
    }

    fn adapters(&self) -> Vec<Adapter> {
        vec![Adapter { name: "ad".to_owned(), ..Adapter::default() }]
    }
}

fn request(path: &str, key: &str, body: &Value) -> Request {
    Request::post(path)
        .header("host", "localhost")
        .header("x-api-key", key)
        .body(Body::from(body.to_string()))
        .unwrap()
}

/// A site of one model, and a key that may use a hundred tokens a minute.
fn limited(provider: Arc<dyn Provider>) -> (Site, String, Folder) {
    let folder = Folder(std::env::temp_dir().join(identifier("lucid-charges-")));
    let path = folder.0.join("keys.json");
    let few = Limits { tokens_per_minute: Some(100), ..Limits::default() };
    let key = KeyFile::open(&path).unwrap().add("few", few).unwrap();
    let options = Options { keys: Some(path), access: Access::Keys, ..Options::default() };
    let site = site_of(options, Shelf(vec![("tiny", provider)]));
    (site, key, folder)
}

fn chat() -> Value {
    json!({ "stream": true, "messages": [{ "role": "user", "content": "Hello" }] })
}

/// Waits until something holds.
async fn until(holds: impl Fn() -> bool) {
    for _ in 0..2500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("it did not come to hold within 5 seconds");
}

/// The first frames of an answer.
async fn some_of(response: Response, frames: usize) {
    let frames: Vec<_> = response.into_body().into_data_stream().take(frames).collect().await;
    assert!(frames.iter().all(Result::is_ok));
}

#[tokio::test]
async fn who_hangs_up_pays_for_what_was_made() {
    let (site, key, _folder) = limited(Arc::new(Talker::new("w", Duration::from_micros(100))));
    let response = site.answer(request("/v1/chat/completions", &key, &chat())).await;
    assert_eq!(response.status(), StatusCode::OK);
    // What is made meanwhile and never read is paid for as well.
    tokio::time::sleep(Duration::from_millis(300)).await;
    some_of(response, 3).await;
    let counts = site.app.metrics.of_model("tiny");
    assert_eq!((counts.turns, counts.prompt_tokens), (0, 1), "no turn was answered");
    assert!(counts.new_tokens > 150, "{} tokens were counted", counts.new_tokens);
    let response = site.answer(request("/v1/chat/completions", &key, &chat())).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_paid_for_by_who_went_away() {
    for (path, body) in [
        ("/v1/embeddings", json!({ "input": ["a", "b"] })),
        ("/v1/rerank", json!({ "query": "q", "documents": ["a", "b"] })),
        ("/api/embed", json!({ "model": "tiny", "input": ["a", "b"] })),
    ] {
        let provider = Slow::new(Duration::from_millis(200));
        let (site, key, _folder) = limited(provider.clone());
        let asked = {
            let (site, request) = (site.clone(), request(path, &key, &body));
            tokio::spawn(async move { site.answer(request).await })
        };
        until(|| provider.began.load(Relaxed) == 1).await;
        asked.abort();
        assert!(asked.await.is_err());
        assert_eq!(site.app.metrics.in_flight.load(Relaxed), 0, "{path}");
        assert_eq!(site.app.registry.loaded()[0].leases, 1, "{path}: it computes still");
        until(|| site.app.registry.loaded()[0].leases == 0).await;
        let answer = site.answer(request(path, &key, &body)).await;
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_its_share_until_it_is_tokens() {
    let provider = Slow::new(Duration::from_millis(200));
    let site = site_of(Options::default(), Shelf(vec![("tiny", provider.clone())]));
    let body = json!({ "input": "x".repeat(1 << 20) });
    let asked = {
        let site = site.clone();
        tokio::spawn(async move { site.answer(request("/v1/embeddings", "", &body)).await })
    };
    until(|| provider.began.load(Relaxed) == 1).await;
    let taken = limits::BODIES_BYTES_MAX / 1024 - site.app.bodies.available_permits();
    assert!((1024..1100).contains(&taken), "{taken} KiB are held of a body of 1 MiB");
    assert_eq!(asked.await.unwrap().status(), StatusCode::OK);
    assert_eq!(limits::BODIES_BYTES_MAX / 1024, site.app.bodies.available_permits());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_vectors_do_not_keep_others_waiting() {
    let provider = Slow::new(Duration::from_millis(800));
    let options = Options { queue_max: 2000, ..Options::default() };
    let site = site_of(options, Shelf(vec![("tiny", provider.clone())]));
    let several = (0..600).map(|_| {
        let site = site.clone();
        let body = json!({ "input": "x" });
        tokio::spawn(async move { site.answer(request("/v1/embeddings", "", &body)).await })
    });
    let several: Vec<_> = several.collect();
    until(|| provider.began.load(Relaxed) >= COMPUTING_MAX).await;
    let began = Instant::now();
    let body = json!({ "content": "x" });
    let answer = site.answer(request("/tokenize", "", &body)).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let computing = provider.began.load(Relaxed);
    assert_eq!(computing, COMPUTING_MAX, "it waited {:?} for others", began.elapsed());
    several.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_request_is_in_flight_until_its_answer_is_gone() {
    let talker = Arc::new(Talker::new("w", Duration::from_millis(1)));
    let site = site_of(Options::default(), Shelf(vec![("tiny", talker)]));
    let in_flight = || site.app.metrics.in_flight.load(Relaxed);
    let response = site.answer(request("/v1/chat/completions", "", &chat())).await;
    assert_eq!(in_flight(), 1, "its answer is being told");
    drop(response);
    assert_eq!(in_flight(), 0);
    let broken_off = site.answer(request(
        "/v1/chat/completions",
        "",
        &json!({
            "messages": [{ "role": "user", "content": "Hello" }],
        }),
    ));
    assert!(tokio::time::timeout(Duration::from_millis(20), broken_off).await.is_err());
    assert_eq!(in_flight(), 0, "it was given up before there was an answer");
}

#[tokio::test]
async fn adapters_are_named_and_never_ignored() {
    let provider = Slow::new(Duration::ZERO);
    let site = site_of(Options::default(), Shelf(vec![("tiny", provider)]));
    for (path, body) in [
        ("/v1/embeddings", json!({ "input": "a" })),
        ("/v1/rerank", json!({ "query": "q", "documents": ["a"] })),
        ("/api/embed", json!({ "input": "a" })),
        ("/api/embeddings", json!({ "prompt": "a" })),
    ] {
        let with = |model: &str| {
            let mut body = body.clone();
            body["model"] = json!(model);
            body
        };
        assert_eq!(site.json("POST", path, &with("tiny")).await.0, StatusCode::OK, "{path}");
        let (status, answer) = site.json("POST", path, &with("tiny:ad")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {answer}");
    }
    let body = json!({ "model": "tiny:ad", "input": "a" });
    let (status, answer) = site.json("POST", "/v1/responses", &body).await;
    assert_eq!((status, &answer["model"]), (StatusCode::OK, &json!("tiny:ad")));
    let (status, card) = site.json("GET", "/v1/models/tiny:ad", &Value::Null).await;
    assert_eq!((status, &card["id"]), (StatusCode::OK, &json!("tiny:ad")));
    let (status, _) = site.json("GET", "/v1/models/tiny:none", &Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_added_to_texts_is_told_if_it_is_wanted() {
    let provider = Slow::new(Duration::ZERO);
    let site = site_of(Options::default(), Shelf(vec![("tiny", provider)]));
    for (content, special, expected) in [
        ("Hi", true, json!([1, 72, 105, 2])),
        ("Hi", false, json!([72, 105])),
        ("\u{1}\u{2}", false, json!([1, 2])),
        ("", false, json!([])),
    ] {
        let body = json!({ "content": content, "add_special": special });
        let (_, answer) = site.json("POST", "/tokenize", &body).await;
        assert_eq!(answer["tokens"], expected, "{content:?}");
    }
}

/// However many pieces there were.
#[tokio::test]
async fn whole_answers_are_charged_as_the_provider_says() {
    let script = vec![
        Ok(Delta::Begun { prompt_tokens: 9, cached_tokens: 4 }),
        Ok(Delta::Text { sample: 0, text: "a".to_owned(), tokens: Vec::new() }),
        Ok(Delta::Text { sample: 0, text: "b".to_owned(), tokens: Vec::new() }),
        Ok(Delta::Finished {
            sample: 0,
            stop: Stop::End,
            usage: Usage { prompt_tokens: 9, cached_tokens: 4, new_tokens: 1, ..Usage::default() },
        }),
    ];
    let provider = Arc::new(Scripted::new("tiny").then(script));
    let site = site_of(Options::default(), Shelf(vec![("tiny", provider)]));
    let body = json!({ "messages": [{ "role": "user", "content": "Hello" }] });
    assert_eq!(site.json("POST", "/v1/chat/completions", &body).await.0, StatusCode::OK);
    let counts = site.app.metrics.of_model("tiny");
    let found = (counts.turns, counts.prompt_tokens, counts.cached_tokens, counts.new_tokens);
    assert_eq!(found, (1, 9, 4, 1));
}
