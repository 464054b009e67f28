//! Values as text, as Python writes them: `str`, `repr`, and `json.dumps`. Source: the Python
//! language reference.

use super::host::{Host, invalid};
use super::value::{BoundMethod, Namespace, as_dict, as_list};
use minijinja::value::ValueKind;
use minijinja::{Error, Value};
use std::fmt::Write;

/// A text under construction; every piece is paid for.
struct Text<'a> {
    host: &'a Host,
    out: String,
}

impl Text<'_> {
    fn push(&mut self, piece: &str) -> Result<(), Error> {
        self.host.charge(piece.len() as u64)?;
        self.out.push_str(piece);
        Ok(())
    }

    fn quoted(
        &mut self,
        text: &str,
        escape: impl Fn(&Host, char, &mut String),
    ) -> Result<(), Error> {
        self.host.charge(text.len() as u64)?;
        let start = self.out.len();
        for c in text.chars() {
            escape(self.host, c, &mut self.out);
        }
        self.host.charge((self.out.len() - start).saturating_sub(text.len()) as u64)
    }
}

/// Python's `str(value)`; undefined is empty.
pub(super) fn str_of(host: &Host, value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        host.charge(text.len() as u64)?;
        return Ok(text.to_owned());
    }
    if value.is_undefined() {
        return Ok(String::new());
    }
    repr(host, value)
}

/// Python's `repr(value)`.
pub(super) fn repr(host: &Host, value: &Value) -> Result<String, Error> {
    let mut text = Text { host, out: String::new() };
    write_repr(&mut text, value)?;
    Ok(text.out)
}

fn write_repr(text: &mut Text, value: &Value) -> Result<(), Error> {
    if let Some(s) = value.as_str() {
        let quote = if s.contains('\'') && !s.contains('"') { "\"" } else { "'" };
        text.push(quote)?;
        text.quoted(s, |host, c, out| escape_repr(host, c, quote, out))?;
        return text.push(quote);
    }
    if let Some(list) = as_list(value) {
        text.push(if list.is_tuple { "(" } else { "[" })?;
        for (i, item) in list.items.iter().enumerate() {
            text.push(if i > 0 { ", " } else { "" })?;
            write_repr(text, item)?;
        }
        let close = match (list.is_tuple, list.items.len()) {
            (true, 1) => ",)",
            (true, _) => ")",
            (false, _) => "]",
        };
        return text.push(close);
    }
    if let Some(dict) = as_dict(value) {
        text.push("{")?;
        for (i, (key, item)) in dict.entries.iter().enumerate() {
            text.push(if i > 0 { ", " } else { "" })?;
            write_repr(text, key)?;
            text.push(": ")?;
            write_repr(text, item)?;
        }
        return text.push("}");
    }
    let scalar = scalar(value)?;
    text.push(&scalar)
}

fn scalar(value: &Value) -> Result<String, Error> {
    Ok(match value.kind() {
        ValueKind::Undefined => "Undefined".to_owned(),
        ValueKind::None => "None".to_owned(),
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.to_owned(),
        ValueKind::Number if value.is_integer() => value.to_string(),
        ValueKind::Number => float(f64::try_from(value.clone())?, "nan", "inf"),
        _ if value.downcast_object_ref::<Namespace>().is_some() => "<Namespace>".to_owned(),
        _ if value.downcast_object_ref::<BoundMethod>().is_some() => "<method>".to_owned(),
        kind => format!("<{kind}>"),
    })
}

/// Python's shortest float text: exponents below -4 and from 16 on.
fn float(x: f64, nan: &str, infinity: &str) -> String {
    if x.is_nan() {
        return nan.to_owned();
    }
    if x.is_infinite() {
        return if x < 0.0 { format!("-{infinity}") } else { infinity.to_owned() };
    }
    let scientific = format!("{x:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if x != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{x}");
    if plain.contains('.') { plain } else { plain + ".0" }
}

fn push_derived(host: &Host, escape: &str, out: &mut String) {
    out.extend(escape.chars().map(|c| host.derived(c)));
}

fn escape_repr(host: &Host, marked: char, quote: &str, out: &mut String) {
    let c = host.marks.plain(marked);
    match c {
        '\\' => push_derived(host, "\\\\", out),
        '\n' => push_derived(host, "\\n", out),
        '\r' => push_derived(host, "\\r", out),
        '\t' => push_derived(host, "\\t", out),
        _ if quote.starts_with(c) => {
            push_derived(host, "\\", out);
            out.push(marked);
        }
        ' '..='~' => out.push(marked),
        _ if is_printable(c) => out.push(marked),
        _ => {
            let code = c as u32;
            let escape = match code {
                0..=0xFF => format!("\\x{code:02x}"),
                0x100..=0xFFFF => format!("\\u{code:04x}"),
                _ => format!("\\U{code:08x}"),
            };
            push_derived(host, &escape, out);
        }
    }
}

/// Nearly Python's `str.isprintable`: not a control, format, private, unassigned or separator
/// character.
fn is_printable(c: char) -> bool {
    let is_mark = matches!(c as u32, 0x300..=0x36F | 0x483..=0x487 | 0x591..=0x5BD | 0x64B..=0x65F
        | 0x900..=0xDFF | 0xE31..=0xE4E | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF
        | 0x302A..=0x302F | 0x3099..=0x309A | 0xFE00..=0xFE0F | 0xFE20..=0xFE2F
        | 0x1F3FB..=0x1F3FF);
    is_mark || c.escape_debug().count() == 1
}

/// Options of `json.dumps`.
pub(super) struct JsonStyle {
    pub(super) ensure_ascii: bool,
    pub(super) indent: Option<String>,
    pub(super) item_separator: String,
    pub(super) key_separator: String,
    pub(super) sort_keys: bool,
}

/// Python's `json.dumps`.
pub(super) fn json(host: &Host, value: &Value, style: &JsonStyle) -> Result<String, Error> {
    let mut text = Text { host, out: String::new() };
    write_json(&mut text, value, style, 0)?;
    Ok(text.out)
}

fn json_line(text: &mut Text, style: &JsonStyle, depth: usize) -> Result<(), Error> {
    if let Some(indent) = &style.indent {
        text.push("\n")?;
        for _ in 0..depth {
            text.push(indent)?;
        }
    }
    Ok(())
}

fn json_string(text: &mut Text, s: &str, style: &JsonStyle) -> Result<(), Error> {
    text.push("\"")?;
    text.quoted(s, |host, c, out| escape_json(host, c, style.ensure_ascii, out))?;
    text.push("\"")
}

fn escape_json(host: &Host, marked: char, ensure_ascii: bool, out: &mut String) {
    let c = host.marks.plain(marked);
    let short = match c {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\u{8}' => "\\b",
        '\u{c}' => "\\f",
        _ => "",
    };
    if !short.is_empty() {
        push_derived(host, short, out);
    } else if c < ' ' || (ensure_ascii && !c.is_ascii()) {
        let mut escape = String::new();
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(escape, "\\u{unit:04x}");
        }
        push_derived(host, &escape, out);
    } else {
        out.push(marked);
    }
}

fn write_json(
    text: &mut Text,
    value: &Value,
    style: &JsonStyle,
    depth: usize,
) -> Result<(), Error> {
    if let Some(s) = value.as_str() {
        return json_string(text, s, style);
    }
    if let Some(list) = as_list(value) {
        if list.is_lazy {
            return Err(invalid("a generator is not JSON serializable"));
        }
        text.push("[")?;
        for (i, item) in list.items.iter().enumerate() {
            text.push(if i > 0 { &style.item_separator } else { "" })?;
            json_line(text, style, depth + 1)?;
            write_json(text, item, style, depth + 1)?;
        }
        if !list.items.is_empty() {
            json_line(text, style, depth)?;
        }
        return text.push("]");
    }
    if let Some(dict) = as_dict(value) {
        let mut entries: Vec<&(Value, Value)> = dict.entries.iter().collect();
        if style.sort_keys {
            entries.sort_by(|a, b| a.0.cmp(&b.0));
        }
        text.push("{")?;
        for (i, (key, item)) in entries.iter().enumerate() {
            text.push(if i > 0 { &style.item_separator } else { "" })?;
            json_line(text, style, depth + 1)?;
            match key.as_str() {
                Some(key) => json_string(text, key, style)?,
                None => json_string(text, &json_scalar(key)?, style)?,
            }
            text.push(&style.key_separator)?;
            write_json(text, item, style, depth + 1)?;
        }
        if !entries.is_empty() {
            json_line(text, style, depth)?;
        }
        return text.push("}");
    }
    let scalar = json_scalar(value)?;
    text.push(&scalar)
}

fn json_scalar(value: &Value) -> Result<String, Error> {
    Ok(match value.kind() {
        ValueKind::None => "null".to_owned(),
        ValueKind::Bool => if value.is_true() { "true" } else { "false" }.to_owned(),
        ValueKind::Number if value.is_integer() => value.to_string(),
        ValueKind::Number => float(f64::try_from(value.clone())?, "NaN", "Infinity"),
        kind => return Err(invalid(format!("a value of type {kind} is not JSON serializable"))),
    })
}
