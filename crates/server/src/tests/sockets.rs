//! A server on a real socket: slow peers, peers that go away, a full queue, keys, and the end.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use lucid_provider::{
    Answers, Capabilities, Card, Delta, Provider, ProviderError, Stop, Turn, Usage, answers,
};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::options::{Options, Patience};
use crate::testing::{Shelf, site_of};

/// Says a word every few milliseconds until nobody listens; a turn of `new_tokens_max` words ends
/// by itself.
#[derive(Default)]
pub(super) struct Talker {
    card: Card,
    word: String,
    pause: Duration,
    /// Turns under way.
    pub(super) talking: Arc<AtomicUsize>,
    /// Turns that nobody broke off.
    ended: Arc<AtomicUsize>,
}

impl Talker {
    pub(super) fn new(word: &str, pause: Duration) -> Self {
        let capabilities = Capabilities { chat: true, text: true, ..Capabilities::default() };
        let card = Card { name: "tiny".to_owned(), capabilities, ..Card::default() };
        Self { card, word: word.to_owned(), pause, ..Self::default() }
    }
}

impl Provider for Talker {
    fn card(&self) -> &Card {
        &self.card
    }

    fn generate(&self, turn: Turn) -> Result<Answers, ProviderError> {
        let (teller, answers) = answers();
        let (talking, word, pause) = (Arc::clone(&self.talking), self.word.clone(), self.pause);
        let ended = Arc::clone(&self.ended);
        talking.fetch_add(1, SeqCst);
        std::thread::spawn(move || {
            teller.tell(Ok(Delta::Begun { prompt_tokens: 1, cached_tokens: 0 }));
            for _ in 0..turn.new_tokens_max.unwrap_or(usize::MAX) {
                std::thread::sleep(pause);
                let text = Delta::Text { sample: 0, text: word.clone(), tokens: Vec::new() };
                if !teller.tell(Ok(text)) {
                    break;
                }
            }
            let usage = Usage { prompt_tokens: 1, ..Usage::default() };
            if teller.tell(Ok(Delta::Finished { sample: 0, stop: Stop::Length, usage })) {
                ended.fetch_add(1, SeqCst);
            }
            talking.fetch_sub(1, SeqCst);
        });
        Ok(answers)
    }
}

/// A server that runs.
struct Running {
    address: SocketAddr,
    talking: Arc<AtomicUsize>,
    told: watch::Sender<u32>,
    done: std::thread::JoinHandle<()>,
}

fn start(options: Options, talker: Talker) -> Running {
    let talking = Arc::clone(&talker.talking);
    let (told, mut heard) = watch::channel(0);
    let (send, receive) = std::sync::mpsc::channel();
    let done = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let site = site_of(options, Shelf(vec![("tiny", Arc::new(talker))]));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            send.send(listener.local_addr().unwrap()).unwrap();
            crate::listen::serve(listener, None, site, &mut heard).await;
        });
    });
    Running { address: receive.recv().unwrap(), talking, told, done }
}

impl Running {
    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket
    }

    /// A connection on which a chat was asked for.
    fn ask(&self, fields: &str) -> TcpStream {
        let mut socket = self.connect();
        let body = format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}]{fields}}}");
        write!(
            socket,
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )
        .unwrap();
        socket
    }

    fn end(self) {
        self.told.send_modify(|count| *count += 1);
        self.done.join().unwrap();
    }

    /// Waits until so many turns are under way.
    fn wait_for_turns(&self, wanted: usize) {
        let begin = Instant::now();
        while self.talking.load(SeqCst) != wanted {
            assert!(begin.elapsed() < Duration::from_secs(10), "never {wanted} turns under way");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What comes until `wanted` does, or the connection's end.
fn read_until(socket: &mut TcpStream, wanted: &str) -> String {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&all).contains(wanted) {
        match socket.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => all.extend_from_slice(&buffer[..read]),
            Err(error) => panic!("{error} after {}", String::from_utf8_lossy(&all)),
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

fn impatient() -> Options {
    let short = Duration::from_millis(300);
    let patience = Patience { header: short, body: short, write: short };
    Options { patience, drain: Duration::from_secs(5), ..Options::default() }
}

fn quick() -> Talker {
    Talker::new("w", Duration::from_millis(2))
}

#[test]
fn a_peer_that_goes_away_cancels_its_turn() {
    let server = start(Options::default(), quick());
    let mut streaming = server.ask(",\"stream\":true");
    let waiting = server.ask("");
    assert!(read_until(&mut streaming, "\"w\"").contains("\"w\""));
    server.wait_for_turns(2);
    drop(streaming);
    server.wait_for_turns(1);
    drop(waiting);
    server.wait_for_turns(0);
    server.end();
}

#[test]
fn slow_headers_and_bodies_are_cut_off() {
    let server = start(impatient(), quick());
    let mut silent = server.connect();
    let mut dripping = server.connect();
    let mut body = server.connect();
    write!(
        body,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x.localhost\r\nContent-Length: 100\r\n\r\n{{"
    )
    .unwrap();
    write!(dripping, "POST /v1/chat/completions HTTP/1.1\r\n").unwrap();
    let begin = Instant::now();
    let mut gone = false;
    while !gone && begin.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(50));
        gone = dripping.write_all(b"X-A: b\r\n").is_err();
    }
    assert!(gone, "a header that never ends is not cut off");
    assert_eq!(read_until(&mut silent, "nothing"), "", "silence is answered by the end");
    let answer = read_until(&mut body, "}");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"code\":\"timeout\""), "{answer}");
    server.end();
}

#[test]
fn a_peer_that_takes_nothing_is_cut_off() {
    let word = "w".repeat(64 * 1024);
    let server = start(impatient(), Talker::new(&word, Duration::from_millis(1)));
    let socket = server.ask(",\"stream\":true");
    server.wait_for_turns(1);
    server.wait_for_turns(0);
    drop(socket);
    server.end();
}

/// A frame of HTTP/2. Source: RFC 9113, section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A connection of HTTP/2 on which a chat was asked for, of which the peer takes so many bytes.
fn ask_over_http_2(server: &Running, window: u32) -> TcpStream {
    let (data, headers, settings) = (0, 1, 4);
    let (end_stream, end_headers) = (1, 4);
    let mut socket = server.connect();
    let path = "/v1/chat/completions";
    // The first two of HPACK's table: POST and http; the path and the host are spelt out.
    let mut fields = vec![0x83, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    fields.extend(path.bytes());
    fields.extend([0x01, 9]);
    fields.extend(b"localhost");
    let body = br#"{"messages":[{"role":"user","content":"x"}],"stream":true}"#;
    let initial_window_size = [&[0, 4], window.to_be_bytes().as_slice()].concat();
    let all = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(settings, 0, 0, &initial_window_size),
        frame(headers, end_headers, 1, &fields),
        frame(data, end_stream, 1, body),
    ];
    socket.write_all(&all.concat()).unwrap();
    socket
}

#[test]
fn a_peer_of_http_2_that_takes_nothing_is_cut_off() {
    for window in [0, 500] {
        let server = start(impatient(), quick());
        let socket = ask_over_http_2(&server, window);
        server.wait_for_turns(1);
        server.wait_for_turns(0);
        drop(socket);
        server.end();
    }
}

#[test]
fn a_peer_of_http_2_may_wait_for_a_slow_answer() {
    let server = start(impatient(), Talker::new("w", Duration::from_millis(900)));
    let socket = ask_over_http_2(&server, 60_000);
    server.wait_for_turns(1);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(server.talking.load(SeqCst), 1, "it was cut off for the answer's slowness");
    drop(socket);
    server.wait_for_turns(0);
    server.end();
}

#[test]
fn a_full_queue_says_when_to_come_again() {
    let server = start(Options { queue_max: 1, ..Options::default() }, quick());
    let mut first = server.ask(",\"stream\":true");
    read_until(&mut first, "\"w\"");
    let answer = read_until(&mut server.ask(""), "}}");
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.to_lowercase().contains("\r\nretry-after: 1\r\n"), "{answer}");
    assert!(answer.contains("rate_limit_exceeded"), "{answer}");
    drop(first);
    server.wait_for_turns(0);
    let answer = read_until(&mut server.ask(",\"max_tokens\":1"), "}}");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    server.end();
}

#[test]
fn requests_under_way_are_finished_before_the_end() {
    let server = start(Options::default(), quick());
    let mut socket = server.ask(",\"stream\":true,\"max_tokens\":150");
    read_until(&mut socket, "\"w\"");
    server.told.send_modify(|count| *count += 1);
    std::thread::sleep(Duration::from_millis(100));
    assert!(TcpStream::connect(server.address).is_err(), "no connection is taken any more");
    let rest = read_until(&mut socket, "[DONE]");
    assert!(rest.contains("[DONE]"), "{rest}");
    server.done.join().unwrap();
}

#[test]
fn responses_in_the_background_are_finished_before_the_end() {
    let talker = quick();
    let ended = Arc::clone(&talker.ended);
    let server = start(Options::default(), talker);
    let body = r#"{"input":"x","background":true,"max_output_tokens":100}"#;
    let mut socket = server.connect();
    write!(
        socket,
        "POST /v1/responses HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{body}",
        server.address,
        body.len()
    )
    .unwrap();
    assert!(read_until(&mut socket, "queued").contains("\"queued\""));
    drop(socket);
    server.wait_for_turns(1);
    server.end();
    assert_eq!(ended.load(SeqCst), 1, "it was broken off");
}

#[test]
fn the_end_waits_no_longer_than_it_was_told_to() {
    let options = Options { drain: Duration::from_millis(200), ..Options::default() };
    let server = start(options, quick());
    let mut socket = server.ask(",\"stream\":true");
    read_until(&mut socket, "\"w\"");
    let begin = Instant::now();
    let talking = Arc::clone(&server.talking);
    server.end();
    assert!(begin.elapsed() < Duration::from_secs(3));
    while talking.load(SeqCst) > 0 {
        assert!(begin.elapsed() < Duration::from_secs(10), "the turn is cancelled");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_second_word_ends_at_once() {
    let server = start(Options::default(), quick());
    let mut socket = server.ask(",\"stream\":true");
    read_until(&mut socket, "\"w\"");
    let begin = Instant::now();
    server.told.send_modify(|count| *count += 1);
    std::thread::sleep(Duration::from_millis(50));
    server.end();
    assert!(begin.elapsed() < Duration::from_secs(3));
}

#[test]
fn connections_are_kept_and_bounded() {
    let server = start(Options { connections_max: 2, ..Options::default() }, quick());
    let mut first = server.connect();
    for _ in 0..3 {
        write!(first, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert!(read_until(&mut first, "}").starts_with("HTTP/1.1 200 "));
    }
    let second = server.connect();
    let mut third = server.connect();
    write!(third, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    third.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(third.read(&mut [0; 16]).is_err(), "there is no room for a third");
    drop(second);
    third.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert!(read_until(&mut third, "}").starts_with("HTTP/1.1 200 "));
    drop((first, third));
    server.end();
}
