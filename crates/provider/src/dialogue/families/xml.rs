//! Calls as tags, with a tag for each argument: Qwen3-Coder, Nemotron, StepFun, Seed-OSS, MiniMax.

use super::super::syntax::{Bare, Count, Item, Syntax, Tagged};

pub(super) const FUNCTION: Syntax = Syntax {
    name: "function tags",
    signs: &[&["<function=", "<parameter="]],
    opener: "<tool_call>",
    lead: "\n",
    count: Count::One,
    item: function(">\n", "\n</parameter>\n"),
    closer: "\n</tool_call>",
    bare: Bare::Never,
};

pub(super) const SEED: Syntax = Syntax {
    name: "seed",
    signs: &[&["<seed:tool_call>"]],
    opener: "<seed:tool_call>",
    lead: "\n",
    count: Count::One,
    item: function(">", "</parameter>\n"),
    closer: "\n</seed:tool_call>",
    bare: Bare::Never,
};

pub(super) const MINIMAX: Syntax = Syntax {
    name: "minimax",
    signs: &[&["<minimax:tool_call>"]],
    opener: "<minimax:tool_call>",
    lead: "\n",
    count: Count::Many("\n"),
    item: Item::Tagged(Tagged {
        before_name: "<invoke name=\"",
        after_name: "\">\n",
        before_key: "<parameter name=\"",
        before_value: "\">",
        before_text: "\">",
        after_value: "</parameter>\n",
        after: "</invoke>",
    }),
    closer: "\n</minimax:tool_call>",
    bare: Bare::Never,
};

/// A call with tags for the function and its parameters; families differ in what stands around
/// values.
const fn function(before_value: &'static str, after_value: &'static str) -> Item {
    Item::Tagged(Tagged {
        before_name: "<function=",
        after_name: ">\n",
        before_key: "<parameter=",
        before_value,
        before_text: before_value,
        after_value,
        after: "</function>",
    })
}
