//! pull, list and rm against a hub on loopback, and models in the caches of other programs.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Home, Run, finish};
use crate::tiny::Tiny;

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

/// Serves `org/repo` with one file `tiny.gguf`; counts the transfers of it.
struct Hub {
    url: String,
    transfers: Arc<AtomicUsize>,
}

impl Hub {
    fn start(content: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let transfers = Arc::new(AtomicUsize::new(0));
        let counter = transfers.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let _ = answer(stream, &content, &counter);
            }
        });
        Self { url, transfers }
    }

    fn command(&self, home: &Home, args: &[&str]) -> Command {
        let mut command = home.command(args);
        command.env("HF_ENDPOINT", &self.url).env_remove("HF_HUB_OFFLINE");
        command
    }

    fn run(&self, home: &Home, args: &[&str]) -> Run {
        finish(self.command(home, args))
    }
}

fn answer(mut stream: TcpStream, content: &[u8], transfers: &AtomicUsize) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let method_and_path: Vec<&str> = first.split(' ').take(2).collect();
    for line in lines {
        if line.is_empty() {
            break;
        }
    }
    let listing = format!(
        r#"{{"sha":"{REVISION}","siblings":[{{"rfilename":"README.md","size":9}},
            {{"rfilename":"tiny.gguf","size":{}}}]}}"#,
        content.len()
    );
    let file = format!("/org/repo/resolve/{REVISION}/tiny.gguf");
    let (status, body) = match method_and_path.as_slice() {
        ["GET", path] if path.starts_with("/api/models/org/repo/") => (200, listing.as_bytes()),
        ["HEAD", path] if *path == file => (200, &[][..]),
        ["GET", path] if *path == file => {
            transfers.fetch_add(1, Ordering::SeqCst);
            (200, content)
        }
        _ => (404, &b"{}"[..]),
    };
    let length = if method_and_path[0] == "HEAD" { content.len() } else { body.len() };
    let head = "Connection: close\r\nContent-Length";
    write!(stream, "HTTP/1.1 {status} Answer\r\n{head}: {length}\r\n\r\n")?;
    stream.write_all(body)
}

#[test]
fn pull_list_run_rm() {
    let home = Home::new();
    let content = Tiny::new().bytes();
    let hub = Hub::start(content.clone());
    let plan = hub.run(&home, &["pull", "org/repo", "--dry-run"]);
    assert_eq!((plan.code, hub.transfers.load(Ordering::SeqCst)), (Some(0), 0), "{plan:?}");
    assert!(plan.out.contains("tiny.gguf"), "{plan:?}");

    let pulled = hub.run(&home, &["pull", "org/repo"]);
    assert_eq!((pulled.code, hub.transfers.load(Ordering::SeqCst)), (Some(0), 1), "{pulled:?}");
    assert_eq!(std::fs::read(pulled.out.trim_end()).unwrap(), content);
    let again = hub.run(&home, &["pull", "org/repo", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!((&value["missing_bytes"], &value["revision"]), (&0.into(), &REVISION.into()));
    assert_eq!(hub.transfers.load(Ordering::SeqCst), 1, "what is here is not fetched again");

    // From here on without the hub.
    drop(hub);
    let list = home.json(&["list", "--json"]);
    let name = list[0]["name"].as_str().unwrap().to_owned();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["bytes"]), (1, &content.len().into()));
    for model in ["org/repo", &name, "tiny"] {
        assert_eq!(home.ok(&["run", model, "x", "--temp", "0"]), "Hi!\n", "{model}");
    }
    assert!(home.ok(&["list"]).contains(&name));
    home.fails(&["rm", &name], &["--yes"]);
    assert!(home.ok(&["rm", "-y", &name]).starts_with("deleted "));
    assert!(home.ok(&["list"]).contains("No model is on this machine"));
}

/// Nothing is fetched that nobody asked for.
#[test]
fn never_silently() {
    let home = Home::new();
    let hub = Hub::start(Tiny::new().bytes());
    for command in ["run", "show", "next"] {
        let run = hub.run(&home, &[command, "org/repo"]);
        run.check_refusal(&[command], &["org/repo", "lucid pull org/repo"]);
    }
    assert_eq!(hub.transfers.load(Ordering::SeqCst), 0);
    let absent = hub.run(&home, &["pull", "org/absent"]);
    absent.check_refusal(&["pull"], &["org/absent"]);
    home.fails(&["pull", "org/repo"], &["HF_HUB_OFFLINE"]);
    home.fails(&["pull", "../../etc"], &["../../etc"]);
}

/// Models that Hugging Face's tools, Ollama and LM Studio keep are found, and run where they lie.
#[cfg(unix)]
#[test]
fn caches_of_others() {
    let home = Home::new();
    let content = Tiny::new().bytes();
    let snapshot = "xdg_cache_home/huggingface/hub/models--org--face";
    home.write(&format!("{snapshot}/snapshots/rev/face.gguf"), &content);
    home.write(&format!("{snapshot}/refs/main"), b"rev");
    home.write("home/.lmstudio/models/pub/studio/studio.gguf", &content);
    let digest = "a".repeat(64);
    home.write(&format!("home/.ollama/models/blobs/sha256-{digest}"), &content);
    let manifest = format!(
        r#"{{"schemaVersion":2,"layers":[{{"mediaType":"application/vnd.ollama.image.model",
            "digest":"sha256:{digest}","size":{}}}]}}"#,
        content.len()
    );
    let library = "home/.ollama/models/manifests/registry.ollama.ai/library";
    home.write(&format!("{library}/llamalike/1b"), manifest.as_bytes());

    let list = home.json(&["list", "--json"]);
    let names: Vec<&str> =
        list.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    for (name, part) in [("face", "face"), ("studio", "studio"), ("llamalike:1b", "llamalike")] {
        let listed = names.iter().find(|listed| listed.contains(part)).unwrap();
        for name in [name, listed] {
            assert_eq!(home.ok(&["run", name, "x", "--temp", "0"]), "Hi!\n", "{name}");
        }
        let run = home.fails(&["rm", "-y", listed], &[]);
        assert!(!run.err.contains("deleted"), "{run:?}");
    }
    assert_eq!(home.json(&["list", "--json"]).as_array().unwrap().len(), 3);
}
