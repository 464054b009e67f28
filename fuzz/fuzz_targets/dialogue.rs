//! Reads any text as an answer, in each syntax of calls, whole and character by character.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lucid_provider::Tool;
use lucid_provider::dialogue::{Begins, Format, Piece};

/// Sources that bear the signs of a syntax each.
const SOURCES: &[&str] = &[
    "<think></think><tool_call>",
    "[TOOL_CALLS]",
    "[TOOL_CALLS][ARGS]",
    "ipython \"name\" \"parameters\"",
    "<|START_ACTION|><|START_THINKING|>",
    "<｜tool▁calls▁begin｜>```json",
    "DSML invoke",
    "<|tools_prefix|>",
    "<|channel|>analysis to=functions.",
    "<tool_call><function=<parameter=",
    "<tool_call><arg_key><arg_value>",
    "<|tool_call_start|>",
    ">>>all",
    "<|call|><|result|><|think|>",
];

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else { return };
    let format = Format::of_template(SOURCES[usize::from(*first) % SOURCES.len()]);
    let text = String::from_utf8_lossy(rest);
    let tools = [Tool { name: "stop".to_owned(), ..Tool::default() }];
    let hear = |parts: &mut dyn Iterator<Item = String>| {
        let mut reader = format.reader(Begins::Outside, &tools);
        let mut heard = String::new();
        let mut tell = |pieces: Vec<Piece>| {
            for piece in pieces {
                match piece {
                    Piece::Text(text) | Piece::Reasoning(text) | Piece::CallArguments(text) => {
                        heard.push_str(&text);
                    }
                    Piece::CallBegun { name } => heard.push_str(&name),
                }
            }
        };
        for part in parts {
            tell(reader.push(&part));
        }
        tell(reader.finish());
        heard
    };
    let whole = hear(&mut std::iter::once(text.clone().into_owned()));
    let single = hear(&mut text.chars().map(String::from));
    assert_eq!(whole, single);
});
