//! Firefunction: `functools` and a JSON list.

use super::super::syntax::{Bare, Count, Item, Object, Syntax};

pub(super) const FUNCTOOLS: Syntax = Syntax {
    name: "functools",
    signs: &[&["functools["]],
    opener: "functools",
    lead: "",
    count: Count::List,
    item: Item::Object(Object { name: "name", arguments: "arguments", number: None }),
    closer: "",
    bare: Bare::Never,
};
