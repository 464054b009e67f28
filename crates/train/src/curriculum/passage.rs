//! A passage about a person, and questions that it answers or does not.

use super::template::fill;
use super::words::{ANIMALS, CITIES, COLOURS, FOODS, HOBBIES, JOBS, NAMES};
use super::{Check, Like, Maker, Side, assistant, talked, user};
use crate::conversation::Conversation;

/// What an answer has that says that the passage does not tell.
pub(super) const DECLINES: &str = "does not say";

/// One thing that may be told of a person.
struct Fact {
    words: &'static [&'static str],
    like: Like,
    told: [&'static [&'static str]; 2],
    asked: [&'static [&'static str]; 2],
    answered: [&'static [&'static str]; 2],
}

const FACTS: [Fact; 7] = [
    Fact {
        words: CITIES,
        like: Like::Name,
        told: [
            &[
                "{name} lives in {it}.",
                "{name} moved to {it} some years ago.",
                "Home is {it}.",
                "The home of {name} is the city of {it}.",
                "{name} is at home in {it}.",
            ],
            &["The city of {name} is {it}."],
        ],
        asked: [
            &[
                "Where does {name} live?",
                "In which city does {name} live?",
                "Where is {name} at home?",
                "What city does {name} live in?",
                "Tell me the city in which {name} lives.",
            ],
            &["What is the city of {name}?", "Tell me where {name} lives."],
        ],
        answered: [&["{name} lives in {it}.", "In {it}."], &["The city is {it}."]],
    },
    Fact {
        words: JOBS,
        like: Like::One,
        told: [
            &[
                "{name} is a {it}.",
                "By day {name} works as a {it}.",
                "{name} became a {it} at twenty.",
                "The job of {name} is that of a {it}.",
                "{name} does the work of a {it}.",
            ],
            &["As a {it} {name} works by day."],
        ],
        asked: [
            &[
                "What does {name} do for a living?",
                "What is the job of {name}?",
                "What is {name}'s work?",
                "What does {name} work as?",
                "Tell me the job that {name} has.",
            ],
            &["Which job does {name} have?", "Tell me what {name} works as."],
        ],
        answered: [&["{name} is a {it}.", "{name} works as a {it}."], &["As a {it}."]],
    },
    Fact {
        words: ANIMALS,
        like: Like::One,
        told: [
            &[
                "{name} has a {it}.",
                "A {it} shares the house.",
                "There is also a {it} called Pip.",
                "{name} lives with a {it}.",
                "The pet of {name} is a {it}.",
            ],
            &["{name} shares the house with a {it}."],
        ],
        asked: [
            &[
                "Which animal does {name} have?",
                "What pet does {name} have?",
                "What animal is there?",
                "Tell me which animal {name} has.",
                "What is the pet of {name}?",
            ],
            &["Tell me the pet of {name}.", "Which pet does {name} have?"],
        ],
        answered: [&["{name} has a {it}.", "It is a {it}."], &["A {it}."]],
    },
    Fact {
        words: COLOURS,
        like: Like::Known,
        told: [
            &[
                "The door of the house is {it}.",
                "{name}'s bicycle is {it}.",
                "The car is {it}.",
                "{name} has a {it} door.",
                "The coat of {name} is {it}.",
            ],
            &["The house of {name} is {it}."],
        ],
        asked: [
            &[
                "Which colour is mentioned?",
                "What colour is told of?",
                "What colour is it?",
                "Tell me which colour is mentioned.",
                "What is the colour?",
            ],
            &["Tell me the colour.", "Which colour is told of?"],
        ],
        answered: [&["It is {it}.", "The colour is {it}."], &["{it}."]],
    },
    Fact {
        words: FOODS,
        like: Like::One,
        told: [
            &[
                "{name} likes {it} best.",
                "On Sundays there is {it}.",
                "{name} often cooks {it}.",
                "{name} likes to eat {it}.",
                "The best food is {it}, says {name}.",
            ],
            &["{name} likes to cook {it}."],
        ],
        asked: [
            &[
                "What does {name} like to eat?",
                "Which food does {name} like?",
                "What is eaten there?",
                "What food does {name} cook?",
                "Tell me the food that {name} likes best.",
            ],
            &["Tell me what {name} likes to eat.", "Which food is best for {name}?"],
        ],
        answered: [&["{name} likes {it}.", "It is {it}."], &["The food is {it}."]],
    },
    Fact {
        words: HOBBIES,
        like: Like::One,
        told: [
            &[
                "In the evening {name} enjoys {it}.",
                "{name} loves {it}.",
                "Weekends are for {it}.",
                "For fun {name} goes for {it}.",
                "A hobby of {name} is {it}.",
            ],
            &["{it} is the hobby of {name}."],
        ],
        asked: [
            &[
                "What does {name} do for fun?",
                "What is {name}'s hobby?",
                "What does {name} enjoy as a hobby?",
                "Which hobby does {name} enjoy?",
                "Tell me what {name} does for fun.",
            ],
            &["Tell me the hobby of {name}.", "Which hobby does {name} have?"],
        ],
        answered: [&["{name} enjoys {it}.", "The hobby is {it}."], &["With {it}."]],
    },
    Fact {
        words: &[],
        like: Like::Known,
        told: [
            &[
                "{name} was born in {it}.",
                "The year of birth is {it}.",
                "It all began in {it}.",
                "The birth of {name} was in {it}.",
                "{name} was born in the year {it}.",
            ],
            &["In {it} {name} was born."],
        ],
        asked: [
            &[
                "When was {name} born?",
                "In which year was {name} born?",
                "What is the year of birth?",
                "Tell me the year in which {name} was born.",
                "What year was {name} born in?",
            ],
            &["What is the birth year of {name}?", "Tell me when {name} was born."],
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
        "Question: {question}\n\nPassage: {passage}",
        "{question}\n\nText: {passage}",
        "Read the text and answer.\n\n{passage}\n\n{question}",
    ],
    &[
        "Text: {passage}\n\n{question}",
        "Read the passage. {passage}\n\n{question}",
        "Now answer: {question}\n\n{passage}",
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
    let name = made.word(NAMES, Like::Name);
    let name = name.as_str();
    let mut order: Vec<usize> = (0..FACTS.len()).collect();
    made.random.shuffle(&mut order);
    let told = made.between(2, 5) as usize;
    let mut sentences = Vec::new();
    let mut known = Vec::new();
    for &which in &order[..told] {
        let fact = &FACTS[which];
        let it = match fact.words {
            [] => made.between(1900, 2010).to_string(),
            words => made.word(words, fact.like),
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
