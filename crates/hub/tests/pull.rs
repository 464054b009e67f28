//! Pulls from a hub on loopback, kind and hostile.

#![cfg(feature = "pull")]
#![allow(clippy::unwrap_used, reason = "a test ends where it goes wrong")]

mod common;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Answer, Length, Request, Scratch, Server};
use lucid_hub::{ApiKey, HubConfig, HubError, PullEvent, PullPlan, plan_pull, pull};

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap();
    digest.as_ref().iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Content that differs everywhere, so that a misplaced piece is noticed.
fn weights(bytes: usize) -> Vec<u8> {
    (0..bytes as u32).flat_map(|i| i.wrapping_mul(2654435761).to_le_bytes()).take(bytes).collect()
}

/// The listing of a repository with these large files.
fn listing(files: &[(&str, &[u8])]) -> String {
    let siblings: Vec<String> = files
        .iter()
        .map(|(name, content)| {
            let (name, hex) = (serde_json::to_string(name).unwrap(), sha256(content));
            let size = content.len();
            format!(
                r#"{{"rfilename":{name},"size":{size},"lfs":{{"sha256":"{hex}","size":{size}}}}}"#
            )
        })
        .collect();
    format!(r#"{{"sha":"{REVISION}","siblings":[{}]}}"#, siblings.join(","))
}

/// The answer of an honest store, ranges included.
fn ranged(request: &Request, content: &[u8]) -> Answer {
    match request.from {
        Some(from) if from >= content.len() => Answer::new(416, ""),
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", content.len() - 1, content.len());
            Answer::new(206, &content[from..]).with("Content-Range", range)
        }
        None => Answer::new(200, content),
    }
}

fn is_listing(request: &Request) -> bool {
    request.path.starts_with("/api/models/org/repo/revision/main")
}

/// A hub with one file `m.gguf`, whose transfer is answered by `store(request, n-th transfer)`.
fn hub(
    content: Vec<u8>,
    store: impl Fn(&Request, usize, &[u8]) -> Answer + Send + Sync + 'static,
) -> Server {
    Server::start(move |request, count| {
        if is_listing(request) {
            return Answer::new(200, listing(&[("m.gguf", &content)]));
        }
        assert_eq!(request.path, format!("/org/repo/resolve/{REVISION}/m.gguf"));
        store(request, count - 1, &content)
    })
}

fn run(config: &HubConfig, plan: &PullPlan) -> Result<PathBuf, HubError> {
    pull(config, plan, &mut |_| {}, &AtomicBool::new(false))
}

fn parts(scratch: &Scratch) -> usize {
    let Ok(entries) = fs::read_dir(scratch.0.join("lucid/org/repo")) else { return 0 };
    entries.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "part")).count()
}

/// One file of `content` arrives whole in spite of what `store` does.
fn check(
    content: &[u8],
    store: impl Fn(&Request, usize, &[u8]) -> Answer + Send + Sync + 'static,
) -> Server {
    let scratch = Scratch::new();
    let server = hub(content.to_vec(), store);
    let config = scratch.config(&server.url);
    let plan = plan_pull(&config, "org/repo").unwrap();
    let path = run(&config, &plan).unwrap();
    assert_eq!(path, scratch.0.join("lucid/org/repo/m.gguf"));
    assert!(fs::read(&path).unwrap() == content, "the content differs");
    assert_eq!(parts(&scratch), 0);
    server
}

/// The error of a pull from `store`, and whether a partial file is left.
fn check_fails(
    content: Vec<u8>,
    store: impl Fn(&Request, usize, &[u8]) -> Answer + Send + Sync + 'static,
) -> (HubError, usize) {
    let scratch = Scratch::new();
    let server = hub(content, store);
    let config = scratch.config(&server.url);
    let plan = plan_pull(&config, "org/repo").unwrap();
    let error = run(&config, &plan).unwrap_err();
    assert!(!scratch.0.join("lucid/org/repo/m.gguf").exists());
    (error, parts(&scratch))
}

#[test]
fn a_whole_repository() {
    let scratch = Scratch::new();
    let names = ["a-Q8_0.gguf", "d/a-Q4_0-00001-of-00002.gguf", "d/a-Q4_0-00002-of-00002.gguf"];
    let contents: Vec<Vec<u8>> = [10, 700_000, 300_001].map(weights).into();
    let files: Vec<_> = names.into_iter().zip(contents.clone()).collect();
    let server = Server::start(move |request, _| {
        if is_listing(request) {
            let borrowed: Vec<_> = files.iter().map(|(n, c)| (*n, c.as_slice())).collect();
            return Answer::new(200, listing(&borrowed));
        }
        let (_, content) = files.iter().find(|(name, _)| request.path.ends_with(name)).unwrap();
        ranged(request, content)
    });
    let config = scratch.config(&server.url);
    let plan = plan_pull(&config, "org/repo").unwrap();
    assert_eq!((plan.total_bytes, plan.missing_bytes), (1_000_001, 1_000_001));
    assert!(plan.reason.starts_with("Q4_0 is the first"), "{}", plan.reason);
    assert_eq!(plan.alternatives, [("a-Q8_0".to_owned(), 10)]);
    let (mut last, mut finished) = (0, 0);
    let mut progress = |event: PullEvent<'_>| match event {
        PullEvent::Progress { done_bytes, total_bytes, .. } => {
            assert!(done_bytes > last && done_bytes <= total_bytes);
            last = done_bytes;
        }
        PullEvent::Finished { checked, .. } => finished += usize::from(checked),
        _ => {}
    };
    let path = pull(&config, &plan, &mut progress, &AtomicBool::new(false)).unwrap();
    assert_eq!((last, finished), (1_000_001, 2));
    assert_eq!(path, scratch.0.join("lucid/org/repo/d/a-Q4_0-00001-of-00002.gguf"));
    assert!(fs::read(&path).unwrap() == contents[1]);

    // What is there is verified, not fetched again; a spoilt file is.
    let before = server.requests().len();
    run(&config, &plan).unwrap();
    assert_eq!(server.requests().len(), before);
    fs::write(&path, weights(700_000).into_iter().rev().collect::<Vec<_>>()).unwrap();
    run(&config, &plan).unwrap();
    assert!(fs::read(&path).unwrap() == contents[1]);
    assert_eq!(plan_pull(&config, "org/repo").unwrap().missing_bytes, 0);
}

#[test]
fn the_token_stays_with_the_hub() {
    let scratch = Scratch::new();
    let content = weights(100_000);
    let stored = content.clone();
    let store = Server::start(move |request, _| ranged(request, &stored));
    let target = format!("{}/blob?signature=1", store.url);
    let server = hub(content, move |_, _, _| Answer::new(302, "").with("Location", &target));
    let mut config = scratch.config(&server.url);
    config.token = ApiKey::parse("hf_secret");
    let plan = plan_pull(&config, "org/repo").unwrap();
    run(&config, &plan).unwrap();
    assert_eq!(store.requests().len(), 1);
    assert!(store.requests().iter().all(|request| request.authorization.is_none()));
    let sent = server.requests();
    assert!(sent.iter().all(|r| r.authorization.as_deref() == Some("Bearer hf_secret")));
}

#[test]
fn cut_connections_are_resumed() {
    let server = check(&weights(3_000_000), |request, count, content| {
        let mut answer = ranged(request, content);
        if count < 3 {
            answer.length = Length::Declared(answer.body.len());
            answer.body.truncate(700_000);
        }
        answer
    });
    let starts: Vec<_> = server.requests().iter().skip(1).map(|r| r.from.unwrap_or(0)).collect();
    assert_eq!(starts.len(), 4);
    assert!(starts.windows(2).all(|pair| pair[0] < pair[1]), "each goes on: {starts:?}");
}

#[test]
fn errors_that_pass() {
    check(&weights(1000), |request, count, content| match count {
        0 => Answer::new(500, "oops"),
        1 => Answer::new(429, "").with("Retry-After", 0),
        2 => Answer::new(503, ""),
        _ => ranged(request, content),
    });
    let stalls = check(&weights(1000), |request, count, content| {
        let mut answer = ranged(request, content);
        if count == 0 {
            answer.length = Length::Declared(content.len());
            answer.body.truncate(10);
            answer.stalls = true;
        }
        answer
    });
    assert_eq!(stalls.requests().last().unwrap().from, Some(10));
}

#[test]
fn a_server_without_ranges() {
    check(&weights(100_000), |_, count, content| {
        let mut answer = Answer::new(200, content);
        if count == 0 {
            answer.length = Length::Declared(content.len());
            answer.body.truncate(50_000);
        }
        answer
    });
}

/// A hub whose first transfer stops after 1.5 of 2 MB without closing the connection.
fn stalling_hub(content: &[u8]) -> Server {
    hub(content.to_vec(), |request, count, content| {
        let mut answer = ranged(request, content);
        if count == 0 {
            answer.length = Length::Declared(content.len());
            answer.body.truncate(1_500_000);
            answer.stalls = true;
        }
        answer
    })
}

/// The second pull goes on from where the first one, now gone, had come to.
fn check_goes_on(scratch: &Scratch, config: &HubConfig, server: &Server, content: &[u8]) {
    assert_eq!(parts(scratch), 1);
    assert!(lucid_hub::installed(config).is_empty(), "a partial file is no model");
    let plan = plan_pull(config, "org/repo").unwrap();
    assert!(plan.missing_bytes <= 1_000_000, "{}", plan.missing_bytes);
    let path = run(config, &plan).unwrap();
    assert!(fs::read(path).unwrap() == content);
    assert!(server.requests().last().unwrap().from.unwrap() >= 1_000_000);
    assert_eq!(parts(scratch), 0);
}

#[test]
fn a_pull_goes_on_after_cancelling() {
    let scratch = Scratch::new();
    let content = weights(2_000_000);
    let server = stalling_hub(&content);
    let config = scratch.config(&server.url);
    let plan = plan_pull(&config, "org/repo").unwrap();
    let cancel = AtomicBool::new(false);
    let mut stop_late = |event: PullEvent<'_>| {
        if let PullEvent::Progress { file_bytes: 1_000_000.., .. } = event {
            cancel.store(true, Ordering::Relaxed);
        }
    };
    let error = pull(&config, &plan, &mut stop_late, &cancel).unwrap_err();
    assert!(matches!(error, HubError::Cancelled), "{error}");
    check_goes_on(&scratch, &config, &server, &content);
}

/// Kills another process (this program, running [`victim`]) in the middle of its pull.
#[test]
fn a_pull_goes_on_after_a_kill() {
    let scratch = Scratch::new();
    let content = weights(2_000_000);
    let server = stalling_hub(&content);
    let config = scratch.config(&server.url);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "victim"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let order = format!("{}\n{}\n", server.url, config.cache.display());
    child.stdin.take().unwrap().write_all(order.as_bytes()).unwrap();
    let folder = scratch.0.join("lucid/org/repo");
    let part_bytes = || {
        let entries = fs::read_dir(&folder).ok()?;
        entries.map(|entry| entry.unwrap().metadata().unwrap().len()).max()
    };
    let start = Instant::now();
    while part_bytes().unwrap_or(0) < 1_000_000 {
        assert!(start.elapsed().as_secs() < 60, "the other process pulls nothing");
        std::thread::sleep(Duration::from_millis(10));
    }
    let plan = plan_pull(&config, "org/repo").unwrap();
    let busy = run(&config, &plan).unwrap_err();
    assert!(matches!(busy, HubError::Busy { .. }), "{busy}");
    child.kill().unwrap();
    child.wait().unwrap();
    check_goes_on(&scratch, &config, &server, &content);
}

#[test]
#[ignore = "a part of `a_pull_goes_on_after_a_kill`, which starts and kills it"]
fn victim() {
    let mut order = std::io::stdin().lines().map(Result::unwrap);
    let mut config = HubConfig::from_vars(|_| None);
    config.endpoint = order.next().unwrap();
    config.cache = order.next().unwrap().into();
    let plan = plan_pull(&config, "org/repo").unwrap();
    run(&config, &plan).unwrap();
}

#[test]
fn wrong_content_is_deleted() {
    let (error, parts) = check_fails(weights(5000), |_, _, content| {
        Answer::new(200, content.iter().rev().copied().collect::<Vec<_>>())
    });
    assert!(matches!(&error, HubError::WrongChecksum { .. }), "{error}");
    assert!(error.to_string().contains("deleted"));
    assert_eq!(parts, 0);
}

#[test]
fn wrong_sizes_are_refused() {
    let is_wrong_size = |(error, parts): (HubError, usize)| {
        assert!(matches!(error, HubError::WrongSize { .. }), "{error}");
        assert_eq!(parts, 0);
    };
    is_wrong_size(check_fails(weights(5000), |_, _, _| Answer::new(200, weights(5001))));
    is_wrong_size(check_fails(weights(5000), |_, _, _| Answer::new(200, weights(4999))));
    // No length declared: too short, then endless.
    is_wrong_size(check_fails(weights(5000), |request, _, _| {
        let mut answer = ranged(request, &weights(4000));
        if answer.status == 200 {
            answer.length = Length::Absent;
        }
        answer
    }));
    let start = Instant::now();
    is_wrong_size(check_fails(weights(5000), |_, _, _| Answer {
        length: Length::Absent,
        endless: true,
        ..Answer::new(200, weights(1 << 20))
    }));
    assert!(start.elapsed().as_secs() < 20);
}

#[test]
fn misplaced_ranges_are_refused() {
    let (error, _) = check_fails(weights(5000), |_, _, content| {
        Answer::new(206, &content[7..]).with("Content-Range", "bytes 7-4999/5000")
    });
    assert!(matches!(error, HubError::BadReply { .. }), "{error}");
}

#[test]
fn a_hub_that_stays_broken() {
    let (error, _) = check_fails(weights(10), |_, _, _| Answer::new(502, ""));
    let HubError::Network { attempts: 4, reason, .. } = error else { panic!("{error}") };
    assert!(reason.contains("502"), "{reason}");
    let (error, _) = check_fails(weights(10), |request, _, _| {
        Answer::new(302, "").with("Location", &request.path)
    });
    assert!(error.to_string().contains("too many redirects"), "{error}");
}

/// What planning says when the listing is answered so.
fn plan_error(answer: Answer) -> HubError {
    let scratch = Scratch::new();
    let server = Server::start(move |_, _| answer.clone());
    plan_pull(&scratch.config(&server.url), "org/repo").unwrap_err()
}

#[test]
fn refusals_are_explained() {
    let text = |answer: Answer| plan_error(answer).to_string();
    assert!(text(Answer::new(401, "")).contains("set HF_TOKEN"));
    assert!(text(Answer::new(403, "")).contains("gated"));
    assert!(text(Answer::new(401, "").with("X-Error-Code", "GatedRepo")).contains("accept its"));
    assert!(text(Answer::new(404, "")).contains("has no org/repo"));
    assert!(text(Answer::new(429, "").with("Retry-After", 300)).contains("300 s"));
    let odd = text(Answer::new(418, "tea\u{1b}[2J\nmore"));
    assert!(odd.ends_with("418: tea\\u{1b}[2J"), "{odd}");
    assert!(text(Answer::new(302, "")).contains("nowhere"));
}

#[test]
fn hostile_listings() {
    let bad = |body: Vec<u8>| {
        let error = plan_error(Answer::new(200, body));
        assert!(matches!(error, HubError::BadReply { .. }), "{error}");
    };
    bad(b"<html>".to_vec());
    bad(b"{\"siblings\":".to_vec());
    bad("[".repeat(1 << 20).into_bytes());
    bad(vec![b' '; (16 << 20) + 1]);
    let endless =
        Answer { length: Length::Absent, endless: true, ..Answer::new(200, vec![b'['; 1 << 20]) };
    assert!(matches!(plan_error(endless), HubError::BadReply { .. }));
    for name in
        ["../../x.gguf", "/etc/x.gguf", "a\0.gguf", "..\\x.gguf", "C:/x.gguf", "a/../x.gguf"]
    {
        let error = plan_error(Answer::new(200, listing(&[(name, b"x")])));
        assert!(matches!(error, HubError::UnsafeFile { .. }), "{name:?}: {error}");
    }
    let huge = |count: usize| {
        let file = format!(r#"{{"rfilename":"N","size":{},"blobId":"{REVISION}"}}"#, u64::MAX / 2);
        let names =
            (1..=count).map(|i| file.replace('N', &format!("m-0000{i}-of-0000{count}.gguf")));
        let names: Vec<_> = names.collect();
        Answer::new(200, format!(r#"{{"siblings":[{}]}}"#, names.join(",")))
    };
    assert!(plan_error(huge(3)).to_string().contains("2^64"));
    let scratch = Scratch::new();
    let server = Server::start(move |_, _| huge(1));
    let config = scratch.config(&server.url);
    let plan = plan_pull(&config, "org/repo").unwrap();
    let error = run(&config, &plan).unwrap_err();
    assert!(matches!(error, HubError::DiskFull { .. }), "{error}");
}

#[test]
fn sizes_from_headers() {
    let scratch = Scratch::new();
    let content = weights(12_345);
    let (hex, length) = (sha256(&content), content.len());
    let server = Server::start(move |request, _| match request.method.as_str() {
        _ if is_listing(request) => Answer::new(200, r#"{"siblings":[{"rfilename":"m.gguf"}]}"#),
        "HEAD" => Answer::new(302, "")
            .with("Location", "http://127.0.0.1:1/nobody")
            .with("X-Linked-Size", length)
            .with("X-Linked-Etag", format!("\"{hex}\"")),
        _ => ranged(request, &content),
    });
    let config = scratch.config(&server.url);
    let plan = plan_pull(&config, "org/repo").unwrap();
    assert_eq!((plan.total_bytes, plan.revision.as_str()), (12_345, "main"));
    assert!(plan.files[0].checksum.is_some());
    run(&config, &plan).unwrap();
}

#[test]
fn a_pickle_in_disguise() {
    let scratch = Scratch::new();
    let content = b"PK\x03\x04 and so on".to_vec();
    let server = Server::start(move |request, _| {
        if is_listing(request) {
            Answer::new(200, listing(&[("model.bin", &content)]))
        } else {
            ranged(request, &content)
        }
    });
    let config = scratch.config(&server.url);
    let plan = plan_pull(&config, "org/repo:model.bin").unwrap();
    let error = run(&config, &plan).unwrap_err();
    assert!(matches!(error, HubError::Pickle { .. }), "{error}");
    assert_eq!(parts(&scratch), 0);
}

#[test]
fn settings_are_checked() {
    let scratch = Scratch::new();
    let plan = |edit: &dyn Fn(&mut HubConfig)| {
        let mut config = scratch.config("http://127.0.0.1:1");
        edit(&mut config);
        plan_pull(&config, "org/repo").unwrap_err().to_string()
    };
    for endpoint in ["", "hub", "ftp://x", "http://user@127.0.0.1:1", "http://127.0.0.1:1/?a=b"] {
        let text = plan(&|config| endpoint.clone_into(&mut config.endpoint));
        assert!(text.starts_with("endpoint"), "{endpoint}: {text}");
    }
    assert!(plan(&|config| config.offline = true).contains("HF_HUB_OFFLINE"));
    let missing = scratch.0.join("none.pem");
    assert!(plan(&|c| c.route.certificates = Some(missing.clone())).contains("SSL_CERT_FILE"));
    assert!(plan(&|_| {}).contains("failed 3 times"), "nobody listens on port 1");
}
