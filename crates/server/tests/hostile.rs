//! Hostile connections: what comes over a real socket and is no request, slow, or broken off. The
//! server goes on answering.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use lucid_provider::Provider;
use lucid_provider::scripted::Scripted;
use lucid_server::{Catalog, Entry, LoadError, Options, Patience, Server};

/// One model that says back what it is told.
struct Shelf;

fn entry() -> Entry {
    Entry {
        name: "tiny".to_owned(),
        bytes: 1,
        memory_bytes: 1,
        modified: None,
        source: "tests".to_owned(),
    }
}

impl Catalog for Shelf {
    fn list(&self) -> Vec<Entry> {
        vec![entry()]
    }

    fn resolve(&self, asked: &str) -> Option<Entry> {
        (asked == "tiny").then(entry)
    }

    fn load(&self, _: &str) -> Result<Arc<dyn Provider>, LoadError> {
        Ok(Arc::new(Scripted::new("tiny")))
    }
}

/// A server that all tests share. It ends with the process.
fn address() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        let second = Duration::from_secs(1);
        let options = Options {
            address: ([127, 0, 0, 1], 0).into(),
            patience: Patience { header: second, body: second, write: second },
            ..Options::default()
        };
        let server = Server::bind(options, Arc::new(Shelf)).expect("a port is free");
        let address = server.address();
        std::thread::spawn(move || server.run());
        address
    })
}

fn connect() -> TcpStream {
    let stream = TcpStream::connect(address()).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("it is no zero");
    stream.set_write_timeout(Some(Duration::from_secs(10))).expect("it is no zero");
    stream
}

/// All that comes until the server closes the connection. A reset counts as the end.
fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut piece) {
        bytes.extend_from_slice(&piece[..length]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn request(body: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[track_caller]
fn goes_on() {
    let mut stream = connect();
    let body = r#"{"model":"tiny","messages":[{"role":"user","content":"hello"}]}"#;
    stream.write_all(request(body).as_bytes()).expect("the server reads");
    let answer = answer(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("hello"), "{answer}");
}

#[test]
fn what_is_no_request() {
    let long = "x".repeat(1 << 20);
    let many = "x-header: y\r\n".repeat(10_000);
    for (what, bytes) in [
        ("garbage", "\u{1}\u{2}\u{3}garbage\r\n\r\n".to_owned()),
        ("no version", "GET /\r\n\r\n".to_owned()),
        ("no host", "GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n".to_owned()),
        ("a long path", format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n")),
        ("a long header", format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n")),
        ("many headers", format!("GET / HTTP/1.1\r\nhost: localhost\r\n{many}\r\n")),
        (
            "a negative length",
            "POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-length: -5\r\n\r\n{}".to_owned(),
        ),
        (
            "two lengths",
            "POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\
             content-length: 30\r\n\r\n{}"
                .to_owned(),
        ),
        (
            "a chunk of no length",
            "POST /api/chat HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n\
             zz\r\n{}\r\n0\r\n\r\n"
                .to_owned(),
        ),
        (
            "an endless chunk",
            "POST /api/chat HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n\
             ffffffffffffffff\r\n{}"
                .to_owned(),
        ),
    ] {
        let mut stream = connect();
        // The server may close before all is written.
        let _ = stream.write_all(bytes.as_bytes());
        let answer = answer(&mut stream);
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{what}: {}", answer.lines().next().unwrap_or_default());
        goes_on();
    }
}

#[test]
fn slow_senders_are_cut_off() {
    let started = Instant::now();
    let whole = request(r#"{"model":"tiny","messages":[]}"#);
    let (header, body) = whole.split_once("\r\n\r\n").unwrap();
    for (what, part) in [
        ("nothing at all", String::new()),
        ("half a header", header[..20].to_owned()),
        ("half a body", format!("{header}\r\n\r\n{}", &body[..10])),
    ] {
        let mut stream = connect();
        stream.write_all(part.as_bytes()).unwrap();
        let answer = answer(&mut stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{what}: {answer}");
        if what == "half a body" {
            assert!(answer.contains("\"error\""), "{what}: {answer}");
        }
    }
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    goes_on();
}

#[test]
fn a_byte_at_a_time_is_too_slow_as_well() {
    let mut stream = connect();
    let whole = request(&" ".repeat(1000));
    let started = Instant::now();
    for byte in whole.bytes() {
        let written = stream.write_all(&[byte]);
        std::thread::sleep(Duration::from_millis(20));
        if written.is_err() || started.elapsed() > Duration::from_secs(8) {
            break;
        }
    }
    assert!(started.elapsed() < Duration::from_secs(8), "the sender was not cut off");
    goes_on();
}

#[test]
fn connections_that_break_off() {
    let body = r#"{"model":"tiny","stream":true,"messages":[{"role":"user","content":"hello"}]}"#;
    let whole = request(body);
    for length in (0..whole.len()).step_by(7) {
        let mut stream = connect();
        stream.write_all(&whole.as_bytes()[..length]).unwrap();
    }
    goes_on();
}

#[test]
fn bodies_larger_than_is_taken() {
    let mut stream = connect();
    let header = "POST /api/chat HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                  content-length: 9999999999999\r\n\r\n";
    stream.write_all(header.as_bytes()).unwrap();
    let answer = answer(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("\"error\""), "{answer}");
    goes_on();
}
