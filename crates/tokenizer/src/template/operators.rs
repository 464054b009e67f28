//! Operators and subscripts with Python's meaning and bounded cost; the engine's own are replaced
//! by these.

use super::TemplateError;
use super::format::percent;
use super::host::{Host, invalid};
use super::methods::escaped;
use super::python::str_of;
use super::value::{BoundMethod, Namespace, as_dict, as_list, dict, is_scalar, list, sequence};
use minijinja::value::ValueKind;
use minijinja::{Error, Value};
use std::cmp::Ordering;

fn defined<'a>(value: &'a Value, what: &str) -> Result<&'a Value, Error> {
    if value.is_undefined() {
        return Err(Error::new(
            minijinja::ErrorKind::UndefinedError,
            format!("{what} of an undefined value"),
        ));
    }
    Ok(value)
}

/// An integer, Python's way: a bool counts as 0 or 1.
pub(super) fn integer(value: &Value) -> Option<i128> {
    match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        ValueKind::Number if value.is_integer() => i128::try_from(value.clone()).ok(),
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        _ => None,
    }
}

pub(super) fn from_integer(value: i128) -> Value {
    i64::try_from(value).map_or_else(|_| Value::from(value), Value::from)
}

fn mismatch(operator: &str, a: &Value, b: &Value) -> Error {
    invalid(format!("`{operator}` does not take {} and {}", a.kind(), b.kind()))
}

pub(super) fn add(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let (a, b) = (defined(&args[0], "sum")?, defined(&args[1], "sum")?);
    if let (Some(left), Some(right)) = (a.as_str(), b.as_str()) {
        host.charge((left.len() + right.len()) as u64)?;
        // markupsafe: what is added to a text marked `|safe` is escaped.
        return match (a.is_safe(), b.is_safe()) {
            (false, false) => Ok(Value::from([left, right].concat())),
            (true, true) => Ok(Value::from_safe_string([left, right].concat())),
            (true, false) => Ok(Value::from_safe_string(left.to_owned() + &escaped(host, right)?)),
            (false, true) => Ok(Value::from_safe_string(escaped(host, left)? + right)),
        };
    }
    if let (Some(a), Some(b)) = (as_list(a), as_list(b))
        && a.is_tuple == b.is_tuple
    {
        host.charge_entries(a.items.len() + b.items.len())?;
        return sequence(host, [&a.items[..], &b.items[..]].concat(), a.is_tuple);
    }
    if let (Some(a), Some(b)) = (integer(a), integer(b)) {
        return a.checked_add(b).map(from_integer).ok_or_else(|| invalid("sum is too large"));
    }
    match (number(a), number(b)) {
        (Some(a), Some(b)) => Ok(Value::from(a + b)),
        _ => Err(mismatch("+", a, b)),
    }
}

pub(super) fn concat(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let a = str_of(host, &args[0])?;
    let b = str_of(host, &args[1])?;
    host.charge((a.len() + b.len()) as u64)?;
    Ok(Value::from(a + &b))
}

pub(super) fn multiply(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let (a, b) = (defined(&args[0], "product")?, defined(&args[1], "product")?);
    if let (Some(a), Some(b)) = (integer(a), integer(b)) {
        return a.checked_mul(b).map(from_integer).ok_or_else(|| invalid("product is too large"));
    }
    for (repeated, count) in [(a, b), (b, a)] {
        let Some(count) = integer(count) else { continue };
        let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
        if let Some(text) = repeated.as_str() {
            host.charge((text.len() as u64).saturating_mul(count as u64))?;
            return Ok(Value::from(text.repeat(count)));
        }
        if let Some(items) = as_list(repeated) {
            let length = items.items.len().saturating_mul(count);
            host.charge_entries(length)?;
            let count = if items.items.is_empty() { 0 } else { count };
            let repeated = std::iter::repeat_n(&items.items, count).flatten().cloned().collect();
            return sequence(host, repeated, items.is_tuple);
        }
    }
    match (number(a), number(b)) {
        (Some(a), Some(b)) => Ok(Value::from(a * b)),
        _ => Err(mismatch("*", a, b)),
    }
}

pub(super) fn remainder(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let (a, b) = (defined(&args[0], "remainder")?, defined(&args[1], "remainder")?);
    if let Some(text) = a.as_str() {
        return host.text(percent(host, text, b)?);
    }
    if let (Some(a), Some(b)) = (integer(a), integer(b)) {
        let rest = a.checked_rem(b).ok_or_else(|| invalid("division by zero"))?;
        let shift = rest != 0 && (rest < 0) != (b < 0);
        return Ok(from_integer(if shift { rest + b } else { rest }));
    }
    match (number(a), number(b)) {
        (Some(_), Some(0.0)) => Err(invalid("division by zero")),
        (Some(a), Some(b)) => {
            let rest = a % b;
            Ok(Value::from(if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }))
        }
        _ => Err(mismatch("%", a, b)),
    }
}

/// Python's `==`. Marks (see `provenance`) are compared as they are.
pub(super) fn equal(host: &Host, a: &Value, b: &Value) -> Result<bool, Error> {
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        host.charge_scan(a.len().min(b.len()))?;
        return Ok(a == b);
    }
    if let (Some(a), Some(b)) = (as_list(a), as_list(b)) {
        if a.items.len() != b.items.len() || a.is_tuple != b.is_tuple {
            return Ok(false);
        }
        return all_equal(host, a.items.iter().zip(&b.items));
    }
    if let (Some(a), Some(b)) = (as_dict(a), as_dict(b)) {
        if a.entries.len() != b.entries.len() {
            return Ok(false);
        }
        for (key, value) in &a.entries {
            host.charge(1)?;
            match b.get(key) {
                Some(other) if equal(host, value, other)? => {}
                _ => return Ok(false),
            }
        }
        return Ok(true);
    }
    if let (Some(a), Some(b)) = (integer(a), integer(b)) {
        return Ok(a == b);
    }
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return Ok(a == b);
    }
    Ok(is_scalar(a) && is_scalar(b) && a.kind() == b.kind())
}

fn all_equal<'a>(
    host: &Host,
    mut pairs: impl Iterator<Item = (&'a Value, &'a Value)>,
) -> Result<bool, Error> {
    pairs.try_fold(true, |same, (a, b)| {
        host.charge(1)?;
        Ok(same && equal(host, a, b)?)
    })
}

/// Python's order; an error between unlike types.
pub(super) fn order(host: &Host, a: &Value, b: &Value) -> Result<Option<Ordering>, Error> {
    if let (Some(x), Some(y)) = (a.as_str(), b.as_str()) {
        host.charge_scan(x.len().min(y.len()))?;
        return Ok(Some(x.cmp(y)));
    }
    if let (Some(x), Some(y)) = (integer(a), integer(b)) {
        return Ok(Some(x.cmp(&y)));
    }
    if let (Some(x), Some(y)) = (number(a), number(b)) {
        return Ok(x.partial_cmp(&y));
    }
    if let (Some(x), Some(y)) = (as_list(a), as_list(b)) {
        for (left, right) in x.items.iter().zip(&y.items) {
            host.charge(1)?;
            if !equal(host, left, right)? {
                return order(host, left, right);
            }
        }
        return Ok(Some(x.items.len().cmp(&y.items.len())));
    }
    Err(invalid(format!("{} and {} have no order", a.kind(), b.kind())))
}

/// Compares with the operator spelled in Python.
pub(super) fn compare(host: &Host, operator: &str, a: &Value, b: &Value) -> Result<bool, Error> {
    match operator {
        "==" => return equal(host, a, b),
        "!=" => return Ok(!equal(host, a, b)?),
        "in" => return contains(host, b, a),
        "not in" => return Ok(!contains(host, b, a)?),
        _ => {}
    }
    let found = order(host, defined(a, "order")?, defined(b, "order")?)?;
    Ok(found.is_some_and(|found| match operator {
        "<" => found.is_lt(),
        "<=" => found.is_le(),
        ">" => found.is_gt(),
        _ => found.is_ge(),
    }))
}

/// Python's `value in container`.
pub(super) fn contains(host: &Host, container: &Value, value: &Value) -> Result<bool, Error> {
    if let Some(text) = container.as_str() {
        host.charge_scan(text.len())?;
        let part = value.as_str();
        let part =
            part.ok_or_else(|| invalid(format!("a string cannot contain {}", value.kind())))?;
        return Ok(text.contains(part));
    }
    if let Some(list) = as_list(container) {
        for item in &list.items {
            host.charge(1)?;
            if equal(host, item, value)? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    if let Some(dict) = as_dict(container) {
        return Ok(dict.get(value).is_some());
    }
    if container.is_undefined() {
        return Ok(false);
    }
    Err(invalid(format!("a value of type {} contains nothing", container.kind())))
}

/// `value[key]`.
pub(super) fn item(_: &Host, args: &[Value]) -> Result<Value, Error> {
    let (value, key) = (defined(&args[0], "item")?, &args[1]);
    if let Some(index) = integer(key) {
        let at = |length: usize| {
            let index = if index < 0 { index + length as i128 } else { index };
            usize::try_from(index).ok()
        };
        if let Some(list) = as_list(value) {
            let found = at(list.items.len()).and_then(|i| list.items.get(i));
            return Ok(found.cloned().unwrap_or(Value::UNDEFINED));
        }
        if let Some(text) = value.as_str() {
            let found = at(text.chars().count()).and_then(|i| text.chars().nth(i));
            return Ok(found.map_or(Value::UNDEFINED, Value::from));
        }
    }
    if let Some(dict) = as_dict(value) {
        let found = dict.get(key).cloned();
        return Ok(match (found, key.as_str()) {
            (Some(found), _) => found,
            (None, Some(name)) if is_dict_method(name) => Value::from_object(BoundMethod),
            (None, _) => Value::UNDEFINED,
        });
    }
    // The engine's own objects: `loop`, macros.
    match key.as_str() {
        Some(name) if !value.is_none() => Ok(value.get_attr(name).unwrap_or(Value::UNDEFINED)),
        _ => Ok(Value::UNDEFINED),
    }
}

fn is_dict_method(name: &str) -> bool {
    matches!(name, "items" | "keys" | "values" | "get" | "copy" | "pop" | "update" | "clear")
}

/// Whether `.name` may be a method rather than an entry.
pub(super) fn is_method_name(name: &str) -> bool {
    is_dict_method(name) || matches!(name, "count" | "index")
}

/// `value.name` for the names of methods, which win over entries as in Python.
pub(super) fn attribute(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let name = args[1].as_str().unwrap_or_default();
    let is_method = match as_list(&args[0]) {
        Some(_) => matches!(name, "count" | "index"),
        None => as_dict(&args[0]).is_some() && is_dict_method(name),
    };
    if is_method { Ok(Value::from_object(BoundMethod)) } else { item(host, args) }
}

/// `{% set value.name = x %}`: the arguments are x, value, name.
pub(super) fn set_attribute(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let Some(namespace) = args[1].downcast_object_ref::<Namespace>() else {
        return Err(invalid("attributes can be set on namespaces only"));
    };
    namespace.set(host, args[2].as_str().unwrap_or_default(), &args[0])?;
    Ok(Value::from(()))
}

/// Python's slice positions: ascending or descending indices within `length`.
fn positions(length: usize, args: &[Value]) -> Result<Vec<usize>, Error> {
    let part = |value: &Value| -> Result<Option<i128>, Error> {
        if value.is_none() || value.is_undefined() {
            return Ok(None);
        }
        integer(value).map(Some).ok_or_else(|| invalid("slice positions are integers"))
    };
    let (start, stop, step) = (part(&args[0])?, part(&args[1])?, part(&args[2])?.unwrap_or(1));
    let length = length as i128;
    let clamp = |at: i128, low: i128, high: i128| {
        (if at < 0 { at.saturating_add(length) } else { at }).clamp(low, high)
    };
    let step = step.clamp(-(1 << 62), 1 << 62);
    if step == 0 {
        return Err(invalid("a slice's step cannot be 0"));
    }
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let mut at = start.map_or(first, |s| clamp(s, low, high));
    let stop = stop.map_or(last, |s| clamp(s, low, high));
    let mut found = Vec::new();
    while (step > 0 && at < stop) || (step < 0 && at > stop) {
        found.push(at as usize);
        at += step;
    }
    Ok(found)
}

/// `value[start:stop:step]`.
pub(super) fn slice(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let value = defined(&args[0], "slice")?;
    if let Some(text) = value.as_str() {
        host.charge(text.len() as u64 * 4)?;
        let chars: Vec<char> = text.chars().collect();
        host.charge(chars.len() as u64 * 8)?;
        let picked: String =
            positions(chars.len(), &args[1..])?.into_iter().map(|i| chars[i]).collect();
        return Ok(Value::from(picked));
    }
    let Some(items) = as_list(value) else {
        return Err(invalid(format!("a value of type {} cannot be sliced", value.kind())));
    };
    host.charge_entries(items.items.len())?;
    let picked = positions(items.items.len(), &args[1..])?;
    sequence(host, picked.into_iter().map(|i| items.items[i].clone()).collect(), items.is_tuple)
}

/// What a loop runs over, unless Python would refuse to.
pub(super) fn iterable(_: &Host, args: &[Value]) -> Result<Value, Error> {
    let value = &args[0];
    match value.kind() {
        ValueKind::None | ValueKind::Bool | ValueKind::Number | ValueKind::Plain => {
            Err(invalid(format!("a value of type {} is not iterable", value.kind())))
        }
        _ => Ok(value.clone()),
    }
}

pub(super) fn build_list(host: &Host, args: &[Value]) -> Result<Value, Error> {
    list(host, args.to_vec())
}

pub(super) fn build_tuple(host: &Host, args: &[Value]) -> Result<Value, Error> {
    sequence(host, args.to_vec(), true)
}

pub(super) fn build_map(host: &Host, args: &[Value]) -> Result<Value, Error> {
    dict(host, args.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())))
}

/// `range(stop)`, `range(start, stop, step)`.
pub(super) fn range(host: &Host, args: &[Value]) -> Result<Value, Error> {
    const LENGTH_MAX: u64 = 100_000;
    let bounds: Option<Vec<i128>> = args.iter().map(integer).collect();
    let (start, stop, step) = match bounds.as_deref() {
        Some([stop]) => (0, *stop, 1),
        Some([start, stop]) => (*start, *stop, 1),
        Some([start, stop, step]) if *step != 0 => (*start, *stop, *step),
        _ => return Err(invalid("range() takes one to three integers")),
    };
    let span = if step > 0 { stop.saturating_sub(start) } else { start.saturating_sub(stop) };
    let length = span.max(0).unsigned_abs().div_ceil(step.unsigned_abs());
    if length > u128::from(LENGTH_MAX) {
        return Err(host.fail(TemplateError::Limit { what: "range()", limit: LENGTH_MAX }));
    }
    host.charge_entries(length as usize)?;
    list(host, (0..length as i128).map(|i| from_integer(start + i * step)).collect())
}
