//! Completions and embeddings.

use axum::http::StatusCode;
use lucid_provider::scripted::Scripted;
use serde_json::{Value, json};

use crate::testing::site;

const PATH: &str = "/v1/completions";

#[tokio::test]
async fn prompts_come_in_four_shapes_and_are_numbered_through() {
    let check = async |prompt: Value, expected: &[&str]| {
        let body = json!({ "model": "tiny", "prompt": prompt, "n": 2 });
        let (status, answer) = site(Scripted::new("tiny")).json("POST", PATH, &body).await;
        assert_eq!(status, StatusCode::OK, "{prompt}: {answer}");
        let choices = answer["choices"].as_array().unwrap();
        let found: Vec<&str> = choices.iter().map(|it| it["text"].as_str().unwrap()).collect();
        assert_eq!(found, expected, "{prompt}");
        let indices: Vec<u64> = choices.iter().map(|it| it["index"].as_u64().unwrap()).collect();
        assert_eq!(indices, (0..expected.len() as u64).collect::<Vec<_>>());
        assert_eq!(answer["object"], "text_completion");
    };
    check(json!("ab"), &["ab", "ab"]).await;
    check(json!(["ab", "c"]), &["ab", "ab", "c", "c"]).await;
    check(json!([97, 98]), &["ab", "ab"]).await;
    check(json!([[97], [98]]), &["a", "a", "b", "b"]).await;
}

#[tokio::test]
async fn usage_counts_each_prompt_once() {
    let body = json!({ "model": "tiny", "prompt": ["ab", "c"], "n": 2 });
    let (_, answer) = site(Scripted::new("tiny")).json("POST", PATH, &body).await;
    assert_eq!(answer["usage"]["prompt_tokens"], 3);
    assert_eq!(answer["usage"]["completion_tokens"], 6);
}

#[tokio::test]
async fn echo_stands_before_each_answer() {
    let body = json!({ "model": "tiny", "prompt": ["ab", "c"], "echo": true });
    let (_, answer) = site(Scripted::new("tiny")).json("POST", PATH, &body).await;
    assert_eq!(answer["choices"][0]["text"], "abab");
    assert_eq!(answer["choices"][1]["text"], "cc");
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let (_, stream) = site(Scripted::new("tiny")).text("POST", PATH, &streamed.to_string()).await;
    let mut texts = [String::new(), String::new()];
    for event in stream.trim_end().split("\n\n").filter(|event| *event != "data: [DONE]") {
        let chunk: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        let choice = &chunk["choices"][0];
        let index = choice["index"].as_u64().unwrap() as usize;
        texts[index].push_str(choice["text"].as_str().unwrap());
    }
    assert_eq!(texts, ["abab", "cc"]);
}

#[tokio::test]
async fn wrong_fields_are_named() {
    let cases = [
        (json!({ "prompt": [] }), "prompt"),
        (json!({ "prompt": [[]] }), "prompt[0]"),
        (json!({ "prompt": [1, "a"] }), "prompt[1]"),
        (json!({ "prompt": [-1] }), "prompt[0]"),
        (json!({ "prompt": {} }), "prompt"),
        (json!({}), "prompt"),
        (json!({ "prompt": "a", "max_tokens": 0 }), "max_tokens"),
        (json!({ "prompt": "a", "n": 2, "best_of": 1 }), "best_of"),
        (json!({ "prompt": "a", "best_of": 2, "stream": true }), "best_of"),
        (json!({ "prompt": [1], "suffix": "x" }), "suffix"),
        (json!({ "prompt": "a", "logprobs": 1000 }), "logprobs"),
    ];
    for (body, param) in cases {
        let (status, answer) = site(Scripted::new("tiny")).json("POST", PATH, &body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
        assert_eq!(answer["error"]["param"], param, "{body}: {answer}");
    }
    let body = json!({ "model": "tiny", "input": "x" });
    let (status, answer) = site(Scripted::new("tiny")).json("POST", "/v1/embeddings", &body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(answer["error"]["code"], "unsupported");
}
