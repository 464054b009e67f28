//! Responses: shapes, events, what is kept, and what becomes of those in the background.

use axum::http::StatusCode;
use lucid_provider::scripted::{Script, Scripted};
use lucid_provider::{Delta, OutputFormat, Prompt, Stop, ToolChoice, Usage};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::doors::Site;
use crate::identifiers::identifier;
use crate::options::Options;
use crate::testing::{Shelf, site, site_of};

const PATH: &str = "/v1/responses";

fn script(middle: Vec<Delta>, stop: Stop) -> Script {
    let usage = Usage {
        prompt_tokens: 9,
        cached_tokens: 4,
        new_tokens: 5,
        reasoning_tokens: 2,
        ..Usage::default()
    };
    let begun = Delta::Begun { prompt_tokens: 9, cached_tokens: 4 };
    let finished = Delta::Finished { sample: 0, stop, usage };
    std::iter::once(begun).chain(middle).chain([finished]).map(Ok).collect()
}

fn all_kinds() -> Script {
    let reasoning = Delta::Reasoning { sample: 0, text: "Hm.".to_owned(), tokens: Vec::new() };
    let text = |text: &str| Delta::Text { sample: 0, text: text.to_owned(), tokens: Vec::new() };
    let (id, name) = ("call_1".to_owned(), "add".to_owned());
    let call = Delta::CallBegun { sample: 0, index: 0, id, name };
    let part = |json: &str| Delta::CallArguments { sample: 0, index: 0, json: json.to_owned() };
    script(
        vec![reasoning, text("Let me"), text(" see"), call, part("{\"a\""), part(":1}")],
        Stop::ToolCalls,
    )
}

async fn made(site: &Site, body: Value) -> Value {
    let (status, response) = site.json("POST", PATH, &body).await;
    assert_eq!(status, StatusCode::OK, "{response}");
    response
}

#[tokio::test]
async fn a_response_has_items_for_reasoning_text_and_calls() {
    let site = site(Scripted::new("tiny").then(all_kinds()));
    let response = made(&site, json!({ "input": "2+2?", "metadata": { "a": "b" } })).await;
    assert!(response["id"].as_str().unwrap().starts_with("resp_"));
    assert_eq!(response["object"], "response");
    assert_eq!(response["status"], "completed");
    assert_eq!(response["metadata"], json!({ "a": "b" }));
    for (name, expected) in [
        ("error", Value::Null),
        ("tools", json!([])),
        ("tool_choice", json!("auto")),
        ("parallel_tool_calls", json!(true)),
        ("text", json!({ "format": { "type": "text" } })),
        ("truncation", json!("disabled")),
        ("previous_response_id", Value::Null),
    ] {
        assert_eq!(response.get(name), Some(&expected), "{name}");
    }
    let mut output = response["output"].clone();
    for item in output.as_array_mut().unwrap() {
        item.as_object_mut().unwrap().remove("id").unwrap();
    }
    let text = json!({
        "type": "output_text", "text": "Let me see", "annotations": [], "logprobs": [],
    });
    let expected = json!([
        {
            "type": "reasoning", "status": "completed", "summary": [],
            "content": [{ "type": "reasoning_text", "text": "Hm." }],
        },
        { "type": "message", "status": "completed", "role": "assistant", "content": [text] },
        {
            "type": "function_call", "status": "completed", "call_id": "call_1", "name": "add",
            "arguments": "{\"a\":1}",
        },
    ]);
    assert_eq!(output, expected);
    let usage = json!({
        "input_tokens": 9, "input_tokens_details": { "cached_tokens": 4 },
        "output_tokens": 5, "output_tokens_details": { "reasoning_tokens": 2 },
        "total_tokens": 14,
    });
    assert_eq!(response["usage"], usage);
}

#[tokio::test]
async fn events_come_in_order_and_numbered() {
    let site = site(Scripted::new("tiny").then(all_kinds()));
    let body = json!({ "input": "2+2?", "stream": true }).to_string();
    let (_, stream) = site.text("POST", PATH, &body).await;
    let mut names = Vec::new();
    let mut last = Value::Null;
    for (number, event) in stream.trim_end().split("\n\n").enumerate() {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        let name = name.strip_prefix("event: response.").unwrap().to_owned();
        assert_eq!(data["type"], format!("response.{name}"));
        assert_eq!(data["sequence_number"], number);
        names.push(name);
        last = data;
    }
    let expected = [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(names, expected);
    let id = last["response"]["id"].as_str().unwrap();
    let (_, kept) = site.json("GET", &format!("{PATH}/{id}"), &Value::Null).await;
    assert_eq!(kept, last["response"]);
}

#[tokio::test]
async fn a_response_goes_on_from_another_with_all_that_was_said() {
    let scripted = Arc::new(Scripted::new("tiny").then(all_kinds()));
    let site = site_of(Options::default(), Shelf(vec![("tiny", scripted.clone())]));
    let tools = json!([{ "type": "function", "name": "add", "parameters": { "type": "object" } }]);
    let first = made(
        &site,
        json!({
            "input": "2+2?", "instructions": "Be brief", "tools": tools,
            "tool_choice": { "type": "function", "name": "add" },
        }),
    )
    .await;
    let output = json!([{ "type": "function_call_output", "call_id": "call_1", "output": "4" }]);
    let second = made(
        &site,
        json!({
            "input": output, "previous_response_id": first["id"],
            "text": { "format": { "type": "json_schema", "name": "x", "schema": {} } },
        }),
    )
    .await;
    assert_eq!(second["previous_response_id"], first["id"]);
    let turns = scripted.turns();
    assert_eq!(turns[0].tools.choice, ToolChoice::Named("add".to_owned()));
    assert_eq!(turns[1].format, OutputFormat::JsonSchema(json!({})));
    let said = |turn: usize| match &turns[turn].prompt {
        Prompt::Chat { messages, .. } => messages.clone(),
        prompt => panic!("{prompt:?}"),
    };
    assert_eq!(said(0).len(), 2);
    assert_eq!(said(0)[0].role, "system");
    let messages = said(1);
    // Instructions are for one response only.
    let roles: Vec<&str> = messages.iter().map(|message| message.role.as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "tool"]);
    assert_eq!(messages[1].reasoning.as_deref(), Some("Hm."));
    assert_eq!(messages[1].content.as_deref(), Some("Let me see"));
    assert_eq!(messages[1].tool_calls[0].arguments, json!({ "a": 1 }));
    assert_eq!(messages[2].tool_call_id.as_deref(), Some("call_1"));
}

#[tokio::test]
async fn kept_ones_are_found_listed_deleted_and_outlast_the_server() {
    let folder = std::env::temp_dir().join(identifier("lucid-responses-"));
    let options = || Options { store: Some(folder.clone()), ..Options::default() };
    let shelf = || Shelf(vec![("tiny", Arc::new(Scripted::new("tiny")))]);
    let input = json!([
        { "role": "user", "content": "one" },
        { "role": "assistant", "content": [{ "type": "output_text", "text": "two" }] },
        { "role": "user", "content": "three" },
    ]);
    let first = site_of(options(), shelf());
    let response = made(&first, json!({ "input": input })).await;
    let forgotten = made(&first, json!({ "input": "x", "store": false })).await;
    drop(first);
    let site = site_of(options(), shelf());
    let path = format!("{PATH}/{}", response["id"].as_str().unwrap());
    let (_, found) = site.json("GET", &path, &Value::Null).await;
    assert_eq!(found, response);
    let (_, items) =
        site.json("GET", &format!("{path}/input_items?limit=2&order=asc"), &Value::Null).await;
    assert_eq!(items["has_more"], true);
    assert_eq!(items["data"][1]["content"][0]["text"], "two");
    let after = items["last_id"].as_str().unwrap();
    let rest = format!("{path}/input_items?order=asc&after={after}");
    let (_, items) = site.json("GET", &rest, &Value::Null).await;
    assert_eq!((items["data"].as_array().unwrap().len(), &items["has_more"]), (1, &json!(false)));
    let (_, gone) = site.json("DELETE", &path, &Value::Null).await;
    assert_eq!(gone["deleted"], true);
    for id in [&response["id"], &forgotten["id"], &json!("resp_none")] {
        let path = format!("{PATH}/{}", id.as_str().unwrap());
        assert_eq!(site.json("GET", &path, &Value::Null).await.0, StatusCode::NOT_FOUND);
        let body = json!({ "input": "x", "previous_response_id": id });
        let (status, answer) = site.json("POST", PATH, &body).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(answer["error"]["param"], "previous_response_id");
    }
    drop(site);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn one_in_the_background_is_finished_or_cancelled() {
    let talker = super::sockets::Talker::new("w", std::time::Duration::from_millis(1));
    let talking = Arc::clone(&talker.talking);
    let site = site_of(Options::default(), Shelf(vec![("tiny", Arc::new(talker))]));
    let few = json!({ "input": "x", "background": true, "max_output_tokens": 3 });
    let short = made(&site, few).await;
    assert_eq!(short["status"], "queued");
    let path = format!("{PATH}/{}", short["id"].as_str().unwrap());
    let mut found = Value::Null;
    for _ in 0..1000 {
        found = site.json("GET", &path, &Value::Null).await.1;
        if found["status"] == "incomplete" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(found["status"], "incomplete", "{found}");
    assert_eq!(found["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(found["output"][0]["content"][0]["text"], "www");
    let endless = made(&site, json!({ "input": "x", "background": true })).await;
    let path = format!("{PATH}/{}", endless["id"].as_str().unwrap());
    let (status, cancelled) = site.json("POST", &format!("{path}/cancel"), &Value::Null).await;
    assert_eq!((status, &cancelled["status"]), (StatusCode::OK, &json!("cancelled")));
    for _ in 0..1000 {
        if talking.load(std::sync::atomic::Ordering::SeqCst) == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the turn goes on");
}

#[tokio::test]
async fn wrong_fields_are_named() {
    let cases = [
        (json!({}), "input"),
        (json!({ "input": [] }), "input"),
        (json!({ "input": [{ "type": "magic" }] }), "input[0].type"),
        (json!({ "input": [{ "role": "user" }] }), "input[0].content"),
        (json!({ "input": [{ "type": "function_call", "call_id": "x" }] }), "input[0].name"),
        (json!({ "input": "x", "background": true, "store": false }), "background"),
        (json!({ "input": "x", "max_output_tokens": 0 }), "max_output_tokens"),
        (json!({ "input": "x", "truncation": "auto" }), "truncation"),
        (json!({ "input": "x", "tools": [{ "type": "web_search" }] }), "tools[0].type"),
        (json!({ "input": "x", "text": { "format": { "type": "xml" } } }), "text.format.type"),
        (json!({ "input": "x", "reasoning": { "effort": "x" } }), "reasoning.effort"),
        (json!({ "input": "x", "metadata": { "a": 1 } }), "metadata"),
        (json!({ "input": "x", "conversation": "c" }), "conversation"),
    ];
    for (body, param) in cases {
        let (status, answer) = site(Scripted::new("tiny")).json("POST", PATH, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
        assert_eq!(answer["error"]["param"], param, "{body}: {answer}");
    }
}
