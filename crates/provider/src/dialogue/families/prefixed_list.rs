//! JSON lists of calls after a mark: Apertus, Apriel, Granite, Phi.

use super::super::syntax::{Bare, Count, Item, Object, Syntax};

const OBJECT: Object = Object { name: "name", arguments: "arguments", number: None };

pub(super) const KEYED: Syntax = Syntax {
    name: "apertus",
    signs: &[&["<|tools_prefix|>"]],
    opener: "<|tools_prefix|>",
    lead: "",
    count: Count::List,
    item: Item::Keyed,
    closer: "<|tools_suffix|>",
    bare: Bare::Never,
};

pub(super) const TAGGED: Syntax = Syntax {
    name: "apriel",
    signs: &[&["<tool_calls>["]],
    opener: "<tool_calls>",
    lead: "",
    count: Count::List,
    item: Item::Object(OBJECT),
    closer: "</tool_calls>",
    bare: Bare::Never,
};

pub(super) const PHI: Syntax = Syntax {
    name: "phi",
    signs: &[&["<|/tool_call|>"]],
    opener: "<|tool_call|>",
    lead: "",
    count: Count::List,
    item: Item::Object(OBJECT),
    closer: "<|/tool_call|>",
    bare: Bare::Never,
};

pub(super) const GRANITE: Syntax = Syntax {
    name: "granite",
    signs: &[&["<|tool_call|>", "<|start_of_role|>"]],
    opener: "<|tool_call|>",
    lead: "",
    count: Count::List,
    item: Item::Object(OBJECT),
    closer: "",
    bare: Bare::Never,
};
