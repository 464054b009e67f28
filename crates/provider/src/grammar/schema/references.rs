//! References inside a schema: `#`, `#/a/pointer`, `#anchor`, each with or without the schema's own
//! address before it.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{Joined, Place};
use crate::ProviderError;
use crate::grammar::refused;

/// Definitions that a schema may refer to.
const DEFINITIONS_MAX: usize = 2000;

/// What a schema refers to, and what has become of it.
pub(super) struct References<'a> {
    root: &'a Value,
    /// What each `$anchor` stands at, and the pointer to it; found when the first one is asked for.
    anchors: Option<HashMap<&'a str, (&'a Value, String)>>,
    names: HashMap<(String, Joined), String>,
    prepared: Map<String, Value>,
}

impl<'a> References<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self { root, anchors: None, names: HashMap::new(), prepared: Map::new() }
    }

    /// The schema that is meant, and the pointer to it.
    pub(super) fn resolve(
        &mut self,
        reference: &str,
        place: &Place,
    ) -> Result<(&'a Value, String), ProviderError> {
        let refuse = |reason: &str| place.refuse("$ref", &format!("`{reference}` {reason}"));
        let own = self.root.get("$id").and_then(Value::as_str).unwrap_or_default();
        let own = own.trim_end_matches('#');
        let local = reference.strip_prefix(own).unwrap_or(reference);
        let fragment = match local.strip_prefix('#') {
            Some(fragment) => fragment,
            None if local.is_empty() => "",
            None => return Err(refuse("leads out of the schema; put the definition into `$defs`")),
        };
        let fragment = percent_decoded(fragment);
        if fragment.is_empty() || fragment.starts_with('/') {
            let target = self.root.pointer(&fragment);
            let target = target.ok_or_else(|| refuse("leads to nothing in the schema"))?;
            return Ok((target, format!("#{fragment}")));
        }
        let root = self.root;
        let anchors = self.anchors.get_or_insert_with(|| {
            let mut found = HashMap::new();
            anchors(root, &mut "#".to_owned(), 0, &mut found);
            found
        });
        let found = anchors.get(fragment.as_str()).cloned();
        found.ok_or_else(|| refuse("is no `$anchor` of the schema"))
    }

    /// The name of what is prepared for a pointer, and whether that is still to be done.
    pub(super) fn name(&mut self, pointer: &str, joined: Joined) -> (String, bool) {
        let key = (pointer.to_owned(), joined);
        if let Some(name) = self.names.get(&key) {
            return (name.clone(), false);
        }
        let name = format!("d{}", self.names.len());
        self.names.insert(key, name.clone());
        (name, true)
    }

    pub(super) fn define(&mut self, name: &str, prepared: Value) {
        self.prepared.insert(name.to_owned(), prepared);
    }

    /// What was prepared under a name; none while that is under way.
    pub(super) fn definition(&self, reference: &str) -> Option<&Value> {
        self.prepared.get(reference.strip_prefix("#/$defs/")?)
    }

    /// No definition may consist of references alone that lead back to it.
    pub(super) fn check_progress(&self) -> Result<(), ProviderError> {
        if self.names.len() > DEFINITIONS_MAX {
            return Err(refused(&format!(
                "the schema has more than {DEFINITIONS_MAX} definitions"
            )));
        }
        for (name, definition) in &self.prepared {
            let mut next = Some(definition);
            let mut steps = 0;
            while let Some(reference) = next.and_then(only_reference) {
                steps += 1;
                if steps > self.prepared.len() {
                    let place = self.names.iter().find(|(_, known)| *known == name);
                    let place = place.map_or("#", |((pointer, _), _)| pointer);
                    return Err(refused(&format!("`$ref` at {place} leads back to itself")));
                }
                next = self.definition(reference);
            }
        }
        Ok(())
    }

    pub(super) fn take(self) -> Map<String, Value> {
        self.prepared
    }
}

fn only_reference(schema: &Value) -> Option<&str> {
    let schema = schema.as_object().filter(|schema| schema.len() == 1)?;
    schema.get("$ref")?.as_str()
}

/// Collects every `$anchor` below a schema; of several by one name the first counts.
fn anchors<'a>(
    schema: &'a Value,
    path: &mut String,
    depth: usize,
    found: &mut HashMap<&'a str, (&'a Value, String)>,
) {
    if depth > 2 * super::DEPTH_MAX {
        return;
    }
    let len = path.len();
    match schema {
        Value::Object(members) => {
            if let Some(anchor) = members.get("$anchor").and_then(Value::as_str) {
                found.entry(anchor).or_insert_with(|| (schema, path.clone()));
            }
            for (key, member) in members {
                if !matches!(key.as_str(), "const" | "enum" | "default" | "examples") {
                    path.push('/');
                    path.push_str(&key.replace('~', "~0").replace('/', "~1"));
                    anchors(member, path, depth + 1, found);
                    path.truncate(len);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let _ = write!(path, "/{index}");
                anchors(item, path, depth + 1, found);
                path.truncate(len);
            }
        }
        _ => {}
    }
}

/// A fragment of an address without its escapes.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        if let (b'%', Some(high), Some(low)) = (first, digit(0), digit(1)) {
            bytes.push((16 * high + low) as u8);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
