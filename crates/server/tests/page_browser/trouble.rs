//! When something goes wrong, or the person turns to something else, what was written stays.

use crate::browser::Browser;
use crate::conversations::edit;
use crate::{new_conversation, say, written};

pub(crate) fn check(browser: &mut Browser) {
    a_refused_edit_stays_in_its_editor(browser);
    a_refused_message_stays_in_the_field(browser);
    a_question_that_is_left_is_a_draft(browser);
    what_is_stopped_before_it_begins_changes_nothing(browser);
    an_outage_ends(browser);
    // The browser tells of the two refusals itself.
    let before = browser.complaints.len();
    browser.complaints.retain(|complaint| !complaint.contains("status of 429"));
    assert_eq!(before - browser.complaints.len(), 2);
}

fn texts(browser: &mut Browser) -> Vec<String> {
    let texts = browser.evaluate(
        "[...document.querySelectorAll('.message')].map((it) => it.textContent.slice(0, 9))",
    );
    serde_json::from_value(texts).unwrap()
}

fn a_refused_edit_stays_in_its_editor(browser: &mut Browser) {
    new_conversation(browser);
    say(browser, "Go");
    written(browser);
    edit(browser, "busy");
    browser.press("Enter", 2);
    browser.wait("document.querySelector('.failure')");
    browser.wait("document.querySelector('.edit textarea')?.value === 'busy'");
    browser.wait("document.querySelector('.user:has(.edit) + .failure')");
    assert_eq!(browser.evaluate("document.querySelectorAll('.assistant').length"), 1);
    browser.picture("refused");
    browser.evaluate("document.querySelector('.edit button').click()");
    assert_eq!(texts(browser)[0], "Go");
}

fn a_refused_message_stays_in_the_field(browser: &mut Browser) {
    say(browser, "busy");
    browser.wait("document.querySelector('.failure')");
    browser.wait("document.getElementById('text').value === 'busy'");
    assert_eq!(texts(browser).len(), 2);
    browser.evaluate("document.getElementById('text').value = ''");
}

fn a_question_that_is_left_is_a_draft(browser: &mut Browser) {
    let home = browser.evaluate("location.hash");
    say(browser, "slow");
    browser.wait("document.querySelector('.pending')");
    new_conversation(browser);
    std::thread::sleep(std::time::Duration::from_millis(900));
    assert_eq!(browser.evaluate("document.getElementById('text').value"), "");
    browser.evaluate(&format!("void (location.hash = {home})"));
    browser.wait("document.querySelector('.message')");
    assert_eq!(browser.evaluate("document.getElementById('text').value"), "slow");
    assert_eq!(texts(browser).len(), 2);
    browser.evaluate("document.getElementById('text').value = ''");
}

fn what_is_stopped_before_it_begins_changes_nothing(browser: &mut Browser) {
    let before = texts(browser);
    edit(browser, "slow");
    browser.press("Enter", 2);
    browser.wait("document.querySelector('.pending')");
    assert_eq!(texts(browser).len(), 1);
    browser.evaluate("document.getElementById('send').click()");
    browser.wait("document.querySelector('.edit textarea')?.value === 'slow'");
    browser.evaluate("document.querySelector('.edit button').click()");
    assert_eq!(texts(browser), before);
    // Nor is anything begun behind the person's back.
    std::thread::sleep(std::time::Duration::from_millis(900));
    super::conversations::reopen(browser);
    assert_eq!(texts(browser), before);
}

fn an_outage_ends(browser: &mut Browser) {
    browser.evaluate(
        "(() => { window.asked = fetch; window.tries = 0; window.fetch = async (...it) => {
             window.tries += 1;
             if (window.outage === 'gone') throw new TypeError('gone');
             return Response.json({}, { status: 503 });
           }; window.outage = 'gone'; })()",
    );
    say(browser, "Are you there?");
    browser.wait("document.getElementById('notice').className === 'down'");
    assert_eq!(browser.evaluate("document.getElementById('text').value"), "Are you there?");
    browser.picture("outage");
    // It comes back in two steps: first as something that has no time yet.
    browser.evaluate("void (window.outage = 'busy', window.tries = 0)");
    browser.wait("window.tries >= 1");
    assert_eq!(browser.evaluate("document.getElementById('notice').hidden"), false);
    browser.evaluate("void (window.fetch = window.asked)");
    browser.wait("document.getElementById('notice').hidden");
    browser.wait("document.querySelector('.message')");
    browser.evaluate("document.getElementById('composer').requestSubmit()");
    browser.wait("document.body.classList.contains('is-writing')");
    written(browser);
    // And it can go away again.
    browser.evaluate("void (window.fetch = async () => { throw new TypeError('gone'); })");
    say(browser, "Again");
    browser.wait("document.getElementById('notice').className === 'down'");
    browser.evaluate("void (window.fetch = window.asked)");
    browser.wait("document.getElementById('notice').hidden");
    browser.evaluate("document.getElementById('text').value = ''");
}
