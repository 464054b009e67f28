//! The page's interface, asked as its scripts ask, against models that say what they are told to.

mod faults;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use lucid_provider::scripted::{Script, Scripted};
use lucid_provider::{
    Answers, Capabilities, Card, Delta, Effort, OutputFormat, Prompt, Provider, ProviderError,
    Spoken, SpokenLogProb, Stop, Teller, Turn, Usage, answers,
};
use serde_json::{Value, json};

use super::assets;
use crate::doors::Site;
use crate::options::Options;
use crate::testing::{Shelf, site, site_of};

/// A browser with the page.
struct Page {
    site: Site,
}

impl Page {
    fn of(provider: Arc<dyn Provider>) -> Self {
        Self { site: site_of(Options::default(), Shelf(vec![("tiny", provider)])) }
    }

    fn scripted(scripted: Scripted) -> Self {
        Self { site: site(scripted) }
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let response = self.request(method, path, body).await;
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn request(&self, method: &str, path: &str, body: &Value) -> axum::response::Response {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder()
            .method(method)
            .uri(format!("/page/api/{path}"))
            .header("host", "localhost:8080")
            .header("x-lucid-page", "1")
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap();
        self.site.answer(request).await
    }

    /// Asks for an answer and reads its events to the end.
    async fn events(&self, path: &str, body: &Value) -> Vec<Value> {
        let response = self.request("POST", path, body).await;
        assert_eq!(response.status(), StatusCode::OK);
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        events_of(std::str::from_utf8(&bytes).unwrap())
    }

    async fn begin(&self) -> String {
        let (status, made) = self.ask("POST", "conversations", &json!({"model": "tiny"})).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        made["id"].as_str().unwrap().to_owned()
    }

    async fn say(&self, id: &str, parent: Option<i64>, text: &str) -> Value {
        let path = format!("conversations/{id}/messages");
        let events = self.events(&path, &json!({"text": text, "parent": parent})).await;
        events.last().unwrap()["message"].clone()
    }

    /// The texts that are shown.
    async fn texts(&self, id: &str) -> Vec<String> {
        let (_, shown) = self.ask("GET", &format!("conversations/{id}"), &Value::Null).await;
        let messages = shown["messages"].as_array().unwrap();
        messages.iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect()
    }
}

fn events_of(text: &str) -> Vec<Value> {
    let data = text.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
    data.map(|json| serde_json::from_str(json).unwrap()).collect()
}

fn text(text: &str) -> Delta {
    Delta::Text { sample: 0, text: text.to_owned(), tokens: Vec::new() }
}

fn token(text: &str, others: &[(&str, f64)]) -> Delta {
    let alternatives =
        others.iter().map(|(text, chance)| (None, text.as_bytes().to_vec(), chance.ln())).collect();
    let log_prob = Some(SpokenLogProb { value: 0.25f64.ln(), alternatives });
    let spoken = Spoken { token: None, bytes: text.as_bytes().to_vec(), log_prob };
    Delta::Text { sample: 0, text: text.to_owned(), tokens: vec![spoken] }
}

fn end() -> Delta {
    let usage = Usage { prompt_tokens: 5, new_tokens: 2, ..Usage::default() };
    Delta::Finished { sample: 0, stop: Stop::End, usage }
}

fn script<const N: usize>(deltas: [Delta; N]) -> Script {
    deltas.into_iter().map(Ok).collect()
}

fn begun() -> Delta {
    Delta::Begun { prompt_tokens: 5, cached_tokens: 3 }
}

#[tokio::test]
async fn the_page_is_whole_and_closed() {
    let page = Page::scripted(Scripted::new("tiny"));
    let get = async |path: &str, known: Option<&str>| {
        let mut request = Request::builder().uri(path).header("host", "localhost:8080");
        if let Some(known) = known {
            request = request.header("if-none-match", known);
        }
        page.site.answer(request.body(Body::empty()).unwrap()).await
    };
    let response = get("/", None).await;
    assert_eq!(response.status(), StatusCode::OK);
    let headers: HeaderMap = response.headers().clone();
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let tag = headers["etag"].to_str().unwrap();
    assert_eq!(get("/", Some(tag)).await.status(), StatusCode::NOT_MODIFIED);
    // Whatever the files name is there, and nothing else's is named.
    for (name, text) in assets::texts() {
        let response = get(&format!("/page/assets/{name}"), None).await;
        assert_eq!(response.status(), StatusCode::OK, "{name}");
        for named in text.split("/page/assets/").skip(1) {
            let end = named.find(['"', '\'', ')']).unwrap();
            let path = format!("/page/assets/{}", &named[..end]);
            assert_eq!(get(&path, None).await.status(), StatusCode::OK, "{name}: {path}");
        }
        let foreign = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!foreign.contains("http://") && !foreign.contains("https://"), "{name}");
        assert!(!text.contains("style=\"") && !text.contains("onclick=\""), "{name}");
    }
    assert_eq!(get("/page/assets/../mod.rs", None).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn only_the_page_may_ask() {
    let page = Page::scripted(Scripted::new("tiny"));
    let (status, said) = page.site.json("GET", "/page/api/conversations", &Value::Null).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{said}");
    let (status, _) = page.ask("GET", "conversations", &Value::Null).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn an_answer_streams_and_is_kept() {
    let script = script([
        begun(),
        text("# Hello\n\nsome *text"),
        text("* <script>alert(1)</script>\n"),
        end(),
    ]);
    let page = Page::scripted(Scripted::new("tiny").then(script));
    let id = page.begin().await;
    let path = format!("conversations/{id}/messages");
    let events = page.events(&path, &json!({"text": "Say   hello\nplease"})).await;
    assert_eq!(events[0]["type"], "begun");
    assert_eq!(events[0]["messages"][0]["text"], "Say   hello\nplease");
    assert_eq!(events[0]["conversation"]["title"], "Say hello");
    let last = events.last().unwrap();
    assert_eq!(last["type"], "finished");
    let html = last["message"]["html"].as_str().unwrap();
    assert!(html.contains("<h1>Hello</h1>") && html.contains("<em>text</em>"), "{html}");
    assert!(!html.contains("<script"), "{html}");
    assert_eq!(last["message"]["detail"]["stop"], "end");
    assert_eq!(last["message"]["detail"]["cached_tokens"], 3);
    let mut streamed = String::new();
    let mut tail = String::new();
    for event in events.iter().filter(|event| event["type"] == "delta") {
        streamed.push_str(event["settled"].as_str().unwrap_or_default());
        tail = event["tail"].as_str().unwrap_or(&tail).to_owned();
    }
    assert_eq!(streamed + &tail, html);
    let (_, listed) = page.ask("GET", "conversations?search=alert", &Value::Null).await;
    assert_eq!(listed["conversations"][0]["id"], id.as_str());
}

#[tokio::test]
async fn branches_are_made_and_shown() {
    let page = Page::scripted(Scripted::new("tiny"));
    let id = page.begin().await;
    let first = page.say(&id, None, "one").await;
    let second = page.say(&id, first["id"].as_i64(), "two").await;
    assert_eq!(page.texts(&id).await, ["one", "one", "two", "two"]);
    // The second question edited.
    page.say(&id, first["id"].as_i64(), "three").await;
    assert_eq!(page.texts(&id).await, ["one", "one", "three", "three"]);
    let path = format!("conversations/{id}/branch");
    let (status, shown) = page.ask("POST", &path, &json!({"message": second["parent"]})).await;
    assert_eq!(status, StatusCode::OK, "{shown}");
    assert_eq!(page.texts(&id).await, ["one", "one", "two", "two"]);
    assert_eq!(shown["messages"][2]["siblings"].as_array().unwrap().len(), 2);
    // The second answer again.
    let path = format!("conversations/{id}/answers");
    let events = page.events(&path, &json!({"parent": second["parent"]})).await;
    let siblings = &events.last().unwrap()["message"]["siblings"];
    assert_eq!(siblings.as_array().unwrap().len(), 2);
    // Markdown has the branch, JSON everything.
    let export = |format: &str| format!("conversations/{id}/export?format={format}");
    let (_, whole) = page.ask("GET", &export("json"), &Value::Null).await;
    assert_eq!(whole["messages"].as_array().unwrap().len(), 7);
    let response = page.request("GET", &export("markdown"), &Value::Null).await;
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert!(text.starts_with("# one\n\n## You\n\none\n\n## tiny\n\none\n"), "{text}");
    assert!(!text.contains("three"), "{text}");
    // A question behind a question, an answer behind an answer.
    let (status, _) = page.ask("POST", &path, &json!({"parent": second["id"]})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, _) = page.ask("DELETE", &format!("conversations/{id}"), &Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = page.ask("GET", &format!("conversations/{id}"), &Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn tokens_are_kept_and_an_answer_goes_on_from_another_one() {
    let others = &[("cat", 0.5), ("dog", 0.25)];
    let half: Delta = Delta::Text {
        sample: 0,
        text: String::new(),
        tokens: vec![Spoken { bytes: vec![0xc3], ..Spoken::default() }],
    };
    let script = script([begun(), token("A ", &[]), token("dog", others), half, end()]);
    let scripted = Arc::new(Scripted::new("tiny").then(script));
    let page = Page::of(Arc::clone(&scripted) as Arc<dyn Provider>);
    let id = page.begin().await;
    let answer = page.say(&id, None, "An animal?").await;
    let path = format!("messages/{}/tokens", answer["id"]);
    let (_, tokens) = page.ask("GET", &path, &Value::Null).await;
    assert_eq!(tokens[1], json!(["dog", 0.25, [["cat", 0.5], ["dog", 0.25]]]));
    assert_eq!(tokens[2], json!(["", null, [], "c3"]));
    let path = format!("conversations/{id}/answers");
    let from = |token: u64, alternative: u64| {
        let from = json!({"message": answer["id"], "token": token, "alternative": alternative});
        json!({"parent": answer["parent"], "from": from})
    };
    let events = page.events(&path, &from(1, 0)).await;
    let last = &events.last().unwrap()["message"];
    // The model that says things back is given `A cat` and says it again.
    assert_eq!(last["text"], "A catA cat");
    let turns = scripted.turns();
    let Prompt::Chat { messages, continues: true, .. } = &turns[1].prompt else { panic!() };
    assert_eq!(messages[1].content.as_deref(), Some("A cat"));
    for (token, alternative) in [(1, 7), (9, 0), (2, 0)] {
        let (status, _) = page.ask("POST", &path, &from(token, alternative)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{token} {alternative}");
    }
}

/// A model that says what it is told to, when it is told to.
#[derive(Default)]
struct Slow {
    card: Card,
    refusal: Option<ProviderError>,
    /// Is done when a turn is asked for, before it is answered.
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    tellers: Mutex<Vec<Teller>>,
    turns: Mutex<Vec<Turn>>,
}

impl Slow {
    fn new() -> Self {
        let capabilities = Capabilities { text: true, ..Capabilities::default() };
        Self { card: Card { capabilities, ..Card::default() }, ..Self::default() }
    }

    fn teller(&self) -> Teller {
        self.tellers.lock().unwrap().last().unwrap().clone()
    }
}

impl Provider for Slow {
    fn card(&self) -> &Card {
        &self.card
    }

    fn generate(&self, turn: Turn) -> Result<Answers, ProviderError> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        if let Some(meanwhile) = self.meanwhile.lock().unwrap().take() {
            meanwhile();
        }
        let (teller, answers) = answers();
        self.tellers.lock().unwrap().push(teller);
        self.turns.lock().unwrap().push(turn);
        Ok(answers)
    }
}

async fn until(what: impl AsyncFn() -> bool) {
    for _ in 0..400 {
        if what().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen within 4 s");
}

async fn state(page: &Page, id: &str) -> (String, String) {
    let (_, shown) = page.ask("GET", &format!("conversations/{id}"), &Value::Null).await;
    let last = shown["messages"].as_array().unwrap().last().unwrap().clone();
    (last["state"].as_str().unwrap().to_owned(), last["text"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_closed_tab_does_not_end_an_answer() {
    let slow = Arc::new(Slow::new());
    let page = Page::of(Arc::clone(&slow) as Arc<dyn Provider>);
    let id = page.begin().await;
    let path = format!("conversations/{id}/messages");
    let response = page.request("POST", &path, &json!({"text": "Once"})).await;
    drop(response);
    slow.teller().tell(Ok(text(" upon")));
    // Another tab looks on.
    let (_, shown) = page.ask("GET", &format!("conversations/{id}"), &Value::Null).await;
    assert_eq!(shown["messages"][1]["state"], "writing");
    let answer = shown["messages"][1]["id"].as_i64().unwrap();
    // While it is written nothing can be said behind it.
    let (status, _) = page.ask("POST", &path, &json!({"text": "and", "parent": answer})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    let looking = page.request("GET", &format!("answers/{answer}/events"), &Value::Null).await;
    slow.teller().tell(Ok(text(" a time")));
    slow.teller().tell(Ok(end()));
    slow.tellers.lock().unwrap().clear();
    let bytes = axum::body::to_bytes(looking.into_body(), usize::MAX).await.unwrap();
    let events = events_of(std::str::from_utf8(&bytes).unwrap());
    assert_eq!(events.last().unwrap()["message"]["text"], " upon a time");
    assert_eq!(state(&page, &id).await, ("complete".to_owned(), " upon a time".to_owned()));
    // A model without a template continues the text; a second one of the same is told whole.
    let turn = slow.turns.lock().unwrap()[0].clone();
    assert_eq!(turn.prompt, Prompt::text("Once"));
    let late = page.request("GET", &format!("answers/{answer}/events"), &Value::Null).await;
    let bytes = axum::body::to_bytes(late.into_body(), usize::MAX).await.unwrap();
    assert!(String::from_utf8(bytes.to_vec()).unwrap().contains("finished"));
}

#[tokio::test]
async fn stopping_keeps_what_was_said() {
    let slow = Arc::new(Slow::new());
    let page = Page::of(Arc::clone(&slow) as Arc<dyn Provider>);
    let id = page.begin().await;
    let path = format!("conversations/{id}/messages");
    let response = page.request("POST", &path, &json!({"text": "Once"})).await;
    slow.teller().tell(Ok(text(" upon a")));
    let (_, shown) = page.ask("GET", &format!("conversations/{id}"), &Value::Null).await;
    let answer = shown["messages"][1]["id"].as_i64().unwrap();
    // It was heard before it is stopped.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stop = format!("answers/{answer}/stop");
    let (status, _) = page.ask("POST", &stop, &json!({})).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let events = events_of(std::str::from_utf8(&bytes).unwrap());
    assert_eq!(events.last().unwrap()["message"]["state"], "stopped");
    assert_eq!(state(&page, &id).await, ("stopped".to_owned(), " upon a".to_owned()));
    assert!(slow.teller().is_deserted());
    let (status, _) = page.ask("POST", &stop, &json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn deleting_ends_what_is_written() {
    let slow = Arc::new(Slow::new());
    let page = Page::of(Arc::clone(&slow) as Arc<dyn Provider>);
    let id = page.begin().await;
    let path = format!("conversations/{id}/messages");
    drop(page.request("POST", &path, &json!({"text": "Once"})).await);
    page.ask("DELETE", &format!("conversations/{id}"), &Value::Null).await;
    until(async || slow.teller().is_deserted()).await;
}

#[tokio::test]
async fn what_a_model_refuses_is_told_and_not_kept() {
    let busy = ProviderError::Busy { retry_after: Duration::from_secs(7) };
    let long = ProviderError::PromptTooLong { prompt_tokens: 9000, context: 4096 };
    for (refusal, status, kind) in [
        (busy, StatusCode::TOO_MANY_REQUESTS, "busy"),
        (long, StatusCode::BAD_REQUEST, "context_length"),
    ] {
        let slow = Slow { refusal: Some(refusal), ..Slow::new() };
        let page = Page::of(Arc::new(slow));
        let id = page.begin().await;
        let path = format!("conversations/{id}/messages");
        let response = page.request("POST", &path, &json!({"text": "Once"})).await;
        assert_eq!(response.status(), status);
        let after = response.headers().get("retry-after").cloned();
        assert_eq!(after.is_some(), kind == "busy");
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let said: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(said["error"]["kind"], kind);
        assert!(page.texts(&id).await.is_empty());
    }
}

#[tokio::test]
async fn a_model_that_fails_midway_leaves_what_it_said() {
    let broken = ProviderError::Broken { provider: "tiny".to_owned(), reason: "fire".to_owned() };
    let script = vec![Ok(begun()), Ok(text("so far")), Err(broken)];
    let page = Page::scripted(Scripted::new("tiny").then(script));
    let id = page.begin().await;
    let message = page.say(&id, None, "Go").await;
    assert_eq!((&message["state"], &message["text"]), (&json!("failed"), &json!("so far")));
    assert_eq!(message["detail"]["error"]["message"], "tiny does not work: fire");
}

#[tokio::test]
async fn settings_reach_the_model_and_wrong_ones_do_not() {
    let scripted = Arc::new(Scripted::new("tiny"));
    let page = Page::of(Arc::clone(&scripted) as Arc<dyn Provider>);
    let id = page.begin().await;
    let path = format!("conversations/{id}/messages");
    let settings = json!({
        "system": "Be brief.", "temperature": 0.5, "top_p": 0.9, "top_k": 20, "min_p": 0.1,
        "seed": 7, "max_tokens": 99, "effort": "off", "schema": {"type": "object"},
    });
    page.events(&path, &json!({"text": "Go", "settings": settings})).await;
    let turn = scripted.turns().remove(0);
    let sampling = &turn.sampling;
    assert_eq!((sampling.temperature, sampling.top_p), (Some(0.5), Some(0.9)));
    assert_eq!((sampling.top_k, sampling.min_p, sampling.seed), (Some(20), Some(0.1), Some(7)));
    assert_eq!((turn.new_tokens_max, turn.effort), (Some(99), Effort::Off));
    assert_eq!(turn.format, OutputFormat::JsonSchema(json!({"type": "object"})));
    assert!(turn.log_probs.is_some());
    let Prompt::Chat { messages, .. } = &turn.prompt else { panic!("no chat") };
    assert_eq!((messages[0].role.as_str(), messages.len()), ("system", 2));
    for wrong in [
        json!({"temperature": -1}),
        json!({"temperature": "hot"}),
        json!({"temperature": 1e300}),
        json!({"top_p": 1.5}),
        json!({"top_k": -1}),
        json!({"top_k": 0.5}),
        json!({"seed": -5}),
        json!({"max_tokens": 0}),
        json!({"effort": "much"}),
        json!({"schema": "object"}),
        json!({"schema": [1]}),
        json!({"system": 7}),
        json!({"system": "a".repeat(200_000)}),
        json!({"unknown": 1}),
        json!("hot"),
    ] {
        let body = json!({"text": "Go", "settings": wrong});
        let (status, said) = page.ask("POST", &path, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body} {said}");
    }
    for body in
        [json!({}), json!({"text": ""}), json!({"text": 5}), json!({"text": "a", "parent": -1})]
    {
        let (status, _) = page.ask("POST", &path, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    }
    let body = json!({"text": "a", "parent": 9_999_999});
    assert_eq!(page.ask("POST", &path, &body).await.0, StatusCode::NOT_FOUND);
}
