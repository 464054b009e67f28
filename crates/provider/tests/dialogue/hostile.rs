//! Text that is made to confuse a reader: nothing panics, and nothing is lost.

use lucid_provider::dialogue::{Begins, Format, Piece};

use super::round_trip::templates;
use super::{hear, tools};

/// Pieces that formats are made of, and others.
const SHARDS: &[&str] = &[
    "<tool_call>",
    "</tool_call>",
    "<tool_",
    "{",
    "}",
    "[",
    "]",
    "\"name\"",
    ":",
    "\"stop\"",
    ",",
    "\"arguments\"",
    "\"parameters\"",
    "\\",
    "\"",
    " ",
    "\n",
    "é",
    "😀",
    "<think>",
    "</think>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "stop",
    "get_weather",
    "<function=",
    ">",
    "</function>",
    "<parameter=",
    "</parameter>",
    "<|python_tag|>",
    "<|channel|>",
    "commentary to=functions.",
    "<|message|>",
    "<|call|>",
    "<|end|>",
    ">>>",
    "all\n",
    "functools",
    "<arg_key>",
    "<arg_value>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁sep｜>",
    "\n```json\n",
    "Action:",
    "<|START_ACTION|>",
    "<|tool_call_start|>",
    "[stop(",
    "a=",
    "'",
    ")]",
    "<|tool_call_end|>",
    "1",
    "-",
    "null",
    "\u{2028}",
    "\0",
];

fn random(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

#[test]
fn nothing_is_lost_of_hostile_text() {
    let mut state = 11;
    for (name, source) in templates() {
        let format = Format::of_template(&source);
        for begins in [Begins::Outside, Begins::InReasoning, Begins::AfterReasoning] {
            for _ in 0..120 {
                let count = 1 + random(&mut state) % 30;
                let shards: Vec<&str> =
                    (0..count).map(|_| SHARDS[random(&mut state) % SHARDS.len()]).collect();
                let text = shards.concat();
                let heard = hear(format.reader(begins, &tools()), shards.iter().copied());
                assert_eq!(
                    heard,
                    hear(format.reader(begins, &tools()), [&*text]),
                    "{name}: {text:?}"
                );
                if heard.calls.is_empty() && !format.reasons() && !source.contains(">>>all") {
                    let marks = ["<|start|>assistant", "<|START_TEXT|>", "<|START_RESPONSE|>"];
                    if !marks.iter().any(|mark| source.contains(mark)) {
                        let kept: String = heard.text.split_whitespace().collect();
                        let all: String = text.split_whitespace().collect();
                        assert_eq!(kept, all, "{name}");
                    }
                }
            }
        }
    }
}

#[test]
fn long_hostile_text_takes_its_time_only() {
    let attacks = [
        "<tool_call>".repeat(20_000),
        "<tool_call>{\"arguments\": \"".repeat(8_000),
        "<".repeat(200_000),
        "<tool_call>{\"name\": \"stop\", \"arguments\": ".to_owned() + &"[".repeat(200_000),
        " ".repeat(200_000),
    ];
    let format = Format::of_template("<think></think><tool_call>");
    for attack in &attacks {
        let mut reader = format.reader(Begins::Outside, &tools());
        let mut length = 0;
        let mut pieces = reader.push(attack);
        pieces.extend(reader.finish());
        for piece in pieces {
            length += match piece {
                Piece::Text(text) | Piece::Reasoning(text) | Piece::CallArguments(text) => {
                    text.len()
                }
                Piece::CallBegun { .. } => 0,
            };
        }
        assert!(length + 60 >= attack.len(), "{} of {}", length, attack.len());
    }
    let python = Format::of_template("<|tool_call_start|>");
    let deep =
        "<|tool_call_start|>[stop(a=".to_owned() + &"[".repeat(100_000) + "<|tool_call_end|>";
    assert_eq!(hear(python.reader(Begins::Outside, &tools()), [&*deep]).text, deep);
}
