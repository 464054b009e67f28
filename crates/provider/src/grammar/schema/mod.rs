//! JSON schemas (draft 2020-12) made ready for llguidance: every keyword is looked at, and what
//! cannot be kept to exactly is refused with its name and place.
//!
//! What is made accepts a part of what the schema accepts, never more. It leaves out: `1.0` for an
//! integer, numbers beyond 10^15 where the schema has no bound (most readers cannot hold them),
//! values that the schema says nothing about when they are nested deeper than `ANY_DEPTH`, and
//! members of an object in another order than the schema's. Formats are narrowed to their usual
//! forms (`formats`). Where schemas are joined (`allOf`, or keywords beside `$ref` or `anyOf`),
//! what they say nothing about is any JSON.

mod apart;
mod formats;
mod judge;
mod numbers;
mod references;

use serde_json::{Map, Value, json};

pub(crate) use self::judge::Judge;

use self::apart::Comparison;
use self::references::References;
use super::{FORMAT_BYTES_MAX, refused};
use crate::ProviderError;

/// Schemas that may stand in each other. They are compiled by recursion.
const DEPTH_MAX: usize = 64;

/// Schemas in all, each reference counted once.
const SCHEMAS_MAX: usize = 20_000;

/// Nesting of values that the schema says nothing about.
const ANY_DEPTH: usize = 12;

/// White space between tokens of JSON, as writers of it use it: a space, or at most one empty line
/// and an indentation. Bounded, for a model may go on with it for ever.
const SPACE: &str = r" |(\r?\n){1,2}[ \t]{0,40}";

/// Keywords that say nothing about what is valid.
const ANNOTATIONS: &[&str] = &[
    "$anchor",
    "$comment",
    "$defs",
    "$schema",
    "$vocabulary",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "default",
    "definitions",
    "deprecated",
    "description",
    "discriminator",
    "enumDescriptions",
    "enumNames",
    "example",
    "examples",
    "externalDocs",
    "markdownDescription",
    "readOnly",
    "strict",
    "title",
    "writeOnly",
    "xml",
];

const TYPES: [&str; 6] = ["null", "boolean", "number", "string", "array", "object"];

/// Keywords of values of one type, and which.
const TYPED: &[(&str, &str)] = &[
    ("minimum", "number"),
    ("maximum", "number"),
    ("exclusiveMinimum", "number"),
    ("exclusiveMaximum", "number"),
    ("multipleOf", "number"),
    ("minLength", "string"),
    ("maxLength", "string"),
    ("pattern", "string"),
    ("format", "string"),
    ("items", "array"),
    ("prefixItems", "array"),
    ("additionalItems", "array"),
    ("unevaluatedItems", "array"),
    ("minItems", "array"),
    ("maxItems", "array"),
    ("uniqueItems", "array"),
    ("properties", "object"),
    ("required", "object"),
    ("additionalProperties", "object"),
    ("unevaluatedProperties", "object"),
    ("patternProperties", "object"),
    ("propertyNames", "object"),
    ("minProperties", "object"),
    ("maxProperties", "object"),
];

/// What this schema is to llguidance.
///
/// # Errors
/// `Grammar` with the keyword and its place.
pub(super) fn prepare(schema: &Value) -> Result<Value, ProviderError> {
    if schema.to_string().len() > FORMAT_BYTES_MAX {
        return Err(refused(&format!("the schema has more than {FORMAT_BYTES_MAX} bytes")));
    }
    let references = References::new(schema);
    let mut walk = Walk { references, comparison: Comparison::default(), count: 0, any: false };
    let root = walk.schema(schema, &Place::root())?;
    walk.references.check_progress()?;
    let mut prepared = match root {
        Value::Object(root) => root,
        Value::Bool(false) => return Err(refused("the schema is `false`: it accepts nothing")),
        _ => Map::new(),
    };
    let mut definitions = walk.references.take();
    if walk.any {
        (0..=ANY_DEPTH).for_each(|depth| {
            definitions.insert(any_name(depth), any(depth));
        });
    }
    prepared.insert("$defs".to_owned(), Value::Object(definitions));
    let options = json!({"whitespace_flexible": true, "whitespace_pattern": SPACE});
    prepared.insert("x-guidance".to_owned(), options);
    Ok(Value::Object(prepared))
}

/// Where a schema stands.
#[derive(Clone)]
struct Place {
    path: String,
    depth: usize,
    joined: Joined,
}

/// Whether what a schema leaves open is met with what another one says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Joined {
    Yes,
    No,
}

impl Place {
    fn root() -> Self {
        Self { path: "#".to_owned(), depth: 0, joined: Joined::No }
    }

    fn below(&self, key: &str) -> Self {
        let key = key.replace('~', "~0").replace('/', "~1");
        Self { path: format!("{}/{key}", self.path), depth: self.depth + 1, joined: self.joined }
    }

    /// Inside a value, what is joined are the values' parts too.
    fn joined(mut self, joined: Joined) -> Self {
        if joined == Joined::Yes {
            self.joined = joined;
        }
        self
    }

    fn refuse(&self, keyword: &str, reason: &str) -> ProviderError {
        refused(&format!("`{keyword}` at {}: {reason}", self.path))
    }
}

type Object = Map<String, Value>;

struct Walk<'a> {
    references: References<'a>,
    comparison: Comparison,
    count: usize,
    /// Whether a value may be anything somewhere.
    any: bool,
}

impl Walk<'_> {
    fn schema(&mut self, schema: &Value, place: &Place) -> Result<Value, ProviderError> {
        self.count += 1;
        if self.count > SCHEMAS_MAX {
            return Err(refused(&format!(
                "the schema consists of more than {SCHEMAS_MAX} schemas"
            )));
        }
        if place.depth > DEPTH_MAX {
            return Err(refused(&format!("schemas are nested deeper than {DEPTH_MAX}")));
        }
        match schema {
            Value::Bool(true) => Ok(self.anything(place)),
            Value::Bool(false) => Ok(Value::Bool(false)),
            Value::Object(schema) => self.object(schema, place),
            _ => Err(refused(&format!("{} is no schema: an object or a boolean is", place.path))),
        }
    }

    /// A value that nothing is said about.
    fn anything(&mut self, place: &Place) -> Value {
        if place.joined == Joined::Yes {
            return Value::Bool(true);
        }
        self.any = true;
        json!({"$ref": format!("#/$defs/{}", any_name(0))})
    }

    fn object(&mut self, schema: &Object, place: &Place) -> Result<Value, ProviderError> {
        check_keywords(schema, place)?;
        let typed =
            schema.contains_key("type") || TYPED.iter().any(|(k, _)| schema.contains_key(*k));
        let combined = ["enum", "const", "allOf", "anyOf", "oneOf", "$ref"];
        let combined: Vec<&str> =
            combined.into_iter().filter(|key| schema.contains_key(*key)).collect();
        if !typed && combined.is_empty() {
            return Ok(self.anything(place));
        }
        let several = combined.len() + usize::from(typed) > 1;
        let joined = if several { Joined::Yes } else { Joined::No };
        let place = place.clone().joined(joined);
        let mut prepared = Map::new();
        if typed {
            prepared = self.typed(schema, &place)?;
        }
        let mut parts = Vec::new();
        for key in combined {
            parts.extend(self.combined(key, &schema[key], &place)?);
        }
        if !several && let [part] = &mut parts[..] {
            return Ok(part.take());
        }
        if !parts.is_empty() {
            let all = prepared.entry("allOf").or_insert_with(|| json!([]));
            if let Some(all) = all.as_array_mut() {
                all.extend(parts);
            }
        }
        Ok(Value::Object(prepared))
    }

    /// Schemas that must all be met, for one keyword.
    fn combined(
        &mut self,
        key: &str,
        value: &Value,
        place: &Place,
    ) -> Result<Vec<Value>, ProviderError> {
        let below = place.below(key);
        match key {
            "$ref" => {
                let Some(reference) = value.as_str() else {
                    return Err(place.refuse(key, "it must be text"));
                };
                Ok(vec![self.reference(reference, place)?])
            }
            "const" => {
                numbers::check_constant(value, place, key)?;
                Ok(vec![json!({"const": value})])
            }
            "enum" => {
                let values = array(value, place, key)?;
                values.iter().try_for_each(|value| numbers::check_constant(value, place, key))?;
                Ok(vec![json!({"enum": values})])
            }
            "allOf" => {
                let all = array(value, place, key)?;
                let joined = if all.len() > 1 { Joined::Yes } else { Joined::No };
                let mut parts = Vec::new();
                for (index, part) in all.iter().enumerate() {
                    let below = below.below(&index.to_string()).joined(joined);
                    parts.push(self.schema(part, &below)?);
                }
                Ok(parts)
            }
            _ => {
                let mut options = Vec::new();
                for (index, option) in array(value, place, key)?.iter().enumerate() {
                    options.push(self.schema(option, &below.below(&index.to_string()))?);
                }
                if key == "oneOf" {
                    self.check_apart(&options, place)?;
                }
                Ok(vec![json!({"anyOf": options})])
            }
        }
    }

    /// A reference to a definition, which is prepared if it is not yet.
    fn reference(&mut self, reference: &str, place: &Place) -> Result<Value, ProviderError> {
        let (target, pointer) = self.references.resolve(reference, place)?;
        let (name, is_new) = self.references.name(&pointer, place.joined);
        if is_new {
            let below = Place { path: pointer, depth: place.depth + 1, joined: place.joined };
            let prepared = self.schema(target, &below)?;
            self.references.define(&name, prepared);
        }
        Ok(json!({"$ref": format!("#/$defs/{name}")}))
    }

    /// One of several is not any of several: they must exclude each other.
    fn check_apart(&mut self, options: &[Value], place: &Place) -> Result<(), ProviderError> {
        for (index, option) in options.iter().enumerate() {
            for (other_index, other) in options.iter().enumerate().skip(index + 1) {
                let apart = self.comparison.apart(option, other, &self.references);
                if self.comparison.is_spent() {
                    let reason = "there is too much to compare; write `anyOf`";
                    return Err(place.refuse("oneOf", reason));
                }
                if !apart {
                    let reason = format!(
                        "options {index} and {other_index} are not told apart by type, constant \
                         or a required member; write `anyOf` if both may hold"
                    );
                    return Err(place.refuse("oneOf", &reason));
                }
            }
        }
        Ok(())
    }

    /// The keywords that belong to types.
    fn typed(&mut self, schema: &Object, place: &Place) -> Result<Object, ProviderError> {
        let mut types = types(schema, place)?;
        let mut parts = Vec::new();
        if types.contains(&"integer") {
            types.retain(|kind| *kind != "integer");
            parts = numbers::integers(schema, place)?;
        }
        if !types.is_empty() {
            parts.push(self.other_types(&types, schema, place)?);
        }
        Ok(match &mut parts[..] {
            [only] => std::mem::take(only),
            _ => Map::from_iter([("anyOf".to_owned(), json!(parts))]),
        })
    }

    /// The keywords of these types, integers apart.
    fn other_types(
        &mut self,
        types: &[&str],
        schema: &Object,
        place: &Place,
    ) -> Result<Object, ProviderError> {
        let mut prepared = Map::from_iter([("type".to_owned(), json!(types))]);
        let has = |kind: &str| types.contains(&kind);
        if has("number") {
            numbers::numbers(schema, place, &mut prepared)?;
        }
        if has("string") {
            strings(schema, place, &mut prepared)?;
        }
        if has("array") {
            self.arrays(schema, place, &mut prepared)?;
        }
        if has("object") {
            self.objects(schema, place, &mut prepared)?;
        }
        Ok(prepared)
    }

    fn arrays(
        &mut self,
        schema: &Object,
        place: &Place,
        prepared: &mut Object,
    ) -> Result<(), ProviderError> {
        copy_counts(schema, &["minItems", "maxItems"], place, prepared)?;
        let most = prepared.get("maxItems").and_then(Value::as_u64).unwrap_or(u64::MAX);
        if schema.get("uniqueItems") == Some(&Value::Bool(true)) && most > 1 {
            let reason = "a grammar cannot compare items; leave it out, or list the combinations";
            return Err(place.refuse("uniqueItems", reason));
        }
        // Before 2020-12, `items` was a list, and `additionalItems` what follows it.
        let listed = schema.get("items").filter(|items| items.is_array());
        if listed.is_some() && schema.contains_key("prefixItems") {
            let reason = "a list is not taken beside `prefixItems`; keep one of the two";
            return Err(place.refuse("items", reason));
        }
        let (first, rest) = match listed {
            Some(_) => (("items", listed), ("additionalItems", schema.get("additionalItems"))),
            None => (("prefixItems", schema.get("prefixItems")), ("items", schema.get("items"))),
        };
        let rest = match rest {
            (_, None) => ("unevaluatedItems", schema.get("unevaluatedItems")),
            known => known,
        };
        if let (key, Some(first)) = first {
            let mut items = Vec::new();
            for (index, item) in array(first, place, key)?.iter().enumerate() {
                items.push(self.schema(item, &place.below(key).below(&index.to_string()))?);
            }
            prepared.insert("prefixItems".to_owned(), Value::Array(items));
        }
        let rest = match rest {
            (key, Some(rest)) => self.schema(rest, &place.below(key))?,
            (_, None) => self.anything(place),
        };
        prepared.insert("items".to_owned(), rest);
        Ok(())
    }

    fn objects(
        &mut self,
        schema: &Object,
        place: &Place,
        prepared: &mut Object,
    ) -> Result<(), ProviderError> {
        copy_counts(schema, &["minProperties", "maxProperties"], place, prepared)?;
        let required = names(schema, place)?;
        // Members that the schema does not name may repeat each other.
        let least = prepared.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
        if least > required.len() as u64 + 1 {
            let reason = "more than one member beside the required ones cannot be counted";
            return Err(place.refuse("minProperties", reason));
        }
        for key in ["properties", "patternProperties"] {
            let Some(members) = schema.get(key) else { continue };
            let Some(members) = members.as_object() else {
                return Err(place.refuse(key, "it must be an object"));
            };
            let mut schemas = Map::new();
            for (name, member) in members {
                let below = place.below(key).below(name);
                if key == "patternProperties" {
                    check_pattern(name, place, key)?;
                }
                schemas.insert(name.clone(), self.schema(member, &below)?);
            }
            prepared.insert(key.to_owned(), Value::Object(schemas));
        }
        if !required.is_empty() {
            prepared.insert("required".to_owned(), json!(required));
        }
        let rest = ["additionalProperties", "unevaluatedProperties"];
        let rest = rest.into_iter().find_map(|key| Some((key, schema.get(key)?)));
        let rest = match rest {
            Some((key, rest)) => self.schema(rest, &place.below(key))?,
            None => self.anything(place),
        };
        if let Some(names) = schema.get("propertyNames") {
            return named(names, &rest, schema, place, prepared);
        }
        prepared.insert("additionalProperties".to_owned(), rest);
        Ok(())
    }
}

/// Names of members that a pattern or a list gives: the members are then described by them.
fn named(
    names: &Value,
    rest: &Value,
    schema: &Object,
    place: &Place,
    prepared: &mut Object,
) -> Result<(), ProviderError> {
    let refuse = |reason: &str| Err(place.refuse("propertyNames", reason));
    if schema.contains_key("properties") || schema.contains_key("patternProperties") {
        return refuse("it is not taken beside `properties`; name the members there");
    }
    let Some(names) = names.as_object() else { return refuse("only `pattern` or `enum` is taken") };
    let described = names.keys().all(|key| {
        ["pattern", "enum", "type"].contains(&key.as_str()) || ANNOTATIONS.contains(&key.as_str())
    });
    match (names.get("pattern").and_then(Value::as_str), names.get("enum")) {
        (Some(pattern), None) if described => {
            check_pattern(pattern, place, "propertyNames")?;
            prepared.insert("patternProperties".to_owned(), json!({pattern: rest}));
        }
        (None, Some(Value::Array(names))) if described => {
            let names = names.iter().filter_map(Value::as_str);
            let members: Object = names.map(|name| (name.to_owned(), rest.clone())).collect();
            prepared.insert("properties".to_owned(), Value::Object(members));
        }
        _ => return refuse("only `pattern` or `enum` is taken"),
    }
    prepared.insert("additionalProperties".to_owned(), Value::Bool(false));
    Ok(())
}

/// The types that a schema lets pass. Integers stand apart only where no other number may be.
fn types(schema: &Object, place: &Place) -> Result<Vec<&'static str>, ProviderError> {
    let told = match schema.get("type") {
        None => return Ok(TYPES.to_vec()),
        Some(Value::String(kind)) => vec![kind.as_str()],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        Some(_) => Vec::new(),
    };
    let mut types = Vec::new();
    for kind in &told {
        let known = TYPES.iter().chain(&["integer"]).find(|known| *known == kind);
        types.extend(known);
    }
    let listed = schema["type"].as_array().map_or(1, Vec::len);
    if types.is_empty() || types.len() != listed {
        let reason = "expected null, boolean, integer, number, string, array or object, or a list";
        return Err(place.refuse("type", reason));
    }
    types.sort_unstable();
    types.dedup();
    if types.contains(&"number") {
        types.retain(|kind| *kind != "integer");
    }
    Ok(types)
}

fn strings(schema: &Object, place: &Place, prepared: &mut Object) -> Result<(), ProviderError> {
    copy_counts(schema, &["minLength", "maxLength"], place, prepared)?;
    let pattern = match schema.get("pattern") {
        None => None,
        Some(Value::String(pattern)) => {
            check_pattern(pattern, place, "pattern")?;
            Some(pattern.clone())
        }
        Some(_) => return Err(place.refuse("pattern", "it must be text")),
    };
    let format = match schema.get("format") {
        None => None,
        Some(Value::String(format)) => formats::pattern(format, place)?,
        Some(_) => return Err(place.refuse("format", "it must be text")),
    };
    match (pattern, format) {
        (Some(pattern), Some(format)) => {
            prepared.insert("pattern".to_owned(), json!(pattern));
            // A schema has one pattern; the other one joins it. Values of other types pass.
            let format = json!({"type": prepared["type"].clone(), "pattern": format});
            prepared.insert("allOf".to_owned(), json!([format]));
            Ok(())
        }
        (Some(pattern), None) | (None, Some(pattern)) => {
            prepared.insert("pattern".to_owned(), json!(pattern));
            Ok(())
        }
        (None, None) => Ok(()),
    }
}

/// A regular expression as far as that can be told without compiling it.
fn check_pattern(pattern: &str, place: &Place, keyword: &str) -> Result<(), ProviderError> {
    for (sign, what) in [
        ("(?=", "look-ahead"),
        ("(?!", "look-ahead"),
        ("(?<=", "look-behind"),
        ("(?<!", "look-behind"),
    ] {
        if pattern.contains(sign) {
            return Err(place.refuse(keyword, &format!("{what} (`{sign}`) is not taken")));
        }
    }
    Ok(())
}

fn check_keywords(schema: &Object, place: &Place) -> Result<(), ProviderError> {
    let combined = ["enum", "const", "allOf", "anyOf", "oneOf", "$ref", "type"];
    for (key, value) in schema {
        let key = key.as_str();
        if ANNOTATIONS.contains(&key)
            || combined.contains(&key)
            || TYPED.iter().any(|(known, _)| *known == key)
            || key.starts_with("x-")
        {
            continue;
        }
        let harmless = match key {
            "$id" | "id" => place.depth == 0,
            "contains" => schema.get("minContains").and_then(Value::as_u64) == Some(0),
            "minContains" => !schema.contains_key("contains") || value.as_u64() == Some(0),
            "maxContains" => !schema.contains_key("contains"),
            "then" | "else" => !schema.contains_key("if"),
            "if" => !schema.contains_key("then") && !schema.contains_key("else"),
            "dependentRequired" | "dependentSchemas" | "dependencies" => {
                value.as_object().is_some_and(Map::is_empty)
            }
            _ => false,
        };
        let max_contains = key == "contains" && schema.contains_key("maxContains");
        if !harmless || max_contains {
            return Err(place.refuse(key, hint(key)));
        }
    }
    let applies = ["allOf", "anyOf", "oneOf", "$ref"].iter().any(|key| schema.contains_key(*key));
    for key in ["unevaluatedProperties", "unevaluatedItems"] {
        if applies && schema.contains_key(key) && schema[key] != Value::Bool(true) {
            return Err(place.refuse(key, "it is not taken beside schemas that evaluate more"));
        }
    }
    Ok(())
}

fn hint(keyword: &str) -> &'static str {
    match keyword {
        "not" => "a grammar says what may come, not what may not; say what is wanted",
        "if" | "then" | "else" => "a grammar has no conditions; write the cases as `anyOf`",
        "contains" | "minContains" | "maxContains" => "a grammar cannot look for items",
        "dependentRequired" | "dependentSchemas" | "dependencies" => "write the cases as `anyOf`",
        "$dynamicRef" | "$dynamicAnchor" | "$recursiveRef" | "$recursiveAnchor" => {
            "references are taken to fixed places only; write `$ref`"
        }
        "$id" | "id" => "schemas inside of schemas have no address here; refer to them by `#/...`",
        "nullable" => "it is not JSON Schema's; write a list of types with \"null\" in it",
        _ => "this keyword is not known; take it out, or begin its name with `x-`",
    }
}

fn copy_counts(
    schema: &Object,
    keys: &[&str],
    place: &Place,
    prepared: &mut Object,
) -> Result<(), ProviderError> {
    for &key in keys {
        let Some(value) = schema.get(key) else { continue };
        // 3.0 is an integer to JSON Schema.
        let whole = value.as_f64().filter(|value| value.fract() == 0.0 && *value >= 0.0);
        let count = value.as_u64().or_else(|| whole.map(|value| value as u64));
        let Some(count) = count else {
            return Err(place.refuse(key, "expected a whole number of at least 0"));
        };
        if key.starts_with("min") && count > 100_000 {
            return Err(place.refuse(key, "at most 100000 is taken"));
        }
        if count <= 100_000 {
            prepared.insert(key.to_owned(), json!(count));
        } else if key == "maxItems" || key == "maxProperties" || key == "maxLength" {
            prepared.insert(key.to_owned(), json!(100_000));
        }
    }
    Ok(())
}

fn names(schema: &Object, place: &Place) -> Result<Vec<String>, ProviderError> {
    let Some(required) = schema.get("required") else { return Ok(Vec::new()) };
    let names = array(required, place, "required")?;
    let texts: Option<Vec<_>> = names.iter().map(|name| name.as_str().map(str::to_owned)).collect();
    texts.ok_or_else(|| place.refuse("required", "expected a list of names"))
}

fn array<'a>(value: &'a Value, place: &Place, key: &str) -> Result<&'a Vec<Value>, ProviderError> {
    match value.as_array() {
        Some(values) if !values.is_empty() || matches!(key, "required" | "prefixItems") => {
            Ok(values)
        }
        Some(_) => Err(place.refuse(key, "the list is empty")),
        None => Err(place.refuse(key, "expected a list")),
    }
}

fn any_name(depth: usize) -> String {
    format!("any{depth}")
}

/// Any JSON, as deep as there are levels left.
fn any(depth: usize) -> Value {
    let mut kinds = vec![json!({"type": "null"}), json!({"type": "boolean"})];
    kinds.push(numbers::any());
    kinds.push(json!({"type": "string"}));
    if depth < ANY_DEPTH {
        let next = json!({"$ref": format!("#/$defs/{}", any_name(depth + 1))});
        kinds.push(json!({"type": "array", "items": next}));
        kinds.push(json!({"type": "object", "additionalProperties": next}));
    }
    json!({"anyOf": kinds})
}
