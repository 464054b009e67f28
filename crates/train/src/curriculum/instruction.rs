//! Instructions of the system, which hold whatever is asked.

use lucid_tokenizer::template::Message;

use super::template::fill;
use super::words::{COLOURED, OPPOSITES};
use super::{Check, Maker, Side, assistant, talked, user};
use crate::conversation::Conversation;

/// How an answer is to be given.
#[derive(Clone, Copy)]
enum Manner {
    OneWord,
    Capitals,
    Ending,
    Beginning,
    Twice,
    Quoted,
}

const MANNERS: [(Manner, [&[&str]; 2]); 6] = [
    (
        Manner::OneWord,
        [
            &["Answer in one word.", "Use one word only.", "Give one-word answers."],
            &["A single word suffices for every reply."],
        ],
    ),
    (
        Manner::Capitals,
        [
            &["Answer in one word, in capital letters.", "Write one word, all in capitals."],
            &["Shout a single word in upper case."],
        ],
    ),
    (
        Manner::Ending,
        [
            &["Answer in one word and end with a full stop.", "One word, then a full stop."],
            &["Reply with a single word closed by a full stop."],
        ],
    ),
    (
        Manner::Beginning,
        [
            &[
                "Begin each answer with the word Answer and a colon.",
                "Start with Answer: and then one word.",
            ],
            &["Put Answer: before a single word."],
        ],
    ),
    (
        Manner::Twice,
        [
            &[
                "Say the answer twice, with a comma between.",
                "Give the one-word answer two times, with a comma.",
            ],
            &["Repeat a single word after a comma."],
        ],
    ),
    (
        Manner::Quoted,
        [
            &[
                "Put the one-word answer in double quotes.",
                "Answer with one word in double quotes.",
            ],
            &["Reply by a single word between double quotation marks."],
        ],
    ),
];

const OPPOSITE: [&[&str]; 2] = [
    &[
        "What is the opposite of {it}?",
        "Name the opposite of {it}.",
        "Which word means the reverse of {it}?",
    ],
    &["{it} is the contrary of what?", "Give me the antonym for {it}"],
];

const COLOUR: [&[&str]; 2] = [
    &["What colour is {it}?", "Which colour has {it}?", "Tell me the colour of {it}."],
    &["How would you paint {it}?", "{it}: which colour?"],
];

pub(super) fn templates(side: Side) -> Vec<&'static str> {
    let at = side as usize;
    let manners = MANNERS.iter().flat_map(|(_, said)| said[at]).copied();
    manners.chain(OPPOSITE[at].iter().copied()).chain(COLOUR[at].iter().copied()).collect()
}

pub(super) fn make(made: &mut Maker) -> (Conversation, Check) {
    let at = made.side as usize;
    let (manner, said) = &MANNERS[made.below(MANNERS.len())];
    let system = made.one(said[at]);
    let (asked, word) = if made.below(2) == 0 {
        let (mut it, mut word) = pair(made, OPPOSITES);
        if made.below(2) == 0 {
            (it, word) = (word, it);
        }
        (fill(made.one(OPPOSITE[at]), &[("it", it)]), word)
    } else {
        let (it, word) = pair(made, COLOURED);
        (fill(made.one(COLOUR[at]), &[("it", it)]), word)
    };
    let answer = match manner {
        Manner::OneWord => word.to_owned(),
        Manner::Capitals => word.to_uppercase(),
        Manner::Ending => format!("{word}."),
        Manner::Beginning => format!("Answer: {word}"),
        Manner::Twice => format!("{word}, {word}"),
        Manner::Quoted => format!("\"{word}\""),
    };
    let messages = vec![Message::text("system", system), user(asked), assistant(&answer)];
    (talked(messages), Check::Exactly(answer))
}

/// A pair of words. They are facts, which cannot be known without having been learned, so the same
/// ones stand on both sides: what is held out are the templates.
fn pair(made: &mut Maker, of: &[(&'static str, &'static str)]) -> (&'static str, &'static str) {
    of[made.below(of.len())]
}
