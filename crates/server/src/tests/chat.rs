//! Chat completions: shapes, streams, and what is refused.

use axum::http::StatusCode;
use lucid_provider::scripted::{Script, Scripted};
use lucid_provider::{
    Delta, Effort, OutputFormat, Prompt, Spoken, SpokenLogProb, Stop, ToolChoice, Usage,
};
use serde_json::{Value, json};

use crate::testing::site;

const PATH: &str = "/v1/chat/completions";

fn hello() -> Value {
    json!({ "model": "tiny", "messages": [{ "role": "user", "content": "Hello" }] })
}

fn with(field: &str, value: Value) -> Value {
    let mut body = hello();
    body[field] = value;
    body
}

fn usage() -> Usage {
    Usage {
        prompt_tokens: 9,
        cached_tokens: 4,
        new_tokens: 5,
        reasoning_tokens: 2,
        ..Usage::default()
    }
}

fn script(middle: Vec<Delta>, stop: Stop) -> Script {
    let begun = Delta::Begun { prompt_tokens: 9, cached_tokens: 4 };
    let finished = Delta::Finished { sample: 0, stop, usage: usage() };
    std::iter::once(begun).chain(middle).chain([finished]).map(Ok).collect()
}

fn text(text: &str) -> Delta {
    Delta::Text { sample: 0, text: text.to_owned(), tokens: Vec::new() }
}

/// The chunks of a stream; each must be an event without a name, and the last is `[DONE]`.
fn chunks(stream: &str) -> Vec<Value> {
    let mut events: Vec<&str> = stream.trim_end().split("\n\n").collect();
    assert_eq!(events.pop(), Some("data: [DONE]"));
    events
        .into_iter()
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect()
}

#[tokio::test]
async fn an_answer_has_the_shape_that_clients_expect() {
    let reasoning = Delta::Reasoning { sample: 0, text: "Hm.".to_owned(), tokens: Vec::new() };
    let site = site(Scripted::new("tiny").then(script(vec![reasoning, text("Hi")], Stop::End)));
    let (status, mut answer) = site.json("POST", PATH, &hello()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(answer["created"].as_u64().unwrap() > 1_700_000_000);
    assert!(answer["system_fingerprint"].as_str().unwrap().starts_with("fp_lucid-"));
    for name in ["id", "created", "system_fingerprint"] {
        answer.as_object_mut().unwrap().remove(name);
    }
    let expected = json!({
        "object": "chat.completion",
        "model": "tiny",
        "choices": [{
            "index": 0,
            "message": {
                "role": "assistant", "content": "Hi", "refusal": null, "reasoning_content": "Hm.",
            },
            "logprobs": null,
            "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14,
            "prompt_tokens_details": { "cached_tokens": 4 },
            "completion_tokens_details": {
                "reasoning_tokens": 2,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
            },
        },
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn a_stream_names_the_speaker_once_and_tells_usage_last() {
    let site = site(Scripted::new("tiny").then(script(vec![text("H"), text("i")], Stop::Length)));
    let mut body = with("stream", json!(true));
    body["stream_options"] = json!({ "include_usage": true });
    let (status, stream) = site.text("POST", PATH, &body.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{stream}");
    let chunks = chunks(&stream);
    assert_eq!(chunks.len(), 5);
    let deltas: Vec<&Value> = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
    assert_eq!(deltas[0], &json!({ "role": "assistant", "content": "" }));
    assert_eq!(deltas[1], &json!({ "content": "H" }));
    assert_eq!(deltas[2], &json!({ "content": "i" }));
    assert_eq!(chunks[3]["choices"][0]["finish_reason"], "length");
    assert_eq!(chunks[3]["usage"], Value::Null);
    assert_eq!(chunks[4]["choices"], json!([]));
    assert_eq!(chunks[4]["usage"]["total_tokens"], 14);
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"));
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
}

#[tokio::test]
async fn calls_come_whole_and_in_parts() {
    let calls = || {
        script(
            vec![
                Delta::CallBegun {
                    sample: 0,
                    index: 0,
                    id: "call_1".to_owned(),
                    name: "add".to_owned(),
                },
                Delta::CallArguments { sample: 0, index: 0, json: "{\"a\":".to_owned() },
                Delta::CallArguments { sample: 0, index: 0, json: "1}".to_owned() },
            ],
            Stop::ToolCalls,
        )
    };
    let site = site(Scripted::new("tiny").then(calls()).then(calls()));
    let tool = json!({ "type": "function", "function": { "name": "add", "parameters": {} } });
    let mut body = with("tools", json!([tool]));
    let (_, answer) = site.json("POST", PATH, &body).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let call = json!({
        "id": "call_1", "type": "function",
        "function": { "name": "add", "arguments": "{\"a\":1}" },
    });
    assert_eq!(choice["message"]["tool_calls"], json!([call]));
    body["stream"] = json!(true);
    let (_, stream) = site.text("POST", PATH, &body.to_string()).await;
    let parts: Vec<Value> = chunks(&stream)
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"].get("tool_calls").cloned())
        .collect();
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[0][0]["id"], "call_1");
    assert_eq!(parts[2], json!([{ "index": 0, "function": { "arguments": "1}" } }]));
}

#[tokio::test]
async fn log_probabilities_are_told_with_bytes_and_without_infinities() {
    let spoken = Spoken {
        token: Some(7),
        bytes: b"Hi".to_vec(),
        log_prob: Some(SpokenLogProb {
            value: -0.5,
            alternatives: vec![
                (Some(7), b"Hi".to_vec(), -0.5),
                (None, vec![0xff], f64::NEG_INFINITY),
            ],
        }),
    };
    let piece = Delta::Text { sample: 0, text: "Hi".to_owned(), tokens: vec![spoken] };
    let site = site(Scripted::new("tiny").then(script(vec![piece], Stop::End)));
    let mut body = with("logprobs", json!(true));
    body["top_logprobs"] = json!(2);
    let (_, answer) = site.json("POST", PATH, &body).await;
    let expected = json!({ "content": [{
        "token": "Hi", "logprob": -0.5, "bytes": [72, 105],
        "top_logprobs": [
            { "token": "Hi", "logprob": -0.5, "bytes": [72, 105] },
            { "token": "\u{fffd}", "logprob": -9999.0, "bytes": [255] },
        ],
    }], "refusal": null });
    assert_eq!(answer["choices"][0]["logprobs"], expected);
}

#[tokio::test]
async fn what_is_asked_for_reaches_the_provider() {
    let scripted = std::sync::Arc::new(Scripted::new("tiny"));
    let shelf = crate::testing::Shelf(vec![("tiny", scripted.clone())]);
    let site = crate::testing::site_of(crate::Options::default(), shelf);
    let body = json!({
        "model": "tiny",
        "messages": [
            { "role": "developer", "content": [
                { "type": "text", "text": "Be" }, { "type": "text", "text": " brief" },
            ] },
            { "role": "user", "content": "2+2?" },
            { "role": "assistant", "content": null, "reasoning_content": "Add.", "tool_calls": [{
                "id": "c1", "type": "function",
                "function": { "name": "add", "arguments": "{\"a\": 2}" },
            }] },
            { "role": "tool", "tool_call_id": "c1", "content": "4" },
        ],
        "tools": [{ "type": "function", "function": { "name": "add", "description": "Adds." } }],
        "tool_choice": { "type": "function", "function": { "name": "add" } },
        "parallel_tool_calls": false,
        "temperature": 0.5, "top_p": 0.9, "top_k": -1, "min_p": 0.1, "seed": -3,
        "logit_bias": { "5": -100, "3": 1.5 }, "stop": "END", "n": 2, "max_completion_tokens": 7,
        "max_tokens": 9, "frequency_penalty": -1, "presence_penalty": 1,
        "reasoning_effort": "low", "user": "somebody", "store": true, "made_up": 1,
    });
    let (status, answer) = site.json("POST", PATH, &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["choices"].as_array().unwrap().len(), 2);
    let turn = scripted.turns().remove(0);
    let Prompt::Chat { messages, .. } = &turn.prompt else { panic!("{turn:?}") };
    assert_eq!(messages[0].role, "system");
    assert_eq!(messages[0].content.as_deref(), Some("Be brief"));
    assert_eq!(messages[2].tool_calls[0].arguments, json!({ "a": 2 }));
    assert_eq!(messages[2].reasoning.as_deref(), Some("Add."));
    assert_eq!(messages[3].tool_call_id.as_deref(), Some("c1"));
    assert_eq!(turn.tools.choice, ToolChoice::Named("add".to_owned()));
    assert!(!turn.tools.parallel);
    assert_eq!(turn.sampling.temperature, Some(0.5));
    assert_eq!(turn.sampling.top_k, Some(0));
    assert_eq!(turn.sampling.seed, Some(-3_i64 as u64));
    assert_eq!(turn.sampling.logit_bias, [(3, 1.5), (5, f32::NEG_INFINITY)]);
    assert_eq!(turn.stops, ["END"]);
    assert_eq!((turn.samples, turn.new_tokens_max), (2, Some(7)));
    assert_eq!(turn.effort, Effort::On { tokens_max: Some(1024) });
}

#[tokio::test]
async fn formats_are_understood_in_all_dialects() {
    let schema = json!({ "type": "object" });
    let cases = [
        ("response_format", json!({ "type": "text" }), OutputFormat::Free),
        ("response_format", json!({ "type": "json_object" }), OutputFormat::JsonObject),
        (
            "response_format",
            json!({
                "type": "json_schema",
                "json_schema": { "name": "x", "strict": true, "schema": schema },
            }),
            OutputFormat::JsonSchema(schema.clone()),
        ),
        ("json_schema", schema.clone(), OutputFormat::JsonSchema(schema.clone())),
        ("grammar", json!("root ::= \"a\""), OutputFormat::Gbnf("root ::= \"a\"".to_owned())),
        ("grammar", json!("start: \"a\""), OutputFormat::Lark("start: \"a\"".to_owned())),
        ("guided_json", json!("{\"type\":\"object\"}"), OutputFormat::JsonSchema(schema.clone())),
        ("guided_regex", json!("a+"), OutputFormat::Regex("a+".to_owned())),
        (
            "structured_outputs",
            json!({ "choice": ["a"] }),
            OutputFormat::Choice(vec!["a".to_owned()]),
        ),
    ];
    for (field, value, expected) in cases {
        let scripted = std::sync::Arc::new(Scripted::new("tiny"));
        let shelf = crate::testing::Shelf(vec![("tiny", scripted.clone())]);
        let site = crate::testing::site_of(crate::Options::default(), shelf);
        let (status, answer) = site.json("POST", PATH, &with(field, value.clone())).await;
        assert_eq!(status, StatusCode::OK, "{field} {value}: {answer}");
        assert_eq!(scripted.turns()[0].format, expected, "{field} {value}");
    }
}

#[tokio::test]
async fn wrong_fields_are_named() {
    let site = site(Scripted::new("tiny"));
    let cases = [
        ("n", json!(1_000_000), "n"),
        ("n", json!(-1), "n"),
        ("n", json!(0), "n"),
        ("n", json!("1"), "n"),
        ("temperature", json!("hot"), "temperature"),
        ("temperature", json!(-1), "temperature"),
        ("temperature", json!(1e300), "temperature"),
        ("top_p", json!(1.5), "top_p"),
        ("max_tokens", json!(0), "max_tokens"),
        ("max_tokens", json!(1.5), "max_tokens"),
        ("max_completion_tokens", json!(1e18), "max_completion_tokens"),
        ("stop", json!([""]), "stop[0]"),
        ("stop", json!(["x"; 100].to_vec()), "stop"),
        ("logit_bias", json!({ "a": 1 }), "logit_bias"),
        ("logit_bias", json!({ "1": 1000 }), "logit_bias.1"),
        ("logprobs", json!(3), "logprobs"),
        ("top_logprobs", json!(3), "top_logprobs"),
        ("stream", json!("yes"), "stream"),
        ("stream_options", json!([]), "stream_options"),
        ("messages", json!([]), "messages"),
        ("messages", json!("hi"), "messages"),
        ("messages", json!([{ "role": "wizard", "content": "x" }]), "messages[0].role"),
        ("messages", json!([{ "role": "user" }]), "messages[0].content"),
        (
            "messages",
            json!([{ "role": "user", "content": [{ "type": "image_url" }] }]),
            "messages[0].content[0].type",
        ),
        ("tools", json!([{ "type": "function" }]), "tools[0].function"),
        ("tools", json!([{ "type": "magic" }]), "tools[0].type"),
        ("tool_choice", json!("required"), "tool_choice"),
        (
            "tool_choice",
            json!({ "type": "function", "function": { "name": "x" } }),
            "tool_choice.function.name",
        ),
        ("response_format", json!({ "type": "xml" }), "response_format.type"),
        (
            "response_format",
            json!({ "type": "json_schema", "json_schema": { "schema": 3 } }),
            "response_format.json_schema.schema",
        ),
        ("reasoning_effort", json!("extreme"), "reasoning_effort"),
        ("seed", json!(1.5), "seed"),
        ("functions", json!([]), "functions"),
        ("model", json!(7), "model"),
    ];
    for (field, value, param) in cases {
        let (status, answer) = site.json("POST", PATH, &with(field, value.clone())).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{field} {value}: {answer}");
        assert_eq!(answer["error"]["param"], param, "{field} {value}: {answer}");
        assert_eq!(answer["error"]["type"], "invalid_request_error");
    }
    let (status, answer) = site.json("POST", PATH, &with("model", json!("gone"))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(answer["error"]["code"], "model_not_found");
}

#[tokio::test]
async fn an_error_in_the_middle_ends_the_stream_with_an_error() {
    let broken = lucid_provider::ProviderError::Broken {
        provider: "tiny".to_owned(),
        reason: "it fell over".to_owned(),
    };
    let script = vec![
        Ok(Delta::Begun { prompt_tokens: 1, cached_tokens: 0 }),
        Ok(text("H")),
        Err(broken.clone()),
    ];
    let site = site(Scripted::new("tiny").then(script).then(vec![Err(broken)]));
    let body = with("stream", json!(true)).to_string();
    let (status, stream) = site.text("POST", PATH, &body).await;
    assert_eq!(status, StatusCode::OK);
    let chunks = chunks(&stream);
    assert_eq!(chunks.last().unwrap()["error"]["code"], "internal_error");
    // Before anything was said it is an answer of its own.
    let (status, answer) = site.text("POST", PATH, &body).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{answer}");
}
