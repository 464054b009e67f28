//! Hermes, Qwen and many others: a JSON object in `<tool_call>`.

use super::super::syntax::{Bare, Count, Item, Object, Syntax};

pub(super) const HERMES: Syntax = Syntax {
    name: "hermes",
    signs: &[&["<tool_call>"], &["xml_tools"]],
    opener: "<tool_call>",
    lead: "\n",
    count: Count::One,
    item: Item::Object(Object { name: "name", arguments: "arguments", number: None }),
    closer: "\n</tool_call>",
    bare: Bare::Never,
};
