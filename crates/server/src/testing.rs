//! What tests of this crate share: a site of scripted models, asked without a socket.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use lucid_provider::Provider;
use lucid_provider::scripted::Scripted;
use serde_json::Value;

use crate::access::Keys;
use crate::app::App;
use crate::catalog::{Catalog, Entry, LoadError};
use crate::doors::Site;
use crate::options::Options;
use crate::{routes, store};

/// Models by name. Each takes a hundred bytes.
pub(crate) struct Shelf(pub(crate) Vec<(&'static str, Arc<dyn Provider>)>);

impl Catalog for Shelf {
    fn list(&self) -> Vec<Entry> {
        self.0.iter().map(|(name, _)| entry(name)).collect()
    }

    fn resolve(&self, asked: &str) -> Option<Entry> {
        self.0.iter().find(|(name, _)| *name == asked).map(|(name, _)| entry(name))
    }

    fn load(&self, name: &str) -> Result<Arc<dyn Provider>, LoadError> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        let missing = || LoadError { reason: "it is not there".to_owned(), memory_lacking: None };
        found.map(|(_, provider)| Arc::clone(provider)).ok_or_else(missing)
    }
}

fn entry(name: &str) -> Entry {
    Entry {
        name: name.to_owned(),
        bytes: 100,
        memory_bytes: 100,
        modified: None,
        source: "tests".to_owned(),
    }
}

/// A site with one model, `tiny`.
pub(crate) fn site(scripted: Scripted) -> Site {
    site_of(Options::default(), Shelf(vec![("tiny", Arc::new(scripted))]))
}

/// A site of these models.
pub(crate) fn site_of(options: Options, shelf: Shelf) -> Site {
    let keys = Keys::open(options.keys.clone()).unwrap();
    let opened = store::open(options.store.as_deref()).unwrap();
    routes::site(&App::new(options, Arc::new(shelf), keys, opened))
}

impl Site {
    /// Asks with a method, a path and a body (empty for none); the answer's status and text.
    pub(crate) async fn text(&self, method: &str, path: &str, body: &str) -> (StatusCode, String) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost:8080")
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = self.answer(request).await;
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// The same for an answer that is JSON.
    pub(crate) async fn json(&self, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, text) = self.text(method, path, &body).await;
        let value = serde_json::from_str(&text);
        (status, value.unwrap_or_else(|_| panic!("{path} answered {status} and no JSON: {text}")))
    }
}
