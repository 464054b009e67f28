//! Numbers that the calculator computes: the model calls it and says what it gave.

use lucid_tokenizer::template::Message;
use serde_json::{Value, json};

use super::template::fill;
use super::words::{NAMES, THINGS};
use super::{Check, Maker, Side, assistant, call, tool, user};
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
        ],
        held_out: &[
            "Tell me the total of {a} and {b}",
            "{a} plus {b} makes what?",
            "First {name} counted {a} {things}, later {b} others. Give the total.",
            "Put {a} and {b} together, please",
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
        ],
        held_out: &[
            "{a} less {b} makes what?",
            "{name} owned {a} {things}; {b} got lost. Give the rest.",
            "By how much does {a} exceed {b}?",
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
        ],
        held_out: &[
            "{a} multiplied by {b} makes what?",
            "Each of {a} shelves holds {b} {things}. Give the number of all {things}.",
            "Give me {a} x {b}",
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
        ],
        held_out: &[
            "{a} split into {b} equal parts makes what?",
            "{b} people own {a} {things} in equal shares. Give the size of one share.",
        ],
    },
];

const ANSWERS: [&[&str]; 2] = [
    &["It is {r}.", "The answer is {r}.", "{a} {sign} {b} = {r}.", "That makes {r}."],
    &["The result comes to {r}."],
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
    let (name, things) = (made.word(NAMES), made.word(THINGS));
    let gaps = [
        ("a", a.as_str()),
        ("b", b.as_str()),
        ("r", r.as_str()),
        ("sign", sign.as_str()),
        ("name", name),
        ("things", things),
    ];
    let question = fill(made.one(questions), &gaps);
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
