//! `lucid run --provider`: what is sent, what is refused, and how answers are taken.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::support::{Home, Run};

/// An API that answers one request with these words, and tells what it was sent.
fn api(text: &str, finish: &str) -> (String, JoinHandle<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let choice = json!({ "index": 0, "delta": { "content": text }, "finish_reason": finish });
    let usage = json!({ "prompt_tokens": 1000, "completion_tokens": 100 });
    let last = json!({ "choices": [], "usage": usage });
    let body =
        format!("data: {}\n\ndata: {last}\n\ndata: [DONE]\n\n", json!({ "choices": [choice] }));
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
        let sent = loop {
            let count = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&request);
            let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            if let Ok(sent) = serde_json::from_str(body) {
                break sent;
            }
            assert!(count > 0, "half a request: {text}");
        };
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close";
        stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        sent
    });
    (url, thread)
}

/// A run, and what it sent.
fn ask(home: &Home, (text, finish): (&str, &str), flags: &[&str]) -> (Run, Value) {
    let (url, api) = api(text, finish);
    let run = home.run(&[&["run", "--provider", &url, "m", "Hello"], flags].concat());
    (run, api.join().unwrap())
}

#[test]
fn what_is_given_is_sent_and_nothing_else() {
    let home = Home::new();
    let (run, sent) = ask(&home, ("Hi!", "stop"), &[]);
    assert_eq!((run.code, &*run.out), (Some(0), "Hi!\n"), "{run:?}");
    assert!(sent.get("temperature").is_none() && sent.get("seed").is_none(), "{sent}");
    // These are what a model on this machine would be asked with anyway.
    let (_, sent) = ask(&home, ("Hi!", "stop"), &["--temp", "0.8", "--top-k", "40"]);
    assert_eq!((&sent["temperature"], &sent["top_k"]), (&json!(0.8), &json!(40)));
    let nowhere = ["run", "--provider", "http://127.0.0.1:9/v1", "m", "Hello"];
    home.fails(&[&nowhere[..], &["--dry-base", "1.75"]].concat(), &["cannot do this"]);
    for flags in [&["--no-pack"][..], &["--simd", "scalar"], &["--no-speculation"]] {
        let run = home.run(&[&nowhere, flags].concat());
        assert_eq!(run.code, Some(2), "{flags:?}: {run:?}");
        assert!(run.err.contains(flags[0]), "{run:?}");
    }
    let named = ["run", "--provider", "https://me:secret@example.org/v1", "m", "Hello"];
    let run = home.fails(&named, &["user name"]);
    assert!(!run.err.contains("secret"), "{run:?}");
}

#[test]
fn answers_that_are_no_answers_are_errors() {
    let home = Home::new();
    let (run, _) = ask(&home, ("{\"a\": 1}", "stop"), &["--json-object", "--json"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    for (text, finish, words) in [
        ("{\"a\": ", "length", "was cut"),
        ("[1]", "stop", "not as demanded"),
        ("{\"a\": 1}", "content_filter", "held the answer back"),
    ] {
        let (run, _) = ask(&home, (text, finish), &["--json-object"]);
        run.check_refusal(&[text], &[words]);
        assert_eq!(run.out, format!("{text}\n"), "what was said stays");
    }
    let (run, _) = ask(&home, ("I", "content_filter"), &["--json"]);
    let told: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!((&told["stop"], run.code), (&json!("refused"), Some(1)), "{run:?}");
}

#[test]
fn what_it_costs_is_said() {
    let home = Home::new();
    let (url, api) = api("Hi!", "stop");
    let prices = json!({ "prompt": 2.0, "answer": 10.0 });
    let provider = json!({ "name": "far", "url": url,
        "models": [{ "name": "m", "prices": prices }] });
    let file = json!({ "providers": [provider] }).to_string();
    home.write("xdg_config_home/lucid/providers.json", file.as_bytes());
    let run = home.run(&["run", "--provider", "far", "m", "Hello", "--stats"]);
    api.join().unwrap();
    assert!(run.err.contains("prompt 1000 tokens"), "{run:?}");
    assert!(run.err.contains("cost 0.003000 USD"), "{run:?}");
}
