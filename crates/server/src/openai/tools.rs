//! `tools`, `tool_choice` and `parallel_tool_calls` of chat completions.

use lucid_provider::{Tool, ToolChoice, Tools};
use serde_json::Value;

use crate::json::{Fields, Node};
use crate::limits;
use crate::openai::sampling::bounded_schema;
use crate::refusal::Refusal;

/// What the model may call.
pub(crate) fn tools(body: &mut Fields) -> Result<Tools, Refusal> {
    tools_of(body, |mut fields| function(fields.need("function")?.fields()?))
}

/// The same with functions that stand where `inner` finds them beside their type.
pub(crate) fn tools_of(
    body: &mut Fields,
    inner: fn(Fields) -> Result<Tool, Refusal>,
) -> Result<Tools, Refusal> {
    let tool = |node: Node| {
        let mut fields = node.fields()?;
        let kind = fields.need("type")?;
        if kind.value != "function" {
            return Err(kind.refuse("`function`, the only kind of tool that there is here"));
        }
        inner(fields)
    };
    let list = body.list("tools", limits::TOOLS_MAX)?;
    let list: Vec<Tool> = list.into_iter().map(tool).collect::<Result<_, _>>()?;
    let choice = match body.take("tool_choice") {
        Some(node) => choice(node, &list)?,
        None => ToolChoice::Auto,
    };
    let parallel = body.flag("parallel_tool_calls")?.unwrap_or(true);
    Ok(Tools { list, choice, parallel })
}

/// A function: its name, description and schema of arguments.
pub(crate) fn function(mut fields: Fields) -> Result<Tool, Refusal> {
    let name = fields.need("name")?;
    let path = name.path.clone();
    let name = name.short_text(limits::NAME_BYTES_MAX)?;
    let fits = |char: char| char.is_alphanumeric() || "_-.:/".contains(char);
    if name.is_empty() || !name.chars().all(fits) {
        let message = format!("`{path}` must be letters, digits, `_`, `-` and `.`");
        return Err(Refusal::invalid(path, message));
    }
    let description = fields.text("description")?;
    let parameters = match fields.take("parameters") {
        Some(schema) => bounded_schema(schema)?,
        None => Value::Null,
    };
    Ok(Tool { name, description, parameters })
}

fn choice(node: Node, list: &[Tool]) -> Result<ToolChoice, Refusal> {
    let expected = "`none`, `auto`, `required` or {\"type\": \"function\", \"function\": ...}";
    let needs_tools = |node: &Node| {
        let message = format!("`{}` needs `tools` to choose from", node.path);
        Refusal::invalid(node.path.clone(), message)
    };
    match node.value.as_str() {
        Some("none") => return Ok(ToolChoice::None),
        Some("auto") => return Ok(ToolChoice::Auto),
        Some("required") if list.is_empty() => return Err(needs_tools(&node)),
        Some("required") => return Ok(ToolChoice::Required),
        Some(_) => return Err(node.refuse(expected)),
        None => {}
    }
    if !node.value.is_object() {
        return Err(node.refuse(expected));
    }
    let mut fields = node.fields()?;
    let kind = fields.need("type")?;
    if kind.value != "function" {
        return Err(kind.refuse("`function`"));
    }
    // The responses protocol has the name beside the type.
    let name = match fields.take("function") {
        Some(inner) => inner.fields()?.need("name")?,
        None => fields.need("name")?,
    };
    named(name, list)
}

/// A tool that must be called.
fn named(node: Node, list: &[Tool]) -> Result<ToolChoice, Refusal> {
    let path = node.path.clone();
    let name = node.short_text(limits::NAME_BYTES_MAX)?;
    if !list.iter().any(|tool| tool.name == name) {
        let message = format!("`{path}`: there is no tool `{name}` in `tools`");
        return Err(Refusal::invalid(path, message));
    }
    Ok(ToolChoice::Named(name))
}
