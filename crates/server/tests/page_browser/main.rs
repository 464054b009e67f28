//! The page in headless Chromium, where that is installed: it loads under its policy without a
//! complaint, streams an answer, shows tokens, stops, asks before it follows a link, and fits a
//! phone; what is done with conversations does it to the right one, by pointer and by keyboard; and
//! nothing that was written is lost when something goes wrong. `LUCID_SCREENSHOTS=FOLDER` keeps
//! pictures.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod browser;
mod conversations;
mod models;
mod tokens;
mod trouble;

use std::sync::Arc;

use lucid_server::{Options, Server};
use serde_json::{Value, json};

use browser::{Browser, is_installed};
use models::Shelf;

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
    conversations::check(&mut browser);
    tokens::check(&mut browser);
    trouble::check(&mut browser);
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

/// Sends a message as a person does.
fn say(browser: &mut Browser, text: &str) {
    let text = json!(text);
    browser.evaluate(&format!(
        "(() => {{ const field = document.getElementById('text'); field.value = {text};
           field.dispatchEvent(new Event('input'));
           document.getElementById('composer').requestSubmit(); }})()"
    ));
}

/// Waits until the last message is an answer, and nothing is being written.
fn written(browser: &mut Browser) {
    browser.wait(
        "!document.body.classList.contains('is-writing')
         && [...document.querySelectorAll('.message')].at(-1)?.matches('.assistant')",
    );
}

fn new_conversation(browser: &mut Browser) {
    browser.evaluate("document.getElementById('new').click()");
    browser.wait("!document.getElementById('empty').hidden");
}

/// What the server says to the page at a path, which is an expression.
fn ask(browser: &mut Browser, path: &str) -> Value {
    browser.evaluate(&format!(
        "fetch('/page/api/' + {path}, {{ headers: {{ 'x-lucid-page': '1' }} }})
           .then((response) => response.json())"
    ))
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
