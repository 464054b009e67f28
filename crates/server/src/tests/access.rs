//! Keys and their limits, through the doors.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use lucid_provider::ClientId;
use lucid_provider::scripted::Scripted;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

use crate::access::{KeyFile, Limits};
use crate::doors::Site;
use crate::identifiers::identifier;
use crate::options::{Access, Options};
use crate::testing::{Shelf, site_of};

/// A folder that is gone after its test.
pub(super) struct Folder(pub(super) PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn ask(
    site: &Site,
    path: &str,
    key: Option<(&str, String)>,
) -> (StatusCode, HeaderMap, Value) {
    let body = json!({
        "messages": [{ "role": "user", "content": "Hello" }], "max_tokens": 3,
    });
    let mut request = Request::post(path).header("host", "localhost");
    if let Some((name, value)) = key {
        request = request.header(name, value);
    }
    let response = site.answer(request.body(Body::from(body.to_string())).unwrap()).await;
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, headers, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test]
async fn keys_open_both_ways_and_have_limits() {
    let folder = Folder(std::env::temp_dir().join(identifier("lucid-access-")));
    let path = folder.0.join("keys.json");
    let mut file = KeyFile::open(&path).unwrap();
    let few = Limits { requests_per_minute: Some(2), ..Limits::default() };
    let limited = file.add("limited", few).unwrap();
    let free = file.add("free", Limits::default()).unwrap();
    let scripted = Arc::new(Scripted::new("tiny"));
    let options = Options { keys: Some(path), access: Access::Keys, ..Options::default() };
    let site = site_of(options, Shelf(vec![("tiny", scripted.clone())]));
    let chat = "/v1/chat/completions";
    let (status, headers, body) = ask(&site, chat, None).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "{body}");
    assert_eq!(headers["www-authenticate"], "Bearer");
    assert_eq!(body["error"]["code"], "invalid_api_key");
    let wrong = Some(("authorization", format!("Bearer {free}x")));
    assert_eq!(ask(&site, chat, wrong).await.0, StatusCode::UNAUTHORIZED);
    let bearer = || Some(("authorization", format!("bearer {free}")));
    assert_eq!(ask(&site, chat, bearer()).await.0, StatusCode::OK);
    let header = || Some(("x-api-key", limited.clone()));
    assert_eq!(ask(&site, chat, header()).await.0, StatusCode::OK);
    assert_eq!(ask(&site, chat, header()).await.0, StatusCode::OK);
    let (status, headers, body) = ask(&site, chat, header()).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{body}");
    assert_eq!(headers["retry-after"], "30");
    let clients: Vec<ClientId> = scripted.turns().iter().map(|turn| turn.client).collect();
    assert_eq!(clients.len(), 3);
    assert!(clients[0] != clients[1] && clients[1] == clients[2] && clients[0] != ClientId(0));
    // What shows nothing needs no key.
    let health = Request::get("/health").header("host", "localhost").body(Body::empty()).unwrap();
    assert_eq!(site.answer(health).await.status(), StatusCode::OK);
    let metrics = Request::get("/metrics").header("host", "localhost").body(Body::empty()).unwrap();
    assert_eq!(site.answer(metrics).await.status(), StatusCode::UNAUTHORIZED);
}

#[test]
fn others_are_let_in_with_keys_only() {
    let address = "0.0.0.0:0".parse().unwrap();
    let options = Options { address, ..Options::default() };
    let found = crate::Server::bind(options, Arc::new(Shelf(Vec::new())));
    assert!(matches!(found, Err(crate::ServerError::NoKeys { .. })));
}
