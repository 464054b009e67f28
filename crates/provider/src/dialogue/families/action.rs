//! Cohere's actions: a JSON list, in `<|START_ACTION|>` or after `Action:` in a fence.

use super::super::syntax::{Bare, Count, Item, Object, Syntax};

pub(super) const TURN: Syntax = Syntax {
    name: "action",
    signs: &[&["<|START_ACTION|>"]],
    opener: "<|START_ACTION|>",
    lead: "",
    count: Count::List,
    item: Item::Object(Object {
        name: "tool_name",
        arguments: "parameters",
        number: Some("tool_call_id"),
    }),
    closer: "<|END_ACTION|>",
    bare: Bare::Never,
};

pub(super) const FENCED: Syntax = Syntax {
    name: "action fenced",
    signs: &[&["Action:", "tool_name"]],
    opener: "Action:",
    lead: "\n```json\n",
    count: Count::List,
    item: Item::Object(Object { name: "tool_name", arguments: "parameters", number: None }),
    closer: "\n```",
    bare: Bare::Never,
};
