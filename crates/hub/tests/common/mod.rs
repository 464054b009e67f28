//! A folder that goes away and a hub on loopback, for this crate's tests. Nothing leaves loopback.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(unreachable_pub, reason = "shared by test programs, which export nothing")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use lucid_hub::{HubConfig, Retry};

/// A fresh folder, deleted at the end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hub-{}-{count}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file below the folder, with the folders it needs.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A configuration in which every cache lies below the folder.
    pub fn config(&self, endpoint: &str) -> HubConfig {
        let mut config = HubConfig::from_vars(|_| None);
        endpoint.clone_into(&mut config.endpoint);
        config.cache = self.0.join("lucid");
        config.huggingface_caches = vec![self.0.join("hf")];
        config.ollama = vec![self.0.join("ollama")];
        config.lm_studio = vec![self.0.join("lmstudio")];
        config.retry = Retry {
            attempts: 4,
            pause: Duration::from_millis(1),
            wait_max: Duration::from_secs(2),
            silence_max: Duration::from_secs(2),
        };
        config
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What arrived.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// First byte of the `Range` header.
    pub from: Option<usize>,
    pub authorization: Option<String>,
}

/// The `Content-Length` of an answer.
#[derive(Clone, Copy, Debug, Default)]
pub enum Length {
    /// The body's.
    #[default]
    True,
    /// This one.
    Declared(usize),
    /// None: the body ends when the connection does.
    Absent,
}

/// What is sent back. The connection closes after each answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub length: Length,
    /// Repeats the body until the other side hangs up.
    pub endless: bool,
    /// Keeps the connection open and silent after the body.
    pub stalls: bool,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into(), ..Self::default() }
    }

    pub fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.headers.push((name.to_owned(), format!("{value}")));
        self
    }
}

pub struct Server {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    stopped: Arc<AtomicBool>,
}

impl Server {
    /// Answers every request on a free port of loopback with `handler(request, count before it)`.
    pub fn start(handler: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let (handler, seen, stop) = (Arc::new(handler), requests.clone(), stopped.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (handler, seen, stop) = (handler.clone(), seen.clone(), stop.clone());
                thread::spawn(move || {
                    let Some(request) = read_request(&stream) else { return };
                    let count = {
                        let mut seen = seen.lock().unwrap();
                        seen.push(request.clone());
                        seen.len() - 1
                    };
                    let _ = send(stream, &handler(&request, count), &request, &stop);
                });
            }
        });
        Self { url, requests, stopped }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut request = Request { method, path, from: None, authorization: None };
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ")?;
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let from = value.strip_prefix("bytes=")?.strip_suffix('-')?;
                request.from = from.parse().ok();
            }
            "authorization" => request.authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    Some(request)
}

fn send(
    mut stream: TcpStream,
    answer: &Answer,
    request: &Request,
    stopped: &AtomicBool,
) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Answer\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    stream.write_all(head.as_bytes())?;
    match answer.length {
        Length::True => write!(stream, "Content-Length: {}\r\n\r\n", answer.body.len())?,
        Length::Declared(bytes) => write!(stream, "Content-Length: {bytes}\r\n\r\n")?,
        Length::Absent => stream.write_all(b"\r\n")?,
    }
    if request.method == "HEAD" {
        return Ok(());
    }
    stream.write_all(&answer.body)?;
    while answer.endless && !stopped.load(Ordering::Relaxed) {
        stream.write_all(&answer.body)?;
    }
    while answer.stalls && !stopped.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
