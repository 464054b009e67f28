//! What the server can be asked: as an OpenAPI 3.1 document at `/openapi.json`, and as a page to
//! read at `/docs`. Both are made of one table of operations, each with examples that the tests
//! send; types are those of the examples, so a schema cannot promise what is not taken.

mod operations;

use std::sync::Arc;

use axum::Router;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use serde_json::{Map, Value, json};

use crate::app::App;

pub(crate) use operations::{OPERATIONS, Operation};

/// The paths of the description.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/openapi.json", get(description)).route("/docs", get(docs))
}

async fn description() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], document().to_string())
}

async fn docs() -> impl IntoResponse {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";
    ([(CONTENT_SECURITY_POLICY, policy)], Html(page()))
}

/// The document.
fn document() -> Value {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let entry = paths.entry(operation.path).or_insert_with(|| json!({}));
        entry[operation.method.to_lowercase()] = described(operation);
    }
    let keys = json!({
        "bearer": { "type": "http", "scheme": "bearer" },
        "x-api-key": { "type": "apiKey", "in": "header", "name": "x-api-key" },
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Lucid",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A language-model system in one binary: the protocols it speaks.",
        },
        "paths": paths,
        "components": { "securitySchemes": keys },
        "security": [{}, { "bearer": [] }, { "x-api-key": [] }],
    })
}

fn described(operation: &Operation) -> Value {
    let mut described = json!({
        "tags": [operation.family],
        "summary": operation.summary,
        "responses": {
            "200": { "description": operation.answer },
            "default": { "description": format!("An error in the shape of {}.", operation.family) },
        },
    });
    let parameters: Vec<Value> = parameters(operation.path)
        .map(|name| {
            let schema = json!({ "type": "string" });
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect();
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    let examples = operation.examples();
    if let Some(first) = examples.first() {
        let mut schema = schema_of(&examples);
        schema["required"] = operation.required.into();
        let content = json!({ "application/json": { "schema": schema, "example": first } });
        described["requestBody"] = json!({ "required": true, "content": content });
    }
    described
}

/// The names in braces of a path.
fn parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next())
}

/// A schema that all these values conform to.
fn schema_of(values: &[Value]) -> Value {
    let mut types: Vec<&str> = Vec::new();
    for value in values {
        let name = type_of(value);
        if !types.contains(&name) {
            types.push(name);
        }
    }
    let mut schema = match types.as_slice() {
        [one] => json!({ "type": one }),
        several => json!({ "type": several }),
    };
    let items: Vec<Value> = values.iter().filter_map(Value::as_array).flatten().cloned().collect();
    if !items.is_empty() {
        schema["items"] = schema_of(&items);
    }
    let mut fields: Vec<(&String, Vec<Value>)> = Vec::new();
    for (name, value) in values.iter().filter_map(Value::as_object).flatten() {
        match fields.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value.clone()),
            None => fields.push((name, vec![value.clone()])),
        }
    }
    if !fields.is_empty() {
        let fields = fields.into_iter().map(|(name, values)| (name.clone(), schema_of(&values)));
        schema["properties"] = Value::Object(fields.collect());
    }
    schema
}

/// What a value is, in the words of JSON schema.
pub(crate) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The page: no script, no picture, nothing from elsewhere.
fn page() -> String {
    use std::fmt::Write as _;
    let mut page = String::from(HEAD);
    let mut family = "";
    for operation in OPERATIONS {
        if operation.family != family {
            family = operation.family;
            let _ = write!(page, "<h2>{}</h2>", escaped(family));
        }
        let [method, path] = [operation.method, operation.path].map(escaped);
        let [summary, answer] = [operation.summary, operation.answer].map(escaped);
        let _ = write!(page, "<h3><code>{method} {path}</code></h3><p>{summary} {answer}</p>");
        for example in operation.examples() {
            let text = serde_json::to_string_pretty(&example).unwrap_or_default();
            let _ = write!(page, "<details><summary>Example</summary>");
            let _ = write!(page, "<pre>{}</pre></details>", escaped(&text));
        }
    }
    page.push_str("</main></body></html>");
    page
}

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Lucid: API</title>\
<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:0}\
main{max-width:48rem;margin:0 auto;padding:1rem}pre{overflow:auto;padding:.75rem;\
background:color-mix(in srgb,currentColor 8%,transparent);border-radius:.4rem}\
h3{margin:1.5rem 0 0}p{margin:.25rem 0}</style></head><body><main><h1>What can be asked</h1>\
<p>Also as <a href=\"/openapi.json\">OpenAPI</a>.</p>";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_those_of_the_examples() {
        let found =
            schema_of(&[json!({"a": 1, "b": [1, "x"]}), json!({"a": 1.5, "c": {"d": true}})]);
        let expected = json!({
            "type": "object",
            "properties": {
                "a": {"type": ["integer", "number"]},
                "b": {"type": "array", "items": {"type": ["integer", "string"]}},
                "c": {"type": "object", "properties": {"d": {"type": "boolean"}}},
            },
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn every_operation_is_in_the_document_and_on_the_page() {
        let document = document();
        let page = page();
        for operation in OPERATIONS {
            let method = operation.method.to_lowercase();
            let told = &document["paths"][operation.path][&method];
            assert_eq!(told["summary"], operation.summary, "{}", operation.path);
            let line = format!("<code>{} {}</code>", operation.method, operation.path);
            assert!(page.contains(&line), "{line}");
            for name in operation.required {
                let known = &told["requestBody"]["content"]["application/json"]["schema"];
                let there = known["properties"].get(name).is_some();
                assert!(there, "{}: no example has {name}", operation.path);
            }
        }
    }
}
