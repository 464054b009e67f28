//! `lucid serve`, `status` and `key`: a server that is started, asked and ended as people do it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Home, finish};
use crate::tiny::Tiny;

/// A server that is ended with the test.
struct Serving {
    child: Child,
    address: String,
}

fn serve(home: &Home, args: &[&str]) -> Serving {
    let mut all = vec!["serve", "--port", "0"];
    all.extend(args);
    let mut child = home.command(&all).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let said = lines.find(|line| line.as_ref().unwrap().contains(" at http")).unwrap().unwrap();
    let address = said.rsplit("://").next().unwrap().trim().to_owned();
    // What it says later must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    Serving { child, address }
}

impl Serving {
    fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap()
    }

    /// Status and body of an answer.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let (host, length) = (&self.address, body.len());
        write!(
            socket,
            "{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {length}\r\n\
             {headers}\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn chat(&self, headers: &str, body: &Value) -> (u16, Value) {
        let (status, text) = self.ask("POST", "/v1/chat/completions", headers, &body.to_string());
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}")))
    }

    /// Tells it to end, and waits until it did.
    #[cfg(unix)]
    fn end(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(0));
                return;
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hello() -> Value {
    json!({ "messages": [{ "role": "user", "content": "Hello" }], "temperature": 0 })
}

#[cfg(unix)]
#[test]
fn a_model_is_served_shown_and_ended() {
    let home = Home::new();
    home.write("tiny.gguf", &Tiny::new().bytes());
    let server = serve(&home, &["tiny.gguf"]);
    let (status, answer) = server.chat("", &hello());
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["model"], "tiny");
    assert_eq!(answer["choices"][0]["message"]["content"], "Hi!");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let mut streamed = hello();
    streamed["stream"] = json!(true);
    let (_, text) = server.ask("POST", "/v1/chat/completions", "", &streamed.to_string());
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let (status, _) = server.ask("GET", "/v1/models", "Origin: https://evil.example\r\n", "");
    assert_eq!(status, 403);
    let shown = home.ok(&["status", "--port", server.port()]);
    assert!(shown.contains("tiny") && shown.contains("nobody"), "{shown}");
    let status = home.json(&["status", "--port", server.port(), "--json"]);
    assert_eq!(status["models"][0]["name"], "tiny");
    let port = server.port().to_owned();
    server.end();
    home.fails(&["status", "--port", &port], &["no server answers", "lucid serve"]);
}

#[cfg(unix)]
#[test]
fn keys_are_made_asked_for_and_taken_away() {
    let home = Home::new();
    home.write("tiny.gguf", &Tiny::new().bytes());
    home.fails(&["serve", "tiny.gguf", "--require-key"], &["API keys are needed", "lucid key add"]);
    home.fails(&["serve", "tiny.gguf", "--host", "0.0.0.0"], &["lucid key add"]);
    let key = home.ok(&["key", "add", "laptop", "--concurrent", "3"]);
    home.fails(&["key", "add", "laptop"], &["laptop"]);
    let listed = home.json(&["key", "list", "--json"]);
    assert_eq!(listed[0]["name"], "laptop");
    assert_eq!(listed[0]["concurrent"], 3);
    assert!(!home.ok(&["key", "list"]).contains(key.trim()));
    let server = serve(&home, &["t=tiny.gguf", "--require-key"]);
    assert_eq!(server.chat("", &hello()).0, 401);
    let header = format!("Authorization: Bearer {}\r\n", key.trim());
    let (status, answer) = server.chat(&header, &hello());
    assert_eq!((status, &answer["model"]), (200, &json!("t")), "{answer}");
    home.fails(&["status", "--port", server.port()], &["LUCID_API_KEY"]);
    // A key is sent to this machine alone: nothing encrypts it on its way.
    let mut far = home.command(&["status", "--host", "192.0.2.1"]);
    far.env("LUCID_API_KEY", "sk-secret");
    finish(far).check_refusal(&["status", "--host"], &["in the clear", "192.0.2.1"]);
    home.ok(&["key", "rm", "laptop"]);
    let begin = Instant::now();
    while server.chat(&header, &hello()).0 != 401 {
        assert!(begin.elapsed() < Duration::from_secs(10), "the key still opens");
        std::thread::sleep(Duration::from_millis(100));
    }
    server.end();
}

#[test]
fn what_cannot_be_served_is_said() {
    let home = Home::new();
    home.fails(&["serve"], &["no model is on this machine", "lucid pull"]);
    home.write("broken.gguf", b"GGUF no more");
    home.fails(&["serve", "broken.gguf", "--port", "0"], &["broken.gguf"]);
    home.write("tiny.gguf", &Tiny::new().bytes());
    home.fails(&["serve", "tiny.gguf", "tiny.gguf"], &["NAME=MODEL"]);
    home.fails(&["serve", "tiny.gguf", "--cors", "example.org/x"], &["--cors"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    home.fails(&["serve", "tiny.gguf", "--port", &port], &["cannot listen", "--port"]);
}

#[cfg(unix)]
#[test]
fn a_conversation_goes_on_after_a_restart() {
    let home = Home::new();
    home.write("tiny.gguf", &Tiny::new().bytes());
    let long = "word ".repeat(20);
    let cached = |args: &[&str]| {
        let server = serve(&home, args);
        let mut body = hello();
        body["messages"][0]["content"] = json!(long);
        let (status, answer) = server.chat("", &body);
        assert_eq!(status, 200, "{answer}");
        server.end();
        answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    assert_eq!(cached(&["tiny.gguf"]), 0);
    assert!(cached(&["tiny.gguf"]) >= 64);
    assert_eq!(cached(&["tiny.gguf", "--disk-cache", "off"]), 0);
    assert_eq!(cached(&["tiny.gguf", "--kv-cache-folder", "elsewhere"]), 0);
}
