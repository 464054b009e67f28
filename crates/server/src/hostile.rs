//! Hostile requests, without a socket: every field of every example of every operation is replaced
//! by every hostile value. Each is answered in the shape of its family and never with a fault of
//! ours; what cannot be meant is refused; and the next request is answered.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use lucid_provider::scripted::Scripted;
use lucid_provider::{
    Answers, Card, ClientId, Delta, Embedding, EmbeddingKind, Embeddings, Prompt, Provider,
    ProviderError, Ranking, Stop, TokenId, Turn, Usage, answers,
};
use serde_json::{Value, json};

use crate::doors::Site;
use crate::limits;
use crate::openapi::{OPERATIONS, Operation, type_of};
use crate::options::Options;
use crate::testing::{Shelf, site_of};

/// JSON, or what looks like it, that stands in a field's place.
const HOSTILE: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-1",
    "2",
    "1.5",
    "-0.5",
    "1000000",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "1e308",
    "-1e308",
    "1e-308",
    "1e309",
    "-1e999",
    "1E400",
    "NaN",
    "Infinity",
    "-Infinity",
    "nan",
    "0x10",
    "01",
    "1.",
    ".5",
    "+1",
    "\"\"",
    "\"x\"",
    "\"-1\"",
    "\"NaN\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\\udc00\\ud800\"",
    "\"\\x41\"",
    "\"\u{202e}\u{feff}\u{10ffff}\"",
    "\"..\\/..\\/etc\"",
    "\"'; DROP TABLE\"",
    "[]",
    "[[]]",
    "[null]",
    "[\"\"]",
    "[-1]",
    "[1e308]",
    "[{}]",
    "[true,[],{},\"\",0]",
    "{}",
    "{\"\":{}}",
    "{\"type\":\"x\"}",
    "{\"a\":null}",
    "{\"a\":1,\"a\":2}",
    "undefined",
    "'x'",
    "\"x",
    "[",
    "{",
    "]",
    "//",
    "\u{1}",
];

/// Names of objects whose inside is the client's own.
const FREE: &[&str] = &[
    "parameters",
    "input_schema",
    "schema",
    "input",
    "arguments",
    "chat_template_kwargs",
    "properties",
    "metadata",
    "format",
];

/// Fields that nobody reads, or whose words are the client's own.
const UNREAD: &[&str] = &[
    "/tool_calls/0/type",
    "/json_schema/name",
    "/arguments",
    "/input/1/content/0/type",
    // Booleans are schemas, too, and some clients send schemas as texts.
    "/parameters",
    "/input_schema",
    "/schema",
];

/// Schemas, where another field of the same name is none.
const SCHEMAS: &[&str] = &["/json_schema", "/guided_json", "/structured_outputs/json"];

/// A provider that can do everything.
struct Able {
    scripted: Scripted,
    card: Card,
}

impl Able {
    fn new() -> Self {
        let scripted = Scripted::new("tiny");
        let mut card = scripted.card().clone();
        card.capabilities.infill = true;
        card.capabilities.embeddings = true;
        card.capabilities.ranking = true;
        Self { scripted, card }
    }
}

impl Provider for Able {
    fn card(&self) -> &Card {
        &self.card
    }

    fn generate(&self, turn: Turn) -> Result<Answers, ProviderError> {
        self.scripted.generate(turn)
    }

    fn prompt_tokens(&self, turn: &Turn) -> Result<Vec<TokenId>, ProviderError> {
        self.scripted.prompt_tokens(turn)
    }

    fn decode(&self, tokens: &[TokenId]) -> Result<Vec<u8>, ProviderError> {
        self.scripted.decode(tokens)
    }

    fn embed(
        &self,
        prompts: &[Prompt],
        _: EmbeddingKind,
        _: ClientId,
    ) -> Result<Embeddings, ProviderError> {
        let one = Embedding { values: vec![1.0, 0.0], tokens: 1 };
        Ok(Embeddings { list: vec![one; prompts.len()], tokens: prompts.len() })
    }

    fn rank(&self, _: &str, texts: &[String], _: ClientId) -> Result<Ranking, ProviderError> {
        Ok(Ranking { scores: vec![0.5; texts.len()], tokens: texts.len() })
    }
}

fn able_site() -> Site {
    site_of(Options::default(), Shelf(vec![("tiny", Arc::new(Able::new()))]))
}

async fn ask(
    site: &Site,
    operation: &Operation,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (StatusCode, Vec<u8>) {
    let mut request = Request::builder()
        .method(operation.method)
        .uri(operation.path.replace("{name}", "tiny").replace("{id}", "resp_none"))
        .header("content-type", "application/json");
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost:8080");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = site.answer(request.body(Body::from(body)).unwrap()).await;
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, bytes.to_vec())
}

/// That an answer is no fault of ours, and in shape if it is a refusal.
#[track_caller]
fn is_in_shape(operation: &Operation, (status, body): &(StatusCode, Vec<u8>), what: &str) {
    let path = operation.path;
    assert!(status.as_u16() < 500, "{path} answers {status} to {what}");
    if status.is_success() {
        return;
    }
    let text = String::from_utf8_lossy(body);
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(error) => {
            panic!("{path} answers {status} without JSON to {what}: {text}: {error}")
        }
    };
    let error = &value["error"];
    let told = match operation.family {
        "OpenAI" => error["type"].is_string() && error["message"].is_string(),
        "Anthropic" => {
            value["type"] == "error" && error["type"].is_string() && error["message"].is_string()
        }
        "Ollama" => error.is_string(),
        _ => error["message"].is_string(),
    };
    assert!(told, "{path} answers {status} out of shape to {what}: {text}");
    assert!(body.len() < 4096, "{path} says back {} bytes to {what}", body.len());
}

/// Where values stand in an example, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let place = format!("{at}/{name}");
                if !(value.is_object() && FREE.contains(&name.as_str())) {
                    places(value, &place, found);
                }
                found.push(place);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                let place = format!("{at}/{index}");
                places(value, &place, found);
                found.push(place);
            }
        }
        _ => {}
    }
}

/// The body with a place's value replaced by a text, JSON or not.
fn replaced(example: &Value, place: &str, text: &str) -> String {
    const MARK: &str = "in its place";
    let mut body = example.clone();
    *body.pointer_mut(place).expect("the place is one of the example's") = MARK.into();
    body.to_string().replace(&format!("\"{MARK}\""), text)
}

/// Places of lists are all alike.
fn alike(place: &str) -> String {
    let star = |part: &str| if part.parse::<usize>().is_ok() { "*" } else { part }.to_owned();
    place.split('/').map(star).collect::<Vec<_>>().join("/")
}

/// What a value is; numbers are all alike.
fn kind(value: &Value) -> &'static str {
    match type_of(value) {
        "integer" => "number",
        other => other,
    }
}

/// The kinds that examples have in a place.
fn kinds(operation: &Operation, place: &str) -> Vec<&'static str> {
    let known = |example: &Value| {
        let mut found = Vec::new();
        places(example, "", &mut found);
        found.retain(|other| alike(other) == alike(place));
        found.iter().filter_map(|place| example.pointer(place).map(kind)).collect::<Vec<_>>()
    };
    operation.examples().iter().flat_map(known).collect()
}

/// Whether a text in a place cannot be meant: no JSON, of a kind that no example has there, or too
/// great a number. Lengths of time have no greatest number.
fn cannot_be_meant(kinds: &[&str], place: &str, text: &str) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return true;
    };
    if UNREAD.iter().any(|field| place.ends_with(field)) {
        return false;
    }
    if SCHEMAS.contains(&place) {
        return false;
    }
    let wrong_kind = !value.is_null() && !kinds.contains(&kind(&value));
    let too_great = value.as_f64().is_some_and(|number| number.abs() >= 1e300);
    wrong_kind || (too_great && !place.ends_with("/keep_alive"))
}

#[tokio::test]
async fn every_example_is_answered() {
    let site = able_site();
    for operation in OPERATIONS {
        let mut bodies: Vec<Vec<u8>> =
            operation.examples().iter().map(|body| body.to_string().into_bytes()).collect();
        if bodies.is_empty() {
            bodies.push(Vec::new());
        }
        // No adapter lies where the examples say.
        let there = !(operation.path.starts_with("/lora-adapters") && operation.method != "GET");
        for body in bodies {
            let told = String::from_utf8_lossy(&body).into_owned();
            let answer = ask(&site, operation, &[], body).await;
            is_in_shape(operation, &answer, &told);
            let text = String::from_utf8_lossy(&answer.1);
            let path = operation.path;
            let known = answer.0.is_success() || operation.path.contains("{id}");
            assert_eq!(known, there || operation.path.contains("{id}"), "{path} {told}: {text}");
        }
    }
}

#[tokio::test]
async fn every_field_of_every_operation() {
    let site = able_site();
    let mut sent = 0;
    let mut taken = Vec::new();
    for operation in OPERATIONS {
        for example in operation.examples() {
            let mut found = Vec::new();
            places(&example, "", &mut found);
            for place in found {
                let kinds = kinds(operation, &place);
                for text in HOSTILE {
                    let body = replaced(&example, &place, text).into_bytes();
                    let answer = ask(&site, operation, &[], body).await;
                    let what = format!("{text} at {place}");
                    is_in_shape(operation, &answer, &what);
                    if cannot_be_meant(&kinds, &place, text) && answer.0.is_success() {
                        taken.push(format!("{}: {what}", operation.path));
                    }
                    sent += 1;
                }
            }
            let answer = ask(&site, operation, &[], example.to_string().into_bytes()).await;
            is_in_shape(operation, &answer, "the example again");
        }
    }
    assert!(taken.is_empty(), "taken was:\n{}", taken.join("\n"));
    assert!(sent > 10_000, "only {sent} requests were made of the table");
}

#[tokio::test]
async fn fields_that_are_too_long() {
    let site = able_site();
    let text = "x".repeat(100_000);
    let deep = |open: &str, inside: &str, close: &str| {
        format!("{}{inside}{}", open.repeat(100_000), close.repeat(100_000))
    };
    let giants = [
        json!(text).to_string(),
        json!(vec![text.as_str(); 3]).to_string(),
        format!("[{}0]", "0,".repeat(5_000)),
        format!("[{}{{}}]", "{},".repeat(5_000)),
        deep("[", "", "]"),
        deep("{\"a\":", "1", "}"),
        "[".repeat(100_000),
        format!("1{}", "0".repeat(10_000)),
        format!("0.{}1", "0".repeat(10_000)),
    ];
    for operation in OPERATIONS {
        let mut seen = Vec::new();
        for example in operation.examples() {
            let mut found = Vec::new();
            places(&example, "", &mut found);
            // Once each: giants are slow.
            found.retain(|place| !seen.contains(place));
            for place in found {
                for (index, giant) in giants.iter().enumerate() {
                    let body = replaced(&example, &place, giant).into_bytes();
                    let answer = ask(&site, operation, &[], body).await;
                    is_in_shape(operation, &answer, &format!("giant {index} at {place}"));
                    if (4..7).contains(&index) {
                        assert!(answer.0.is_client_error(), "{} takes depth", operation.path);
                    }
                }
                seen.push(place);
            }
        }
    }
}

/// Answers at once, and keeps nothing of a turn.
struct Curt(Card);

impl Provider for Curt {
    fn card(&self) -> &Card {
        &self.0
    }

    fn generate(&self, _: Turn) -> Result<Answers, ProviderError> {
        let (teller, answers) = answers();
        let usage = Usage::default();
        teller.tell(Ok(Delta::Finished { sample: 0, stop: Stop::End, usage }));
        Ok(answers)
    }
}

/// The most memory that this process ever had; none where the system does not say.
fn memory_peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// What all turns of a request have in common is not there once for each.
#[tokio::test]
async fn many_prompts_with_much_in_common() {
    let site = site_of(Options::default(), Shelf(vec![("tiny", Arc::new(Curt(Card::default())))]));
    let completions = OPERATIONS.iter().find(|it| it.path == "/v1/completions").unwrap();
    let text = "x".repeat(8 << 20);
    let choices = vec!["x".repeat(2048); 4096];
    let before = memory_peak();
    for (prompts, field, value, taken) in [
        (2048, "suffix", json!("x".repeat(15 << 20)), false),
        (limits::SAMPLES_ALL_MAX, "suffix", json!(text), true),
        (limits::SAMPLES_ALL_MAX, "guided_choice", json!(choices), true),
    ] {
        let body = json!({ "model": "tiny", "prompt": vec!["a"; prompts], field: value });
        let answer = ask(&site, completions, &[], body.to_string().into_bytes()).await;
        let what = format!("{prompts} prompts with one `{field}`");
        is_in_shape(completions, &answer, &what);
        assert_eq!(answer.0.is_success(), taken, "{what}: {}", answer.0);
    }
    let (Some(before), Some(after)) = (before, memory_peak()) else {
        println!("skipped: the system does not tell how much memory was used");
        return;
    };
    let grown = after.saturating_sub(before) >> 20;
    assert!(grown < 1024, "{grown} MiB were used for three bodies of less than 16 MiB");
}

#[tokio::test]
async fn bodies_that_are_none() {
    let site = able_site();
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b" ".to_vec(),
        b"{".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"5".to_vec(),
        b"\"x\"".to_vec(),
        b"NaN".to_vec(),
        b"{}{}".to_vec(),
        b"{\"a\":}".to_vec(),
        b"{\"model\":\"tiny\"".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        b"{\"model\":\"\xff\xfe\"}".to_vec(),
        b"\x00\x01\x02".to_vec(),
        b"model=tiny&prompt=hi".to_vec(),
        b"<xml/>".to_vec(),
        vec![b'['; 100_000],
        b"{\"a\":".repeat(100_000),
        vec![b' '; 17 << 20],
        [b"[".as_slice(), &b"0,".repeat(2 << 20), b"0]"].concat(),
    ];
    for operation in OPERATIONS {
        let Some(example) = operation.examples().into_iter().next() else { continue };
        for (index, body) in bodies.iter().enumerate() {
            let answer = ask(&site, operation, &[], body.clone()).await;
            is_in_shape(operation, &answer, &format!("body {index}"));
            assert!(answer.0.is_client_error(), "{} takes body {index}", operation.path);
        }
        let answer = ask(&site, operation, &[], example.to_string().into_bytes()).await;
        is_in_shape(operation, &answer, "the example after them");
    }
}

#[tokio::test]
async fn headers_from_elsewhere() {
    let site = able_site();
    let refused: &[&[(&str, &str)]] = &[
        &[("host", "evil.example")],
        &[("host", "127.0.0.1.evil.example")],
        &[("host", "localhost.evil.example:8080")],
        &[("host", "")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://localhost:9999")],
        &[("content-encoding", "gzip")],
    ];
    for operation in OPERATIONS.iter().filter(|operation| operation.method == "POST") {
        for headers in refused {
            let body = operation.examples().first().map_or(String::new(), Value::to_string);
            let answer = ask(&site, operation, headers, body.into_bytes()).await;
            is_in_shape(operation, &answer, &format!("{headers:?}"));
            assert!(answer.0.is_client_error(), "{} takes {headers:?}", operation.path);
        }
    }
}
