//! Grammars in Lark's notation: regular expressions and choices written in it, and the checks that
//! hold for all.

use super::{FORMAT_BYTES_MAX, refused};
use crate::ProviderError;

/// Brackets that may stand in each other; they are read by recursion.
const DEPTH_MAX: usize = 200;

/// A grammar whose answers match the whole of a regular expression.
pub(super) fn regex(pattern: &str) -> Result<String, ProviderError> {
    let pattern = bounded(pattern)?;
    if pattern.is_empty() {
        return Err(refused("the regular expression is empty"));
    }
    Ok(format!("start: /{}/\n", llguidance::regex_to_lark(pattern, "")))
}

/// A grammar of texts.
pub(super) fn choice(texts: &[String]) -> Result<String, ProviderError> {
    if texts.iter().all(String::is_empty) {
        return Err(refused("there is nothing to choose from"));
    }
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    let grammar = format!("start: CHOICE\nCHOICE: {}\n", texts.join(" | "));
    bounded(&grammar)?;
    Ok(grammar)
}

/// A grammar as it was given.
pub(super) fn checked(grammar: &str) -> Result<String, ProviderError> {
    let grammar = bounded(grammar)?;
    let mut depth = 0_usize;
    for byte in grammar.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(refused(&format!("brackets are nested deeper than {DEPTH_MAX}")));
        }
    }
    Ok(grammar.to_owned())
}

/// A string of Lark's: JSON's, but control characters are written by their numbers.
pub(super) fn quoted(text: &str) -> String {
    use std::fmt::Write as _;
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\0'..='\x1F' | '\x7F' => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(character));
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// Text that is not too long to be read.
pub(super) fn bounded(text: &str) -> Result<&str, ProviderError> {
    if text.len() > FORMAT_BYTES_MAX {
        let (found, most) = (text.len(), FORMAT_BYTES_MAX);
        return Err(refused(&format!("it has {found} bytes, and at most {most} are taken")));
    }
    Ok(text)
}
