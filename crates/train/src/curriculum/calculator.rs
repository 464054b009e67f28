//! Numbers that the calculator computes: the model calls it and says what it gave.

use lucid_tokenizer::template::Message;
use serde_json::{Value, json};

use super::template::{fill, question};
use super::words::{NAMES, THINGS};
use super::{Check, Like, Maker, Side, assistant, call, tool, user};
use crate::conversation::Conversation;

/// An operation: its sign, and the questions for it.
struct Operation {
    sign: char,
    training: &'static [&'static str],
    held_out: &'static [&'static str],
}

const OPERATIONS: [Operation; 4] = [
    Operation {
        sign: '+',
        training: &[
            "What is {a} + {b}?",
            "What is {a} plus {b}?",
            "Add {a} and {b}.",
            "Please add {b} to {a}.",
            "{a} + {b} = ?",
            "Compute {a} + {b}.",
            "How much is {a} and {b} together?",
            "I need the sum of {a} and {b}.",
            "Can you tell me {a} + {b}?",
            "{name} has {a} {things} and gets {b} more. How many {things} does {name} have now?",
            "There are {a} {things} in one room and {b} in another. How many are there in all?",
            "Sum: {a}, {b}",
            "Give me the total of {a} and {b}.",
            "{a} and {b} more: what is the total?",
            "Tell me what {a} and {b} make together.",
            "{name} counted {a} {things} today and {b} yesterday. What is the sum?",
            "If you put {b} on top of {a}, what do you get?",
            "The sum of {a} and {b}, please.",
        ],
        held_out: &[
            "Tell me the sum: {a} plus {b}",
            "What do {a} and {b} make?",
            "Today {name} counted {a} {things}, yesterday {b}. Give me the total.",
            "The total, please: {a} + {b}",
        ],
    },
    Operation {
        sign: '-',
        training: &[
            "What is {a} - {b}?",
            "What is {a} minus {b}?",
            "Subtract {b} from {a}.",
            "{a} - {b} = ?",
            "Compute {a} - {b}.",
            "Take {b} away from {a}.",
            "I need the difference of {a} and {b}.",
            "Can you tell me {a} - {b}?",
            "{name} has {a} {things} and gives {b} away. How many {things} are left?",
            "Of {a} {things} {b} were sold. How many remain?",
            "How much more is {a} than {b}?",
            "What is left of {a} without {b}?",
            "{a} less {b}, please.",
            "Tell me the difference between {a} and {b}.",
            "{name} had {a} {things} and lost {b} of them. How many remain?",
            "Give me {a} minus {b}.",
            "By how much is {a} larger than {b}?",
        ],
        held_out: &[
            "What is {a} less {b}?",
            "Give me the difference: {a} minus {b}",
            "{name} lost {b} of {a} {things}. How many are left?",
            "How much larger is {a} than {b}?",
        ],
    },
    Operation {
        sign: '*',
        training: &[
            "What is {a} * {b}?",
            "What is {a} times {b}?",
            "Multiply {a} by {b}.",
            "{a} * {b} = ?",
            "Compute {a} * {b}.",
            "I need the product of {a} and {b}.",
            "How much is {a} times {b}?",
            "Can you tell me {a} * {b}?",
            "{name} fills {a} boxes with {b} {things} each. How many {things} is that?",
            "A shop sells {a} {things} a day. How many does it sell in {b} days?",
            "What do you get if you multiply {a} and {b}?",
            "{a} multiplied by {b}, please.",
            "Give me {a} times {b}.",
            "Tell me the product of {a} and {b}.",
            "There are {a} shelves with {b} {things} on each. How many {things} are there?",
            "{a} x {b}?",
            "What is {a} multiplied with {b}?",
        ],
        held_out: &[
            "What is {a} multiplied by {b}?",
            "Give me the product: {a} times {b}",
            "{name} has {a} boxes, each with {b} {things}. What is the total?",
            "Tell me {a} x {b}",
        ],
    },
    Operation {
        sign: '/',
        training: &[
            "What is {a} / {b}?",
            "What is {a} divided by {b}?",
            "Divide {a} by {b}.",
            "{a} / {b} = ?",
            "Compute {a} / {b}.",
            "I need the quotient of {a} and {b}.",
            "How often does {b} go into {a}?",
            "Can you tell me {a} / {b}?",
            "{name} shares {a} {things} among {b} friends. How many does each get?",
            "{a} {things} are packed into {b} boxes, the same number in each. How many in each?",
            "Split {a} into {b} equal parts.",
            "{a} divided by {b}, please.",
            "Give me {a} over {b}.",
            "Tell me the quotient of {a} and {b}.",
            "If {b} people share {a} {things}, how many does each of them get?",
            "How large is each part if {a} is split into {b} parts?",
        ],
        held_out: &[
            "Tell me {a} divided by {b}",
            "{b} friends share {a} {things}, the same number each. What does one get?",
            "Give me the quotient: {a} over {b}",
            "How large is each of {b} equal parts of {a}?",
        ],
    },
];

const ANSWERS: [&[&str]; 2] = [
    &[
        "It is {r}.",
        "The answer is {r}.",
        "{a} {sign} {b} = {r}.",
        "That makes {r}.",
        "The result is {r}.",
    ],
    &["The result: {r}."],
];

pub(super) fn templates(side: Side) -> Vec<&'static str> {
    let of = |operation: &Operation| match side {
        Side::Training => operation.training,
        Side::HeldOut => operation.held_out,
    };
    let questions = OPERATIONS.iter().flat_map(of).copied();
    questions.chain(ANSWERS[side as usize].iter().copied()).collect()
}

/// The declaration of the calculator, as `lucid do` has it.
pub(super) fn declaration() -> Value {
    tool(
        "calculator",
        "computes an expression such as (3 + 4.5) * 2^10 / sqrt(2)",
        &json!({"type": "object", "properties": {"expression": {"type": "string"}},
            "required": ["expression"]}),
    )
}

pub(super) fn make(made: &mut Maker) -> (Conversation, Check) {
    let operation = &OPERATIONS[made.below(OPERATIONS.len())];
    let (mut a, mut b) = (made.number(6), made.number(6));
    match operation.sign {
        '-' if b > a => (a, b) = (b, a),
        '/' => {
            // A whole quotient, of operands of six digits at most.
            b = made.number(3).max(1);
            a = b * made.between(1, 999_999 / b);
        }
        _ => {}
    }
    let result = match operation.sign {
        '+' => a + b,
        '-' => a - b,
        '*' => a * b,
        _ => a / b,
    };
    let questions = match made.side {
        Side::Training => operation.training,
        Side::HeldOut => operation.held_out,
    };
    let [a, b, r] = [a, b, result].map(|number| number.to_string());
    let sign = operation.sign.to_string();
    let (name, things) = (made.word(NAMES, Like::Name), made.word(THINGS, Like::Many));
    let gaps = [
        ("a", a.as_str()),
        ("b", b.as_str()),
        ("r", r.as_str()),
        ("sign", sign.as_str()),
        ("name", name.as_str()),
        ("things", things.as_str()),
    ];
    let question = question(made, questions, &gaps);
    let answer = fill(made.one(ANSWERS[made.side as usize]), &gaps);
    let expression = format!("{a} {sign} {b}");
    let messages = vec![
        user(question),
        call("calculator", json!({ "expression": expression })),
        Message { name: Some("calculator".to_owned()), ..Message::text("tool", r.clone()) },
        assistant(answer),
    ];
    let conversation = Conversation { messages, tools: vec![declaration()] };
    (conversation, Check::Number(r))
}
