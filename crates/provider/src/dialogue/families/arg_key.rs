//! GLM: the name, then `<arg_key>` and `<arg_value>` in turn.

use super::super::syntax::{Bare, Count, Item, Syntax, Tagged};

pub(super) const ARG_KEY: Syntax = Syntax {
    name: "argument keys",
    signs: &[&["<arg_key>", "<arg_value>"]],
    opener: "<tool_call>",
    lead: "",
    count: Count::One,
    item: Item::Tagged(Tagged {
        before_name: "",
        after_name: "\n",
        before_key: "<arg_key>",
        before_value: "</arg_key>\n<arg_value>",
        before_text: "</arg_key>\n<arg_value>",
        after_value: "</arg_value>\n",
        after: "",
    }),
    closer: "</tool_call>",
    bare: Bare::Never,
};
