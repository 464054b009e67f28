//! Whether JSON is what a schema (draft 2020-12) says: for answers that no grammar has ruled, such
//! as a remote API's, whose word is not taken for it.
//!
//! Invariants: a keyword that is not judged is refused before anything is asked, so that nothing in
//! a schema is passed over but annotations (`format` is one in this draft); what judging takes is
//! bounded, whatever the schema.

use std::collections::{HashMap, HashSet};

use regex_automata::meta::Regex;
use serde_json::{Map, Value};

use super::references::References;
use super::{ANNOTATIONS, DEPTH_MAX, Place, SCHEMAS_MAX, array, hint, names, types};
use crate::ProviderError;
use crate::grammar::{FORMAT_BYTES_MAX, refused};

/// Steps of judging one answer: schemas looked at, and values compared.
const STEPS_MAX: usize = 2_000_000;
/// Schemas that are gone into at once: those of a value and of its parts.
const HOLDS_DEPTH_MAX: usize = 300;
/// Patterns of a schema, and bytes that one may take when it is compiled.
const PATTERNS_MAX: usize = 256;
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Keywords whose value is a schema, a list of them, and an object of them.
const ONE: &[&str] = &[
    "additionalItems",
    "additionalProperties",
    "contains",
    "else",
    "if",
    "not",
    "propertyNames",
    "then",
];
const LISTS: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];
const NAMED: &[&str] = &["dependentSchemas", "patternProperties", "properties"];
/// Keywords whose value is a bound, and a count.
const BOUNDS: &[&str] =
    &["exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"];
const COUNTS: &[&str] = &[
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
];

type Object = Map<String, Value>;

/// A schema that was looked through.
#[derive(Debug)]
pub(crate) struct Judge {
    schema: Value,
    /// Where references lead, as pointers.
    targets: HashMap<String, String>,
    patterns: HashMap<String, Regex>,
}

impl Judge {
    /// # Errors
    /// `Grammar`: the schema is malformed, too large, or says what is not judged.
    pub(crate) fn new(schema: &Value) -> Result<Self, ProviderError> {
        if schema.to_string().len() > FORMAT_BYTES_MAX {
            return Err(refused(&format!("the schema has more than {FORMAT_BYTES_MAX} bytes")));
        }
        let mut look = Look {
            references: References::new(schema),
            targets: HashMap::new(),
            patterns: HashMap::new(),
            seen: HashSet::new(),
            count: 0,
        };
        look.schema(schema, &Place::root())?;
        let (targets, patterns) = (look.targets, look.patterns);
        Ok(Self { schema: schema.clone(), targets, patterns })
    }

    /// Whether a value is what the schema says.
    ///
    /// # Errors
    /// In words: it is not, or that cannot be told within bounds.
    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        let mut hearing = Hearing { judge: self, steps_left: STEPS_MAX, fault: "false" };
        match hearing.holds(&self.schema, value, 0) {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("its schema's `{}` does not hold", hearing.fault)),
            Err(Spent) => Err("it takes too much to judge it by its schema".to_owned()),
        }
    }
}

/// The look through a schema before it judges.
struct Look<'a> {
    references: References<'a>,
    targets: HashMap<String, String>,
    patterns: HashMap<String, Regex>,
    /// Pointers of references that were followed.
    seen: HashSet<String>,
    count: usize,
}

impl Look<'_> {
    fn schema(&mut self, schema: &Value, place: &Place) -> Result<(), ProviderError> {
        self.count += 1;
        if self.count > SCHEMAS_MAX || place.depth > DEPTH_MAX {
            return Err(refused("the schema consists of too many schemas, or nests them too deep"));
        }
        match schema {
            Value::Bool(_) => Ok(()),
            Value::Object(members) => {
                members.iter().try_for_each(|(key, rule)| self.keyword(key, rule, members, place))
            }
            _ => Err(refused(&format!("{} is no schema: an object or a boolean is", place.path))),
        }
    }

    fn keyword(
        &mut self,
        key: &str,
        rule: &Value,
        schema: &Object,
        place: &Place,
    ) -> Result<(), ProviderError> {
        let below = place.below(key);
        match key {
            "$id" | "id" if place.depth == 0 => Ok(()),
            "type" => types(schema, place).map(drop),
            "enum" => array(rule, place, key).map(drop),
            "required" => names(schema, place).map(drop),
            "pattern" => self.pattern(rule.as_str(), key, place),
            "$ref" => self.reference(rule, place),
            "items" if rule.is_array() && !schema.contains_key("prefixItems") => {
                self.all(array(rule, place, key)?, &below)
            }
            "items" => self.schema(rule, &below),
            "unevaluatedItems" | "unevaluatedProperties" => {
                let more = ["allOf", "anyOf", "oneOf", "$ref", "if", "contains"];
                let more =
                    more.iter().chain(&["dependentSchemas"]).any(|it| schema.contains_key(*it));
                if more && rule != &Value::Bool(true) {
                    let reason = "it is not judged beside schemas that evaluate more";
                    return Err(place.refuse(key, reason));
                }
                self.schema(rule, &below)
            }
            _ if ONE.contains(&key) => self.schema(rule, &below),
            _ if LISTS.contains(&key) => self.all(array(rule, place, key)?, &below),
            _ if NAMED.contains(&key) => {
                let members = rule.as_object();
                let members = members.ok_or_else(|| place.refuse(key, "it must be an object"))?;
                for (name, member) in members {
                    if key == "patternProperties" {
                        self.pattern(Some(name), key, place)?;
                    }
                    self.schema(member, &below.below(name))?;
                }
                Ok(())
            }
            _ => plain(key, rule, place),
        }
    }

    fn all(&mut self, schemas: &[Value], place: &Place) -> Result<(), ProviderError> {
        let mut numbered = schemas.iter().enumerate();
        numbered.try_for_each(|(index, it)| self.schema(it, &place.below(&index.to_string())))
    }

    fn reference(&mut self, rule: &Value, place: &Place) -> Result<(), ProviderError> {
        let text = rule.as_str().ok_or_else(|| place.refuse("$ref", "it must be text"))?;
        let (target, pointer) = self.references.resolve(text, place)?;
        self.targets.insert(text.to_owned(), pointer[1..].to_owned());
        if self.seen.insert(pointer.clone()) {
            let below = Place { path: pointer, depth: place.depth + 1, joined: place.joined };
            self.schema(target, &below)?;
        }
        Ok(())
    }

    fn pattern(
        &mut self,
        pattern: Option<&str>,
        key: &str,
        place: &Place,
    ) -> Result<(), ProviderError> {
        let pattern = pattern.ok_or_else(|| place.refuse(key, "it must be text"))?;
        if self.patterns.contains_key(pattern) {
            return Ok(());
        }
        if self.patterns.len() == PATTERNS_MAX {
            return Err(refused(&format!("the schema has more than {PATTERNS_MAX} patterns")));
        }
        let config = Regex::config().nfa_size_limit(Some(PATTERN_BYTES_MAX));
        let regex = Regex::builder().configure(config).build(pattern);
        let regex = regex.map_err(|_| place.refuse(key, "the pattern is not understood"))?;
        self.patterns.insert(pattern.to_owned(), regex);
        Ok(())
    }
}

/// Keywords whose value holds no schema.
fn plain(key: &str, rule: &Value, place: &Place) -> Result<(), ProviderError> {
    let expected = match key {
        "format" | "const" => None,
        "uniqueItems" => Some((rule.is_boolean(), "expected true or false")),
        "dependentRequired" => {
            let mut lists = rule.as_object().into_iter().flat_map(Map::values);
            Some((rule.is_object() && lists.all(Value::is_array), "expected lists of names"))
        }
        _ if BOUNDS.contains(&key) => {
            let old = key.starts_with("exclusive") && rule.is_boolean();
            let positive = key != "multipleOf" || number(rule) > 0.0;
            Some((old || rule.is_number() && positive, "expected a number"))
        }
        _ if COUNTS.contains(&key) => Some((count(rule).is_some(), "expected a whole number")),
        _ if ANNOTATIONS.contains(&key) || key.starts_with("x-") => None,
        _ => Some((false, hint(key))),
    };
    match expected {
        Some((false, reason)) => Err(place.refuse(key, reason)),
        _ => Ok(()),
    }
}

/// That judging took too much.
struct Spent;

/// A value before the judge.
struct Hearing<'a> {
    judge: &'a Judge,
    steps_left: usize,
    /// The keyword that did not hold last.
    fault: &'a str,
}

impl<'a> Hearing<'a> {
    fn spend(&mut self, steps: usize) -> Result<(), Spent> {
        self.steps_left = self.steps_left.checked_sub(steps).ok_or(Spent)?;
        Ok(())
    }

    fn holds(&mut self, schema: &'a Value, value: &Value, depth: usize) -> Result<bool, Spent> {
        self.spend(1)?;
        if depth > HOLDS_DEPTH_MAX {
            return Err(Spent);
        }
        let Value::Object(members) = schema else { return Ok(schema != &Value::Bool(false)) };
        for (key, rule) in members {
            if !self.keyword(key, rule, members, value, depth + 1)? {
                self.fault = key;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn keyword(
        &mut self,
        key: &str,
        rule: &'a Value,
        schema: &'a Object,
        value: &Value,
        depth: usize,
    ) -> Result<bool, Spent> {
        match key {
            "type" => {
                let kinds = rule.as_array().map_or(std::slice::from_ref(rule), Vec::as_slice);
                Ok(kinds.iter().filter_map(Value::as_str).any(|kind| is(value, kind)))
            }
            "const" => self.equal(rule, value),
            "enum" => self.any(rule, |this, option| this.equal(option, value)),
            "$ref" => {
                let pointer = rule.as_str().and_then(|text| self.judge.targets.get(text));
                let target = pointer.and_then(|pointer| self.judge.schema.pointer(pointer));
                target.map_or(Ok(false), |target| self.holds(target, value, depth))
            }
            "allOf" => Ok(!self.any(rule, |this, part| Ok(!this.holds(part, value, depth)?))?),
            "anyOf" => self.any(rule, |this, part| this.holds(part, value, depth)),
            "oneOf" => {
                let mut met = 0;
                for option in rule.as_array().into_iter().flatten() {
                    met += usize::from(self.holds(option, value, depth)?);
                }
                Ok(met == 1)
            }
            "not" => Ok(!self.holds(rule, value, depth)?),
            "dependentSchemas" => {
                for (name, rule) in rule.as_object().into_iter().flatten() {
                    if value.get(name).is_some() && !self.holds(rule, value, depth)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            "if" => {
                let case = if self.holds(rule, value, depth)? { "then" } else { "else" };
                schema.get(case).map_or(Ok(true), |then| self.holds(then, value, depth))
            }
            _ => match value {
                Value::Number(_) => Ok(bounds(key, rule, schema, number(value))),
                Value::String(text) => self.text(key, rule, text),
                Value::Array(items) => self.items(key, rule, schema, items, depth),
                Value::Object(members) => self.members(key, rule, schema, members, depth),
                Value::Null | Value::Bool(_) => Ok(true),
            },
        }
    }

    /// Whether something is true of one of a list.
    fn any(
        &mut self,
        list: &'a Value,
        mut of: impl FnMut(&mut Self, &'a Value) -> Result<bool, Spent>,
    ) -> Result<bool, Spent> {
        for entry in list.as_array().into_iter().flatten() {
            if of(self, entry)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn text(&mut self, key: &str, rule: &Value, text: &str) -> Result<bool, Spent> {
        self.spend(1 + text.len() / 16)?;
        Ok(match key {
            "minLength" => count(rule).is_none_or(|least| text.chars().count() >= least),
            "maxLength" => count(rule).is_none_or(|most| text.chars().count() <= most),
            "pattern" => rule.as_str().is_none_or(|pattern| self.matches(pattern, text)),
            _ => true,
        })
    }

    fn matches(&self, pattern: &str, text: &str) -> bool {
        self.judge.patterns.get(pattern).is_some_and(|regex| regex.is_match(text))
    }

    fn items(
        &mut self,
        key: &str,
        rule: &'a Value,
        schema: &'a Object,
        items: &[Value],
        depth: usize,
    ) -> Result<bool, Spent> {
        let listed = |key: &str| schema.get(key).and_then(Value::as_array);
        let first = listed("prefixItems").or_else(|| listed("items")).map_or(0, Vec::len);
        Ok(match key {
            "minItems" => count(rule).is_none_or(|least| items.len() >= least),
            "maxItems" => count(rule).is_none_or(|most| items.len() <= most),
            "prefixItems" | "items" if rule.is_array() => {
                for (schema, item) in rule.as_array().into_iter().flatten().zip(items) {
                    if !self.holds(schema, item, depth)? {
                        return Ok(false);
                    }
                }
                true
            }
            "items" => self.each(rule, items.get(first..), depth)?,
            "additionalItems" if listed("items").is_some() => {
                self.each(rule, items.get(first..), depth)?
            }
            "unevaluatedItems"
                if schema.get("items").is_none_or(Value::is_array)
                    && !schema.contains_key("additionalItems") =>
            {
                self.each(rule, items.get(first..), depth)?
            }
            "contains" => {
                let mut met = 0;
                for item in items {
                    met += usize::from(self.holds(rule, item, depth)?);
                }
                let bound = |key| schema.get(key).and_then(count);
                met >= bound("minContains").unwrap_or(1)
                    && met <= bound("maxContains").unwrap_or(usize::MAX)
            }
            "uniqueItems" if rule == &Value::Bool(true) => {
                for (index, item) in items.iter().enumerate() {
                    for other in &items[..index] {
                        if self.equal(item, other)? {
                            return Ok(false);
                        }
                    }
                }
                true
            }
            _ => true,
        })
    }

    fn each(
        &mut self,
        rule: &'a Value,
        items: Option<&[Value]>,
        depth: usize,
    ) -> Result<bool, Spent> {
        for item in items.unwrap_or_default() {
            if !self.holds(rule, item, depth)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn members(
        &mut self,
        key: &str,
        rule: &'a Value,
        schema: &'a Object,
        members: &Object,
        depth: usize,
    ) -> Result<bool, Spent> {
        let rules = || rule.as_object().into_iter().flatten();
        let has_all = |names: &Value| {
            let mut names = names.as_array().into_iter().flatten().filter_map(Value::as_str);
            names.all(|name| members.contains_key(name))
        };
        match key {
            "minProperties" => Ok(count(rule).is_none_or(|least| members.len() >= least)),
            "maxProperties" => Ok(count(rule).is_none_or(|most| members.len() <= most)),
            "required" => Ok(has_all(rule)),
            "dependentRequired" => {
                Ok(rules().all(|(name, names)| !members.contains_key(name) || has_all(names)))
            }
            "properties" => {
                for (name, rule) in rules() {
                    if let Some(member) = members.get(name)
                        && !self.holds(rule, member, depth)?
                    {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            "patternProperties" => {
                for (pattern, rule) in rules() {
                    for (name, member) in members {
                        self.spend(1 + name.len() / 16)?;
                        if self.matches(pattern, name) && !self.holds(rule, member, depth)? {
                            return Ok(false);
                        }
                    }
                }
                Ok(true)
            }
            "propertyNames" => {
                for name in members.keys() {
                    if !self.holds(rule, &Value::String(name.clone()), depth)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            "additionalProperties" => self.others(rule, schema, members, depth),
            "unevaluatedProperties" if !schema.contains_key("additionalProperties") => {
                self.others(rule, schema, members, depth)
            }
            _ => Ok(true),
        }
    }

    /// The members that the schema does not describe.
    fn others(
        &mut self,
        rule: &'a Value,
        schema: &'a Object,
        members: &Object,
        depth: usize,
    ) -> Result<bool, Spent> {
        let described = |key: &str| schema.get(key).and_then(Value::as_object);
        let patterns = described("patternProperties");
        for (name, member) in members {
            let named = described("properties").is_some_and(|known| known.contains_key(name));
            let mut matched = false;
            for pattern in patterns.into_iter().flat_map(Map::keys) {
                self.spend(1 + name.len() / 16)?;
                matched = matched || self.matches(pattern, name);
            }
            if !named && !matched && !self.holds(rule, member, depth)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Numbers are equal by their value, objects whatever the order of their members.
    fn equal(&mut self, one: &Value, other: &Value) -> Result<bool, Spent> {
        self.spend(1)?;
        match (one, other) {
            (Value::Number(a), Value::Number(b)) => Ok(match (whole(a), whole(b)) {
                (Some(a), Some(b)) => a == b,
                _ => a.as_f64() == b.as_f64(),
            }),
            (Value::Array(a), Value::Array(b)) => {
                for (a, b) in a.iter().zip(b) {
                    if !self.equal(a, b)? {
                        return Ok(false);
                    }
                }
                Ok(a.len() == b.len())
            }
            (Value::Object(a), Value::Object(b)) => {
                for (name, a) in a {
                    let Some(b) = b.get(name) else { return Ok(false) };
                    if !self.equal(a, b)? {
                        return Ok(false);
                    }
                }
                Ok(a.len() == b.len())
            }
            _ => Ok(one == other),
        }
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        // 3.0 is an integer to JSON Schema.
        "integer" => value.is_number() && number(value).fract() == 0.0,
        _ => false,
    }
}

/// Whether a number keeps to a bound. Before 2019, `exclusive` was a word about the other bound.
fn bounds(key: &str, rule: &Value, schema: &Object, value: f64) -> bool {
    let exclusive = |key: &str| schema.get(key) == Some(&Value::Bool(true));
    let Some(bound) = rule.as_f64() else { return true };
    match key {
        "minimum" if exclusive("exclusiveMinimum") => value > bound,
        "maximum" if exclusive("exclusiveMaximum") => value < bound,
        "minimum" => value >= bound,
        "maximum" => value <= bound,
        "exclusiveMinimum" => value > bound,
        "exclusiveMaximum" => value < bound,
        "multipleOf" => {
            // 0.3 is three times 0.1, whatever binary fractions make of it.
            let times = value / bound;
            (times - times.round()).abs() <= times.abs().max(1.0) * 1e-12
        }
        _ => true,
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

fn whole(number: &serde_json::Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

fn count(rule: &Value) -> Option<usize> {
    let whole = rule.as_f64().filter(|value| value.fract() == 0.0 && *value >= 0.0);
    rule.as_u64().or_else(|| whole.map(|value| value as u64)).map(|count| count as usize)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: &Value, valid: &[Value], invalid: &[Value]) {
        let judge = Judge::new(schema).unwrap();
        for value in valid {
            assert_eq!(judge.check(value), Ok(()), "{schema}: {value}");
        }
        for value in invalid {
            assert!(judge.check(value).is_err(), "{schema}: {value}");
        }
    }

    #[test]
    fn values_are_what_their_schemas_say() {
        let closed = json!({"type": "object", "properties": {"a": {"type": "integer"}},
            "required": ["a"], "additionalProperties": false});
        check(
            &closed,
            &[json!({"a": 1}), json!({"a": 1.0})],
            &[json!({}), json!({"a": "1"}), json!({"a": 1, "b": 2}), json!([])],
        );
        check(
            &json!({"enum": [1, {"a": [1, "b"]}]}),
            &[json!(1.0), json!({"a": [1, "b"]})],
            &[json!({"a": [1]}), json!(2)],
        );
        let tree = json!({"$ref": "#/$defs/t", "$defs": {"t": {"$anchor": "tree", "type": "array",
            "items": {"$ref": "#tree"}}}});
        check(&tree, &[json!([[], [[]]])], &[json!([[1]])]);
        let case = json!({"if": {"minimum": 5}, "then": {"multipleOf": 0.1}, "else": false});
        check(&case, &[json!(5.3), json!("not a number")], &[json!(4), json!(5.35)]);
        check(
            &json!({"contains": {"const": 1}, "maxContains": 2}),
            &[json!([1, 0, 1])],
            &[json!([]), json!([1, 1, 1])],
        );
        let names = json!({"propertyNames": {"pattern": "^[a-z]+$"}, "minProperties": 1});
        check(&names, &[json!({"abc": 1})], &[json!({"A": 1}), json!({})]);
        check(&json!({"oneOf": [{"minimum": 3}, {"maximum": 5}]}), &[json!(2)], &[json!(4)]);
        check(&json!({"uniqueItems": true}), &[json!([1, "1"])], &[json!([1, 1.0])]);
        check(&json!({"type": ["integer", "null"]}), &[json!(1e15), json!(null)], &[json!(1.5)]);
        check(&json!({"multipleOf": 0.5}), &[json!(-1), json!(2.5)], &[json!(0.7)]);
        check(&json!({"minLength": 2, "maxLength": 2}), &[json!("\u{e9}\u{1F600}")], &[json!("a")]);
    }

    #[test]
    fn another_judge_says_the_same() {
        let files = [
            include_str!("../../../tests/grammar/schemas/types.json"),
            include_str!("../../../tests/grammar/schemas/numbers.json"),
            include_str!("../../../tests/grammar/schemas/strings.json"),
            include_str!("../../../tests/grammar/schemas/arrays.json"),
            include_str!("../../../tests/grammar/schemas/objects.json"),
            include_str!("../../../tests/grammar/schemas/combined.json"),
            include_str!("../../../tests/grammar/schemas/references.json"),
            include_str!("../../../tests/grammar/schemas/enums.json"),
            include_str!("../../../tests/grammar/schemas/nested.json"),
        ];
        // Without -1 and 1e15, in which the other one is wrong by fractions and exponents.
        let values = json!([
            null, true, 0, 1,  2.5, 7,  "", "a", "abc", "red", "2024-01-01", [], [1], [1, 2],
            ["a", 1], [[1]], [null, "b", true], {}, {"a": 1}, {"a": "b"}, {"name": "x", "age": 3},
            {"id": 1, "name": "abc"}, {"type": "a"}, {"kind": "circle", "r": 1}, {"a": {"b": 1}}
        ]);
        let (mut same, mut wrong) = ([0, 0], Vec::new());
        for file in files {
            for case in serde_json::from_str::<Vec<Value>>(file).unwrap() {
                let schema = &case["schema"];
                let options = jsonschema::options().with_draft(jsonschema::Draft::Draft202012);
                // Words of older drafts are taken here, and not there.
                let old = schema.to_string();
                if old.contains("additionalItems") || old.contains("\"exclusiveMinimum\":true") {
                    continue;
                }
                let other = options.build(schema).unwrap();
                let judge = Judge::new(schema).unwrap();
                for value in values.as_array().unwrap() {
                    let valid = judge.check(value).is_ok();
                    same[usize::from(valid)] += 1;
                    if valid != other.is_valid(value) {
                        wrong.push(format!("{schema}: {value}: {valid}"));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(same.iter().all(|&count| count > 300), "{same:?}");
    }

    #[test]
    fn what_is_not_judged_is_refused() {
        for (schema, keyword) in [
            (json!({"$dynamicRef": "#a"}), "$dynamicRef"),
            (json!({"required": "a"}), "required"),
            (json!({"pattern": "(?=a)b"}), "pattern"),
            (json!({"allOf": [{}], "unevaluatedProperties": false}), "unevaluatedProperties"),
            (json!({"properties": {"a": {"nullable": true}}}), "nullable"),
            (json!({"$ref": "https://elsewhere.example/a"}), "$ref"),
        ] {
            let error = Judge::new(&schema).unwrap_err().to_string();
            assert!(error.contains(&format!("`{keyword}` at #")), "{error}");
        }
    }

    #[test]
    fn judging_is_bounded() {
        let defs: Object = (0..8)
            .map(|index| {
                let next = json!({"$ref": format!("#/$defs/d{}", index + 1)});
                (format!("d{index}"), json!({"allOf": vec![next; 30]}))
            })
            .chain([("d8".to_owned(), json!({"type": "integer"}))])
            .collect();
        let bomb = json!({"$ref": "#/$defs/d0", "$defs": defs});
        for schema in [bomb, json!({"$ref": "#"}), json!({"anyOf": [{"not": {"$ref": "#"}}]})] {
            let error = Judge::new(&schema).unwrap().check(&json!(1)).unwrap_err();
            assert!(error.contains("too much"), "{error}");
        }
    }
}
