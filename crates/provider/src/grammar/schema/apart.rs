//! Whether two schemas exclude each other, as far as that can be seen: by type, by constants, or by
//! a required member of which that is true.

use serde_json::Value;

use super::references::References;

/// References and members that are followed.
const DEPTH_MAX: usize = 16;

/// Steps of all comparisons in a schema: references and members are followed again for each pair,
/// so a small schema can ask for any number of them.
const STEPS_MAX: usize = 1_000_000;

/// Compares schemas, and counts what that takes.
pub(super) struct Comparison {
    steps_left: usize,
}

impl Default for Comparison {
    fn default() -> Self {
        Self { steps_left: STEPS_MAX }
    }
}

impl Comparison {
    /// Whether no value is valid under both of two prepared schemas. `false` if it is not seen.
    pub(super) fn apart(&mut self, one: &Value, other: &Value, known: &References<'_>) -> bool {
        self.are(one, other, known, 0)
    }

    /// Whether comparing took too much.
    pub(super) fn is_spent(&self) -> bool {
        self.steps_left == 0
    }

    fn spend(&mut self, steps: usize) -> bool {
        self.steps_left = self.steps_left.saturating_sub(steps);
        self.steps_left > 0
    }

    fn are(&mut self, one: &Value, other: &Value, known: &References<'_>, depth: usize) -> bool {
        if depth > DEPTH_MAX || !self.spend(1) {
            return false;
        }
        let depth = depth + 1;
        for (schema, against) in [(one, other), (other, one)] {
            if schema == &Value::Bool(false) {
                return true;
            }
            if let Some(reference) = schema.get("$ref").and_then(Value::as_str)
                && let Some(definition) = known.definition(reference)
                && self.are(definition, against, known, depth)
            {
                return true;
            }
            if let Some(options) = schema.get("anyOf").and_then(Value::as_array)
                && options.iter().all(|option| self.are(option, against, known, depth))
            {
                return true;
            }
            if let Some(parts) = schema.get("allOf").and_then(Value::as_array)
                && parts.iter().any(|part| self.are(part, against, known, depth))
            {
                return true;
            }
        }
        let (values, others) = (constants(one), constants(other));
        let lengths = [&values, &others].map(|list| list.as_ref().map_or(0, Vec::len));
        if !self.spend(lengths[0].max(lengths[1])) {
            return false;
        }
        let (types, other_types) = (types(one), types(other));
        if let (Some(types), Some(other_types)) = (&types, &other_types)
            && !types.iter().any(|kind| other_types.iter().any(|other| overlap(kind, other)))
        {
            return true;
        }
        if let (Some(values), Some(others)) = (values, others) {
            return self.spend(lengths[0].saturating_mul(lengths[1]))
                && !values.iter().any(|value| others.iter().any(|other| equal(value, other)));
        }
        let objects = [&types, &other_types];
        let objects = objects.iter().all(|types| types.as_deref() == Some(&["object"][..]));
        objects && self.members(one, other, known, depth)
    }

    /// The same of two objects: a value without the member is excluded by whichever requires it.
    fn members(
        &mut self,
        one: &Value,
        other: &Value,
        known: &References<'_>,
        depth: usize,
    ) -> bool {
        let member = |schema, name| Value::get(schema, "properties")?.get(name);
        required(one).chain(required(other)).any(|name| {
            match (member(one, name), member(other, name)) {
                (Some(one), Some(other)) => self.are(one, other, known, depth),
                (Some(_), None) => self.spend(1) && closed(other),
                (None, Some(_)) => self.spend(1) && closed(one),
                (None, None) => {
                    self.spend(1);
                    false
                }
            }
        })
    }
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
    let mut types: Vec<_> = constants(schema)?.into_iter().map(type_of).collect();
    types.sort_unstable();
    types.dedup();
    Some(types)
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
