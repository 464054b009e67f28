//! LFM2: Python calls in a list.

use super::super::syntax::{Bare, Count, Item, Syntax};

pub(super) const LFM2: Syntax = Syntax {
    name: "python calls",
    signs: &[
        &["<|tool_call_start|>"],
        &["<|tool_list_start|>"],
        &["keep_past_thinking", "List of tools: ["],
    ],
    opener: "<|tool_call_start|>",
    lead: "",
    count: Count::One,
    item: Item::Python,
    closer: "<|tool_call_end|>",
    bare: Bare::Never,
};
