//! Calls of tools as grammars: a template's syntax with arguments that the tool's schema accepts.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use lucid_tokenizer::TokenId;

use super::cache::Source;
use super::lark::quoted;
use super::vocabulary::Vocabulary;
use super::{refused, schema};
use crate::dialogue::Format;
use crate::dialogue::syntax::{Bare, Count, Item, Named, Object, Syntax, Tagged};
use crate::{ProviderError, Tool, ToolChoice, Tools};

/// What may be called, and how.
pub(super) struct Calls<'a> {
    syntax: &'static Syntax,
    tools: Vec<&'a Tool>,
    parallel: bool,
    vocabulary: &'a Vocabulary,
}

impl<'a> Calls<'a> {
    pub(super) fn new(
        tools: &'a Tools,
        dialogue: &Format,
        vocabulary: &'a Vocabulary,
    ) -> Result<Self, ProviderError> {
        let Some(syntax) = dialogue.calls() else {
            let reason = "the model's chat template has no calls of tools that are known here";
            return Err(ProviderError::invalid("tools", reason));
        };
        let list: Vec<&Tool> = match &tools.choice {
            ToolChoice::Named(name) => tools.list.iter().filter(|t| t.name == *name).collect(),
            _ => tools.list.iter().collect(),
        };
        if let (ToolChoice::Named(name), true) = (&tools.choice, list.is_empty()) {
            return Err(ProviderError::invalid("tools", format!("there is no tool `{name}`")));
        }
        Ok(Self { syntax, tools: list, parallel: tools.parallel, vocabulary })
    }

    /// An answer that is one call, or several.
    pub(super) fn required(&self) -> Result<Source, ProviderError> {
        let mut rules = Rules::default();
        let call = self.answer(&mut rules)?;
        Ok(Source::Lark(rules.with_start(&call)))
    }

    /// An answer that is calls, or something else.
    pub(super) fn or(&self, other: Source) -> Result<Source, ProviderError> {
        let mut rules = Rules::default();
        let call = self.answer(&mut rules)?;
        let other = match other {
            Source::Schema(schema) => format!("%json {schema}"),
            Source::Lark(text) => format!("%lark {{\n{text}\n}}"),
        };
        Ok(Source::Lark(rules.with_start(&format!("{other} | {call}"))))
    }

    /// What opens a call in free text, each with the grammar of what follows.
    pub(super) fn opened(&self) -> Result<Vec<(String, Source)>, ProviderError> {
        let mut opened = Vec::new();
        let syntax = self.syntax;
        // The prompt has opened the first call already, and nothing tells it from text.
        if syntax.bare == Bare::Prompt {
            return Ok(opened);
        }
        let mut rules = Rules::default();
        let rest = self.after_opener(&mut rules)?;
        opened.push((syntax.opener.to_owned(), Source::Lark(rules.with_start(&rest))));
        if let (Bare::WholeAnswer, Item::Object(object)) = (syntax.bare, &syntax.item) {
            let mut rules = Rules::default();
            let rest =
                self.items(&mut rules, |this, rules, tool| this.object_rest(object, rules, tool))?;
            let opener = format!("{{\"{}\": \"", object.name);
            opened.push((opener, Source::Lark(rules.with_start(&rest))));
        }
        Ok(opened)
    }

    fn answer(&self, rules: &mut Rules) -> Result<String, ProviderError> {
        let rest = self.after_opener(rules)?;
        if self.syntax.bare != Bare::Never {
            return Ok(rest);
        }
        let call = rules.add("call", &format!("{} {rest}", self.text(self.syntax.opener)));
        let several = self.parallel && self.syntax.count == Count::One && !self.ends_answer();
        Ok(if several { format!("{call} ({} {call})*", self.optional("\n")) } else { call })
    }

    /// Everything but the opener.
    fn after_opener(&self, rules: &mut Rules) -> Result<String, ProviderError> {
        let syntax = self.syntax;
        let item = self.items(rules, Self::item)?;
        let item = rules.add("item", &item);
        let closer = if self.ends_answer() { String::new() } else { self.text(syntax.closer) };
        let many = |between: &str| {
            let between = self.text(between);
            if self.parallel { format!("{item} ({between} {item})*") } else { item.clone() }
        };
        let lead = self.text(syntax.lead);
        let calls = match syntax.count {
            Count::One => item.clone(),
            Count::List => format!("\"[\" {} \"]\"", many(", ")),
            Count::Many(between) => many(between),
        };
        Ok(format!("{lead} {calls} {closer}"))
    }

    /// Whether what closes a call ends the answer: then it is no part of it.
    fn ends_answer(&self) -> bool {
        let closer = self.vocabulary.control(self.syntax.closer);
        closer.is_some_and(|token| self.vocabulary.tokenizer().is_end_of_generation(token))
    }

    /// One of the tools.
    fn items(
        &self,
        rules: &mut Rules,
        item: impl Fn(&Self, &mut Rules, &Tool) -> Result<String, ProviderError>,
    ) -> Result<String, ProviderError> {
        let mut items = Vec::new();
        for tool in &self.tools {
            let text = item(self, rules, tool).map_err(|error| of_tool(tool, error))?;
            items.push(rules.add("tool", &text));
        }
        Ok(format!("({})", items.join(" | ")))
    }

    fn item(&self, rules: &mut Rules, tool: &Tool) -> Result<String, ProviderError> {
        match &self.syntax.item {
            Item::Object(object) => {
                let number = object.number.map_or(String::new(), |key| {
                    let digits = "/[0-9]{1,3}/";
                    let (before, after) = (self.text(&format!("\"{key}\": \"")), "\"\\\", \"");
                    format!("{before} {digits} {after}")
                });
                let rest = self.object_rest(object, rules, tool)?;
                let name = self.text(&format!("\"{}\": \"", object.name));
                Ok(format!("\"{{\" {number} {name} {rest}"))
            }
            Item::Keyed => {
                let name = self.text(&format!("{{\"{}\": ", escaped(&tool.name)));
                Ok(format!("{name} {} \"}}\"", arguments(tool)?))
            }
            Item::Named(named) => self.named(named, tool),
            Item::Tagged(tags) => self.tagged(tags, rules, tool),
            Item::Python => self.python(rules, tool),
        }
    }

    /// What follows the quote that opens the name.
    fn object_rest(
        &self,
        object: &Object,
        _: &mut Rules,
        tool: &Tool,
    ) -> Result<String, ProviderError> {
        let name = format!("{}\", \"{}\": ", escaped(&tool.name), object.arguments);
        Ok(format!("{} {} \"}}\"", self.text(&name), arguments(tool)?))
    }

    fn named(&self, named: &Named, tool: &Tool) -> Result<String, ProviderError> {
        if !named.name_begins.is_empty() {
            let reason = "calls in this template's syntax name a server, which tools here have not";
            return Err(refused(reason));
        }
        let name = format!("{}{}{}", named.before_name, tool.name, named.before_arguments);
        let after = self.text(named.after);
        Ok(format!("{} {} {after}", self.text(&name), arguments(tool)?))
    }

    fn tagged(
        &self,
        tags: &Tagged,
        rules: &mut Rules,
        tool: &Tool,
    ) -> Result<String, ProviderError> {
        let name = self.text(&format!("{}{}{}", tags.before_name, tool.name, tags.after_name));
        let mut parts = vec![name];
        for Parameter { name, schema, required } in parameters(tool)? {
            let part = if let Some(text) = Written::of(&schema)? {
                let before = self.text(&format!("{}{name}{}", tags.before_key, tags.before_text));
                let text = match text {
                    Written::Any => rules.add_lazy("text", tags.after_value),
                    Written::Choice(texts) => {
                        let texts: Vec<_> = texts.iter().map(|text| self.text(text)).collect();
                        format!("({}) {}", texts.join(" | "), self.text(tags.after_value))
                    }
                };
                format!("{before} {text}")
            } else {
                let before = self.text(&format!("{}{name}{}", tags.before_key, tags.before_value));
                format!("{before} %json {schema} {}", self.text(tags.after_value))
            };
            let part = rules.add("argument", &part);
            parts.push(if required { part } else { format!("{part}?") });
        }
        parts.push(self.text(tags.after));
        Ok(parts.join(" "))
    }

    fn python(&self, rules: &mut Rules, tool: &Tool) -> Result<String, ProviderError> {
        let (mut required, mut optional) = (Vec::new(), Vec::new());
        for parameter in parameters(tool)? {
            let value = match parameter.schema.get("type") {
                Some(Value::String(kind)) if kind == "boolean" => {
                    "(\"True\" | \"False\")".to_owned()
                }
                _ => format!("%json {}", parameter.schema),
            };
            let value = format!("{} {value}", self.text(&format!("{}=", parameter.name)));
            let value = rules.add("argument", &value);
            if parameter.required { &mut required } else { &mut optional }.push(value);
        }
        let mut arguments = required.join(" \", \" ");
        if required.is_empty() {
            // Whichever comes first goes without a comma.
            let first = (0..optional.len()).map(|first| {
                let rest = optional[first + 1..].iter().map(|rest| format!("(\", \" {rest})?"));
                format!("{} {}", optional[first], rest.collect::<Vec<_>>().join(" "))
            });
            let first: Vec<_> = first.collect();
            if !first.is_empty() {
                arguments = format!("({})?", first.join(" | "));
            }
        } else {
            for argument in optional {
                let _ = write!(arguments, " (\", \" {argument})?");
            }
        }
        let name = self.text(&format!("[{}(", tool.name));
        Ok(format!("{name} {arguments} \")]\""))
    }

    /// Lark of a fixed text; control tokens that it spells are meant.
    fn text(&self, text: &str) -> String {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            if let Some((length, token)) = self.control(rest) {
                if !plain.is_empty() {
                    parts.push(quoted(&std::mem::take(&mut plain)));
                }
                parts.push(format!("<[{token}]>"));
                rest = &rest[length..];
            } else {
                plain.push(character);
                rest = &rest[character.len_utf8()..];
            }
        }
        if !plain.is_empty() {
            parts.push(quoted(&plain));
        }
        parts.join(" ")
    }

    /// The same, but it may be left out.
    fn optional(&self, text: &str) -> String {
        let text = self.text(text);
        if text.is_empty() { text } else { format!("({text})?") }
    }

    /// The control token that `text` begins with, and its length in bytes.
    fn control(&self, text: &str) -> Option<(usize, TokenId)> {
        if !text.starts_with(['<', '[']) {
            return None;
        }
        let ends = text.char_indices().filter(|(_, character)| matches!(character, '>' | ']'));
        let mut lengths = ends.map(|(at, _)| at + 1).take(4);
        lengths.find_map(|length| Some((length, self.vocabulary.control(&text[..length])?)))
    }
}

/// The rules of a grammar beside `start`.
#[derive(Default)]
struct Rules {
    text: String,
    count: usize,
}

impl Rules {
    /// Adds a rule and returns its name.
    fn add(&mut self, kind: &str, body: &str) -> String {
        self.count += 1;
        let name = format!("{kind}_{}", self.count);
        let _ = writeln!(self.text, "{name}: {body}");
        name
    }

    /// A rule for any text up to the first `end`, that included.
    fn add_lazy(&mut self, kind: &str, end: &str) -> String {
        let end = llguidance::regex_to_lark(&escaped_pattern(end), "");
        self.count += 1;
        let name = format!("{kind}_{}", self.count);
        let _ = writeln!(self.text, "{name}[lazy]: /(?s:.*){end}/");
        name
    }

    fn with_start(self, start: &str) -> String {
        format!("start: {start}\n{}", self.text)
    }
}

/// An argument of a tool.
struct Parameter {
    name: String,
    /// Its schema, with the definitions that it may refer to.
    schema: Value,
    required: bool,
}

/// A text that is written without quotes.
enum Written {
    Any,
    Choice(Vec<String>),
}

impl Written {
    /// What a schema that accepts texts only lets be written; none for other schemas.
    fn of(schema: &Value) -> Result<Option<Self>, ProviderError> {
        let is_text = schema.get("type").is_some_and(|kind| kind == "string");
        let choice = schema.get("enum").and_then(Value::as_array).cloned();
        let choice = choice.or_else(|| schema.get("const").map(|value| vec![value.clone()]));
        if let Some(values) = choice {
            let texts: Option<Vec<_>> =
                values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
            return Ok(texts.map(Self::Choice));
        }
        if !is_text {
            return Ok(None);
        }
        let bounds = ["pattern", "format", "minLength", "maxLength", "allOf", "anyOf", "oneOf"];
        if let Some(bound) = bounds.iter().find(|bound| schema.get(**bound).is_some()) {
            let reason = "cannot be kept to in this template's syntax, which writes text bare";
            return Err(refused(&format!("`{bound}` of an argument {reason}")));
        }
        Ok(Some(Self::Any))
    }
}

/// The arguments of a tool, one by one.
fn parameters(tool: &Tool) -> Result<Vec<Parameter>, ProviderError> {
    let schema = &tool.parameters;
    // What cannot be kept to is refused as for JSON.
    schema::prepare(&schema_of(tool))?;
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let required: Vec<&str> = match schema.get("required").and_then(Value::as_array) {
        Some(names) => names.iter().filter_map(Value::as_str).collect(),
        None => Vec::new(),
    };
    let known = ["type", "properties", "required", "additionalProperties", "$defs", "definitions"];
    let annotations = ["title", "description", "$schema", "$comment", "examples"];
    let other =
        schema.as_object().into_iter().flatten().find(|(key, _)| {
            !known.contains(&key.as_str()) && !annotations.contains(&key.as_str())
        });
    if let Some((key, _)) = other {
        return Err(refused(&format!(
            "`{key}` of a tool's parameters cannot be kept to in this template's syntax"
        )));
    }
    if let Some(missing) = required.iter().find(|name| !properties.contains_key(**name)) {
        return Err(refused(&format!("the required argument `{missing}` is not described")));
    }
    let mut parameters = Vec::new();
    for (name, property) in properties {
        let mut property = property.clone();
        if let (Some(property), Some(schema)) = (property.as_object_mut(), schema.as_object()) {
            for key in ["$defs", "definitions"] {
                if let Some(definitions) = schema.get(key) {
                    property.insert(key.to_owned(), definitions.clone());
                }
            }
        }
        // Bare text is told by the schema as it was given.
        let schema = match Written::of(&property)? {
            Some(_) => property,
            None => schema::prepare(&property)?,
        };
        let required = required.contains(&name.as_str());
        parameters.push(Parameter { name: name.clone(), schema, required });
    }
    Ok(parameters)
}

/// Lark of a tool's arguments as JSON.
fn arguments(tool: &Tool) -> Result<String, ProviderError> {
    Ok(format!("%json {}", schema::prepare(&schema_of(tool))?))
}

/// The schema of a tool's arguments.
fn schema_of(tool: &Tool) -> Value {
    match &tool.parameters {
        Value::Null => {
            json!({"type": "object", "properties": {}, "additionalProperties": false})
        }
        // Arguments are an object, whether or not the schema says so.
        Value::Object(schema) if !schema.contains_key("type") => {
            let mut schema = schema.clone();
            schema.insert("type".to_owned(), json!("object"));
            Value::Object(schema)
        }
        schema => schema.clone(),
    }
}

fn of_tool(tool: &Tool, error: ProviderError) -> ProviderError {
    match error {
        ProviderError::Grammar { reason } => {
            ProviderError::Grammar { reason: format!("tool `{}`: {reason}", tool.name) }
        }
        other => other,
    }
}

/// A text as it stands in a JSON string.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// A regular expression that matches this text.
fn escaped_pattern(text: &str) -> String {
    let mut pattern = String::new();
    for character in text.chars() {
        if character.is_ascii_punctuation() {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}
