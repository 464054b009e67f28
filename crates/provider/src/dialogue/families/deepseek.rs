//! DeepSeek: lists between `<｜tool▁calls▁begin｜>` and `<｜tool▁calls▁end｜>`, with the arguments in a
//! fence (R1, V3) or without (V3.1); and V4's tags.

use super::super::syntax::{Bare, Count, Item, Named, Syntax, Tagged};

const BEGIN: &str = "<｜tool▁calls▁begin｜>";
const END: &str = "<｜tool▁calls▁end｜>";

pub(super) const FENCED: Syntax = Syntax {
    name: "deepseek fenced",
    signs: &[&["<｜tool▁calls▁begin｜>", "```json"]],
    opener: BEGIN,
    lead: "",
    count: Count::Many("\n"),
    item: Item::Named(Named {
        before_name: "<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
        before_arguments: "\n```json\n",
        sign: "",
        name_ends: &[],
        name_begins: "",
        after: "\n```<｜tool▁call▁end｜>",
        text_name: None,
    }),
    closer: END,
    bare: Bare::Never,
};

pub(super) const PLAIN: Syntax = Syntax {
    name: "deepseek",
    signs: &[&["<｜tool▁calls▁begin｜>"]],
    opener: BEGIN,
    lead: "",
    count: Count::Many(""),
    item: Item::Named(Named {
        before_name: "<｜tool▁call▁begin｜>",
        before_arguments: "<｜tool▁sep｜>",
        sign: "",
        name_ends: &[],
        name_begins: "",
        after: "<｜tool▁call▁end｜>",
        text_name: None,
    }),
    closer: END,
    bare: Bare::Never,
};

pub(super) const DSML: Syntax = Syntax {
    name: "deepseek tags",
    signs: &[&["DSML", "invoke"]],
    opener: "<｜DSML｜tool_calls>",
    lead: "\n",
    count: Count::Many("\n"),
    item: Item::Tagged(Tagged {
        before_name: "<｜DSML｜invoke name=\"",
        after_name: "\">\n",
        before_key: "<｜DSML｜parameter name=\"",
        before_value: "\" string=\"false\">",
        before_text: "\" string=\"true\">",
        after_value: "</｜DSML｜parameter>\n",
        after: "</｜DSML｜invoke>",
    }),
    closer: "\n</｜DSML｜tool_calls>",
    bare: Bare::Never,
};
