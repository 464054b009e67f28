//! Models made with Lucid: `<|call|>name {json}<|end|>`. The last mark ends the answer too.

use super::super::syntax::{Bare, Count, Item, Named, Syntax};

pub(super) const LUCID: Syntax = Syntax {
    name: "lucid",
    signs: &[&["<|call|>", "<|result|>"]],
    opener: "<|call|>",
    lead: "",
    count: Count::One,
    item: Item::Named(Named {
        before_name: "",
        before_arguments: " ",
        sign: "",
        name_ends: &[],
        name_begins: "",
        after: "",
        text_name: None,
    }),
    closer: "<|end|>",
    bare: Bare::Never,
};
