//! Whether two schemas exclude each other, as far as that can be seen: by type, by constants, or by
//! a required member of which that is true.

use serde_json::Value;

use super::references::References;

/// References and members that are followed.
const DEPTH_MAX: usize = 16;

/// Whether no value is valid under both of two prepared schemas. `false` if it is not seen.
pub(super) fn are(one: &Value, other: &Value, references: &References<'_>, depth: usize) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    let below = |one: &Value, other: &Value| are(one, other, references, depth + 1);
    for (schema, against) in [(one, other), (other, one)] {
        if schema == &Value::Bool(false) {
            return true;
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str)
            && let Some(definition) = references.definition(reference)
            && below(definition, against)
        {
            return true;
        }
        if let Some(options) = schema.get("anyOf").and_then(Value::as_array)
            && options.iter().all(|option| below(option, against))
        {
            return true;
        }
        if let Some(parts) = schema.get("allOf").and_then(Value::as_array)
            && parts.iter().any(|part| below(part, against))
        {
            return true;
        }
    }
    let (types, other_types) = (types(one), types(other));
    if let (Some(types), Some(other_types)) = (&types, &other_types)
        && !types.iter().any(|kind| other_types.iter().any(|other| overlap(kind, other)))
    {
        return true;
    }
    if let (Some(values), Some(others)) = (constants(one), constants(other)) {
        return !values.iter().any(|value| others.iter().any(|other| equal(value, other)));
    }
    // A value without the member is excluded by whichever requires it.
    let objects = [&types, &other_types];
    let objects = objects.iter().all(|types| types.as_deref() == Some(&["object"][..]));
    objects
        && required(one).chain(required(other)).any(|name| {
            let member = |schema: &Value| schema.get("properties")?.get(name).cloned();
            match (member(one), member(other)) {
                (Some(one_member), Some(other_member)) => below(&one_member, &other_member),
                (Some(_), None) => closed(other),
                (None, Some(_)) => closed(one),
                (None, None) => false,
            }
        })
}

/// Whether no other members than those described may be.
fn closed(schema: &Value) -> bool {
    schema.get("additionalProperties") == Some(&Value::Bool(false))
        && schema.get("patternProperties").is_none()
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    let names = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    names.filter_map(Value::as_str)
}

fn constants(schema: &Value) -> Option<Vec<&Value>> {
    match (schema.get("const"), schema.get("enum").and_then(Value::as_array)) {
        (Some(value), _) => Some(vec![value]),
        (None, Some(values)) => Some(values.iter().collect()),
        (None, None) => None,
    }
}

/// The types that a prepared schema lets pass; none if it does not say.
fn types(schema: &Value) -> Option<Vec<&str>> {
    if let Some(kinds) = schema.get("type").and_then(Value::as_array) {
        return Some(kinds.iter().filter_map(Value::as_str).collect());
    }
    if let Some(kind) = schema.get("type").and_then(Value::as_str) {
        return Some(vec![kind]);
    }
    let constants = constants(schema)?;
    Some(constants.into_iter().map(type_of).collect())
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn overlap(one: &str, other: &str) -> bool {
    let number = |kind: &str| matches!(kind, "number" | "integer");
    one == other || number(one) && number(other)
}

/// Numbers are equal by their value.
fn equal(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        // Arrays and objects may hold numbers; those are taken to be equal.
        _ => {
            one == other
                || (one.is_array() && other.is_array())
                || (one.is_object() && other.is_object())
        }
    }
}
