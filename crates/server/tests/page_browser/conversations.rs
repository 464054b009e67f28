//! What is done with conversations: other answers, edits, branches, settings, models, copying; and
//! that it reaches the conversation it was meant for.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::{ask, new_conversation, say, written};

pub(crate) fn check(browser: &mut Browser) {
    another_answer_is_a_branch(browser);
    an_edit_is_a_branch(browser);
    a_question_without_an_answer_is_answered(browser);
    code_is_copied(browser);
    settings_reach_the_conversation_they_were_made_for(browser);
    settings_that_are_not_valid_are_not_left_out(browser);
    a_model_is_chosen(browser);
    keys_do_what_they_say(browser);
    nothing_is_sent_to_what_is_not_shown_yet(browser);
}

/// The conversation that is shown, as the server has it.
fn stored(browser: &mut Browser) -> Value {
    ask(browser, "`conversations/${location.hash.slice(1)}`")
}

fn another_answer_is_a_branch(browser: &mut Browser) {
    new_conversation(browser);
    say(browser, "Go");
    written(browser);
    browser.evaluate(
        "document.querySelector('.message:last-child [aria-label=\"Answer again\"]').click()",
    );
    browser.wait("document.body.classList.contains('is-writing')");
    written(browser);
    let place = "document.querySelector('.branches span')?.textContent";
    assert_eq!(browser.evaluate(place), "2 / 2");
    assert_eq!(browser.evaluate("document.querySelectorAll('.message').length"), 2);
    browser.evaluate("document.querySelector('[aria-label=\"The branch before\"]').click()");
    browser.wait(&format!("{place} === '1 / 2'"));
    assert_eq!(stored(browser)["messages"].as_array().unwrap().len(), 2);
}

/// Opens the editor of the first question and writes there.
pub(crate) fn edit(browser: &mut Browser, text: &str) {
    browser.evaluate(&format!(
        "(() => {{ document.querySelector('.user [aria-label=Edit]').click();
           const area = document.querySelector('.edit textarea'); area.value = {};
           area.dispatchEvent(new Event('input')); }})()",
        json!(text)
    ));
}

fn an_edit_is_a_branch(browser: &mut Browser) {
    edit(browser, "Go elsewhere");
    browser.picture("edit");
    browser.press("Enter", 2);
    browser.wait("document.body.classList.contains('is-writing')");
    written(browser);
    assert_eq!(browser.evaluate("document.querySelector('.bubble').textContent"), "Go elsewhere");
    assert_eq!(browser.evaluate("document.querySelector('.branches span').textContent"), "2 / 2");
    assert_eq!(browser.evaluate("document.querySelector('.edit')"), Value::Null);
    // An editor that is open is there again when one comes back.
    edit(browser, "Half of a thought");
    let home = browser.evaluate("location.hash");
    new_conversation(browser);
    browser.evaluate(&format!("void (location.hash = {home})"));
    browser.wait("document.querySelector('.edit textarea')?.value === 'Half of a thought'");
    browser.evaluate("document.querySelector('.edit textarea').focus()");
    browser.press("Escape", 0);
    browser.wait("!document.querySelector('.edit')");
}

fn a_question_without_an_answer_is_answered(browser: &mut Browser) {
    // As an older version left it; here the page is only told so.
    browser.evaluate(
        "(() => { window.asked = fetch; window.fetch = async (...it) => {
             const response = await asked(...it);
             if (!it[0].includes('?count=')) return response;
             const shown = await response.json();
             shown.messages.pop();
             return Response.json(shown);
           }; })()",
    );
    reopen(browser);
    browser.evaluate("void (window.fetch = window.asked)");
    let button = "document.querySelector('.user [aria-label=\"Answer this\"]')";
    browser.wait(&format!("{button}.checkVisibility()"));
    browser.evaluate(&format!("{button}.click()"));
    browser.wait("document.body.classList.contains('is-writing')");
    written(browser);
    assert_eq!(browser.evaluate(&format!("{button}.checkVisibility()")), false);
}

/// Leaves the conversation that is shown and comes back.
pub(crate) fn reopen(browser: &mut Browser) {
    let home = browser.evaluate("location.hash");
    new_conversation(browser);
    browser.evaluate(&format!("void (location.hash = {home})"));
    browser.wait("document.querySelector('.message')");
}

fn code_is_copied(browser: &mut Browser) {
    browser.wait("document.querySelector('.body .copy')");
    browser.evaluate("document.querySelector('.body .copy').click()");
    browser.wait("document.querySelector('.body .copy').textContent === 'Copied'");
    browser.evaluate("document.querySelector('.assistant [aria-label=Copy]').click()");
    browser.wait("document.querySelector('.assistant .icon-button.done')");
}

fn set(browser: &mut Browser, name: &str, value: &str) {
    browser.evaluate(&format!(
        "(() => {{ const field = document.getElementById('set-{name}'); field.value = {};
           field.dispatchEvent(new Event('input')); }})()",
        json!(value)
    ));
}

fn settings_reach_the_conversation_they_were_made_for(browser: &mut Browser) {
    let first = browser.evaluate("location.hash.slice(1)");
    new_conversation(browser);
    say(browser, "Another one");
    written(browser);
    let second = browser.evaluate("location.hash.slice(1)");
    browser.evaluate("document.getElementById('settings-open').click()");
    set(browser, "temperature", "0.25");
    // Before the settings are stored the other one is opened.
    browser.evaluate(&format!("void (location.hash = {first})"));
    browser.wait("document.getElementById('set-temperature').value === ''");
    std::thread::sleep(std::time::Duration::from_millis(400));
    let of = |browser: &mut Browser, id: &Value| {
        let id = id.as_str().unwrap();
        ask(browser, &format!("'conversations/{id}'"))["conversation"]["settings"].clone()
    };
    assert_eq!(of(browser, &first), json!({}));
    assert_eq!(of(browser, &second), json!({"temperature": 0.25}));
    browser.evaluate(&format!("void (location.hash = {second})"));
    browser.wait("document.getElementById('set-temperature').value === '0.25'");
}

fn settings_that_are_not_valid_are_not_left_out(browser: &mut Browser) {
    let count = "document.querySelectorAll('.message').length";
    let before = browser.evaluate(count);
    for (name, wrong, right) in
        [("schema", "{\"type\": ", ""), ("schema", "[1]", ""), ("top_p", "1.5", "0.9")]
    {
        set(browser, name, wrong);
        browser.evaluate("document.getElementById('settings-open').click()");
        say(browser, "Go on");
        browser.wait(&format!("document.activeElement.id === 'set-{name}'"));
        assert_eq!(browser.evaluate("document.getElementById('settings').hidden"), false);
        assert_eq!(browser.evaluate("document.getElementById('text').value"), "Go on");
        browser
            .evaluate("document.querySelector('.assistant [aria-label=\"Answer again\"]').click()");
        std::thread::sleep(std::time::Duration::from_millis(400));
        assert_eq!(browser.evaluate(count), before);
        assert_eq!(stored(browser)["conversation"]["settings"]["temperature"], 0.25);
        assert_eq!(browser.evaluate("document.querySelectorAll('.toast').length"), 1);
        browser.picture("settings");
        set(browser, name, right);
    }
    browser.evaluate("document.getElementById('text').value = ''");
    // What is valid again is stored, with what was valid all the time.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let settings = stored(browser)["conversation"]["settings"].clone();
    assert_eq!(settings, json!({"temperature": 0.25, "top_p": 0.9}));
}

fn a_model_is_chosen(browser: &mut Browser) {
    let choose = |name: &str| {
        format!(
            "(() => {{ const model = document.getElementById('model'); model.value = '{name}';
               model.dispatchEvent(new Event('change')); }})()"
        )
    };
    browser.evaluate(&choose("plain"));
    say(browser, "Who are you?");
    written(browser);
    assert_eq!(
        browser.evaluate("document.querySelector('.message:last-child').ariaLabel"),
        "plain"
    );
    assert_eq!(stored(browser)["conversation"]["model"], "plain");
    // It is loaded now, and known to keep to no schema.
    browser.wait("document.getElementById('set-schema').disabled");
    browser.evaluate(&choose("tiny"));
    browser.wait("!document.getElementById('set-schema').disabled");
    browser.evaluate("document.getElementById('settings-open').click()");
}

fn keys_do_what_they_say(browser: &mut Browser) {
    browser.press("k", 2);
    browser.wait("document.activeElement.id === 'search'");
    let home = browser.evaluate("location.hash");
    // The link to the message field is the first stop, and leads nowhere else.
    browser.evaluate("document.querySelector('.skip').focus()");
    browser.press("Enter", 0);
    browser.wait("document.activeElement.id === 'text'");
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(browser.evaluate("location.hash"), home);
    assert_eq!(browser.evaluate("document.querySelectorAll('.message').length > 0"), true);
    browser.press("O", 2 | 8);
    browser.wait("!document.getElementById('empty').hidden && !location.hash");
    browser.press("H", 0);
    browser.press("i", 0);
    browser.press("Enter", 0);
    browser.wait("document.querySelector('.bubble')?.textContent === 'Hi'");
    browser.wait("document.querySelector('.is-writing .assistant .body h2')");
    browser.press("Escape", 0);
    browser.wait("document.querySelector('.remark')?.textContent === 'Stopped.'");
}

fn nothing_is_sent_to_what_is_not_shown_yet(browser: &mut Browser) {
    let home = browser.evaluate("location.hash");
    new_conversation(browser);
    browser.evaluate(
        "(() => { window.asked = fetch; window.posts = 0; window.fetch = async (...it) => {
             if (it[1].method === 'POST') window.posts += 1;
             if (it[0].includes('?count=')) await new Promise((go) => { window.go = go; });
             return asked(...it);
           }; })()",
    );
    browser.evaluate(&format!("void (location.hash = {home})"));
    browser.wait("window.go");
    say(browser, "Where does this go?");
    assert_eq!(browser.evaluate("document.getElementById('model').disabled"), true);
    assert_eq!(browser.evaluate("window.posts"), 0);
    browser.evaluate("window.go()");
    browser.evaluate("void (window.fetch = window.asked)");
    browser.wait("document.querySelector('.message')");
    assert_eq!(browser.evaluate("document.getElementById('text').value"), "Where does this go?");
    assert_eq!(browser.evaluate("document.getElementById('send').disabled"), false);
    browser.evaluate("document.getElementById('text').value = ''");
}
