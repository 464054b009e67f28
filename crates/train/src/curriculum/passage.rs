//! A passage about a person, and questions that it answers or does not.

use super::template::fill;
use super::words::{ANIMALS, CITIES, COLOURS, FOODS, HOBBIES, JOBS, NAMES};
use super::{Check, Maker, Side, assistant, talked, user};
use crate::conversation::Conversation;

/// What an answer has that says that the passage does not tell.
pub(super) const DECLINES: &str = "does not say";

/// One thing that may be told of a person.
struct Fact {
    words: &'static [&'static str],
    told: [&'static [&'static str]; 2],
    asked: [&'static [&'static str]; 2],
    answered: [&'static [&'static str]; 2],
}

const FACTS: [Fact; 7] = [
    Fact {
        words: CITIES,
        told: [
            &["{name} lives in {it}.", "{name} moved to {it} some years ago.", "Home is {it}."],
            &["{it} is where {name} has a flat."],
        ],
        asked: [
            &[
                "Where does {name} live?",
                "In which city does {name} live?",
                "Where is {name} at home?",
            ],
            &["What city is home for {name}?", "Name the town that {name} lives in."],
        ],
        answered: [&["{name} lives in {it}.", "In {it}."], &["The city is {it}."]],
    },
    Fact {
        words: JOBS,
        told: [
            &[
                "{name} is a {it}.",
                "By day {name} works as a {it}.",
                "{name} became a {it} at twenty.",
            ],
            &["The work of a {it} pays the bills."],
        ],
        asked: [
            &[
                "What does {name} do for a living?",
                "What is the job of {name}?",
                "What is {name}'s work?",
            ],
            &["Which trade has {name} taken up?", "Say how {name} earns money."],
        ],
        answered: [&["{name} is a {it}.", "{name} works as a {it}."], &["As a {it}."]],
    },
    Fact {
        words: ANIMALS,
        told: [
            &["{name} has a {it}.", "A {it} shares the house.", "There is also a {it} called Pip."],
            &["At the door waits a {it}."],
        ],
        asked: [
            &[
                "Which animal does {name} have?",
                "What pet does {name} have?",
                "What animal is there?",
            ],
            &["What kind of beast keeps {name} company?"],
        ],
        answered: [&["{name} has a {it}.", "It is a {it}."], &["A {it}."]],
    },
    Fact {
        words: COLOURS,
        told: [
            &["The door of the house is {it}.", "{name}'s bicycle is {it}.", "The car is {it}."],
            &["Outside stands something painted {it}."],
        ],
        asked: [
            &["Which colour is mentioned?", "What colour is told of?", "What colour is it?"],
            &["Name the colour in the text."],
        ],
        answered: [&["It is {it}.", "The colour is {it}."], &["{it}."]],
    },
    Fact {
        words: FOODS,
        told: [
            &["{name} likes {it} best.", "On Sundays there is {it}.", "{name} often cooks {it}."],
            &["No meal is dearer to {name} than {it}."],
        ],
        asked: [
            &[
                "What does {name} like to eat?",
                "Which food does {name} like?",
                "What is eaten there?",
            ],
            &["Say which dish {name} prefers."],
        ],
        answered: [&["{name} likes {it}.", "It is {it}."], &["The dish is {it}."]],
    },
    Fact {
        words: HOBBIES,
        told: [
            &["In the evening {name} enjoys {it}.", "{name} loves {it}.", "Weekends are for {it}."],
            &["Nothing relaxes {name} more than {it}."],
        ],
        asked: [
            &["What does {name} do for fun?", "What is {name}'s hobby?", "What does {name} enjoy?"],
            &["How does {name} spend free hours?"],
        ],
        answered: [&["{name} enjoys {it}.", "The hobby is {it}."], &["With {it}."]],
    },
    Fact {
        words: &[],
        told: [
            &["{name} was born in {it}.", "The year of birth is {it}.", "It all began in {it}."],
            &["Life started for {name} in {it}."],
        ],
        asked: [
            &[
                "When was {name} born?",
                "In which year was {name} born?",
                "What is the year of birth?",
            ],
            &["Give the birth year of {name}."],
        ],
        answered: [&["{name} was born in {it}.", "In {it}."], &["The year is {it}."]],
    },
];

const FRAMES: [&[&str]; 2] = [
    &[
        "Passage: {passage}\n\nQuestion: {question}",
        "{passage}\n\n{question}",
        "Read this: {passage}\n{question}",
        "Answer from the text.\n\n{passage}\n\n{question}",
        "Here is a text. {passage} Now tell me: {question}",
    ],
    &[
        "Text below, one query after it.\n\n{passage}\n\n{question}",
        "{question}\n\nSource: {passage}",
    ],
];

const DECLINED: [&[&str]; 2] =
    [&["The passage does not say.", "The passage does not say that."], &["It does not say."]];

pub(super) fn templates(side: Side) -> Vec<&'static str> {
    let at = side as usize;
    let mut all = [FRAMES[at], DECLINED[at]].concat();
    for fact in &FACTS {
        all.extend([fact.told[at], fact.asked[at], fact.answered[at]].concat());
    }
    all
}

pub(super) fn make(made: &mut Maker) -> (Conversation, Check) {
    let at = made.side as usize;
    let name = made.word(NAMES);
    let mut order: Vec<usize> = (0..FACTS.len()).collect();
    made.random.shuffle(&mut order);
    let told = made.between(2, 5) as usize;
    let mut sentences = Vec::new();
    let mut known = Vec::new();
    for &which in &order[..told] {
        let fact = &FACTS[which];
        let it = match fact.words {
            [] => made.between(1900, 2010).to_string(),
            words => made.word(words).to_owned(),
        };
        let gaps = [("name", name), ("it", it.as_str())];
        // The first sentence says whom it is about.
        let named: Vec<&str> =
            fact.told[at].iter().copied().filter(|told| told.contains("{name}")).collect();
        let sentence = match (&named[..], sentences.is_empty()) {
            ([_, ..], true) => fill(made.one(&named), &gaps),
            ([], true) => format!("This is about {name}. {}", fill(made.one(fact.told[at]), &gaps)),
            _ => fill(made.one(fact.told[at]), &gaps),
        };
        sentences.push(capital(&sentence));
        known.push((which, it));
    }
    let answerable = made.below(2) == 0;
    let (which, answer, check) = if answerable {
        let (which, it) = &known[made.below(known.len())];
        let gaps = [("name", name), ("it", it.as_str())];
        let answer = capital(&fill(made.one(FACTS[*which].answered[at]), &gaps));
        // A word may begin a sentence.
        (*which, answer, Check::Says(vec![it.clone(), capital(it)]))
    } else {
        let which = order[told + made.below(order.len() - told)];
        (which, made.one(DECLINED[at]).to_owned(), Check::Declines)
    };
    let question = fill(made.one(FACTS[which].asked[at]), &[("name", name)]);
    let passage = sentences.join(" ");
    let gaps = [("passage", passage.as_str()), ("question", question.as_str())];
    let asked = fill(made.one(FRAMES[at]), &gaps);
    (talked(vec![user(asked), assistant(answer)]), check)
}

fn capital(text: &str) -> String {
    let mut signs = text.chars();
    let first = signs.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + signs.as_str()
}
