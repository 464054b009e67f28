//! A browser that is driven through its debugging pipe: JSON texts that end with a zero byte.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

pub(crate) fn is_installed(program: &str) -> bool {
    let mut asked = Command::new(program);
    asked.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    asked.status().is_ok_and(|status| status.success())
}

/// A browser with one tab.
pub(crate) struct Browser {
    process: Child,
    folder: PathBuf,
    to: File,
    from: BufReader<File>,
    session: String,
    next: u64,
    /// Errors that the page or the browser told of.
    pub(crate) complaints: Vec<String>,
}

impl Browser {
    pub(crate) fn start(program: &str) -> Self {
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

    pub(crate) fn open(&mut self, url: &str) {
        let target = self.command("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = self.command("Target.attachToTarget", &attach);
        attached["sessionId"].as_str().unwrap().clone_into(&mut self.session);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            self.command(domain, &json!({}));
        }
        self.command("Page.navigate", &json!({ "url": url }));
    }

    pub(crate) fn command(&mut self, method: &str, parameters: &Value) -> Value {
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
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true,
            "userGesture": true,
        });
        let told = self.command("Runtime.evaluate", &asked);
        assert!(told["exceptionDetails"].is_null(), "{expression}: {told}");
        told["result"]["value"].clone()
    }

    /// Presses a key. `modifiers` are the protocol's: 2 is Ctrl, 8 is Shift.
    pub(crate) fn press(&mut self, key: &str, modifiers: u32) {
        let text = match key {
            "Enter" => "\r",
            key if key.len() == 1 && modifiers & 2 == 0 => key,
            _ => "",
        };
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "Tab" => 9,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            key => key.bytes().next().map_or(0, |byte| byte.to_ascii_uppercase().into()),
        };
        for kind in ["keyDown", "keyUp"] {
            let said = json!({
                "type": kind, "key": key, "modifiers": modifiers, "text": text,
                "windowsVirtualKeyCode": code,
            });
            self.command("Input.dispatchKeyEvent", &said);
        }
    }

    /// Presses the pointer's button on an element.
    pub(crate) fn click(&mut self, selector: &str) {
        let spot = self.evaluate(&format!(
            "(() => {{ const box = document.querySelector({}).getBoundingClientRect();
               return [box.left + box.width / 2, box.top + box.height / 2]; }})()",
            json!(selector)
        ));
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            let said = json!({
                "type": kind, "x": spot[0], "y": spot[1], "button": "left", "clickCount": 1,
            });
            self.command("Input.dispatchMouseEvent", &said);
        }
    }

    /// Waits until an expression is true.
    pub(crate) fn wait(&mut self, expression: &str) {
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

    pub(crate) fn picture(&mut self, name: &str) {
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
