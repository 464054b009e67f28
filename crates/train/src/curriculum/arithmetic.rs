//! Arithmetic by steps, in words, without a tool.

use super::template::{fill, question};
use super::{Check, Maker, Side, assistant, talked, user};
use crate::conversation::Conversation;

const QUESTIONS: [&[&str]; 2] = [
    &[
        "Work out {a} {sign} {b} step by step.",
        "Show the steps of {a} {sign} {b}.",
        "Compute {a} {sign} {b} without a calculator.",
        "How do you work out {a} {sign} {b}? Show each step.",
        "Solve {a} {sign} {b} and explain it.",
        "{a} {sign} {b}, step by step, please.",
        "Explain how to get {a} {sign} {b}.",
        "In steps: {a} {sign} {b}",
        "I want to see every step of {a} {sign} {b}.",
        "Tell me how you get {a} {sign} {b}, one step after the other.",
        "Let us work out {a} {sign} {b} slowly.",
        "Without a tool: what is {a} {sign} {b}? Show your work.",
        "Write down the steps for {a} {sign} {b}.",
    ],
    &[
        "Show me how you get to {a} {sign} {b}.",
        "Let us see {a} {sign} {b} in steps",
        "Explain {a} {sign} {b}, step after step",
        "Every step, please: {a} {sign} {b}",
    ],
];

const ENDS: [&[&str]; 2] = [&["So {a} {sign} {b} = {r}."], &["{a} {sign} {b} = {r}, so."]];

pub(super) fn templates(side: Side) -> Vec<&'static str> {
    [QUESTIONS[side as usize], ENDS[side as usize]].concat()
}

pub(super) fn make(made: &mut Maker) -> (Conversation, Check) {
    let (mut a, mut b) = (made.number(3), made.number(3));
    let sign = ["+", "-", "*"][made.below(3)];
    let (steps, result) = match sign {
        "+" => (added(a, b), a + b),
        "-" => {
            if b > a {
                (a, b) = (b, a);
            }
            (subtracted(a, b), a - b)
        }
        _ => {
            // One digit at a time stays within what a small model can carry.
            b %= 10;
            (multiplied(a, b), a * b)
        }
    };
    let [a, b, r] = [a, b, result].map(|number| number.to_string());
    let gaps = [("a", a.as_str()), ("b", b.as_str()), ("r", r.as_str()), ("sign", sign)];
    let question = question(made, QUESTIONS[made.side as usize], &gaps);
    let end = fill(made.one(ENDS[made.side as usize]), &gaps);
    let text = format!("{}\n{end}", steps.join("\n"));
    (talked(vec![user(question), assistant(text)]), Check::Number(r))
}

/// The parts of a number by their places, the largest first, without zeros.
fn parts(number: u64) -> Vec<u64> {
    let digits = number.to_string();
    let places = digits
        .bytes()
        .enumerate()
        .map(|(at, digit)| u64::from(digit - b'0') * 10u64.pow((digits.len() - at - 1) as u32));
    places.filter(|&part| part > 0).collect()
}

fn added(a: u64, b: u64) -> Vec<String> {
    let (mut sum, mut steps) = (a, Vec::new());
    for part in parts(b) {
        steps.push(format!("{sum} + {part} = {}", sum + part));
        sum += part;
    }
    if steps.is_empty() { vec![format!("{a} + 0 = {a}")] } else { steps }
}

fn subtracted(a: u64, b: u64) -> Vec<String> {
    let (mut left, mut steps) = (a, Vec::new());
    for part in parts(b) {
        steps.push(format!("{left} - {part} = {}", left - part));
        left -= part;
    }
    if steps.is_empty() { vec![format!("{a} - 0 = {a}")] } else { steps }
}

fn multiplied(a: u64, b: u64) -> Vec<String> {
    let (mut sum, mut steps) = (0, Vec::new());
    for part in parts(a) {
        let product = part * b;
        steps.push(format!("{part} * {b} = {product}, {sum} + {product} = {}", sum + product));
        sum += product;
    }
    if steps.is_empty() { vec![format!("0 * {b} = 0")] } else { steps }
}
