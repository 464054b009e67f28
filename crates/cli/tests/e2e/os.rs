//! `lucid do` and the commands beside it, with an API that answers as it was told to.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::Home;

/// What the API says in a turn.
enum Say {
    Text(&'static str),
    Call(&'static str, Value),
    /// Nothing.
    Silence,
}

/// An API that answers one request after the other, and tells what it was sent.
fn api(answers: Vec<Say>) -> (String, JoinHandle<Vec<Value>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let mut sent = Vec::new();
        for say in answers {
            let (mut stream, _) = listener.accept().unwrap();
            sent.push(request(&mut stream));
            let (delta, finish) = match say {
                Say::Text(text) => (json!({ "content": text }), "stop"),
                Say::Call(name, arguments) => {
                    let function = json!({ "name": name, "arguments": arguments.to_string() });
                    let call =
                        json!({ "index": 0, "id": "a", "type": "function", "function": function });
                    (json!({ "tool_calls": [call] }), "tool_calls")
                }
                Say::Silence => {
                    // Until whoever asked is gone.
                    while stream.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
                    continue;
                }
            };
            let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
            let usage = json!({ "prompt_tokens": 100, "completion_tokens": 7 });
            let last = json!({ "choices": [], "usage": usage });
            let first = json!({ "choices": [choice] });
            let body = format!("data: {first}\n\ndata: {last}\n\ndata: [DONE]\n\n");
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close";
            stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
        }
        sent
    });
    (url, thread)
}

fn request(stream: &mut TcpStream) -> Value {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).unwrap();
        request.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&request);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        if let Ok(sent) = serde_json::from_str(body) {
            return sent;
        }
        assert!(count > 0, "half a request: {text}");
    }
}

fn calculates() -> Vec<Say> {
    vec![
        Say::Call("calculator", json!({ "expression": "6*7" })),
        Say::Call("note", json!({ "text": "six times seven was asked" })),
        Say::Text("It is 42."),
    ]
}

/// The number of the first line of the log that has these words.
fn number(home: &Home, words: &str) -> String {
    let log = home.ok(&["logs", "-n", "1000"]);
    let line = log.lines().find(|line| line.contains(words));
    let line = line.unwrap_or_else(|| panic!("no `{words}` in\n{log}"));
    line.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn a_task_is_done_with_tools_and_the_log_tells_how() {
    let home = Home::new();
    assert_eq!(home.ok(&["ps"]), "There are no processes.\n");
    home.fails(&["logs"], &["there is no log yet"]);
    let (url, api) = api(calculates());
    let run = home.run(&["do", "--provider", &url, "-m", "m", "What is 6 times 7?"]);
    assert_eq!((run.code, &*run.out), (Some(0), "It is 42.\n"), "{run:?}");
    assert!(run.err.contains("calculator {\"expression\":\"6*7\"}"), "{run:?}");
    let sent = api.join().unwrap();
    let roles: Vec<_> =
        sent[2]["messages"].as_array().unwrap().iter().map(|it| &it["role"]).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "assistant", "tool"]);
    assert_eq!(sent[1]["messages"][3]["content"], "42");
    assert!(sent[0]["tools"].as_array().unwrap().len() > 5);
    assert_eq!(home.ok(&["ps"]), "There are no processes.\n");
    let check = home.ok(&["logs", "--check"]);
    assert!(check.contains("1 decisions come out again as they were"), "{check}");
    let why = home.ok(&["why", &number(&home, "allow: calculator")]);
    assert!(why.contains("nothing happens outside of the process"), "{why}");
    home.fails(&["why", "1"], &["nothing was decided about event 1"]);
    let events = home.ok(&["logs", "--json", "-n", "1000"]);
    let events: Vec<Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events[0]["event"]["event"], "booted");
    // The note is there in the next run.
    let (url, api) = self::api(vec![
        Say::Call("notes", json!({ "query": "seven" })),
        Say::Text("You asked for it."),
    ]);
    let run = home.json(&["do", "--provider", &url, "-m", "m", "What did I ask?", "--json"]);
    assert_eq!((&run["done"], &run["result"]), (&json!(true), &json!("You asked for it.")));
    let sent = api.join().unwrap();
    let note = sent[1]["messages"][3]["content"].as_str().unwrap();
    assert!(note.contains("six times seven"), "{note}");
}

#[test]
fn what_came_from_elsewhere_marks_the_result() {
    let home = Home::new();
    home.write("mail.txt", b"Buy now!");
    let (url, _api) = api(vec![Say::Text("It is spam.")]);
    let args = ["do", "--provider", &url, "-m", "m", "--from-elsewhere", "mail.txt", "Is it spam?"];
    let run = home.run(&args);
    assert_eq!((run.code, &*run.out), (Some(0), "It is spam.\n"), "{run:?}");
    assert!(run.err.contains("influenced by texts that are not to be believed: file:mail.txt"));
    let (url, _api) = api(vec![Say::Text("yours")]);
    let args = ["do", "--provider", &url, "-m", "m", "-f", "mail.txt", "Is it mine?", "--json"];
    let run = home.json(&args);
    assert_eq!((&run["integrity"], &run["influenced_by"]), (&json!("person"), &json!([])));
}

#[test]
#[cfg(unix)]
fn a_task_that_was_killed_goes_on() {
    let home = Home::new();
    home.write("secret.txt", b"the word is swordfish");
    let (url, _api) =
        api(vec![Say::Call("clock", json!({})), Say::Silence, Say::Text("It is noon.")]);
    let args = ["do", "--provider", &url, "-m", "m", "-f", "secret.txt", "What time is it?"];
    let mut child = home.command(&args).spawn().unwrap();
    // Until the clock was asked and the next turn is under way.
    let started = std::time::Instant::now();
    loop {
        let log = home.run(&["logs", "--json", "-n", "1"]);
        if log.out.contains("turn_begun") && home.run(&["logs"]).out.contains("done:") {
            break;
        }
        assert!(started.elapsed().as_secs() < 60, "{log:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let ps = home.json(&["ps", "--json"]);
    assert_eq!(ps[0]["state"], "running");
    // Another one may not run the log meanwhile.
    home.fails(&["do", "--provider", &url, "-m", "m", "x"], &["another lucid runs this log"]);
    crate::support::signal(&child, "-9");
    child.wait().unwrap();
    let pages = home.json(&["pages", "1", "--json"]);
    let secret = pages.as_array().unwrap().iter().find(|page| page["source"] == "file:secret.txt");
    let page = secret.unwrap()["page"].to_string();
    assert_eq!(home.ok(&["pages", "1", "--show", &page]), "the word is swordfish\n");
    home.run(&["forget", &format!("1:{page}")]);
    assert_eq!(home.ok(&["pages", "1", "--show", &page]), "\u{27e8}forgotten\u{27e9}\n");
    home.fails(&["kill", "77"], &["there is no process 77"]);
    home.fails(&["pages", "77"], &["there is no process 77"]);
    assert_eq!(home.ok(&["do", "--continue"]), "It is noon.\n");
    home.fails(&["do", "--continue"], &["nothing was interrupted"]);
}

#[test]
fn what_cannot_be_done_is_said() {
    let home = Home::new();
    home.fails(&["do", "x"], &["there is no model on this machine"]);
    home.fails(&["do", "--provider", "http://127.0.0.1:9/v1", "x"], &["--provider needs --model"]);
    home.fails(&["do", "-m", "m", " "], &["the task is empty"]);
    home.fails(&["do", "--continue"], &["nothing was interrupted"]);
    home.fails(&["do", "-m", "nowhere.gguf", "x"], &["nowhere.gguf"]);
    home.fails(&["do", "-m", "m", "-f", "nowhere.txt", "x"], &["nowhere.txt"]);
    home.fails(&["kill", "1"], &["there is no log yet"]);
    home.write("xdg_data_home/lucid/os/log.sqlite", b"this is no database, but it is long enough");
    for command in [&["ps"][..], &["logs"], &["kill", "1"]] {
        home.fails(command, &["log.sqlite", "not a database"]);
    }
}
