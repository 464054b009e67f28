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
            &[
                "Answer in one word.",
                "Use one word only.",
                "Give one-word answers.",
                "Answer with one word and nothing more.",
                "A single word is enough.",
            ],
            &["Use a single word and nothing more."],
        ],
    ),
    (
        Manner::Capitals,
        [
            &[
                "Answer in one word, in capital letters.",
                "Write one word, all in capitals.",
                "Use capital letters for your one word.",
                "One word in capitals.",
            ],
            &["In capital letters, please, one word."],
        ],
    ),
    (
        Manner::Ending,
        [
            &[
                "Answer in one word and end with a full stop.",
                "One word, then a full stop.",
                "Put a full stop after your one word.",
                "End your one-word answer with a full stop.",
            ],
            &["One word and a full stop."],
        ],
    ),
    (
        Manner::Beginning,
        [
            &[
                "Begin each answer with the word Answer and a colon.",
                "Start with Answer: and then one word.",
                "Put Answer: before your one word.",
                "Write Answer: and one word.",
            ],
            &["Begin with Answer: and give one word."],
        ],
    ),
    (
        Manner::Twice,
        [
            &[
                "Say the answer twice, with a comma between.",
                "Give the one-word answer two times, with a comma.",
                "Write your one word twice, with a comma.",
                "Two times the same word, a comma between them.",
            ],
            &["Say your one word twice, a comma between."],
        ],
    ),
    (
        Manner::Quoted,
        [
            &[
                "Put the one-word answer in double quotes.",
                "Answer with one word in double quotes.",
                "Write one word between double quotes.",
                "Use double quotes around your one word.",
            ],
            &["Double quotes around one word, please."],
        ],
    ),
];

const OPPOSITE: [&[&str]; 2] = [
    &[
        "What is the opposite of {it}?",
        "Name the opposite of {it}.",
        "Which word means the reverse of {it}?",
        "Tell me the opposite of {it}.",
        "{it}: what is the opposite?",
        "Give me the reverse of {it}.",
        "Which word is the opposite of {it}?",
    ],
    &["The opposite of {it}, please.", "The reverse of {it}: which word?"],
];

const COLOUR: [&[&str]; 2] = [
    &[
        "What colour is {it}?",
        "Which colour has {it}?",
        "Tell me the colour of {it}.",
        "{it}: what colour is it?",
        "Name the colour of {it}.",
        "What is the colour of {it}?",
    ],
    &["Give me the colour: {it}", "Which colour is {it}?"],
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
