//! GigaChat: a JSON object after a mark, or in a message of its own role.

use super::super::syntax::{Bare, Count, Item, Object, Syntax};

const ITEM: Item = Item::Object(Object { name: "name", arguments: "arguments", number: None });

pub(super) const TOKEN: Syntax = Syntax {
    name: "gigachat",
    signs: &[&["<|function_call|>"]],
    opener: "<|function_call|>",
    lead: "",
    count: Count::One,
    item: ITEM,
    closer: "",
    bare: Bare::Never,
};

pub(super) const ROLE: Syntax = Syntax {
    name: "gigachat by role",
    signs: &[&["<|role_sep|>", "function call"]],
    opener: "<|message_sep|>\n\nfunction call<|role_sep|>\n",
    lead: "",
    count: Count::One,
    item: ITEM,
    closer: "",
    bare: Bare::Never,
};
