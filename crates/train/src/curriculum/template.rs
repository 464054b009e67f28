//! Texts with gaps: `{name}` is filled with what stands under that name.

use super::{Maker, Side};

/// What stands around a question now and then.
const AROUND: [&[&str]; 2] = [
    &[
        "Please help me. {question}",
        "{question} Thank you.",
        "Hi! {question}",
        "I have a question: {question}",
        "Quick question. {question}",
        "{question} Please be exact.",
        "Now the next one: {question}",
        "Hello Lucid. {question}",
        "{question} I am in a hurry.",
        "One thing I need to know: {question}",
        "Lucid, {question}",
        "{question} Thanks a lot.",
    ],
    &[
        "Hello, I need help. {question}",
        "{question} Thanks, Lucid.",
        "One quick thing: {question}",
        "Please, Lucid: {question}",
    ],
];

/// One question in this many has something around it.
const PLAIN: usize = 3;

pub(super) fn templates(side: Side) -> Vec<&'static str> {
    AROUND[side as usize].to_vec()
}

/// A question of some, filled, now and then with something around it.
pub(super) fn question(made: &mut Maker, of: &[&str], gaps: &[(&str, &str)]) -> String {
    let question = fill(made.one(of), gaps);
    if made.below(PLAIN) > 0 {
        return question;
    }
    fill(made.one(AROUND[made.side as usize]), &[("question", question.as_str())])
}

/// Fills the gaps of a template. A gap that nothing fills is left as it stands, which a test finds.
pub(super) fn fill(template: &str, gaps: &[(&str, &str)]) -> String {
    let mut text = template.to_owned();
    for (name, with) in gaps {
        text = text.replace(&format!("{{{name}}}"), with);
    }
    text
}
