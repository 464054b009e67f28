//! Lists, mappings and namespaces of templates. Invariant: nesting is at most `DEPTH_MAX`, nothing
//! contains itself, and every entry was paid for, so that walking, comparing, printing and dropping
//! any value is bounded.

use super::TemplateError;
use super::host::{DEPTH_MAX, Host, invalid};
use super::provenance::{Marks, Moved};
use minijinja::value::{Enumerator, Object, ObjectRepr, ValueKind};
use minijinja::{Error, Value};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How deep a value is. Namespaces can lie in lists, but then not within namespaces: those could
/// nest without bound.
#[derive(Debug, Default, Clone, Copy)]
struct Nesting {
    depth: u32,
    holds_namespace: bool,
}

/// A list or a tuple.
#[derive(Debug)]
pub(super) struct List {
    pub(super) items: Vec<Value>,
    pub(super) is_tuple: bool,
    /// Python has a generator here: it can be walked, but has no length and is no JSON.
    pub(super) is_lazy: bool,
    nesting: Nesting,
}

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.items.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.items.len())
    }
}

/// A mapping in insertion order. Keys are scalars; text keys compare without marks.
#[derive(Debug, Default)]
pub(super) struct Dict {
    pub(super) entries: Vec<(Value, Value)>,
    index: HashMap<Value, usize>,
    marks: Option<Arc<Marks>>,
    nesting: Nesting,
}

impl Dict {
    fn key(&self, key: &Value) -> Value {
        match (&self.marks, key.as_str()) {
            (Some(marks), Some(text)) => Value::from(marks.plain_text(text)),
            _ => key.clone(),
        }
    }

    pub(super) fn get(&self, key: &Value) -> Option<&Value> {
        // Hashing a container could take for ever.
        if !is_scalar(key) {
            return None;
        }
        let at =
            if self.marks.is_some() { self.index.get(&self.key(key)) } else { self.index.get(key) };
        at.map(|&i| &self.entries[i].1)
    }

    fn insert(&mut self, key: Value, value: Value) {
        let plain = self.key(&key);
        if let Some(&i) = self.index.get(&plain) {
            self.entries[i].1 = value;
        } else {
            self.index.insert(plain, self.entries.len());
            self.entries.push((key, value));
        }
    }
}

impl Object for Dict {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get(key).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.entries.iter().map(|(key, _)| key.clone()).collect())
    }
}

/// What `namespace()` makes: the only thing whose attributes can be set.
#[derive(Debug, Default)]
pub(super) struct Namespace {
    attributes: Mutex<HashMap<String, Value>>,
}

impl Object for Namespace {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        self.attributes.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl Namespace {
    pub(super) fn set(&self, host: &Host, name: &str, value: &Value) -> Result<(), Error> {
        if name.starts_with('_') {
            return Err(invalid(format!("namespace attribute `{name}` begins with an underscore")));
        }
        if nesting(value)?.holds_namespace {
            return Err(invalid("a namespace cannot be stored in a namespace"));
        }
        host.charge(name.len() as u64)?;
        host.charge_entries(1)?;
        let mut attributes = self.attributes.lock().unwrap_or_else(PoisonError::into_inner);
        attributes.insert(name.to_owned(), value.clone());
        Ok(())
    }
}

/// A method that was looked up and not called, as in `{{ mapping.items }}`.
#[derive(Debug)]
pub(super) struct BoundMethod;

impl Object for BoundMethod {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

pub(super) fn is_scalar(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::Undefined
            | ValueKind::None
            | ValueKind::Bool
            | ValueKind::Number
            | ValueKind::String
    )
}

pub(super) fn as_list(value: &Value) -> Option<&List> {
    value.downcast_object_ref()
}

pub(super) fn as_dict(value: &Value) -> Option<&Dict> {
    value.downcast_object_ref()
}

fn nesting(value: &Value) -> Result<Nesting, Error> {
    if is_scalar(value) {
        Ok(Nesting::default())
    } else if let Some(list) = as_list(value) {
        Ok(list.nesting)
    } else if let Some(dict) = as_dict(value) {
        Ok(dict.nesting)
    } else if value.downcast_object_ref::<Namespace>().is_some() {
        Ok(Nesting { depth: DEPTH_MAX / 2, holds_namespace: true })
    } else {
        Err(invalid(format!("a value of type {} cannot be stored", value.kind())))
    }
}

fn nesting_above<'a>(
    host: &Host,
    values: impl Iterator<Item = &'a Value>,
) -> Result<Nesting, Error> {
    let mut all = Nesting::default();
    for value in values {
        let found = nesting(value)?;
        all.depth = all.depth.max(found.depth);
        all.holds_namespace |= found.holds_namespace;
    }
    if all.depth >= DEPTH_MAX {
        let limit = u64::from(DEPTH_MAX);
        return Err(host.fail(TemplateError::Limit { what: "nesting of values", limit }));
    }
    all.depth += 1;
    Ok(all)
}

/// A new list, paid for.
pub(super) fn list(host: &Host, items: Vec<Value>) -> Result<Value, Error> {
    sequence(host, items, false)
}

/// A new list or tuple, paid for.
pub(super) fn sequence(host: &Host, items: Vec<Value>, is_tuple: bool) -> Result<Value, Error> {
    host.charge_entries(items.len() + 1)?;
    let nesting = nesting_above(host, items.iter())?;
    Ok(Value::from_object(List { items, is_tuple, is_lazy: false, nesting }))
}

/// What jinja2 makes with a generator (`map`, `select`, ...).
pub(super) fn lazy(host: &Host, items: Vec<Value>) -> Result<Value, Error> {
    host.charge_entries(items.len() + 1)?;
    let nesting = nesting_above(host, items.iter())?;
    Ok(Value::from_object(List { items, is_tuple: false, is_lazy: true, nesting }))
}

/// A new mapping, paid for. Later entries replace earlier ones with the same key.
pub(super) fn dict(
    host: &Host,
    entries: impl IntoIterator<Item = (Value, Value)>,
) -> Result<Value, Error> {
    let mut made = Dict { marks: host.traced.then(|| host.marks.clone()), ..Dict::default() };
    host.charge_entries(2)?;
    for (key, value) in entries {
        if !is_scalar(&key) || key.is_undefined() {
            return Err(invalid(format!("a value of type {} cannot be a key", key.kind())));
        }
        host.charge_entries(2)?;
        host.charge(key.as_str().map_or(0, str::len) as u64)?;
        made.insert(key, value);
    }
    made.nesting = nesting_above(host, made.entries.iter().map(|(_, value)| value))?;
    Ok(Value::from_object(made))
}

/// What `for x in value` visits, as Python has it: items, keys, characters, nothing for undefined.
pub(super) fn items(host: &Host, value: &Value) -> Result<Vec<Value>, Error> {
    if let Some(list) = as_list(value) {
        host.charge_entries(list.items.len())?;
        return Ok(list.items.clone());
    }
    if let Some(dict) = as_dict(value) {
        host.charge_entries(dict.entries.len())?;
        return Ok(dict.entries.iter().map(|(key, _)| key.clone()).collect());
    }
    if let Some(text) = value.as_str() {
        host.charge_entries(text.len())?;
        return Ok(text.chars().map(Value::from).collect());
    }
    if value.is_undefined() {
        return Ok(Vec::new());
    }
    Err(invalid(format!("a value of type {} is not iterable", value.kind())))
}

/// Replaces the engine's own sequences and mappings (from constants) by ours.
pub(super) fn adopt(host: &Host, value: &Value) -> Result<Value, Error> {
    if is_scalar(value) || value.is_kwargs() {
        return Ok(value.clone());
    }
    if value.kind() == ValueKind::Map {
        let mut entries = Vec::new();
        for key in value.try_iter()? {
            let item = value.get_item(&key)?;
            entries.push((key, adopt(host, &item)?));
        }
        return dict(host, entries);
    }
    let mut made = Vec::new();
    for item in value.try_iter()? {
        host.charge_entries(1)?;
        made.push(adopt(host, &item)?);
    }
    sequence(host, made, value.is_tuple())
}

/// How input strings enter a rendering.
pub(super) struct Inputs<'a> {
    pub(super) host: &'a Host,
    pub(super) moved: &'a Moved,
}

impl Inputs<'_> {
    /// A text of the caller's.
    pub(super) fn text(&self, text: &str) -> Value {
        let marks = self.host.traced.then_some(&*self.host.marks);
        Value::from(self.moved.input(text, marks))
    }

    /// A value of the caller's.
    pub(super) fn json(&self, value: &serde_json::Value) -> Result<Value, Error> {
        Ok(match value {
            serde_json::Value::Null => Value::from(()),
            serde_json::Value::Bool(b) => Value::from(*b),
            serde_json::Value::Number(n) => match (n.as_i64(), n.as_u64()) {
                (Some(n), _) => Value::from(n),
                (None, Some(n)) => Value::from(n),
                (None, None) => Value::from(n.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(s) => self.text(s),
            serde_json::Value::Array(items) => {
                let items: Result<Vec<_>, _> = items.iter().map(|item| self.json(item)).collect();
                list(self.host, items?)?
            }
            serde_json::Value::Object(map) => {
                let entries: Result<Vec<_>, Error> =
                    map.iter().map(|(k, v)| Ok((self.text(k), self.json(v)?))).collect();
                dict(self.host, entries?)?
            }
        })
    }
}
