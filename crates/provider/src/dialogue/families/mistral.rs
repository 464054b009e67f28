//! Mistral: `[TOOL_CALLS]` and a JSON list, or since 2025 `[TOOL_CALLS]name[ARGS]{json}` for each
//! call, some with `[CALL_ID]` in between.

use super::super::syntax::{Bare, Count, Item, Named, Object, Syntax};

pub(super) const WITH_ARGS: Syntax = Syntax {
    name: "mistral with arguments",
    signs: &[&["[TOOL_CALLS]", "[ARGS]"]],
    opener: "[TOOL_CALLS]",
    lead: "",
    count: Count::One,
    item: Item::Named(Named {
        before_name: "",
        before_arguments: "[ARGS]",
        sign: "",
        name_ends: &["[CALL_ID]"],
        name_begins: "",
        after: "",
        text_name: None,
    }),
    closer: "",
    bare: Bare::Never,
};

pub(super) const LIST: Syntax = Syntax {
    name: "mistral",
    signs: &[&["[TOOL_CALLS]"]],
    opener: "[TOOL_CALLS]",
    lead: "",
    count: Count::List,
    item: Item::Object(Object { name: "name", arguments: "arguments", number: None }),
    closer: "",
    bare: Bare::Never,
};
