//! The token view: all tokens of an answer in their order, whenever it is turned on; by pointer and
//! by keyboard; and nothing blank where there are none.

use serde_json::json;

use crate::browser::Browser;
use crate::models::SAID;
use crate::{ask, new_conversation, say, written};

pub(crate) fn check(browser: &mut Browser) {
    tokens_are_whole_when_turned_on_midway(browser);
    the_card_stays_beside_its_token(browser);
    another_token_begins_a_branch(browser);
    an_answer_without_tokens_is_shown(browser);
    tokens_that_could_not_be_read_are_read_later(browser);
    browser.evaluate("document.getElementById('token-view').click()");
    text_is_added_where_it_belongs(browser);
}

const SHOWN: &str = "document.querySelector('.message:last-child .tokens').textContent";

fn tokens_are_whole_when_turned_on_midway(browser: &mut Browser) {
    new_conversation(browser);
    say(browser, "Go");
    browser.wait("document.querySelector('.is-writing .assistant .body h2')");
    browser.evaluate("document.getElementById('token-view').click()");
    browser.wait("document.querySelector('.is-writing .tokens .token')");
    written(browser);
    assert_eq!(browser.evaluate(SHOWN), SAID);
    let path = "`messages/${document.querySelector('.message:last-child').dataset.id}/tokens`";
    let stored = ask(browser, path).as_array().unwrap().len();
    assert_eq!(browser.evaluate("document.querySelectorAll('.tokens .token').length"), stored);
}

fn the_card_stays_beside_its_token(browser: &mut Browser) {
    // A window so low that the answer has to be scrolled.
    let low = json!({"width": 1200, "height": 460, "deviceScaleFactor": 1, "mobile": false});
    browser.command("Emulation.setDeviceMetricsOverride", &low);
    browser.evaluate("document.getElementById('scroller').scrollTop = 0");
    browser.evaluate("document.querySelector('.tokens').focus()");
    browser.press("ArrowRight", 0);
    for _ in 0..9 {
        browser.press("ArrowDown", 0);
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    let top = browser.evaluate("document.getElementById('scroller').scrollTop");
    assert!(top.as_f64().unwrap() > 0.0, "it did not scroll");
    assert_eq!(browser.evaluate("document.querySelector('.token.current').dataset.at"), "90");
    assert_eq!(browser.evaluate("document.getElementById('token-card').hidden"), false);
    let distance = "(() => { const of = (it) => it.getBoundingClientRect();
        const card = of(document.getElementById('token-card'));
        const token = of(document.querySelector('.token.current'));
        const gaps = [card.top - token.bottom, token.top - card.bottom];
        return Math.min(...gaps.map(Math.abs)); })()";
    assert!(browser.evaluate(distance).as_f64().unwrap() < 12.0, "the card is elsewhere");
    browser.picture("keyboard");
    // A press on another token moves nothing.
    browser.press("Escape", 0);
    browser.evaluate("(document.activeElement.blur(), scroller.scrollTop = 0)");
    browser.click(".tokens .token[data-at=\"4\"]");
    assert_eq!(browser.evaluate("document.getElementById('scroller').scrollTop"), 0);
    assert_eq!(browser.evaluate("document.querySelector('.token.current').dataset.at"), "4");
    assert_eq!(browser.evaluate("document.getElementById('token-card').hidden"), false);
    // Out of sight it goes.
    browser.evaluate("scroller.scrollTop = scroller.scrollHeight");
    browser.wait("document.getElementById('token-card').hidden");
    browser.command("Emulation.clearDeviceMetricsOverride", &json!({}));
}

fn another_token_begins_a_branch(browser: &mut Browser) {
    // What scrolls takes a card with it that is then out of sight: let it come to rest.
    browser.evaluate("scroller.scrollTop = 0");
    browser.evaluate("new Promise((done) => setTimeout(done, 200))");
    browser.evaluate("document.querySelector('.tokens .token[data-at=\"2\"]').click()");
    browser.evaluate("document.querySelector('.tokens').focus()");
    browser.press("Enter", 0);
    browser.wait("document.activeElement.closest('#token-card')");
    // The card gives the keyboard back.
    browser.press("Escape", 0);
    browser.wait("document.activeElement.matches('.tokens')");
    assert_eq!(browser.evaluate("document.getElementById('token-card').hidden"), true);
    browser.evaluate("document.querySelector('.tokens .token[data-at=\"2\"]').click()");
    browser.evaluate("document.querySelector('#token-card button').click()");
    browser.wait("document.body.classList.contains('is-writing')");
    written(browser);
    let begins: String = SAID.chars().take(8).collect();
    let shown = browser.evaluate(SHOWN);
    assert_eq!(shown, format!("{begins} other{SAID}"));
    assert_eq!(browser.evaluate("document.querySelector('.branches span').textContent"), "2 / 2");
}

fn choose(browser: &mut Browser, name: &str) {
    browser.evaluate(&format!(
        "(() => {{ const model = document.getElementById('model'); model.value = '{name}';
           model.dispatchEvent(new Event('change')); }})()"
    ));
}

fn an_answer_without_tokens_is_shown(browser: &mut Browser) {
    new_conversation(browser);
    choose(browser, "plain");
    say(browser, "Go");
    browser.wait("document.querySelector('.is-writing .assistant .body h2')?.checkVisibility()");
    written(browser);
    browser.wait("document.querySelector('.no-tokens .body h2')?.checkVisibility()");
    browser.picture("no-tokens");
    choose(browser, "tiny");
}

fn tokens_that_could_not_be_read_are_read_later(browser: &mut Browser) {
    new_conversation(browser);
    browser.evaluate("document.getElementById('token-view').click()");
    say(browser, "Go");
    written(browser);
    browser.evaluate(
        "(() => { window.asked = fetch; window.fetch = async (...it) => {
             if (it[0].endsWith('/tokens')) return Response.json({}, { status: 500 });
             return asked(...it);
           }; })()",
    );
    super::conversations::reopen(browser);
    browser.evaluate("document.getElementById('token-view').click()");
    browser.wait("document.querySelector('.toast')");
    assert_eq!(browser.evaluate("document.querySelector('.body h2').checkVisibility()"), true);
    browser.evaluate("void (window.fetch = window.asked)");
    browser.evaluate("document.getElementById('token-view').click()");
    browser.evaluate("document.getElementById('token-view').click()");
    browser.wait("document.querySelector('.tokens .token')");
}

fn text_is_added_where_it_belongs(browser: &mut Browser) {
    new_conversation(browser);
    browser.evaluate(
        "(window.codes = new Set(), window.steps = 0, new MutationObserver(() => {
           const code = document.querySelector('.tail code');
           if (code) { window.codes.add(code.textContent); window.steps += 1; }
         }).observe(document.getElementById('messages'),
           { childList: true, subtree: true, characterData: true }), 0)",
    );
    say(browser, "long");
    browser.wait("document.body.classList.contains('is-writing')");
    written(browser);
    assert!(browser.evaluate("window.steps").as_u64().unwrap() > 3);
    assert_eq!(browser.evaluate("[...window.codes]"), json!(["first"]));
}
