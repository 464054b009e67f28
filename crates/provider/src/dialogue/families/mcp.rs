//! MiroThinker: `<use_mcp_tool>` with the tool's server, its name and JSON arguments.

use super::super::syntax::{Bare, Count, Item, Named, Syntax};

pub(super) const MCP: Syntax = Syntax {
    name: "mcp",
    signs: &[&["<use_mcp_tool>"]],
    opener: "<use_mcp_tool>",
    lead: "",
    count: Count::Many(""),
    item: Item::Named(Named {
        before_name: "\n<server_name>",
        before_arguments: "</tool_name>\n<arguments>\n",
        sign: "<arguments>",
        name_ends: &["</tool_name>"],
        name_begins: "<tool_name>",
        after: "\n</arguments>",
        text_name: None,
    }),
    closer: "\n</use_mcp_tool>",
    bare: Bare::Never,
};
