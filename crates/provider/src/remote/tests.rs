//! A provider against servers that say what a test tells them to.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::{Answer, Call, Effort, Message, OutputFormat, Sampling, Stop, Tool, ToolChoice, Tools};

/// Answers one connection after the other with the given bytes; tells the requests.
fn server(replies: Vec<String>) -> (String, mpsc::Receiver<String>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (tell, requests) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        for reply in replies {
            let (mut stream, _) = listener.accept().unwrap();
            let request = read_request(&mut stream);
            let _ = tell.send(request);
            let _ = stream.write_all(reply.as_bytes());
        }
    });
    (url, requests, thread)
}

fn read_request(stream: &mut std::net::TcpStream) -> String {
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).unwrap();
        text.extend_from_slice(&buffer[..count]);
        let whole = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = whole.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_lowercase().strip_prefix("content-length: ")?.parse().ok()
            });
            if body.len() >= length.unwrap_or(0) {
                return whole;
            }
        }
        assert!(count > 0, "half a request");
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{body}")
}

fn failed(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} No\r\n{headers}content-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
}

fn events(list: &[Value]) -> String {
    list.iter()
        .flat_map(|event| ["data: ".to_owned(), event.to_string(), "\n\n".to_owned()])
        .collect()
}

fn options(url: &str, dialect: Dialect) -> RemoteOptions {
    let pause = Duration::from_millis(5);
    let silence = Duration::from_secs(5);
    RemoteOptions {
        name: "there".to_owned(),
        url: url.to_owned(),
        dialect,
        model: "m".to_owned(),
        key: Some(Secret("sk-1".to_owned())),
        extended: true,
        context: 0,
        prices: Some(Prices { prompt: 2.0, cached: 1.0, answer: 10.0 }),
        patience: Patience { pause, silence, tries: 3, ..Patience::default() },
        route: Route::default(),
    }
}

fn hello() -> Turn {
    Turn { prompt: Prompt::chat(vec![Message::text("user", "hello")]), ..Turn::default() }
}

fn body_of(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn answer(url: &str, dialect: Dialect, turn: Turn) -> Result<Vec<Answer>, ProviderError> {
    Remote::new(options(url, dialect)).unwrap().generate(turn)?.gather_here()
}

#[test]
fn openai_text_reasoning_calls_and_cost() {
    let chunk = |delta: Value| json!({"choices": [{"index": 0, "delta": delta}]});
    let call = |arguments: &str, id: Option<&str>| {
        let name = id.map(|_| "add");
        let function = json!({"name": name, "arguments": arguments});
        chunk(json!({"tool_calls": [{"index": 0, "id": id, "function": function}]}))
    };
    let stream = events(&[
        chunk(json!({"role": "assistant", "content": ""})),
        chunk(json!({"reasoning_content": "hm"})),
        chunk(json!({"content": "Four, "})),
        chunk(json!({"content": "says it\u{e9}."})),
        call("", Some("c1")),
        call("{\"a\":", None),
        call("1}", None),
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}),
        json!({"choices": [], "usage": {
            "prompt_tokens": 1000, "completion_tokens": 100,
            "prompt_tokens_details": {"cached_tokens": 400},
            "completion_tokens_details": {"reasoning_tokens": 7}}}),
    ]) + "data: [DONE]\n\n";
    let (url, requests, thread) = server(vec![ok(&stream)]);
    let tool = Tool { name: "add".to_owned(), parameters: json!({}), ..Tool::default() };
    let tools = Tools { list: vec![tool], choice: ToolChoice::Required, parallel: false };
    let sampling = Sampling { temperature: Some(0.3), top_k: Some(5), ..Sampling::default() };
    let turn = Turn { tools, sampling, effort: Effort::Off, ..hello() };
    let found = answer(&url, Dialect::OpenAi, turn).unwrap().remove(0);
    thread.join().unwrap();
    assert_eq!((&*found.text, &*found.reasoning), ("Four, says it\u{e9}.", "hm"));
    let (id, name, arguments) = ("c1".to_owned(), "add".to_owned(), "{\"a\":1}".to_owned());
    assert_eq!(found.calls, [Call { id, name, arguments }]);
    assert_eq!(found.stop, Some(Stop::ToolCalls));
    let usage = found.usage;
    assert_eq!((usage.prompt_tokens, usage.cached_tokens, usage.new_tokens), (1000, 400, 100));
    // 600 at 2, 400 at 1, 100 at 10 dollars a million.
    assert!((usage.cost_usd.unwrap() - 0.0026).abs() < 1e-12);
    let request = requests.recv().unwrap();
    assert!(request.starts_with("POST /v1/chat/completions "), "{request}");
    assert!(request.to_lowercase().contains("authorization: bearer sk-1"), "{request}");
    let body = body_of(&request);
    assert_eq!(body["temperature"], json!(0.3));
    assert_eq!((&body["top_k"], &body["tool_choice"]), (&json!(5), &json!("required")));
    assert_eq!(body["chat_template_kwargs"], json!({"enable_thinking": false}));
    assert_eq!(body["parallel_tool_calls"], json!(false));
}

#[test]
fn anthropic_text_thinking_calls_and_messages() {
    let stream = events(&[
        json!({"type": "message_start", "message": {"usage": {
            "input_tokens": 10, "cache_read_input_tokens": 90, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "thinking", "thinking": ""}}),
        json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "thinking_delta", "thinking": "hm"}}),
        json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "signature_delta", "signature": "s"}}),
        json!({"type": "ping"}),
        json!({"type": "content_block_delta", "index": 1,
            "delta": {"type": "text_delta", "text": "Four."}}),
        json!({"type": "content_block_start", "index": 2,
            "content_block": {"type": "tool_use", "id": "t1", "name": "add", "input": {}}}),
        json!({"type": "content_block_delta", "index": 2,
            "delta": {"type": "input_json_delta", "partial_json": "{}"}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"},
            "usage": {"output_tokens": 25}}),
        json!({"type": "message_stop"}),
    ]);
    let (url, requests, thread) = server(vec![ok(&stream)]);
    let call = crate::ToolCall { id: "t0".into(), name: "add".into(), arguments: json!({"a": 1}) };
    let messages = vec![
        Message::text("system", "Be brief."),
        Message::text("user", "2 + 2?"),
        Message { tool_calls: vec![call], ..Message::text("assistant", "") },
        Message { tool_call_id: Some("t0".into()), ..Message::text("tool", "4") },
        Message::text("user", "Well?"),
    ];
    let effort = Effort::On { tokens_max: Some(2000) };
    let turn = Turn { prompt: Prompt::chat(messages), effort, ..Turn::default() };
    let found = answer(&url, Dialect::Anthropic, turn).unwrap().remove(0);
    thread.join().unwrap();
    assert_eq!((&*found.text, &*found.reasoning), ("Four.", "hm"));
    assert_eq!(found.signature.as_deref(), Some("s"));
    assert_eq!((found.calls.len(), &*found.calls[0].name), (1, "add"));
    assert_eq!((found.usage.prompt_tokens, found.usage.cached_tokens), (100, 90));
    assert_eq!((found.usage.new_tokens, found.stop), (25, Some(Stop::ToolCalls)));
    let request = requests.recv().unwrap();
    assert!(request.starts_with("POST /v1/messages "), "{request}");
    assert!(request.to_lowercase().contains("x-api-key: sk-1"), "{request}");
    let body = body_of(&request);
    assert_eq!(body["system"], json!("Be brief."));
    assert_eq!(body["thinking"]["budget_tokens"], json!(2000));
    let roles: Vec<_> =
        body["messages"].as_array().unwrap().iter().map(|it| it["role"].clone()).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert_eq!(body["messages"][2]["content"][0]["tool_use_id"], json!("t0"));
    assert_eq!(body["messages"][2]["content"][1]["text"], json!("Well?"));
}

#[test]
fn anthropic_schemas_are_a_forced_tool() {
    let stream = events(&[
        json!({"type": "message_start", "message": {"usage": {"input_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0,
            "content_block": {"type": "tool_use", "id": "t", "name": "answer", "input": {}}}),
        json!({"type": "content_block_delta", "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": "{\"a\": 1}"}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {}}),
        json!({"type": "message_stop"}),
    ]);
    let (url, requests, thread) = server(vec![ok(&stream)]);
    let schema = json!({"type": "object"});
    let turn = Turn { format: OutputFormat::JsonSchema(schema.clone()), ..hello() };
    let found = answer(&url, Dialect::Anthropic, turn).unwrap().remove(0);
    thread.join().unwrap();
    assert_eq!((&*found.text, found.stop), ("{\"a\": 1}", Some(Stop::End)));
    assert!(found.calls.is_empty());
    let body = body_of(&requests.recv().unwrap());
    assert_eq!(body["tools"][0]["input_schema"], schema);
}

/// The answer of one API to a turn.
fn said(dialect: Dialect, stream: &str, turn: Turn) -> Result<Answer, ProviderError> {
    let (url, _, thread) = server(vec![ok(stream)]);
    let found = answer(&url, dialect, turn);
    thread.join().unwrap();
    found.map(|mut answers| answers.remove(0))
}

fn openai_says(text: &str) -> String {
    events(&[
        json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]}),
    ]) + "data: [DONE]\n\n"
}

fn anthropic_says(kind: &str, field: &str, text: &str) -> String {
    events(&[
        json!({"type": "message_start", "message": {"usage": {"input_tokens": 1}}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": kind, field: text}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {}}),
        json!({"type": "message_stop"}),
    ])
}

#[test]
fn what_is_not_as_demanded_is_an_error() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}},
        "required": ["a"]});
    let formats = [OutputFormat::JsonObject, OutputFormat::JsonSchema(schema)];
    let check = |stream: &str, dialect: Dialect, format: &OutputFormat, fits: bool| {
        let turn = Turn { format: format.clone(), ..hello() };
        let found = said(dialect, stream, turn);
        assert_eq!(found.is_ok(), fits, "{dialect:?} {format:?} {stream}: {found:?}");
        if let Err(error) = found {
            assert!(matches!(error, ProviderError::Unreachable { .. }), "{error}");
        }
    };
    for format in &formats {
        let strict = matches!(format, OutputFormat::JsonSchema(_));
        for (text, fits) in [
            ("3", false),
            ("", false),
            ("{\"a\": 1} or so", false),
            ("{\"a\": \"1\"}", !strict),
            ("{\"b\": {}, \"a\": 1}", true),
        ] {
            check(&openai_says(text), Dialect::OpenAi, format, fits);
            let stream = anthropic_says("input_json_delta", "partial_json", text);
            check(&stream, Dialect::Anthropic, format, fits);
        }
        // It answered in its own words, and did not call the tool whose arguments are the answer.
        let stream = anthropic_says("text_delta", "text", "{\"a\": 1}");
        check(&stream, Dialect::Anthropic, format, false);
    }
    // One that was cut says so itself.
    let cut = openai_says("{").replace("\"stop\"", "\"length\"");
    let turn = Turn { format: OutputFormat::JsonObject, ..hello() };
    assert_eq!(said(Dialect::OpenAi, &cut, turn).unwrap().stop, Some(Stop::Length));
    let unknown = OutputFormat::JsonSchema(json!({"$dynamicRef": "#a"}));
    let remote = Remote::new(options("http://127.0.0.1:9/v1", Dialect::OpenAi)).unwrap();
    let error = remote.generate(Turn { format: unknown, ..hello() }).unwrap_err();
    assert!(matches!(error, ProviderError::Grammar { .. }), "{error}");
}

#[test]
fn a_call_that_is_demanded_must_come() {
    let tool = Tool { name: "add".to_owned(), ..Tool::default() };
    let tools = Tools { list: vec![tool], choice: ToolChoice::Required, parallel: true };
    let turn = Turn { tools, ..hello() };
    let stream = anthropic_says("text_delta", "text", "I would rather not.");
    for (dialect, stream) in [(Dialect::OpenAi, openai_says("No.")), (Dialect::Anthropic, stream)] {
        let error = said(dialect, &stream, turn.clone()).unwrap_err();
        assert!(error.to_string().contains("had to call a tool"), "{error}");
    }
}

#[test]
fn what_an_api_counts_and_says_is_taken_with_care() {
    let most = u64::MAX;
    let usage = json!({"prompt_tokens": 5, "completion_tokens": most,
        "prompt_tokens_details": {"cached_tokens": 9}});
    let stream = events(&[json!({"choices": [], "usage": usage})]) + "data: [DONE]\n\n";
    let usage = said(Dialect::OpenAi, &stream, hello()).unwrap().usage;
    assert_eq!((usage.prompt_tokens, usage.cached_tokens), (5, 5));
    let usage = json!({"input_tokens": most, "cache_read_input_tokens": most});
    let stream = events(&[
        json!({"type": "message_start", "message": {"usage": usage}}),
        json!({"type": "message_delta", "delta": {}, "usage": {"output_tokens": most}}),
        json!({"type": "message_stop"}),
    ]);
    let usage = said(Dialect::Anthropic, &stream, hello()).unwrap().usage;
    assert!(usage.cost_usd.is_some_and(f64::is_finite), "{usage:?}");
    let error = json!({"error": {"message": "no\u{1b}[2J\nroom", "code": 70000}});
    let error = said(Dialect::OpenAi, &events(&[error]), hello()).unwrap_err().to_string();
    assert!(error.ends_with("status 500: no\\u{1b}[2J room"), "{error}");
}

#[test]
fn an_answer_ends_when_it_is_over() {
    let (url, _, thread) = server(vec![ok(&openai_says("a"))]);
    let mut answers =
        Remote::new(options(&url, Dialect::OpenAi)).unwrap().generate(hello()).unwrap();
    while !matches!(answers.wait(), Some(Ok(crate::Delta::Finished { .. }))) {}
    let finished = Instant::now();
    assert_eq!(answers.wait(), None);
    thread.join().unwrap();
    // The watcher looks every 200 ms, and holds nothing open until then.
    assert!(finished.elapsed() < Duration::from_millis(100), "{:?}", finished.elapsed());
}

#[test]
fn silence_is_not_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let mut options = options(&url, Dialect::OpenAi);
    options.patience.silence = Duration::from_millis(100);
    let error = Remote::new(options).unwrap().generate(hello()).unwrap().gather_here().unwrap_err();
    assert!(matches!(error, ProviderError::Unreachable { .. }), "{error}");
    listener.set_nonblocking(true).unwrap();
    let connections = std::iter::from_fn(|| listener.accept().ok()).count();
    assert_eq!(connections, 1);
}

#[test]
fn tries_have_one_time_together() {
    let busy = failed(503, "retry-after: 1\r\n", "");
    let (url, requests, thread) = server(vec![busy]);
    let mut options = options(&url, Dialect::OpenAi);
    options.patience.whole = Duration::from_millis(500);
    let began = Instant::now();
    let error = Remote::new(options).unwrap().generate(hello()).unwrap().gather_here().unwrap_err();
    thread.join().unwrap();
    assert!(matches!(error, ProviderError::Remote { status: 503, .. }), "{error}");
    assert!(began.elapsed() < Duration::from_millis(900));
    assert_eq!(requests.iter().count(), 1);
}

#[test]
fn anthropic_thinks_within_the_answer() {
    let remote = Remote::new(options("http://127.0.0.1:9/v1", Dialect::Anthropic)).unwrap();
    let body = |tokens_max, new_tokens_max| {
        let effort = Effort::On { tokens_max };
        let sampling = Sampling { top_p: Some(0.7), ..Sampling::default() };
        let turn = Turn { sampling, new_tokens_max, effort, ..hello() };
        let (_, body) = remote.shared.request(&turn).ok()?;
        assert_eq!(body["top_p"], json!(0.7));
        Some((body["thinking"]["budget_tokens"].as_u64()?, body["max_tokens"].as_u64()?))
    };
    assert_eq!(body(Some(2000), Some(3000)), Some((2000, 3000)));
    assert_eq!(body(None, None), Some((4096, 4096 + 8192)));
    assert_eq!(body(None, Some(3000)), Some((1500, 3000)));
    assert_eq!(body(Some(200), None), None);
    assert_eq!(body(Some(2000), Some(2000)), None);
    assert_eq!(body(None, Some(1000)), None);
    // It would go on with what is to be answered.
    let said = vec![Message::text("user", "a"), Message::text("assistant", "b")];
    let turn = Turn { prompt: Prompt::chat(said), ..Turn::default() };
    assert!(matches!(remote.check(&turn), Err(ProviderError::Unsupported { .. })));
}

#[test]
fn passing_failures_are_tried_again_and_others_are_not() {
    let stream = events(&[
        json!({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}),
    ]) + "data: [DONE]\n\n";
    let busy = failed(503, "retry-after: 0\r\n", "{\"error\": {\"message\": \"later\"}}");
    let (url, _, thread) = server(vec![busy.clone(), busy.clone(), ok(&stream)]);
    assert_eq!(answer(&url, Dialect::OpenAi, hello()).unwrap()[0].text, "a");
    thread.join().unwrap();

    let (url, _, thread) = server(vec![busy.clone(), busy.clone(), busy]);
    let error = answer(&url, Dialect::OpenAi, hello()).unwrap_err();
    thread.join().unwrap();
    let ProviderError::Remote { status, reason, .. } = error else { panic!("{error}") };
    assert_eq!((status, &*reason), (503, "later"));

    let denied = failed(401, "", "{\"error\": {\"message\": \"no\\u0007 such key\"}}");
    let (url, requests, thread) = server(vec![denied]);
    let error = answer(&url, Dialect::OpenAi, hello()).unwrap_err();
    thread.join().unwrap();
    assert!(matches!(&error, ProviderError::Unauthorized { reason, .. }
            if reason == "no\\u{7} such key"));
    assert_eq!(requests.iter().count(), 1);

    let later = failed(429, "retry-after: 3600\r\n", "");
    let (url, _, thread) = server(vec![later]);
    let error = answer(&url, Dialect::OpenAi, hello()).unwrap_err();
    thread.join().unwrap();
    assert_eq!(error, ProviderError::Busy { retry_after: Duration::from_secs(3600) });
}

#[test]
fn what_breaks_off_or_is_no_json_is_an_error() {
    let half = events(&[json!({"choices": [{"index": 0, "delta": {"content": "{\"a\""}}]})]);
    let (url, _, thread) = server(vec![ok(&half)]);
    let error = answer(&url, Dialect::OpenAi, hello()).unwrap_err();
    thread.join().unwrap();
    assert!(matches!(error, ProviderError::Unreachable { .. }), "{error}");

    let ended = half + "data: [DONE]\n\n";
    let (url, _, thread) = server(vec![ok(&ended)]);
    let turn = Turn { format: OutputFormat::JsonObject, ..hello() };
    let error = answer(&url, Dialect::OpenAi, turn).unwrap_err();
    thread.join().unwrap();
    assert!(error.to_string().contains("JSON"), "{error}");

    let (url, _, thread) = server(vec![ok("data: {]\n\n")]);
    assert!(answer(&url, Dialect::OpenAi, hello()).is_err());
    thread.join().unwrap();
}

#[test]
fn a_request_nobody_listens_to_is_broken_off() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let remote = Remote::new(options(&url, Dialect::OpenAi)).unwrap();
    let answers = remote.generate(hello()).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    read_request(&mut stream);
    stream.write_all(ok("").as_bytes()).unwrap();
    drop(answers);
    // Silence is allowed for five seconds; the end comes sooner.
    stream.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
    let began = Instant::now();
    let end = stream.read(&mut [0; 16]);
    assert!(
        matches!(end, Ok(0)) || end.is_err_and(|it| it.kind() != std::io::ErrorKind::WouldBlock)
    );
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[test]
fn what_cannot_be_said_is_refused() {
    let url = "http://127.0.0.1:9/v1";
    let plain = RemoteOptions { extended: false, ..options(url, Dialect::OpenAi) };
    let plain = Remote::new(plain).unwrap();
    let min_p = Sampling { min_p: Some(0.1), ..Sampling::default() };
    let seed = Sampling { seed: Some(1), ..Sampling::default() };
    let turns = [
        Turn { sampling: min_p, ..hello() },
        Turn { format: OutputFormat::Regex("a+".to_owned()), ..hello() },
        Turn { ignore_end: true, ..hello() },
        Turn { prompt: Prompt::Tokens(vec![1]), ..Turn::default() },
    ];
    for turn in turns {
        let error = plain.generate(turn.clone()).err();
        assert!(matches!(error, Some(ProviderError::Unsupported { .. })), "{turn:?}");
    }
    let anthropic = Remote::new(options(url, Dialect::Anthropic)).unwrap();
    for turn in [Turn { sampling: seed, ..hello() }, Turn { samples: 2, ..hello() }] {
        let error = anthropic.generate(turn.clone()).err();
        assert!(matches!(error, Some(ProviderError::Unsupported { .. })), "{turn:?}");
    }
    for url in [
        "ftp://a/v1",
        "nothing",
        "http://example.com/v1",
        "https://a/v1?key=1",
        "https://me:secret@example.com/v1",
    ] {
        let error = Remote::new(options(url, Dialect::OpenAi)).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
    let many = Turn { samples: SAMPLES_MAX + 1, ..hello() };
    assert!(matches!(plain.check(&many), Err(ProviderError::Invalid { .. })));
    let tools = Tools { choice: ToolChoice::Required, ..Tools::default() };
    let error = plain.check(&Turn { tools, ..hello() });
    assert!(matches!(error, Err(ProviderError::Invalid { .. })));
    let breakers = Sampling { dry_breakers: Some(Vec::new()), ..Sampling::default() };
    let turn = Turn { sampling: breakers, ..hello() };
    assert!(matches!(plain.check(&turn), Err(ProviderError::Unsupported { .. })));
    assert!(!format!("{:?}", options(url, Dialect::OpenAi)).contains("sk-1"));
}
