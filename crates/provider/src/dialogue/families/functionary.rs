//! Functionary: `<function=name>{json}</function>` (3.1), and `>>>name` before each part of an
//! answer, text being the part of `all` (3.2).

use super::super::syntax::{Bare, Count, Item, Named, Syntax};

pub(super) const TAGGED: Syntax = Syntax {
    name: "functionary tags",
    signs: &[&["<function=", "</function>"]],
    opener: "<function=",
    lead: "",
    count: Count::One,
    item: Item::Named(Named {
        before_name: "",
        before_arguments: ">",
        sign: "",
        name_ends: &[],
        name_begins: "",
        after: "",
        text_name: None,
    }),
    closer: "</function>",
    bare: Bare::Never,
};

pub(super) const RECIPIENT: Syntax = Syntax {
    name: "functionary recipients",
    signs: &[&[">>>all"]],
    opener: ">>>",
    lead: "",
    count: Count::One,
    item: Item::Named(Named {
        before_name: "",
        before_arguments: "\n",
        sign: "",
        name_ends: &[],
        name_begins: "",
        after: "",
        text_name: Some("all"),
    }),
    closer: "",
    bare: Bare::Prompt,
};
