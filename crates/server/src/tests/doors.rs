//! What never reaches a handler, or leaves one in an unusual way: every family's own shape.

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use lucid_provider::scripted::Scripted;
use serde_json::{Value, json};

use crate::testing::site;

async fn ask(request: axum::http::request::Builder, body: Body) -> (StatusCode, Value) {
    let response = site(Scripted::new("tiny")).answer(request.body(body).unwrap()).await;
    let status = response.status();
    assert!(response.headers().contains_key("x-request-id"));
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let value = serde_json::from_slice(&bytes);
    (status, value.unwrap_or_else(|_| panic!("{status}: {}", String::from_utf8_lossy(&bytes))))
}

#[tokio::test]
async fn each_family_refuses_in_its_own_shape() {
    let check = async |path: &str, found: fn(&Value) -> bool| {
        let request = Request::post(path).header("host", "evil.example");
        let (status, body) = ask(request, Body::empty()).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
        assert!(found(&body), "{path}: {body}");
    };
    check("/v1/chat/completions", |body| body["error"]["code"] == "forbidden").await;
    check("/v1/messages", |body| {
        body["type"] == "error" && body["error"]["type"] == "permission_error"
    })
    .await;
    check("/api/chat", |body| body["error"].is_string()).await;
    check("/status", |body| body["error"]["kind"] == "forbidden").await;
}

#[tokio::test]
async fn paths_methods_bodies_and_origins_are_checked() {
    let local = |method: &str, path: &str| {
        Request::builder().method(method).uri(path).header("host", "127.0.0.1:8080")
    };
    let (status, body) = ask(local("GET", "/v1/nowhere"), Body::empty()).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::NOT_FOUND, &json!("not_found")));
    let (status, body) = ask(local("DELETE", "/v1/chat/completions"), Body::empty()).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{body}");
    let deep = "[".repeat(100_000);
    let (status, body) = ask(local("POST", "/v1/chat/completions"), Body::from(deep)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    assert!(body["error"]["message"].as_str().unwrap().contains("deeper"));
    let large = vec![b' '; crate::limits::BODY_BYTES_MAX + 1];
    let (status, _) = ask(local("POST", "/v1/chat/completions"), Body::from(large)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let foreign = local("POST", "/v1/chat/completions").header("origin", "https://evil.example");
    assert_eq!(ask(foreign, Body::empty()).await.0, StatusCode::FORBIDDEN);
    let packed = local("POST", "/v1/chat/completions").header("content-encoding", "gzip");
    assert_eq!(ask(packed, Body::empty()).await.0, StatusCode::BAD_REQUEST);
    let long = format!("/v1/{}", "x".repeat(10_000));
    assert_eq!(ask(local("GET", &long), Body::empty()).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_listed_origin_is_told_that_it_may_ask() {
    let options =
        crate::Options { cors: vec!["https://friend.example".to_owned()], ..Default::default() };
    let shelf = crate::testing::Shelf(vec![("tiny", std::sync::Arc::new(Scripted::new("tiny")))]);
    let site = crate::testing::site_of(options, shelf);
    let request = Request::builder()
        .method("OPTIONS")
        .uri("/v1/chat/completions")
        .header("host", "localhost")
        .header("origin", "https://friend.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization")
        .body(Body::empty())
        .unwrap();
    let response = site.answer(request).await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let headers = response.headers();
    assert_eq!(headers["access-control-allow-origin"], "https://friend.example");
    assert_eq!(headers["access-control-allow-headers"], "authorization");
}

#[tokio::test]
async fn health_metrics_and_status_answer() {
    let site = site(Scripted::new("tiny"));
    let (status, health) = site.json("GET", "/health", &Value::Null).await;
    assert_eq!((status, health), (StatusCode::OK, json!({ "status": "ok" })));
    let (_, models) = site.json("GET", "/v1/models", &Value::Null).await;
    assert_eq!(models["data"][0]["id"], "tiny");
    let (status, _) = site.json("GET", "/v1/models/gone", &Value::Null).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let body = json!({ "messages": [{ "role": "user", "content": "Hello" }] });
    site.json("POST", "/v1/chat/completions", &body).await;
    let (_, page) = site.text("GET", "/metrics", "").await;
    for line in [
        "lucid_requests_total{route=\"/v1/chat/completions\",status=\"200\"} 1",
        "lucid_requests_total{route=\"/v1/models/{*name}\",status=\"404\"} 1",
        "lucid_prompt_tokens_total{model=\"tiny\"} 5",
        "lucid_models_loaded 1",
        "lucid_queue_depth{model=\"tiny\"} 0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
    let (_, status) = site.json("GET", "/status", &Value::Null).await;
    assert_eq!(status["models"][0]["name"], "tiny");
    assert_eq!(status["models"][0]["users"], 0);
    assert_eq!(status["models"][0]["new_tokens"], 5);
}
