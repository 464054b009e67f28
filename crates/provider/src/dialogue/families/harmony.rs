//! The channels of gpt-oss: `<|channel|>commentary to=functions.name <|constrain|>json<|message|>`,
//! the arguments, `<|call|>`. Source: OpenAI's description of the harmony format.

use super::super::syntax::{Bare, Count, Item, Named, Syntax};

pub(super) const HARMONY: Syntax = Syntax {
    name: "harmony",
    signs: &[&["<|channel|>", "to=functions."]],
    opener: "<|channel|>commentary to=functions.",
    lead: "",
    count: Count::One,
    item: Item::Named(Named {
        before_name: "",
        before_arguments: " <|constrain|>json<|message|>",
        sign: "<|message|>",
        name_ends: &[" ", "<|"],
        name_begins: "",
        after: "",
        text_name: None,
    }),
    closer: "<|call|>",
    bare: Bare::Never,
};
