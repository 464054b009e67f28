//! Python's methods of strings, lists and dicts, and the text operations behind them.

use super::format::brace;
use super::host::{Host, invalid};
use super::operators::integer;
use super::python::str_of;
use super::value::{as_dict, as_list, dict, items, list, sequence};
use minijinja::{Error, ErrorKind, Value};

/// Positional and named arguments of a call.
pub(super) struct Args<'a> {
    pub(super) positional: &'a [Value],
    named: Option<&'a Value>,
}

impl<'a> Args<'a> {
    pub(super) fn new(args: &'a [Value]) -> Self {
        match args.split_last() {
            Some((last, rest)) if last.is_kwargs() => Self { positional: rest, named: Some(last) },
            _ => Self { positional: args, named: None },
        }
    }

    pub(super) fn named(&self, name: &str) -> Option<Value> {
        self.named.and_then(|named| named.get_attr(name).ok()).filter(|v| !v.is_undefined())
    }

    /// The argument at a position or with a name.
    pub(super) fn get(&self, at: usize, name: &str) -> Option<Value> {
        self.positional.get(at).cloned().or_else(|| self.named(name))
    }

    /// The names in the call, in order.
    pub(super) fn pairs(&self) -> Result<Vec<(Value, Value)>, Error> {
        let Some(named) = self.named else { return Ok(Vec::new()) };
        named.try_iter()?.map(|key| Ok((key.clone(), named.get_item(&key)?))).collect()
    }

    fn text(&self, at: usize, name: &str) -> Result<Option<String>, Error> {
        match self.get(at, name) {
            None => Ok(None),
            Some(value) if value.is_none() => Ok(None),
            Some(value) => match value.as_str() {
                Some(text) => Ok(Some(text.to_owned())),
                None => Err(invalid(format!("expected a string, found {}", value.kind()))),
            },
        }
    }

    fn required(&self, at: usize, name: &str) -> Result<String, Error> {
        self.text(at, name)?.ok_or_else(|| invalid(format!("argument `{name}` is missing")))
    }

    fn integer(&self, at: usize, name: &str) -> Result<Option<i128>, Error> {
        match self.get(at, name) {
            None => Ok(None),
            Some(value) => integer(&value).map(Some).ok_or_else(|| invalid("expected an integer")),
        }
    }
}

/// Python's whitespace: Unicode's, and the four separators of ASCII.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Which ends to strip.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) left: bool,
    pub(super) right: bool,
}

/// Python's `strip`.
pub(super) fn strip<'a>(text: &'a str, chars: Option<&str>, ends: Ends) -> &'a str {
    let drop = |c: char| chars.map_or_else(|| is_space(c), |set| set.contains(c));
    let text = if ends.left { text.trim_start_matches(drop) } else { text };
    if ends.right { text.trim_end_matches(drop) } else { text }
}

/// Maps the case of each character; what a changed character becomes counts as derived from it.
fn map_case(host: &Host, text: &str, upper: impl Fn(usize, char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for (i, c) in text.chars().enumerate() {
        let to_upper = upper(i, c);
        if c.is_ascii() {
            out.push(if to_upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() });
        } else if to_upper {
            out.extend(c.to_uppercase().map(|to| if to == c { c } else { host.derived(to) }));
        } else {
            out.extend(c.to_lowercase().map(|to| if to == c { c } else { host.derived(to) }));
        }
    }
    out
}

pub(super) fn upper(host: &Host, text: &str) -> String {
    map_case(host, text, |_, _| true)
}

pub(super) fn lower(host: &Host, text: &str) -> String {
    map_case(host, text, |_, _| false)
}

pub(super) fn capitalize(host: &Host, text: &str) -> String {
    map_case(host, text, |i, _| i == 0)
}

/// Upper case where `starts` says that a word begins.
pub(super) fn title(host: &Host, text: &str, is_inner: impl Fn(char) -> bool) -> String {
    let mut previous_inner = false;
    let starts: Vec<bool> = text
        .chars()
        .map(|c| {
            let start = !previous_inner;
            previous_inner = is_inner(c);
            start
        })
        .collect();
    map_case(host, text, |i, _| starts[i])
}

/// HTML's entities for the five characters that markupsafe escapes.
pub(super) fn escaped(host: &Host, text: &str) -> Result<String, Error> {
    host.charge(text.len() as u64 * 5)?;
    let mut out = String::new();
    for c in text.chars() {
        let entity = match host.marks.plain(c) {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&#34;",
            '\'' => "&#39;",
            _ => "",
        };
        if entity.is_empty() {
            out.push(c);
        } else {
            out.extend(entity.chars().map(|c| host.derived(c)));
        }
    }
    Ok(out)
}

/// Python's `replace`; `count` below zero replaces all.
pub(super) fn replace(
    host: &Host,
    text: &str,
    old: &str,
    new: &str,
    count: Option<i128>,
) -> Result<Value, Error> {
    let count = count.filter(|&n| n >= 0).map_or(usize::MAX, |n| n as usize);
    host.charge_scan(text.len())?;
    let found = text.matches(old).take(count).count() as u64;
    host.charge((text.len() as u64).saturating_add(found.saturating_mul(new.len() as u64)))?;
    Ok(Value::from(text.replacen(old, new, count)))
}

fn split(host: &Host, text: &str, args: &Args, from_right: bool) -> Result<Value, Error> {
    let separator = args.text(0, "sep")?;
    let limit = args.integer(1, "maxsplit")?.filter(|&n| n >= 0).map_or(usize::MAX, |n| n as usize);
    let pieces_max = limit.saturating_add(1);
    host.charge(text.len() as u64)?;
    let mut pieces: Vec<Value> = Vec::new();
    let mut push = |piece: &str| -> Result<(), Error> {
        host.charge_entries(1)?;
        pieces.push(Value::from(piece));
        Ok(())
    };
    match (&separator, from_right) {
        (Some(separator), _) if separator.is_empty() => return Err(invalid("empty separator")),
        (Some(separator), false) => {
            text.splitn(pieces_max, &**separator).try_for_each(&mut push)?;
        }
        (Some(separator), true) => {
            text.rsplitn(pieces_max, &**separator).try_for_each(&mut push)?;
        }
        (None, false) => {
            let mut rest = strip(text, None, Ends { left: true, right: false });
            let mut made = 0;
            while !rest.is_empty() {
                let end = if made < limit { rest.find(is_space) } else { None };
                let Some(end) = end else { break };
                push(&rest[..end])?;
                made += 1;
                rest = strip(&rest[end..], None, Ends { left: true, right: false });
            }
            if !rest.is_empty() {
                push(if made < limit {
                    strip(rest, None, Ends { left: false, right: true })
                } else {
                    rest
                })?;
            }
        }
        (None, true) => {
            let mut rest = strip(text, None, Ends { left: false, right: true });
            let mut made = 0;
            while !rest.is_empty() {
                let at = if made < limit { rest.rfind(is_space) } else { None };
                let Some(at) = at else { break };
                let width = rest[at..].chars().next().map_or(1, char::len_utf8);
                push(&rest[at + width..])?;
                made += 1;
                rest = strip(&rest[..at], None, Ends { left: false, right: true });
            }
            if !rest.is_empty() {
                push(if made < limit {
                    strip(rest, None, Ends { left: true, right: false })
                } else {
                    rest
                })?;
            }
        }
    }
    if from_right {
        pieces.reverse();
    }
    list(host, pieces)
}

fn split_lines(host: &Host, text: &str, keep_ends: bool) -> Result<Value, Error> {
    let is_break = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    host.charge(text.len() as u64)?;
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let at = rest.find(is_break).unwrap_or(rest.len());
        let tail = &rest[at..];
        let width = if tail.starts_with("\r\n") {
            2
        } else {
            tail.chars().next().map_or(0, char::len_utf8)
        };
        host.charge_entries(1)?;
        lines.push(Value::from(&rest[..if keep_ends { at + width } else { at }]));
        rest = &rest[at + width..];
    }
    list(host, lines)
}

fn pad(
    host: &Host,
    text: &str,
    args: &Args,
    left_share: fn(usize) -> usize,
) -> Result<Value, Error> {
    let width = args.integer(0, "width")?.unwrap_or(0).max(0) as usize;
    let fill = args.text(1, "fillchar")?.unwrap_or_else(|| " ".to_owned());
    if fill.chars().count() != 1 {
        return Err(invalid("the fill character must be one character"));
    }
    let missing = width.saturating_sub(text.chars().count());
    host.charge((missing as u64).saturating_mul(4).saturating_add(text.len() as u64))?;
    let left = left_share(missing);
    Ok(Value::from(format!("{}{text}{}", fill.repeat(left), fill.repeat(missing - left))))
}

/// Whether `text` starts (or ends) with the argument: a string, or any of a tuple.
fn affix(text: &str, args: &Args, test: fn(&str, &str) -> bool) -> Result<Value, Error> {
    let value = args.get(0, "prefix").ok_or_else(|| invalid("an argument is missing"))?;
    let one = |value: &Value| match value.as_str() {
        Some(part) => Ok(test(text, part)),
        None => Err(invalid(format!("expected a string, found {}", value.kind()))),
    };
    match as_list(&value) {
        Some(parts) => {
            let found: Result<Vec<bool>, Error> = parts.items.iter().map(one).collect();
            Ok(Value::from(found?.contains(&true)))
        }
        None => one(&value).map(Value::from),
    }
}

fn position(text: &str, at: Option<usize>) -> Value {
    at.map_or(Value::from(-1), |at| Value::from(text[..at].chars().count()))
}

/// Python's `join`.
pub(super) fn join(host: &Host, separator: &str, values: &[Value]) -> Result<Value, Error> {
    let mut out = String::new();
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            host.charge(separator.len() as u64)?;
            out.push_str(separator);
        }
        match value.as_str() {
            Some(text) => {
                host.charge(text.len() as u64)?;
                out.push_str(text);
            }
            None => out.push_str(&str_of(host, value)?),
        }
    }
    Ok(Value::from(out))
}

fn partition(host: &Host, text: &str, separator: &str, from_right: bool) -> Result<Value, Error> {
    let at = if from_right { text.rfind(separator) } else { text.find(separator) };
    let (before, middle, after) = match at {
        Some(at) => (&text[..at], separator, &text[at + separator.len()..]),
        None if from_right => ("", "", text),
        None => (text, "", ""),
    };
    host.charge(text.len() as u64)?;
    sequence(host, [before, middle, after].map(Value::from).to_vec(), true)
}

fn unknown(value: &Value, method: &str) -> Error {
    Error::new(ErrorKind::UnknownMethod, format!("{} has no method `{method}`", value.kind()))
}

/// The tests of characters (`isdigit`, ...).
fn character_test(text: &str, method: &str) -> Option<bool> {
    let all = |test: fn(char) -> bool| Some(!text.is_empty() && text.chars().all(test));
    match method {
        "isdigit" | "isdecimal" | "isnumeric" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isspace" => all(is_space),
        "isascii" => Some(text.is_ascii()),
        "islower" => {
            Some(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase))
        }
        "isupper" => {
            Some(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase))
        }
        _ => None,
    }
}

fn string_method(
    host: &Host,
    text: &str,
    method: &str,
    args: &Args,
) -> Result<Option<Value>, Error> {
    host.charge_scan(text.len())?;
    if let Some(found) = character_test(text, method) {
        return Ok(Some(Value::from(found)));
    }
    let stripped = |ends| -> Result<Value, Error> {
        let chars = args.text(0, "chars")?;
        host.text(strip(text, chars.as_deref(), ends))
    };
    Ok(Some(match method {
        "strip" => stripped(Ends { left: true, right: true })?,
        "lstrip" => stripped(Ends { left: true, right: false })?,
        "rstrip" => stripped(Ends { left: false, right: true })?,
        "upper" => host.text(upper(host, text))?,
        "lower" | "casefold" => host.text(lower(host, text))?,
        "capitalize" => host.text(capitalize(host, text))?,
        "title" => host.text(title(host, text, char::is_alphabetic))?,
        "swapcase" => host.text(map_case(host, text, |_, c| c.is_lowercase()))?,
        "replace" => {
            let (old, new) = (args.required(0, "old")?, args.required(1, "new")?);
            replace(host, text, &old, &new, args.integer(2, "count")?)?
        }
        "split" => split(host, text, args, false)?,
        "rsplit" => split(host, text, args, true)?,
        "splitlines" => {
            split_lines(host, text, args.get(0, "keepends").is_some_and(|v| v.is_true()))?
        }
        "startswith" => affix(text, args, |text, part| text.starts_with(part))?,
        "endswith" => affix(text, args, |text, part| text.ends_with(part))?,
        "removeprefix" => {
            let part = args.required(0, "prefix")?;
            host.text(text.strip_prefix(&*part).unwrap_or(text))?
        }
        "removesuffix" => {
            let part = args.required(0, "suffix")?;
            host.text(text.strip_suffix(&*part).unwrap_or(text))?
        }
        "find" => position(text, text.find(&args.required(0, "sub")?)),
        "rfind" => position(text, text.rfind(&args.required(0, "sub")?)),
        "index" => match text.find(&args.required(0, "sub")?) {
            None => return Err(invalid("substring not found")),
            found => position(text, found),
        },
        "count" => Value::from(text.matches(&args.required(0, "sub")?).count()),
        "partition" => partition(host, text, &args.required(0, "sep")?, false)?,
        "rpartition" => partition(host, text, &args.required(0, "sep")?, true)?,
        "join" => {
            let values = args.positional.first().ok_or_else(|| invalid("join() takes a list"))?;
            join(host, text, &items(host, values)?)?
        }
        "format" => host.text(brace(host, text, args.positional, &|name| args.named(name))?)?,
        "ljust" => pad(host, text, args, |_| 0)?,
        "rjust" => pad(host, text, args, |missing| missing)?,
        "center" => pad(host, text, args, |missing| missing / 2)?,
        "zfill" => {
            let width = args.integer(0, "width")?.unwrap_or(0).max(0) as usize;
            let missing = width.saturating_sub(text.chars().count());
            host.charge((missing as u64).saturating_add(text.len() as u64))?;
            let (sign, rest) = text.split_at(usize::from(text.starts_with(['-', '+'])));
            Value::from(format!("{sign}{}{rest}", "0".repeat(missing)))
        }
        _ => return Ok(None),
    }))
}

/// Calls `value.method(args)`.
pub(super) fn call(
    host: &Host,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let args = Args::new(args);
    if let Some(text) = value.as_str() {
        return string_method(host, text, method, &args)?.ok_or_else(|| unknown(value, method));
    }
    if let Some(mapping) = as_dict(value) {
        let entries = &mapping.entries;
        return match method {
            "items" => {
                let pair =
                    |(k, v): &(Value, Value)| sequence(host, vec![k.clone(), v.clone()], true);
                let pairs: Result<Vec<_>, _> = entries.iter().map(pair).collect();
                list(host, pairs?)
            }
            "keys" => list(host, items(host, value)?),
            "values" => list(host, entries.iter().map(|(_, v)| v.clone()).collect()),
            "copy" => dict(host, entries.iter().cloned()),
            "get" => {
                let key = args.get(0, "key").ok_or_else(|| invalid("get() takes a key"))?;
                let default = || args.get(1, "default").unwrap_or_else(|| Value::from(()));
                Ok(mapping.get(&key).cloned().unwrap_or_else(default))
            }
            _ => Err(unknown(value, method)),
        };
    }
    if let Some(sequence) = as_list(value) {
        let sought = args.positional.first().ok_or_else(|| unknown(value, method))?;
        let mut found = Vec::new();
        for (i, item) in sequence.items.iter().enumerate() {
            host.charge(1)?;
            if super::operators::equal(host, item, sought)? {
                found.push(i);
            }
        }
        return match (method, found.first()) {
            ("count", _) => Ok(Value::from(found.len())),
            ("index", Some(&i)) => Ok(Value::from(i)),
            ("index", None) => Err(invalid("the list lacks this value")),
            _ => Err(unknown(value, method)),
        };
    }
    Err(unknown(value, method))
}
