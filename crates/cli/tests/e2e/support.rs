//! A home of its own for each test, runs of the binary in it, and the shared data.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder that goes away; every folder that the program looks for lies in it.
pub(crate) struct Home(PathBuf);

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("cli-{}-{count}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file below the folder, with the folders it needs.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The program, in this home, with nothing of the surrounding environment. Relative paths are
    /// below the home.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lucid"));
        command.args(args).current_dir(&self.0).env_clear();
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", path);
        }
        for name in [
            "HOME",
            "XDG_CACHE_HOME",
            "XDG_STATE_HOME",
            "XDG_DATA_HOME",
            "XDG_CONFIG_HOME",
            "LUCID_HOME",
        ] {
            command.env(name, self.0.join(name.to_lowercase()));
        }
        command.env("HF_ENDPOINT", "http://127.0.0.1:9").env("HF_HUB_OFFLINE", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        finish(self.command(args))
    }

    /// A run with text on standard input.
    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> Run {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        child.wait_with_output().unwrap().into()
    }

    /// The standard output of a run that must succeed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let run = self.run(args);
        assert_eq!(run.code, Some(0), "{args:?}: {run:?}");
        run.out
    }

    /// The same, as JSON.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let out = self.ok(args);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{args:?}: {error}\n{out}"))
    }

    /// A run that must fail with one clear message in which each of `words` stands.
    pub(crate) fn fails(&self, args: &[&str], words: &[&str]) -> Run {
        let run = self.run(args);
        run.check_refusal(args, words);
        run
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Run {
    /// Exit status 1, one line on standard error that holds `words`, no panic.
    pub(crate) fn check_refusal(&self, args: &[&str], words: &[&str]) {
        assert_eq!(self.code, Some(1), "{args:?}: {self:?}");
        assert!(self.err.starts_with("lucid: ") && self.err.ends_with('\n'), "{args:?}: {self:?}");
        assert!(!self.err.contains("panicked"), "{args:?}: {self:?}");
        let controls = self.err.chars().filter(|c| c.is_control() && *c != '\n').count();
        assert_eq!(controls, 0, "{args:?}: {self:?}");
        for word in words {
            assert!(self.err.contains(word), "expected `{word}` of {args:?} in: {}", self.err);
        }
    }
}

impl From<std::process::Output> for Run {
    fn from(output: std::process::Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

pub(crate) fn finish(mut command: Command) -> Run {
    command.output().unwrap().into()
}

/// The folder of the trained model of 260 K parameters, or `None` with a note.
pub(crate) fn stories() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let shared = std::env::var_os("LUCID_SHARED").map_or_else(|| default.into(), PathBuf::from);
    let folder = shared.join("models/stories260K");
    if folder.join("stories260K.bin").is_file() {
        return Some(folder.canonicalize().unwrap());
    }
    println!("skipped: ../shared/data is absent");
    None
}

/// Gives up on a run that takes longer than this many seconds.
pub(crate) fn within(seconds: u64, mut command: Command) -> Run {
    let mut child = command.spawn().unwrap();
    // Output is read meanwhile, so that a full pipe does not stop the program.
    let read = |pipe: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut pipe.unwrap(), &mut bytes).unwrap();
            bytes
        })
    };
    let stdout = read(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    let stderr = read(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let started = std::time::Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed().as_secs() >= seconds {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{command:?} took more than {seconds} s");
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    std::process::Output { status, stdout, stderr }.into()
}

/// Sends a signal by name, as `kill -INT` does.
#[cfg(unix)]
pub(crate) fn signal(child: &std::process::Child, name: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
}
