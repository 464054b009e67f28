//! Llama 3: an answer that consists of a JSON object, with `<|python_tag|>` or without.

use super::super::syntax::{Bare, Count, Item, Object, Syntax};

pub(super) const LLAMA: Syntax = Syntax {
    name: "llama",
    signs: &[&["\"parameters\"", "\"name\"", "ipython"]],
    opener: "<|python_tag|>",
    lead: "",
    count: Count::One,
    item: Item::Object(Object { name: "name", arguments: "parameters", number: None }),
    closer: "",
    bare: Bare::WholeAnswer,
};
