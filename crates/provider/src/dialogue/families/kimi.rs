//! Kimi K2: `<|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>`, the arguments,
//! `<|tool_call_end|>`, in a section.

use super::super::syntax::{Bare, Count, Item, Named, Syntax};

pub(super) const KIMI: Syntax = Syntax {
    name: "kimi",
    signs: &[&["<|tool_calls_section_begin|>"]],
    opener: "<|tool_calls_section_begin|>",
    lead: "",
    count: Count::Many(""),
    item: Item::Named(Named {
        before_name: "<|tool_call_begin|>functions.",
        before_arguments: ":0<|tool_call_argument_begin|>",
        sign: "<|tool_call_argument_begin|>",
        name_ends: &[":"],
        name_begins: "",
        after: "<|tool_call_end|>",
        text_name: None,
    }),
    closer: "<|tool_calls_section_end|>",
    bare: Bare::Never,
};
