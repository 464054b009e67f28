//! Requests' JSON, read field by field: what a field may be stands where it is read, and what is
//! wrong is told with the field's path. Text is measured (depth, number of values) before it is
//! parsed, so a body of 10^5 brackets costs one look at its bytes.

use axum::http::StatusCode;
use serde_json::{Map, Value};

use crate::limits::{self, Range, Whole};
use crate::refusal::{Kind, Refusal};

/// Parses a body. Its depth and the number of its values are bounded.
///
/// # Errors
/// It is no JSON, or too much of it.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Refusal> {
    measure(bytes)?;
    serde_json::from_slice(bytes)
        .map_err(|error| Refusal::new(Kind::Invalid, format!("the body is not JSON: {error}")))
}

/// Looks at the brackets and commas outside of texts. What is no JSON may pass: it is refused by
/// the parser.
fn measure(bytes: &[u8]) -> Result<(), Refusal> {
    let (mut depth, mut values) = (0_usize, 1_usize);
    let mut rest = bytes.iter();
    while let Some(&byte) = rest.next() {
        match byte {
            b'"' => skip_text(&mut rest),
            b'[' | b'{' => {
                depth += 1;
                values += 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        if depth > limits::JSON_DEPTH_MAX {
            let most = limits::JSON_DEPTH_MAX;
            let message = format!("the body is nested deeper than {most} levels");
            return Err(Refusal::new(Kind::Invalid, message));
        }
        if values > limits::JSON_VALUES_MAX {
            let most = limits::JSON_VALUES_MAX;
            let message = format!("the body holds more than {most} values");
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            return Err(Refusal { status, ..Refusal::new(Kind::TooLarge, message) });
        }
    }
    Ok(())
}

/// Goes behind the quotation mark that ends a text.
fn skip_text(rest: &mut std::slice::Iter<'_, u8>) {
    while let Some(&byte) = rest.next() {
        match byte {
            b'\\' => {
                rest.next();
            }
            b'"' => return,
            _ => {}
        }
    }
}

/// A value and where it stands in the request.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// The value.
    pub(crate) value: Value,
    /// Where: `messages[2].role`; empty for the body itself.
    pub(crate) path: String,
}

/// An object whose fields are taken out one by one. A field that is null counts as absent.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    map: Map<String, Value>,
    path: String,
}

impl Node {
    /// The body of a request.
    pub(crate) fn body(value: Value) -> Self {
        Self { value, path: String::new() }
    }

    /// That this value is not what it must be.
    pub(crate) fn refuse(&self, expected: &str) -> Refusal {
        let found = describe(&self.value);
        if self.path.is_empty() {
            let message = format!("the body must be {expected}, and is {found}");
            return Refusal::new(Kind::Invalid, message);
        }
        let message = format!("`{}` must be {expected}, and is {found}", self.path);
        Refusal::invalid(self.path.clone(), message)
    }

    /// An object.
    pub(crate) fn fields(self) -> Result<Fields, Refusal> {
        match self.value {
            Value::Object(map) => Ok(Fields { map, path: self.path }),
            _ => Err(self.refuse("an object")),
        }
    }

    /// A list of at most so many entries.
    pub(crate) fn list(self, most: usize) -> Result<Vec<Node>, Refusal> {
        let Value::Array(values) = self.value else {
            return Err(self.refuse("a list"));
        };
        if values.len() > most {
            let (path, count) = (&self.path, values.len());
            let message = format!("`{path}` may have {most} entries at most, and has {count}");
            return Err(Refusal::invalid(self.path, message));
        }
        let path = self.path;
        let entry = |(index, value)| Node { value, path: format!("{path}[{index}]") };
        Ok(values.into_iter().enumerate().map(entry).collect())
    }

    /// A text of any length (the body is bounded).
    pub(crate) fn text(self) -> Result<String, Refusal> {
        match self.value {
            Value::String(text) => Ok(text),
            _ => Err(self.refuse("a string")),
        }
    }

    /// A text of at most so many bytes.
    pub(crate) fn short_text(self, most: usize) -> Result<String, Refusal> {
        let path = self.path.clone();
        let text = self.text()?;
        if text.len() > most {
            let length = text.len();
            let message = format!("`{path}` may have {most} bytes at most, and has {length}");
            return Err(Refusal::invalid(path, message));
        }
        Ok(text)
    }

    /// True or false.
    pub(crate) fn flag(&self) -> Result<bool, Refusal> {
        self.value.as_bool().ok_or_else(|| self.refuse("true or false"))
    }

    /// A number within a range.
    pub(crate) fn number(&self, range: Range) -> Result<f32, Refusal> {
        let Range { min, max } = range;
        self.value
            .as_f64()
            .map(|number| number as f32)
            .filter(|number| number.is_finite() && (min..=max).contains(number))
            .ok_or_else(|| self.refuse(&format!("a number from {min} to {max}")))
    }

    /// A whole number within a range. Fractions are refused, `2.0` is 2.
    pub(crate) fn whole(&self, range: Whole) -> Result<u64, Refusal> {
        let Whole { min, max } = range;
        let exact = |number: f64| {
            (number >= 0.0 && number.fract() == 0.0 && number < 9e15).then_some(number as u64)
        };
        let number = self.value.as_u64().or_else(|| self.value.as_f64().and_then(exact));
        number
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| self.refuse(&format!("a whole number from {min} to {max}")))
    }
}

/// What a value is, in few words: never more of it than fits on a line.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.len() <= 40 => format!("{text:?}"),
        Value::String(text) => format!("a string of {} bytes", text.len()),
        Value::Array(list) => format!("a list of {}", list.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}

impl Fields {
    /// A field, if it is there and not null.
    pub(crate) fn take(&mut self, name: &str) -> Option<Node> {
        let value = self.map.swap_remove(name)?;
        (!value.is_null()).then(|| Node { value, path: self.path_of(name) })
    }

    /// A field as it stands, left where it is.
    pub(crate) fn peek(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// A field that must be there.
    pub(crate) fn need(&mut self, name: &str) -> Result<Node, Refusal> {
        self.take(name).ok_or_else(|| self.missing(name))
    }

    /// That a field is missing.
    pub(crate) fn missing(&self, name: &str) -> Refusal {
        let path = self.path_of(name);
        let message = format!("`{path}` is missing");
        Refusal::invalid(path, message)
    }

    /// That a field must not be there, and why.
    pub(crate) fn refuse(&self, name: &str, why: &str) -> Refusal {
        let path = self.path_of(name);
        let message = format!("`{path}`: {why}");
        Refusal::invalid(path, message)
    }

    /// Whether a field is there and not null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.peek(name).is_some()
    }

    /// A text.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        self.take(name).map(Node::text).transpose()
    }

    /// A text of at most `NAME_BYTES_MAX`.
    pub(crate) fn name(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        self.take(name).map(|node| node.short_text(limits::NAME_BYTES_MAX)).transpose()
    }

    /// True or false.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        self.take(name).map(|node| node.flag()).transpose()
    }

    /// A number within a range.
    pub(crate) fn number(&mut self, name: &str, range: Range) -> Result<Option<f32>, Refusal> {
        self.take(name).map(|node| node.number(range)).transpose()
    }

    /// A whole number within a range.
    pub(crate) fn whole(&mut self, name: &str, range: Whole) -> Result<Option<u64>, Refusal> {
        self.take(name).map(|node| node.whole(range)).transpose()
    }

    /// A whole number within a range, as a count.
    pub(crate) fn count(&mut self, name: &str, range: Whole) -> Result<Option<usize>, Refusal> {
        Ok(self.whole(name, range)?.map(|number| usize::try_from(number).unwrap_or(usize::MAX)))
    }

    /// An object.
    pub(crate) fn fields(&mut self, name: &str) -> Result<Option<Fields>, Refusal> {
        self.take(name).map(Node::fields).transpose()
    }

    /// A list of at most so many entries; empty where there is none.
    pub(crate) fn list(&mut self, name: &str, most: usize) -> Result<Vec<Node>, Refusal> {
        self.take(name).map_or_else(|| Ok(Vec::new()), |node| node.list(most))
    }

    /// The names of the fields that were not taken.
    pub(crate) fn left(&self) -> impl Iterator<Item = &str> {
        self.map.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str())
    }

    /// What was not taken.
    pub(crate) fn into_map(self) -> Map<String, Value> {
        self.map
    }

    /// Where a field of it stands.
    pub(crate) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Fields {
        Node::body(parse(json.as_bytes()).unwrap()).fields().unwrap()
    }

    #[test]
    fn depth_and_number_of_values_are_bounded_before_parsing() {
        let deep = "[".repeat(100_000);
        assert!(parse(deep.as_bytes()).unwrap_err().message.contains("deeper than 64"));
        let objects = "{\"a\":".repeat(100_000);
        assert!(parse(objects.as_bytes()).unwrap_err().message.contains("deeper than 64"));
        let wide = format!("[{}0]", "0,".repeat(limits::JSON_VALUES_MAX));
        assert_eq!(parse(wide.as_bytes()).unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        let brackets_in_text = format!("[\"{}\\\"[[\"]", "[".repeat(1000));
        assert!(parse(brackets_in_text.as_bytes()).is_ok());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in ["", "{", "NaN", "{\"a\":1e999}", "[1,]", "\u{feff}{}", "{\"a\":-}"] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().kind, Kind::Invalid, "{text}");
        }
    }

    #[test]
    fn numbers_keep_to_their_ranges() {
        let check = |json: &str, expected: Option<u64>| {
            let found = fields(&format!("{{\"n\":{json}}}")).whole("n", limits::SAMPLES);
            assert_eq!(found.clone().ok().flatten(), expected, "{json}");
            if expected.is_none() && json != "null" {
                assert_eq!(found.unwrap_err().field.as_deref(), Some("n"), "{json}");
            }
        };
        check("1", Some(1));
        check("2.0", Some(2));
        check("null", None);
        for bad in ["0", "-1", "1.5", "1000000", "1e30", "\"1\"", "true", "[]", "{}"] {
            check(bad, None);
        }
        let number = |json: &str| {
            fields(&format!("{{\"t\":{json}}}")).number("t", limits::PROBABILITY).ok().flatten()
        };
        assert_eq!(number("0.5"), Some(0.5));
        assert_eq!(number("1"), Some(1.0));
        assert_eq!(number("1.01"), None);
        assert_eq!(number("-0.1"), None);
        assert_eq!(number("1e300"), None);
    }

    #[test]
    fn paths_name_the_field() {
        let mut body = fields(r#"{"messages":[{"role":"user"},{"role":7}]}"#);
        let list = body.list("messages", 10).unwrap();
        let second = list.into_iter().nth(1).unwrap().fields().unwrap().text("role");
        assert_eq!(second.unwrap_err().field.as_deref(), Some("messages[1].role"));
    }
}
