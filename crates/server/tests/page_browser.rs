//! The page in headless Chromium, where that is installed: it loads under its policy without a
//! complaint, streams an answer, shows tokens, stops, asks before it follows a link, and fits a
//! phone. `LUCID_SCREENSHOTS=FOLDER` keeps pictures.
//!
//! The browser is driven through its debugging pipe: JSON texts that end with a zero byte.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use lucid_provider::{
    Answers, Capabilities, Card, Delta, Provider, ProviderError, Spoken, SpokenLogProb, Stop, Turn,
    Usage, answers,
};
use lucid_server::{Catalog, Entry, LoadError, Options, Server};
use serde_json::{Value, json};

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

#[test]
fn the_page_works_in_a_browser() {
    let Some(program) = BROWSERS.into_iter().find(|name| is_installed(name)) else {
        println!("skipped: no Chromium is installed");
        return;
    };
    let server = Server::bind(
        Options { address: "127.0.0.1:0".parse().unwrap(), ..Options::default() },
        Arc::new(Shelf),
    )
    .unwrap();
    let url = server.url();
    // It ends with the process.
    std::thread::spawn(move || server.run());
    let mut browser = Browser::start(program);
    browser.open(&url);
    looks_right_at_first(&mut browser);
    an_answer_streams(&mut browser);
    tokens_are_shown(&mut browser);
    a_link_is_asked_about(&mut browser);
    an_answer_is_stopped(&mut browser);
    it_is_dark_when_wanted(&mut browser);
    it_fits_a_phone(&mut browser);
    let foreign = "performance.getEntriesByType('resource')
        .map((entry) => entry.name).filter((name) => !name.startsWith(location.origin))";
    assert_eq!(browser.evaluate(foreign), json!([]), "something else was loaded");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

fn looks_right_at_first(browser: &mut Browser) {
    browser.wait("document.querySelector('#model option')?.value === 'tiny'");
    browser.wait("!document.getElementById('empty').hidden");
    browser.picture("empty");
}

fn say(browser: &mut Browser, text: &str) {
    let text = json!(text);
    browser.evaluate(&format!(
        "(() => {{ const field = document.getElementById('text'); field.value = {text};
           field.dispatchEvent(new Event('input'));
           document.getElementById('composer').requestSubmit(); }})()"
    ));
}

fn an_answer_streams(browser: &mut Browser) {
    browser.evaluate(
        "window.steps = new Set(); new MutationObserver(() => {
           const body = document.querySelector('.assistant .body');
           if (body) window.steps.add(body.textContent.length);
         }).observe(document.getElementById('messages'), { childList: true, subtree: true })",
    );
    say(browser, "Go on");
    browser.wait("document.querySelector('.is-writing .assistant .body h2')");
    browser.picture("writing");
    browser.wait("!document.body.classList.contains('is-writing')");
    let steps = browser.evaluate("window.steps.size").as_u64().unwrap();
    assert!(steps > 3, "the answer came in {steps} steps");
    browser.wait("document.querySelector('.assistant .code code .c-word')?.textContent === 'fn'");
    assert_eq!(browser.evaluate("document.querySelectorAll('.body img, .body script').length"), 0);
    assert_eq!(browser.evaluate("window.hacked === undefined"), true);
    browser.wait("document.querySelector('.facts')?.textContent.includes('tokens')");
    browser.wait("document.querySelector('#conversations a')?.textContent === 'Go on'");
    browser.picture("light");
}

fn tokens_are_shown(browser: &mut Browser) {
    browser.evaluate("document.getElementById('token-view').click()");
    browser.wait("document.querySelector('.tokens .token.p4')");
    browser.evaluate("document.querySelector('.tokens .token.p4').click()");
    browser.wait("document.querySelectorAll('#token-card .bars li').length >= 3");
    browser.picture("tokens");
    // The tokens of a conversation that is opened anew come from the store.
    browser.evaluate("window.before = true");
    browser.command("Page.reload", &json!({}));
    browser.wait("!window.before && document.querySelectorAll('.tokens .token').length > 10");
    browser.evaluate("document.getElementById('token-view').click()");
}

fn a_link_is_asked_about(browser: &mut Browser) {
    browser.evaluate("document.querySelector('.body a.outside').click()");
    browser.wait("document.getElementById('link-dialog').open");
    let address = browser.evaluate("document.getElementById('link-address').textContent");
    assert_eq!(address, "https://elsewhere.example/page");
    browser.picture("link");
    browser.evaluate("document.getElementById('link-dialog').close()");
}

fn an_answer_is_stopped(browser: &mut Browser) {
    say(browser, "Again");
    browser.wait("document.querySelectorAll('.assistant .body h2').length === 2");
    browser.evaluate(
        "document.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }))",
    );
    browser
        .wait("document.querySelector('.message:last-child .remark')?.textContent === 'Stopped.'");
}

fn it_is_dark_when_wanted(browser: &mut Browser) {
    let ground = "getComputedStyle(document.body).backgroundColor";
    let light = browser.evaluate(ground);
    let features = json!([{"name": "prefers-color-scheme", "value": "dark"}]);
    browser.command("Emulation.setEmulatedMedia", &json!({ "features": features }));
    assert_ne!(browser.evaluate(ground), light);
    browser.picture("dark");
    browser.evaluate("document.getElementById('theme').click()");
    assert_eq!(browser.evaluate(ground), light);
    browser.evaluate("document.getElementById('theme').click()");
}

fn it_fits_a_phone(browser: &mut Browser) {
    let phone = json!({"width": 375, "height": 740, "deviceScaleFactor": 1, "mobile": true});
    browser.command("Emulation.setDeviceMetricsOverride", &phone);
    browser.wait("innerWidth === 375");
    assert_eq!(browser.evaluate("document.documentElement.scrollWidth"), 375);
    assert_eq!(browser.evaluate("document.getElementById('messages').scrollWidth <= 375"), true);
    browser.picture("phone");
    browser.evaluate("document.getElementById('sidebar-open').click()");
    browser.wait("document.getElementById('sidebar').getBoundingClientRect().left >= 0");
}

fn is_installed(program: &str) -> bool {
    let mut asked = Command::new(program);
    asked.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    asked.status().is_ok_and(|status| status.success())
}

/// A browser with one tab.
struct Browser {
    process: Child,
    folder: PathBuf,
    to: File,
    from: BufReader<File>,
    session: String,
    next: u64,
    /// Errors that the page or the browser told of.
    complaints: Vec<String>,
}

impl Browser {
    fn start(program: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("lucid-browser-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (to, from) = (folder.join("to"), folder.join("from"));
        let made = Command::new("mkfifo").args([&to, &from]).status().unwrap();
        assert!(made.success(), "no pipes can be made");
        let process = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<\"$LUCID_TO\" 4>\"$LUCID_FROM\"", program])
            .args(["--headless", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu"])
            // It shows nothing but our own page, and a test may run as root.
            .args(["--no-sandbox", "--window-size=1200,800", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", folder.join("profile").display()))
            .env("LUCID_TO", &to)
            .env("LUCID_FROM", &from)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Opening waits for the other side, in this order.
        let to = File::options().write(true).open(&to).unwrap();
        let from = BufReader::new(File::open(&from).unwrap());
        let (session, complaints) = (String::new(), Vec::new());
        Self { process, folder, to, from, session, next: 0, complaints }
    }

    fn open(&mut self, url: &str) {
        let target = self.command("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.command("Target.attachToTarget", &attach);
        attached["sessionId"].as_str().unwrap().clone_into(&mut self.session);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            self.command(domain, &json!({}));
        }
        self.command("Page.navigate", &json!({ "url": url }));
    }

    fn command(&mut self, method: &str, parameters: &Value) -> Value {
        let told = self.try_command(method, parameters);
        told.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_command(&mut self, method: &str, parameters: &Value) -> Result<Value, Value> {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes).unwrap();
            assert_eq!(bytes.pop(), Some(0), "the browser ended");
            let message: Value = serde_json::from_slice(&bytes).unwrap();
            if message["id"] == self.next {
                let error = message["error"].clone();
                return if error.is_null() { Ok(message["result"].clone()) } else { Err(error) };
            }
            self.hear(&message);
        }
    }

    /// Notes what the page complains of.
    fn hear(&mut self, event: &Value) {
        let said = &event["params"];
        let complains = match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => true,
            "Runtime.consoleAPICalled" => said["type"] == "error" || said["type"] == "warning",
            "Log.entryAdded" => said["entry"]["level"] == "error",
            _ => false,
        };
        if complains {
            self.complaints.push(said.to_string());
        }
    }

    /// The value of an expression of the page.
    fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true,
            "userGesture": true,
        });
        let told = self.command("Runtime.evaluate", &asked);
        assert!(told["exceptionDetails"].is_null(), "{expression}: {told}");
        told["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    fn wait(&mut self, expression: &str) {
        let begun = Instant::now();
        let asked = json!({ "expression": format!("Boolean({expression})") });
        loop {
            // An error: the page is just being loaded anew.
            let told = self.try_command("Runtime.evaluate", &asked).unwrap_or_default();
            if told["result"]["value"] == true {
                return;
            }
            let shown = || "document.body.innerText";
            if begun.elapsed() > Duration::from_secs(20) {
                let shown = self.evaluate(shown());
                panic!("it never came: {expression}\n{shown}\n{:?}", self.complaints);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("LUCID_SCREENSHOTS") else { return };
        let told = self.command("Page.captureScreenshot", &json!({}));
        let data = told["data"].as_str().unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
        fs::write(Path::new(&folder).join(format!("{name}.png")), bytes).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// One model.
struct Shelf;

impl Catalog for Shelf {
    fn list(&self) -> Vec<Entry> {
        vec![Entry {
            name: "tiny".to_owned(),
            bytes: 1,
            memory_bytes: 1,
            modified: None,
            source: "tests".to_owned(),
        }]
    }

    fn resolve(&self, asked: &str) -> Option<Entry> {
        self.list().into_iter().find(|entry| entry.name == asked)
    }

    fn load(&self, _: &str) -> Result<Arc<dyn Provider>, LoadError> {
        let capabilities = Capabilities { chat: true, log_probs: true, ..Capabilities::default() };
        Ok(Arc::new(Typist(Card { capabilities, ..Card::default() })))
    }
}

/// Says the same each time, a few letters at once, and tells how probable they were.
struct Typist(Card);

const SAID: &str = "## A heading\n\nSome *words*, and [a link](https://elsewhere.example/page).\n\n\
    <img src=x onerror=\"window.hacked = 1\"><script>window.hacked = 1</script>\n\n\
    ![a picture](https://elsewhere.example/picture.png)\n\n\
    ```rust\nfn main() {\n    println!(\"hello\");\n}\n```\n\n\
    | a | b |\n|---|--:|\n| 1 | 2 |\n\nAnd a last sentence that goes on for a while, so that there \
    is time to stop it before it comes to its end.\n";

impl Provider for Typist {
    fn card(&self) -> &Card {
        &self.0
    }

    fn generate(&self, _: Turn) -> Result<Answers, ProviderError> {
        let (teller, answers) = answers();
        std::thread::spawn(move || {
            teller.tell(Ok(Delta::Begun { prompt_tokens: 9, cached_tokens: 0 }));
            let letters: Vec<char> = SAID.chars().collect();
            let count = letters.chunks(4).len();
            for (index, part) in letters.chunks(4).enumerate() {
                let text: String = part.iter().collect();
                let chance = [0.95f64, 0.4, 0.05, 0.7][index % 4];
                let told = |text: &str, chance: f64| (None, text.as_bytes().to_vec(), chance.ln());
                let alternatives = vec![told(" other", 0.5), told(" words", 0.2)];
                let log_prob = Some(SpokenLogProb { value: chance.ln(), alternatives });
                let tokens =
                    vec![Spoken { token: None, bytes: text.clone().into_bytes(), log_prob }];
                if !teller.tell(Ok(Delta::Text { sample: 0, text, tokens })) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(12));
            }
            let usage = Usage { prompt_tokens: 9, new_tokens: count, ..Usage::default() };
            teller.tell(Ok(Delta::Finished { sample: 0, stop: Stop::End, usage }));
        });
        Ok(answers)
    }
}
