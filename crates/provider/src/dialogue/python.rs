//! Python calls with literals for arguments: `[name(a=1, b='x', c=[True, None])]`.

use serde_json::{Map, Number, Value};

use super::json_call::is_name;
use super::whole_call::Written;

/// Lists and dictionaries that may stand in each other.
const DEPTH_MAX: usize = 64;

/// The calls in `body`; none if anything else is in it.
pub(super) fn calls(body: &str) -> Option<Vec<Written>> {
    let mut text = Text { rest: body.trim() };
    let listed = text.take("[");
    let mut calls = Vec::new();
    while !(text.rest.is_empty() || listed && text.take("]")) {
        calls.push(text.call()?);
        if !text.take(",") && listed {
            text.take("]").then_some(())?;
            break;
        }
    }
    (!calls.is_empty() && text.rest.trim().is_empty()).then_some(calls)
}

/// The value that a literal stands for; none if anything else is there.
pub(super) fn literal(text: &str) -> Option<Value> {
    let mut text = Text { rest: text };
    let value = text.value(0)?;
    text.rest.trim().is_empty().then_some(value)
}

/// What is left to be read.
struct Text<'a> {
    rest: &'a str,
}

impl<'a> Text<'a> {
    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn word(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let ends = |character: char| !(character.is_alphanumeric() || "_-.+".contains(character));
        let (word, rest) = self.rest.split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn call(&mut self) -> Option<Written> {
        let name = self.word();
        if !is_name(name) || !self.take("(") {
            return None;
        }
        let mut arguments = Map::new();
        while !self.take(")") {
            let key = self.word();
            if key.is_empty() || !self.take("=") {
                return None;
            }
            arguments.insert(key.to_owned(), self.value(0)?);
            if !self.take(",") {
                self.take(")").then_some(())?;
                break;
            }
        }
        Some((name.to_owned(), Value::Object(arguments)))
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.rest = self.rest.trim_start();
        match self.rest.chars().next()? {
            quote @ ('"' | '\'') => self.string(quote).map(Value::String),
            '[' | '(' => self.list(depth),
            '{' => self.dictionary(depth),
            _ => match self.word() {
                "True" | "true" => Some(Value::Bool(true)),
                "False" | "false" => Some(Value::Bool(false)),
                "None" | "null" => Some(Value::Null),
                number => number.parse::<Number>().ok().map(Value::Number),
            },
        }
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        let ends = if self.take("[") { "]" } else { ")" };
        if ends == ")" {
            self.take("(");
        }
        let mut items = Vec::new();
        while !self.take(ends) {
            items.push(self.value(depth + 1)?);
            if !self.take(",") {
                self.take(ends).then_some(())?;
                break;
            }
        }
        Some(Value::Array(items))
    }

    fn dictionary(&mut self, depth: usize) -> Option<Value> {
        self.take("{");
        let mut members = Map::new();
        while !self.take("}") {
            let Value::String(key) = self.value(depth + 1)? else { return None };
            self.take(":").then_some(())?;
            members.insert(key, self.value(depth + 1)?);
            if !self.take(",") {
                self.take("}").then_some(())?;
                break;
            }
        }
        Some(Value::Object(members))
    }

    fn string(&mut self, quote: char) -> Option<String> {
        let mut text = String::new();
        let mut characters = self.rest[1..].char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => {
                    let (_, escaped) = characters.next()?;
                    match escaped {
                        'n' => text.push('\n'),
                        't' => text.push('\t'),
                        'r' => text.push('\r'),
                        'b' => text.push('\u{8}'),
                        'f' => text.push('\u{C}'),
                        '\\' | '"' | '\'' | '/' => text.push(escaped),
                        'x' | 'u' => {
                            let digits = if escaped == 'x' { 2 } else { 4 };
                            text.push(code_point(&mut characters, digits)?);
                        }
                        _ => text.extend(['\\', escaped]),
                    }
                }
                _ if character == quote => {
                    self.rest = &self.rest[1 + at + 1..];
                    return Some(text);
                }
                _ => text.push(character),
            }
        }
        None
    }
}

/// The character with this number, `digits` of them in hexadecimal. Halves of a pair are joined.
fn code_point(characters: &mut std::str::CharIndices<'_>, digits: usize) -> Option<char> {
    let mut number = || {
        (0..digits).try_fold(0, |number, _| Some(number * 16 + characters.next()?.1.to_digit(16)?))
    };
    let first = number()?;
    if !(0xD800..0xDC00).contains(&first) {
        return char::from_u32(first);
    }
    let joined = characters.next()?.1 == '\\' && characters.next()?.1 == 'u';
    let mut number =
        || (0..4).try_fold(0, |number, _| Some(number * 16 + characters.next()?.1.to_digit(16)?));
    let second: u32 = if joined { number()? } else { return None };
    let low = second.checked_sub(0xDC00).filter(|&low| low < 0x400)?;
    char::from_u32(0x10000 + ((first - 0xD800) << 10) + low)
}
