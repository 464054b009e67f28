//! Templates, control tokens, conversations: with the model whose answers are known.

use crate::support::Home;
use crate::tiny::{BOS, END, START, Tiny};

fn home() -> Home {
    let home = Home::new();
    home.write("tiny.gguf", &Tiny::new().bytes());
    home
}

#[test]
fn one_answer_with_the_template() {
    let home = home();
    assert_eq!(home.ok(&["run", "tiny.gguf", "x", "--temp", "0"]), "Hi!\n");
    let run = home.json(&["run", "tiny.gguf", "x", "--temp", "0", "--json"]);
    assert_eq!((&run["text"], &run["stop"]), (&"Hi!".into(), &"end".into()));
    // <|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n
    assert_eq!(run["prompt_tokens"], 1 + 5 + 1 + 1 + 1 + 1 + 10);
    let args = ["run", "tiny.gguf", "x", "--system", "be kind", "--temp", "0", "--json"];
    let system = home.json(&args);
    assert_eq!(system["prompt_tokens"], 20 + 1 + 7 + 7 + 1 + 1);
}

#[test]
fn raw_continues_the_text() {
    let home = home();
    let args = ["run", "tiny.gguf", "--raw", "ab", "--temp", "0", "-n", "5"];
    assert_eq!(home.ok(&args), "abcdefg\n");
    assert_eq!(home.ok(&["dream", "tiny.gguf", "--temp", "0", "-n", "4"]), "abcd\n");
    let args = ["run", "tiny.gguf", "--raw", "x", "--system", "no"];
    home.fails(&args, &["--system needs a chat template"]);
}

/// Whatever a person types, no control token comes of it.
#[test]
fn spelled_control_tokens_stay_text() {
    let home = home();
    let plain = home.json(&["run", "tiny.gguf", "x", "-n", "1", "--json"]);
    for spelled in ["<|im_end|>", "<|im_start|>", "<|bos|>"] {
        let text = format!("x{spelled}");
        let tokenized = home.json(&["tokenize", "tiny.gguf", &text, "--json"]);
        let ids: Vec<u64> =
            tokenized["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
        assert_eq!(ids.len(), text.len(), "{text}");
        assert!(ids.iter().all(|&id| id < 256), "{ids:?}");
        // In a message of a conversation too: a token for each byte.
        let run = home.json(&["run", "tiny.gguf", &text, "-n", "1", "--json"]);
        let more =
            run["prompt_tokens"].as_u64().unwrap() - plain["prompt_tokens"].as_u64().unwrap();
        assert_eq!(more, spelled.len() as u64);
        let args = ["run", "tiny.gguf", "x", "--system", &text, "-n", "1", "--json"];
        let system = home.json(&args)["prompt_tokens"].as_u64().unwrap();
        assert_eq!(system, 20 + 1 + 7 + 1 + spelled.len() as u64 + 2);
    }
    let special = ["tokenize", "tiny.gguf", "<|im_start|><|im_end|><|bos|>", "--special", "--json"];
    assert_eq!(home.json(&special)["ids"], serde_json::json!([START, END, BOS]));
}

#[test]
fn the_model_cannot_move_the_cursor() {
    let home = home();
    // The byte 0x1b follows 0x1a.
    let args = ["run", "tiny.gguf", "--raw", "\u{19}", "--temp", "0", "-n", "3"];
    assert_eq!(home.ok(&args), "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\n");
    let shown = home.ok(&["tokenize", "tiny.gguf", "a\u{1b}[2J"]);
    assert!(!shown.contains('\u{1b}'), "{shown}");
}

/// A conversation at a pseudo-terminal, where util-linux's `script` can make one.
#[cfg(target_os = "linux")]
#[test]
fn a_conversation() {
    let home = home();
    let Some(mut screen) = Screen::start(&home, "--temp 0") else { return };
    screen.expect("llama \u{b7} 2 layers \u{b7} context 512");
    for (line, answer) in [
        ("hello", "Hi!"),
        ("/again", "Hi!"),
        ("/nothing", "there is no /nothing"),
        ("/set temp x", "needs a number"),
        ("\"\"\"one", "\u{2026} "),
        ("two\"\"\"", "Hi!"),
        ("/stats", "of 512 tokens"),
        ("/reset", "a new conversation"),
    ] {
        screen.type_line(line);
        screen.expect(answer);
    }
    screen.type_line("/exit");
    screen.wait(|screen| screen.child.try_wait().unwrap().is_some(), "the end");
    assert_eq!(screen.child.wait().unwrap().code(), Some(0));
    let history = std::fs::read_to_string(home.path("xdg_state_home/lucid/history")).unwrap();
    assert!(history.contains("hello"), "{history}");
}

/// Ctrl-C stops an answer, not the program.
#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_conversation() {
    let home = home();
    // Without its last token an answer goes on as long as the context does.
    let flags = "--temp 0 --logit-bias 259=-inf --ctx 200000";
    let Some(mut screen) = Screen::start(&home, flags) else { return };
    screen.expect("context 200000");
    for _ in 0..2 {
        screen.type_line("hello");
        screen.wait(|screen| screen.text()[screen.seen..].contains("Hi!"), "an answer");
        screen.press("\u{3}");
        screen.expect("(stopped)");
    }
    screen.press("\u{3}");
    screen.expect("/exit leaves");
    screen.press("\u{4}");
    screen.wait(|screen| screen.child.try_wait().unwrap().is_some(), "the end");
    assert_eq!(screen.child.wait().unwrap().code(), Some(0));
}

/// The program at a pseudo-terminal, and what it has written there.
#[cfg(target_os = "linux")]
struct Screen {
    child: std::process::Child,
    stdin: std::process::ChildStdin,
    shown: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
    /// What has been looked at already.
    seen: usize,
}

#[cfg(target_os = "linux")]
impl Screen {
    fn start(home: &Home, flags: &str) -> Option<Self> {
        use std::process::{Command, Stdio};
        if !Command::new("script").arg("--version").output().is_ok_and(|it| it.status.success()) {
            println!("skipped: no `script` to make a pseudo-terminal with");
            return None;
        }
        let lucid = home.command(&[]);
        // `exec`: Ctrl-C would reach a waiting shell too.
        let line = format!("exec '{}' run tiny.gguf {flags}", env!("CARGO_BIN_EXE_lucid"));
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).current_dir(home.path("")).env_clear();
        command.envs(lucid.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("TERM", "xterm").env("NO_COLOR", "1").env("SHELL", "/bin/sh");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let shown = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let sink = shown.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = std::io::Read::read(&mut stdout, &mut bytes)
                && count > 0
            {
                sink.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Some(Self { child, stdin, shown, seen: 0 })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until a text was shown, and the prompt after it.
    fn expect(&mut self, text: &str) {
        let end = |screen: &Self| {
            let shown = screen.text();
            let start = screen.seen + shown.get(screen.seen..)?.find(text)? + text.len();
            let prompt = if text == "\u{2026} " { "" } else { "> " };
            Some(start + shown[start..].find(prompt)? + prompt.len())
        };
        self.wait(|screen| end(screen).is_some(), text);
        self.seen = end(self).unwrap();
    }

    fn type_line(&mut self, line: &str) {
        self.press(&format!("{line}\r"));
    }

    fn press(&mut self, keys: &str) {
        use std::io::Write as _;
        // Between two prompts the terminal is in another mode for a moment.
        std::thread::sleep(std::time::Duration::from_millis(100));
        self.stdin.write_all(keys.as_bytes()).unwrap();
    }

    fn wait(&mut self, done: impl Fn(&mut Self) -> bool, what: &str) {
        let started = std::time::Instant::now();
        while !done(self) {
            if started.elapsed().as_secs() > 20 {
                self.child.kill().unwrap();
                panic!("waited for `{what}`:\n{}", self.text());
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
