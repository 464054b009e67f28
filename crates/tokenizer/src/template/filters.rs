//! Filters, tests and functions of Jinja, as transformers configures it. Source: jinja2's template
//! documentation.

#![expect(clippy::unnecessary_wraps, reason = "all operations share one signature")]

use super::TemplateError;
use super::format::{percent, strftime};
use super::host::{Host, invalid};
use super::methods::{
    Args, Ends, capitalize, escaped, is_space, join, lower, replace, strip, title, upper,
};
use super::operators::{compare, equal, integer, item, order, range};
use super::python::{JsonStyle, json, repr, str_of};
use super::value::{Namespace, as_dict, as_list, dict, items, lazy, list, sequence};
use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};
use std::cmp::Ordering;

/// An operation: the subject is the first argument.
pub(super) type Operation = fn(&Host, &[Value]) -> Result<Value, Error>;

/// What templates may call with `|`.
pub(super) const FILTERS: &[(&str, Operation)] = &[
    ("abs", absolute),
    ("attr", |host, args| item(host, &args[..2.min(args.len())])),
    ("batch", batch),
    ("bool", |_, args| Ok(Value::from(args[0].is_true()))),
    ("capitalize", |host, args| host.text(capitalize(host, &str_of(host, &args[0])?))),
    ("count", length),
    ("d", default),
    ("default", default),
    ("dictsort", dictsort),
    ("e", escape),
    ("escape", escape),
    ("first", |host, args| Ok(items(host, &args[0])?.into_iter().next().unwrap_or_default())),
    ("float", to_float),
    ("format", |host, args| {
        let rest = sequence(host, args[1..].to_vec(), true)?;
        host.text(percent(host, &str_of(host, &args[0])?, &rest)?)
    }),
    ("indent", indent),
    ("int", to_int),
    ("items", |host, args| super::methods::call(host, &args[0], "items", &[])),
    ("join", join_filter),
    ("last", |host, args| Ok(items(host, &args[0])?.pop().unwrap_or_default())),
    ("length", length),
    ("list", |host, args| list(host, items(host, &args[0])?)),
    ("lower", |host, args| host.text(lower(host, &str_of(host, &args[0])?))),
    ("map", map),
    ("max", |host, args| extreme(host, &args[0], Ordering::Greater)),
    ("min", |host, args| extreme(host, &args[0], Ordering::Less)),
    ("pprint", |host, args| host.text(repr(host, &args[0])?)),
    ("reject", |host, args| pick(host, args, Pick { attribute: false, keep: false })),
    ("rejectattr", |host, args| pick(host, args, Pick { attribute: true, keep: false })),
    ("replace", replace_filter),
    ("reverse", reverse),
    ("round", round),
    ("safe", |host, args| Ok(Value::from_safe_string(str_of(host, &args[0])?))),
    ("select", |host, args| pick(host, args, Pick { attribute: false, keep: true })),
    ("selectattr", |host, args| pick(host, args, Pick { attribute: true, keep: true })),
    ("sort", sort),
    ("string", |host, args| Ok(Value::from(str_of(host, &args[0])?))),
    ("sum", sum),
    ("title", |host, args| {
        let text = str_of(host, &args[0])?;
        host.text(title(host, &text, |c| !is_space(c) && !"-({[<".contains(c)))
    }),
    ("tojson", to_json),
    ("trim", |host, args| {
        let text = str_of(host, &args[0])?;
        let chars = Args::new(&args[1..]).get(0, "chars");
        let chars = chars.as_ref().and_then(Value::as_str);
        host.text(strip(&text, chars, Ends { left: true, right: true }))
    }),
    ("unique", unique),
    ("upper", |host, args| host.text(upper(host, &str_of(host, &args[0])?))),
    ("wordcount", |host, args| Ok(Value::from(str_of(host, &args[0])?.split_whitespace().count()))),
];

/// What templates may call by name.
pub(super) const FUNCTIONS: &[(&str, Operation)] = &[
    ("range", range),
    ("dict", |host, args| {
        let args = Args::new(args);
        let mut entries = match args.positional.first().and_then(as_dict) {
            Some(given) => given.entries.clone(),
            None => Vec::new(),
        };
        entries.extend(args.pairs()?);
        dict(host, entries)
    }),
    ("namespace", |host, args| {
        let args = Args::new(args);
        let namespace = Namespace::default();
        let given = args.positional.first().and_then(as_dict);
        let given = given.map(|given| given.entries.clone()).unwrap_or_default();
        for (name, value) in given.iter().chain(&args.pairs()?) {
            namespace.set(host, name.as_str().unwrap_or_default(), value)?;
        }
        host.charge_entries(4)?;
        Ok(Value::from_object(namespace))
    }),
    ("raise_exception", |host, args| {
        let message = args.first().map_or(Ok(String::new()), |message| str_of(host, message))?;
        Err(host.fail(TemplateError::Refused { message: host.marks.plain_text(&message) }))
    }),
    ("strftime_now", |host, args| {
        let format = args.first().and_then(Value::as_str);
        let format = format.ok_or_else(|| invalid("strftime_now() takes a format"))?;
        host.charge(format.len() as u64 * 24)?;
        host.text(strftime(&host.now, format))
    }),
];

/// Names of the tests behind `is`.
pub(super) const TESTS: &[&str] = &[
    "defined",
    "undefined",
    "none",
    "boolean",
    "true",
    "false",
    "string",
    "number",
    "integer",
    "int",
    "float",
    "mapping",
    "sequence",
    "iterable",
    "callable",
    "odd",
    "even",
    "divisibleby",
    "eq",
    "equalto",
    "==",
    "ne",
    "!=",
    "lt",
    "lessthan",
    "<",
    "le",
    "<=",
    "gt",
    "greaterthan",
    ">",
    "ge",
    ">=",
    "in",
    "sameas",
    "lower",
    "upper",
    "filter",
    "test",
    "escaped",
];

/// Performs the test `name` on `args[0]`.
pub(super) fn test(host: &Host, name: &str, args: &[Value]) -> Result<bool, Error> {
    let value = args.first().ok_or_else(|| invalid("a test takes a value"))?;
    let other = || args.get(1).ok_or_else(|| invalid(format!("test `{name}` takes an argument")));
    let is_sized = as_list(value).is_some() || as_dict(value).is_some() || value.is_undefined();
    let int = || integer(value).ok_or_else(|| invalid("expected an integer"));
    Ok(match name {
        "defined" => !value.is_undefined(),
        "undefined" => value.is_undefined(),
        "none" => value.is_none(),
        "boolean" => value.kind() == ValueKind::Bool,
        "true" => value.kind() == ValueKind::Bool && value.is_true(),
        "false" => value.kind() == ValueKind::Bool && !value.is_true(),
        "string" => value.as_str().is_some(),
        "number" => matches!(value.kind(), ValueKind::Number | ValueKind::Bool),
        "integer" | "int" => value.kind() == ValueKind::Number && value.is_integer(),
        "float" => value.kind() == ValueKind::Number && !value.is_integer(),
        "mapping" => as_dict(value).is_some(),
        "sequence" | "iterable" => is_sized || value.as_str().is_some(),
        "callable" => value.kind() == ValueKind::Plain,
        "odd" => int()? % 2 != 0,
        "even" => int()? % 2 == 0,
        "divisibleby" => {
            let by = integer(other()?).filter(|&by| by != 0);
            int()?.checked_rem(by.ok_or_else(|| invalid("division by zero"))?) == Some(0)
        }
        "eq" | "equalto" | "==" => equal(host, value, other()?)?,
        "ne" | "!=" => !equal(host, value, other()?)?,
        "lt" | "lessthan" | "<" => compare(host, "<", value, other()?)?,
        "le" | "<=" => compare(host, "<=", value, other()?)?,
        "gt" | "greaterthan" | ">" => compare(host, ">", value, other()?)?,
        "ge" | ">=" => compare(host, ">=", value, other()?)?,
        "in" => compare(host, "in", value, other()?)?,
        "sameas" => value.kind() == other()?.kind() && equal(host, value, other()?)?,
        "lower" | "upper" => {
            let text = str_of(host, value)?;
            text == if name == "lower" { lower(host, &text) } else { upper(host, &text) }
        }
        "filter" => FILTERS.iter().any(|(known, _)| Some(*known) == value.as_str()),
        "test" => TESTS.iter().any(|known| Some(*known) == value.as_str()),
        "escaped" => false,
        _ => return Err(Error::new(ErrorKind::UnknownTest, format!("test `{name}` is unknown"))),
    })
}

fn length(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let value = &args[0];
    if let Some(text) = value.as_str() {
        host.charge_scan(text.len())?;
        return Ok(Value::from(text.chars().count()));
    }
    let found = as_list(value).filter(|l| !l.is_lazy).map(|l| l.items.len());
    let found = found.or_else(|| as_dict(value).map(|d| d.entries.len()));
    match found {
        Some(length) => Ok(Value::from(length)),
        None if value.is_undefined() => Ok(Value::from(0)),
        None => Err(invalid(format!("a value of type {} has no length", value.kind()))),
    }
}

fn default(_: &Host, args: &[Value]) -> Result<Value, Error> {
    let rest = Args::new(&args[1..]);
    let falsy = rest.get(1, "boolean").is_some_and(|b| b.is_true()) && !args[0].is_true();
    if args[0].is_undefined() || falsy {
        return Ok(rest.get(0, "default_value").unwrap_or_else(|| Value::from("")));
    }
    Ok(args[0].clone())
}

fn absolute(_: &Host, args: &[Value]) -> Result<Value, Error> {
    match integer(&args[0]) {
        Some(n) => Ok(super::operators::from_integer(n.saturating_abs())),
        None => Ok(Value::from(f64::try_from(args[0].clone())?.abs())),
    }
}

fn round(_: &Host, args: &[Value]) -> Result<Value, Error> {
    let rest = Args::new(&args[1..]);
    let precision = rest.get(0, "precision").and_then(|p| integer(&p)).unwrap_or(0);
    let method = rest.get(1, "method");
    let value = f64::try_from(args[0].clone())?;
    let scale = 10f64.powi(precision.clamp(-300, 300) as i32);
    Ok(Value::from(match method.as_ref().and_then(Value::as_str) {
        Some("ceil") => (value * scale).ceil() / scale,
        Some("floor") => (value * scale).floor() / scale,
        _ if (0..=300).contains(&precision) => {
            let text = format!("{value:.*}", precision as usize);
            text.parse().unwrap_or(value)
        }
        _ => (value * scale).round() / scale,
    }))
}

fn to_int(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let rest = Args::new(&args[1..]);
    let default = || rest.get(0, "default").unwrap_or_else(|| Value::from(0));
    if let Some(n) = integer(&args[0]) {
        return Ok(super::operators::from_integer(n));
    }
    if let Some(text) = args[0].as_str() {
        host.charge_scan(text.len())?;
        let text = text.trim().replace('_', "");
        let base = rest.get(1, "base").and_then(|b| integer(&b)).unwrap_or(10);
        let digits = text.trim_start_matches("0x");
        if let Ok(n) = i128::from_str_radix(digits, base.clamp(2, 36) as u32) {
            return Ok(super::operators::from_integer(n));
        }
        let found = text.parse::<f64>().ok().filter(|x| x.is_finite());
        return Ok(found.map_or_else(default, |x| super::operators::from_integer(x as i128)));
    }
    match f64::try_from(args[0].clone()) {
        Ok(x) if x.is_finite() => Ok(super::operators::from_integer(x as i128)),
        _ => Ok(default()),
    }
}

fn to_float(_: &Host, args: &[Value]) -> Result<Value, Error> {
    let default = || Args::new(&args[1..]).get(0, "default").unwrap_or_else(|| Value::from(0.0));
    let found = match (integer(&args[0]), args[0].as_str()) {
        (Some(n), _) => Some(n as f64),
        (_, Some(text)) => text.trim().parse().ok(),
        _ => f64::try_from(args[0].clone()).ok(),
    };
    Ok(found.map_or_else(default, Value::from))
}

fn escape(host: &Host, args: &[Value]) -> Result<Value, Error> {
    if args[0].is_safe() {
        return Ok(args[0].clone());
    }
    Ok(Value::from_safe_string(escaped(host, &str_of(host, &args[0])?)?))
}

fn indent(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let text = str_of(host, &args[0])?;
    let rest = Args::new(&args[1..]);
    let on = |at, name| rest.get(at, name).is_some_and(|v: Value| v.is_true());
    let (first, blank) = (on(1, "first"), on(2, "blank"));
    let width = match rest.get(0, "width") {
        None => " ".repeat(4),
        Some(width) => match (width.as_str(), integer(&width)) {
            (Some(text), _) => text.to_owned(),
            (None, Some(n)) => {
                let n = n.max(0) as u64;
                host.charge(n)?;
                " ".repeat(n as usize)
            }
            _ => return Err(invalid("indent() takes a width")),
        },
    };
    let lines = text.matches('\n').count() as u64 + 1;
    host.charge((text.len() as u64).saturating_add(lines.saturating_mul(width.len() as u64)))?;
    let mut out = String::new();
    for (i, line) in text.split('\n').enumerate() {
        out.push_str(if i > 0 { "\n" } else { "" });
        // Python's splitlines() takes the carriage return for a part of the line break.
        let is_indented = if i == 0 { first } else { blank || !line.is_empty() };
        out.push_str(if is_indented { &width } else { "" });
        out.push_str(line);
    }
    Ok(Value::from(out))
}

fn replace_filter(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let text = str_of(host, &args[0])?;
    let rest = Args::new(&args[1..]);
    let part = |at, name| -> Result<String, Error> {
        str_of(host, &rest.get(at, name).ok_or_else(|| invalid("replace() takes two texts"))?)
    };
    let count = rest.get(2, "count").and_then(|n| integer(&n));
    replace(host, &text, &part(0, "old")?, &part(1, "new")?, count)
}

fn join_filter(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let rest = Args::new(&args[1..]);
    let separator = match rest.get(0, "d") {
        Some(separator) => str_of(host, &separator)?,
        None => String::new(),
    };
    let mut values = items(host, &args[0])?;
    if let Some(path) = rest.get(1, "attribute") {
        values = values.iter().map(|v| attribute(host, v, &path)).collect::<Result<_, _>>()?;
    }
    join(host, &separator, &values)
}

/// `a.b.0` of a value.
fn attribute(host: &Host, value: &Value, path: &Value) -> Result<Value, Error> {
    let Some(path) = path.as_str() else { return item(host, &[value.clone(), path.clone()]) };
    let mut value = value.clone();
    for part in path.split('.') {
        let key = part.parse::<i64>().map_or_else(|_| Value::from(part), Value::from);
        value = item(host, &[value, key])?;
    }
    Ok(value)
}

fn map(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let rest = Args::new(&args[1..]);
    let values = if args[0].is_true() { items(host, &args[0])? } else { Vec::new() };
    let mut out = Vec::with_capacity(values.len());
    if let Some(path) = rest.named("attribute") {
        let default = rest.named("default");
        for value in &values {
            let found = attribute(host, value, &path)?;
            let absent = found.is_undefined();
            out.push(default.clone().filter(|_| absent).unwrap_or(found));
        }
        return lazy(host, out);
    }
    let name = rest.positional.first().and_then(Value::as_str).unwrap_or_default();
    let filter = FILTERS.iter().find(|(known, _)| *known == name);
    let (_, filter) = filter.ok_or_else(|| {
        Error::new(ErrorKind::UnknownFilter, format!("filter `{name}` is unknown"))
    })?;
    for value in values {
        // A filter may itself map: refuse, as that could recurse without end.
        if name == "map" {
            return Err(invalid("map() does not take itself"));
        }
        let mut call = vec![value];
        call.extend(args.iter().skip(2).cloned());
        out.push(filter(host, &call)?);
    }
    lazy(host, out)
}

/// Which of select, reject, selectattr, rejectattr.
#[derive(Clone, Copy)]
struct Pick {
    attribute: bool,
    keep: bool,
}

fn pick(host: &Host, args: &[Value], how: Pick) -> Result<Value, Error> {
    let path = args.get(1).filter(|_| how.attribute);
    if how.attribute && path.is_none() {
        return Err(invalid("selectattr() takes an attribute"));
    }
    let rest = &args[(1 + usize::from(how.attribute)).min(args.len())..];
    let mut out = Vec::new();
    // Like jinja2: nothing at all, even none, has nothing to pick from.
    let values = if args[0].is_true() { items(host, &args[0])? } else { Vec::new() };
    for value in values {
        let subject = match path {
            Some(path) => attribute(host, &value, path)?,
            None => value.clone(),
        };
        let holds = match rest.first().map(|name| name.as_str().unwrap_or_default()) {
            None => subject.is_true(),
            Some(name) => {
                let mut call = vec![subject];
                call.extend(rest[1..].iter().cloned());
                test(host, name, &call)?
            }
        };
        if holds == how.keep {
            out.push(value);
        }
    }
    lazy(host, out)
}

/// Sorts by a key, stably, with errors between unlike types.
fn sort_by_key(
    host: &Host,
    mut keyed: Vec<(Value, Value)>,
    reverse: bool,
) -> Result<Vec<Value>, Error> {
    let mut failure = None;
    keyed.sort_by(|a, b| {
        let found = order(host, &a.0, &b.0).unwrap_or_else(|error| {
            failure.get_or_insert(error);
            None
        });
        let found = found.unwrap_or(Ordering::Equal);
        if reverse { found.reverse() } else { found }
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(keyed.into_iter().map(|(_, value)| value).collect()),
    }
}

fn folded(host: &Host, key: Value, case_sensitive: bool) -> Result<Value, Error> {
    match key.as_str() {
        Some(text) if !case_sensitive => host.text(lower(host, text)),
        _ => Ok(key),
    }
}

fn sort(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let rest = Args::new(&args[1..]);
    let on = |at, name| rest.get(at, name).is_some_and(|v: Value| v.is_true());
    let path = rest.get(2, "attribute");
    let mut keyed = Vec::new();
    for value in items(host, &args[0])? {
        let key = match &path {
            Some(path) => attribute(host, &value, path)?,
            None => value.clone(),
        };
        keyed.push((folded(host, key, on(1, "case_sensitive"))?, value));
    }
    list(host, sort_by_key(host, keyed, on(0, "reverse"))?)
}

fn dictsort(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let rest = Args::new(&args[1..]);
    let on = |at, name| rest.get(at, name).is_some_and(|v: Value| v.is_true());
    let by_value = rest.get(1, "by").is_some_and(|by| by.as_str() == Some("value"));
    let mapping = as_dict(&args[0]).ok_or_else(|| invalid("dictsort() takes a mapping"))?;
    let mut keyed = Vec::new();
    for (key, value) in &mapping.entries {
        let by = if by_value { value } else { key };
        let by = folded(host, by.clone(), on(0, "case_sensitive"))?;
        keyed.push((by, sequence(host, vec![key.clone(), value.clone()], true)?));
    }
    list(host, sort_by_key(host, keyed, on(2, "reverse"))?)
}

fn unique(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let rest = Args::new(&args[1..]);
    let case_sensitive = rest.get(0, "case_sensitive").is_some_and(|v| v.is_true());
    let path = rest.get(1, "attribute");
    let (mut seen, mut out): (Vec<Value>, Vec<Value>) = Default::default();
    for value in items(host, &args[0])? {
        let key = match &path {
            Some(path) => attribute(host, &value, path)?,
            None => value.clone(),
        };
        let key = folded(host, key, case_sensitive)?;
        let mut is_new = true;
        for other in &seen {
            host.charge(1)?;
            is_new &= !equal(host, other, &key)?;
        }
        if is_new {
            seen.push(key);
            out.push(value);
        }
    }
    lazy(host, out)
}

fn reverse(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let mut values = items(host, &args[0])?;
    values.reverse();
    if args[0].as_str().is_some() { join(host, "", &values) } else { list(host, values) }
}

fn sum(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let rest = Args::new(&args[1..]);
    let path = rest.get(0, "attribute");
    let mut total = rest.get(1, "start").unwrap_or_else(|| Value::from(0));
    for value in items(host, &args[0])? {
        let value = match &path {
            Some(path) => attribute(host, &value, path)?,
            None => value,
        };
        total = super::operators::add(host, &[total, value])?;
    }
    Ok(total)
}

fn extreme(host: &Host, values: &Value, wanted: Ordering) -> Result<Value, Error> {
    let mut best: Option<Value> = None;
    for value in items(host, values)? {
        let is_better = match &best {
            Some(best) => order(host, &value, best)? == Some(wanted),
            None => true,
        };
        best = if is_better { Some(value) } else { best };
    }
    Ok(best.unwrap_or_default())
}

fn batch(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let size = args.get(1).and_then(integer).and_then(|n| usize::try_from(n).ok());
    let size = size.filter(|&n| n > 0).ok_or_else(|| invalid("batch() takes a size"))?;
    let values = items(host, &args[0])?;
    let rows: Result<Vec<_>, _> = values.chunks(size).map(|row| list(host, row.to_vec())).collect();
    list(host, rows?)
}

fn to_json(host: &Host, args: &[Value]) -> Result<Value, Error> {
    let rest = Args::new(&args[1..]);
    let on = |at, name| rest.get(at, name).is_some_and(|v: Value| v.is_true());
    let indent = match rest.get(1, "indent") {
        Some(indent) if !indent.is_none() => match (indent.as_str(), integer(&indent)) {
            (Some(text), _) => Some(text.to_owned()),
            (None, Some(n)) => {
                host.charge(n.max(0) as u64)?;
                Some(" ".repeat(n.max(0) as usize))
            }
            _ => return Err(invalid("indent is a number or a text")),
        },
        _ => None,
    };
    let separators = rest.get(2, "separators").filter(|s| !s.is_none());
    let separators = separators.map(|s| items(host, &s)).transpose()?;
    let separator = |at: usize, default: &str| match &separators {
        Some(given) => given
            .get(at)
            .and_then(Value::as_str)
            .map(str::to_owned)
            .ok_or_else(|| invalid("separators are two texts")),
        None => Ok(default.to_owned()),
    };
    let style = JsonStyle {
        ensure_ascii: on(0, "ensure_ascii"),
        item_separator: separator(0, if indent.is_some() { "," } else { ", " })?,
        key_separator: separator(1, ": ")?,
        indent,
        sort_keys: on(3, "sort_keys"),
    };
    Ok(Value::from(json(host, &args[0], &style)?))
}
